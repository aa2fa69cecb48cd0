#!/bin/bash
# run.sh STAGE...: boots a whole workstation and checks Signet on it, stage after stage (`make vm-test`).
#
# A stage is a boot: guest/STAGE.sh lists its checks. One line a check; results, console and journal are
# left in $SIGNET_VM_OUT (target/vm). Ends with "N passed, N failed, N skipped".
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=${SIGNET_VM_OUT:-$root/target/vm}
programs=${SIGNET_VM_PROGRAMS:-${CARGO_TARGET_DIR:-$root/target}/debug}
limit=${SIGNET_VM_LIMIT:-1200}
qemu_options=()
[ -z "${SIGNET_VM_SERIAL:-}" ] || qemu_options=(-serial "unix:$SIGNET_VM_SERIAL,server,nowait")
# shellcheck source=machine.sh
source "$here/machine.sh"

summary() {
    local passed failed skipped
    passed=$(cat "$out"/*/checks 2>/dev/null | grep -ac '^ok ' || true)
    failed=$(cat "$out"/*/checks "$out"/*/trouble 2>/dev/null | grep -ac '^FAILED ' || true)
    skipped=$(cat "$out"/*/checks 2>/dev/null | grep -ac '^SKIPPED ' || true)
    echo "vm-test: $passed passed, $failed failed, $skipped skipped ($SECONDS s; results in $out)"
    [ "$failed" = 0 ]
}

need() {
    local tool
    for tool in "$@"; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$tool" > /dev/null && continue
        echo "SKIPPED ALL CHECKS OF THE WHOLE MACHINE: $tool is not installed and could not be"
        echo "vm-test: 0 passed, 0 failed, 1 skipped"
        exit 0
    done
}

# machine_of STAGE: prints the folder of the stage's machine, made or changed as the stage wants it.
#
# Most stages share one machine. Those called measured* share another, with UEFI, Secure Boot, GRUB and IMA.
machine_of() {
    local stage=$1 machine=$out/machine
    case $stage in
        measured*) machine=$out/machine-uefi ;;
    esac
    [ -d "$machine" ] || make_machine "$machine" "$out/image"
    case $stage in
        measured-changed) "$here/image/uefi.sh" "$machine" "$(kernel_words) ima_policy=tcb apparmor=0" ;;
        measured-insecure)
            "$here/image/uefi.sh" "$machine" "$(kernel_words) ima_policy=tcb"
            cp "$machine/variables-without-keys.fd" "$machine/variables.fd"
            ;;
        measured*) "$here/image/uefi.sh" "$machine" "$(kernel_words) ima_policy=tcb" ;;
    esac
    echo "$machine"
}

# fill PAYLOAD STAGE MACHINE: what goes into the guest.
fill() {
    local payload=$1 program
    rm -rf "$payload"
    mkdir -p "$payload/programs" "$payload/maker"
    cp "$here/guest/"* "$payload/"
    echo "$2" > "$payload/stage"
    for program in opensk-key make-attestation uhid-key; do
        cp "$programs/$program" "$payload/programs/"
        strip --strip-debug "$payload/programs/$program"
    done
    cp "$3/maker/"{issuercert,swtpm-localca-rootca-cert}.pem "$payload/maker/"
    local packages
    for packages in packages newer; do
        [ ! -d "$out/$packages" ] || { mkdir "$payload/$packages" && cp "$out/$packages"/*.deb "$payload/$packages/"; }
    done
}

# make_packages: those of $SIGNET_VM_PACKAGES, else of the programs that are built, in a quick way; and the
# same with a newer version.
make_packages() {
    local package tree=$out/tree
    mkdir "$out/packages" "$out/newer"
    if [ -n "${SIGNET_VM_PACKAGES:-}" ]; then
        cp "$SIGNET_VM_PACKAGES"/*.deb "$out/packages/"
    else
        BINARIES=$programs make -s -C "$root" deb DEB_PROFILE=dev DEB_OUT="$out/packages" \
            > "$out/packages.log" 2>&1 || { cat "$out/packages.log"; exit 1; }
    fi
    for package in "$out/packages"/*.deb; do
        rm -rf "$tree"
        dpkg-deb -R "$package" "$tree"
        sed -i 's/^Version: .*/Version: 99.0+vm2/' "$tree/DEBIAN/control"
        dpkg-deb --root-owner-group -Zgzip -z1 -b "$tree" "$out/newer/" >> "$out/packages.log"
    done
    rm -rf "$tree"
}

need qemu-system-x86_64 mmdebstrap swtpm swtpm_setup mke2fs
case "$*" in *measured*) need mformat mcopy ;; esac
mkdir -p "$out"
rm -rf "${out:?}"/*

case "$*" in *workstation* | *measured*) make_packages ;; esac
"$here/image/build.sh" "$out/image"
echo "vm-test: image ready after $SECONDS s"
for stage in "$@"; do
    machine=$(machine_of "$stage")
    fill "$out/payload" "$stage" "$machine"
    began=$SECONDS
    echo "vm-test: boot for $stage"
    boot_machine "$machine" "$out/payload" "$out/$stage" "$limit" || break
    echo "vm-test: $stage took $((SECONDS - began)) s"
done
rm -rf "$out/payload"
summary
