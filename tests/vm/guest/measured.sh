# shellcheck shell=bash
# UEFI with Secure Boot, shim, GRUB and IMA: what a laptop measures, and a policy learned from it.
source ./installation.sh
source ./people.sh
source ./operator.sh
source ./boot-policy.sh

checks() {
    check "Secure Boot is on and the kernel is locked down" secure_boot_is_on
    check "the boot log is rich and replays to the PCRs" boot_log_replays
    check "the command line is in the log" command_line_is_measured
    check "IMA measures what is run" ima_measures
    check "a quote over these PCRs checks" quote_checks
    patience=600 check "Signet installs" signet_installs
    patience=600 check "the machine, its operator and their key enrol" all_enrol
    check "a policy is learned from the machine and enforced" policy_is_learned
    check "the operator logs in under the policy" log_in
}

secure_boot_is_on() {
    mount -t efivarfs efivarfs /sys/firmware/efi/efivars || true
    says '^ *6 +0 +0 +0 +1$' od -An -tu1 /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
    says '\[integrity\]' cat /sys/kernel/security/lockdown
}

boot_log_replays() {
    cp /sys/kernel/security/tpm0/binary_bios_measurements "$results/boot-log.bin"
    tpm2_eventlog "$results/boot-log.bin" > "$results/boot-log.yaml" 2> /dev/null
    sed -n '/EventType/p' "$results/boot-log.yaml" | sort | uniq -c
    local register replayed
    for register in 0 1 2 3 4 5 6 7 8 9; do
        replayed=$(sed -n '/^pcrs:/,$p' "$results/boot-log.yaml" | sed -n '/sha256:/,$p' \
            | sed -n "s/^ *$register *: *0x//p" | tr a-f A-F)
        says "$register *: 0x${replayed:?PCR $register is not in the log}" tpm2_pcrread "sha256:$register"
    done
    tpm2_pcrread sha256 > "$results/pcrs.txt"
}

command_line_is_measured() {
    grep -a -o 'kernel_cmdline: [^"]*' "$results/boot-log.yaml"
    says 'kernel_cmdline.*ima_policy=tcb' grep -a kernel_cmdline "$results/boot-log.yaml"
}

ima_measures() {
    cp /sys/kernel/security/ima/binary_runtime_measurements "$results/ima.bin"
    says '/usr/lib/systemd/systemd|/sbin/init' cat /sys/kernel/security/ima/ascii_runtime_measurements
    refused grep -E '^ *10 *: 0x0+$' "$results/pcrs.txt"
}

# fixtures/published has boot-log.bin and this quote of one run.
quote_checks() {
    tpm2_createek -Q -c /tmp/ek.ctx -G ecc -u /tmp/ek.pub
    tpm2_createak -Q -C /tmp/ek.ctx -c /tmp/ak.ctx -G ecc -g sha256 -s ecdsa -u "$results/ak.pub"
    tpm2_quote -Q -c /tmp/ak.ctx -l sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14 -q 5167e7 \
        -m "$results/quote.msg" -s "$results/quote.sig" -o "$results/quote.pcrs"
    tpm2_checkquote -u "$results/ak.pub" -m "$results/quote.msg" -s "$results/quote.sig" \
        -f "$results/quote.pcrs" -q 5167e7
}
