# shellcheck shell=bash
# The same workstation after a reboot; then its TPM is cleared, and Signet leaves it.
source ./installation.sh
source ./people.sh
source ./operator.sh
source ./packages.sh

checks() {
    check "the reboot was seen by the TPM" reboot_is_counted
    check "a key that is plugged at boot is handed over, and alice sits again" workstation_is_back
    check "the keys still work: the operator logs in" login_after_reboot
    check "a cleared TPM is seen and explained" cleared_tpm_is_explained
    check "a ticket that says so binds the machine again" machine_is_bound_again
    patience=600 check "an upgrade keeps the enrolment and restarts what runs" upgrade_keeps_enrolment
    patience=600 check "removal leaves no unit, rule or name, and keeps the enrolment" removal_keeps_enrolment
    patience=600 check "purge takes the enrolment, and keeps the authority's keys" purge_takes_enrolment
}

reboot_is_counted() {
    local before now
    before=$(cat /var/lib/vm-keys/reset-count)
    now=$(tpm2_readclock | sed -n 's/ *reset_count: //p')
    echo "reset count $before, now $now"
    [ "$now" -gt "$before" ]
}

workstation_is_back() {
    systemctl start signet-authority.service
    start_key blue --fingers right-index
    await 60 has_key blue
    people_arrive
}

login_after_reboot() {
    refused as alice seat signet token # the session ended with the boot
    log_in
}

cleared_tpm_is_explained() {
    tpm2_clear -c l
    # The kernel loses what signetd had in the TPM and answers no more on that file: signetd asks on another.
    says 'the TPM was cleared or replaced: enrol this machine again' as alice seat signet login --new
    says 'clear' signet doctor
}

machine_is_bound_again() {
    as_authority --json ticket device --operator alice --rebind > /root/ticket.json
    systemctl stop signetd.service
    forget_enrolment
    json 'it["ticket"]' < /root/ticket.json | signet --json enrol --ticket-file -
    await 60 has_key blue
    log_in
}
