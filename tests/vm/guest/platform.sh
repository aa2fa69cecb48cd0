# shellcheck shell=bash
# The workstation itself, before Signet is installed: what the other stages stand on.

checks() {
    check "systemd came up and no unit failed" no_unit_failed
    check "the kernel has a TPM 2.0 with a resource manager" tpm_has_nodes
    check "the TPM answers and has its maker's certificate" tpm_has_certificate
    check "the boot was measured: the log replays to the PCRs" boot_was_measured
    check "a software key becomes a hidraw node" key_becomes_node
    check "udev tags the node as a FIDO token" udev_tags_node
    check "fido2-token sees the key and speaks with it" fido2_token_sees_key
    check "logind has an active, an inactive and a remote session" sessions_differ
    check "a pulled key is gone and comes back" key_comes_and_goes
}

no_unit_failed() {
    says '^(running|starting)$' systemctl is-system-running
    [ -z "$(systemctl --failed --no-legend)" ]
}

tpm_has_nodes() {
    [ "$(cat /sys/class/tpm/tpm0/tpm_version_major)" = 2 ]
    says '^crw-rw---- 1 tss +root .*/dev/tpm0$' ls -l /dev/tpm0
    says '^crw-rw---- 1 tss +tss .*/dev/tpmrm0$' ls -l /dev/tpmrm0
}

tpm_has_certificate() {
    tpm2_getrandom --hex 16
    tpm2_nvread -C o 0x1c00016 | head -c 2 | od -An -tx1 | grep -q '30 82' # P-384 EK
}

boot_was_measured() {
    local log=$results/boot-log.bin
    cp /sys/kernel/security/tpm0/binary_bios_measurements "$log"
    tpm2_eventlog "$log" > "$results/boot-log.yaml"
    local register
    for register in 0 1 2 3 4 5 6 7; do
        replayed=$(sed -n '/^pcrs:/,$p' "$results/boot-log.yaml" | sed -n '/sha256:/,$p' \
            | sed -n "s/^ *$register *: *0x//p" | tr a-f A-F)
        says "$register *: 0x${replayed:?PCR $register is not in the log}" tpm2_pcrread "sha256:$register"
    done
}

key_becomes_node() {
    start_key platform --fingers right-index
    says "^HID_NAME=Software key platform$" cat "/sys/class/hidraw/$(basename "$(key_node platform)")/device/uevent"
}

udev_tags_node() {
    udevadm settle
    says '^E: ID_FIDO_TOKEN=1$' udevadm info "$(key_node platform)"
}

fido2_token_sees_key() {
    says "^$(key_node platform):" fido2-token -L
    says 'version strings: .*FIDO_2_1' fido2-token -I "$(key_node platform)"
}

key_comes_and_goes() {
    unplug platform
    [ -z "$(fido2-token -L)" ]
    replug platform
    udevadm settle
    says "^$(key_node platform):" fido2-token -L
}

sessions_differ() {
    local where
    for where in seat behind ssh; do begin_session alice $where; done
    properties() { as alice "$1" sh -c 'loginctl show-session --value -p Active -p Remote -p State "$XDG_SESSION_ID" | xargs'; }
    says '^no yes active$' properties seat
    says '^no no online$' properties behind
    says '^yes yes active$' properties ssh
}
