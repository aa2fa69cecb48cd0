# shellcheck shell=bash
# A machine under QEMU's software emulation with a software TPM; sourced by run.sh.
#
# Never KVM: where /dev/kvm opens but the processor offers no virtualisation (containers under PVM), a
# stock kernel does not boot on it. A "machine" is a folder: disk, TPM memory, firmware variables. It
# keeps all of them from one boot to the next.

# make_machine FOLDER IMAGE: a new machine with a TPM that left its factory just now.
make_machine() {
    local machine=$1 image=$2
    rm -rf "$machine"
    mkdir -p "$machine/tpm" "$machine/maker"
    cp --sparse=always "$image/root.ext4" "$machine/disk"
    ln -sf "$(realpath "$image/vmlinuz")" "$machine/vmlinuz"
    local maker
    maker=$(realpath "$machine/maker")
    printf '%s\n' "statedir = $maker" "signingkey = $maker/signkey.pem" \
        "issuercert = $maker/issuercert.pem" "certserial = $maker/certserial" > "$maker/localca.conf"
    printf '%s\n' '--platform-manufacturer Signet' '--platform-version 1' '--platform-model Test' \
        > "$maker/localca.options"
    printf '%s\n' "create_certs_tool = $(PATH=$PATH:/usr/share/swtpm command -v swtpm_localca)" \
        "create_certs_tool_config = $maker/localca.conf" \
        "create_certs_tool_options = $maker/localca.options" > "$maker/setup.conf"
    swtpm_setup --tpm2 --createek --lock-nvram --not-overwrite --pcr-banks sha256 --vmid signet-vm \
        --create-ek-cert --create-platform-cert --config "$maker/setup.conf" --tpm-state "$machine/tpm" \
        > "$machine/tpm-setup.log" 2>&1 || { cat "$machine/tpm-setup.log" >&2; return 1; }
}

# boot_machine MACHINE PAYLOAD RESULTS LIMIT_SECONDS: boots it, runs PAYLOAD/run inside, unpacks what it left.
#
# Returns 0 when the payload ran to its end, whatever its checks found; else says where it stopped.
# $append: more words for the kernel. $qemu_options: an array of more arguments for QEMU.
boot_machine() {
    local machine=$1 payload=$2 results=$3 limit=$4 scratch outcome=0
    rm -rf "$results"
    mkdir -p "$results"
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/signet-vm.XXXXXX")
    tar -C "$payload" -cf "$scratch/payload.tar" .
    truncate -s %1M "$scratch/payload.tar"
    truncate -s 64M "$scratch/results.tar"
    : > "$results/checks"
    swtpm socket --tpm2 --tpmstate "dir=$machine/tpm" --ctrl "type=unixio,path=$scratch/tpm.sock" \
        --terminate --log "file=$results/swtpm.log" &
    local tpm=$!
    local boot_disk=() firmware=(-machine q35,usb=off,smbus=off)
    if [ -f "$machine/boot-disk" ]; then # made by image/uefi.sh
        firmware=(-machine q35,usb=off,smm=on -global driver=cfi.pflash01,property=secure,value=on
            -drive "if=pflash,format=raw,unit=0,readonly=on,file=$machine/firmware.fd"
            -drive "if=pflash,format=raw,unit=1,file=$machine/variables.fd")
        # Last, because the kernel numbers disks in the order of their slots.
        boot_disk=(-drive "file=$machine/boot-disk,if=none,format=raw,id=boot,readonly=on"
            -device nvme,drive=boot,serial=boot,bootindex=0)
    else
        # On a busy host the kernel may miss the emulated timer when it tries it, and give up.
        firmware+=(-kernel "$machine/vmlinuz" -append "$(kernel_words) no_timer_check ${append:-}")
    fi
    until [ -S "$scratch/tpm.sock" ] || ! kill -0 "$tpm" 2>/dev/null; do sleep 0.05; done
    timeout --kill-after=5 "$limit" qemu-system-x86_64 \
        "${firmware[@]}" -accel tcg,thread=multi -cpu max -smp 2 -m 1024 \
        -nodefaults -display none -no-reboot -monitor none \
        -serial "file:$results/console.log" -serial "file:$results/checks" \
        -drive "file=$machine/disk,if=none,format=raw,id=root,cache=unsafe" -device nvme,drive=root,serial=root \
        -drive "file=$scratch/payload.tar,if=none,format=raw,id=payload,readonly=on" \
        -device nvme,drive=payload,serial=payload \
        -drive "file=$scratch/results.tar,if=none,format=raw,id=results,cache=unsafe" \
        -device nvme,drive=results,serial=results \
        -chardev "socket,id=tpm,path=$scratch/tpm.sock" -tpmdev emulator,id=tpm0,chardev=tpm \
        -device tpm-crb,tpmdev=tpm0 \
        "${boot_disk[@]}" "${qemu_options[@]}" &
    local emulator=$!
    # UEFI firmware writes to every serial port, and clears screens.
    tail --pid="$emulator" --sleep-interval=0.5 -n +1 -f "$results/checks" \
        | grep --line-buffered -aE '^(ok|FAILED|SKIPPED|   ) ' || true
    wait "$emulator" || outcome=$?
    wait "$tpm" || true
    tar -C "$results" -xf "$scratch/results.tar" 2>/dev/null || true
    rm -rf "$scratch"
    [ -f "$results/rc" ] && return 0
    {
        if [ "$outcome" = 124 ]; then echo "FAILED the machine did not finish within $limit s"
        else echo "FAILED the machine stopped before its payload ended (qemu: $outcome)"; fi
        echo "    last check: $(grep -aE '^(ok|FAILED|SKIPPED) ' "$results/checks" | tail -n 1)"
        tail -n 5 "$results/console.log" | tr -cd '[:print:]\n' | sed 's/^/    console: /'
    } | tee "$results/trouble"
    return 1
}

kernel_words() {
    echo "root=/dev/nvme0n1 rw console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off" \
        "systemd.show_status=0 net.ifnames=0"
}
