# shellcheck shell=bash
# Signet as a workstation's packages install it, and its operator's day.
source ./installation.sh
source ./sandbox.sh
source ./people.sh
source ./operator.sh

checks() {
    check "Signet installs" signet_installs
    check "its users, units and rules are in place" installation_is_whole
    check "nothing of it runs before it is needed" nothing_runs

    check "a plugged key wakes signetd, which gets it from the broker" plugged_key_wakes_signetd
    check "signetd runs as signet, without any privilege" signetd_has_no_privilege
    check "exposure of signetd is at most 0.2, measured live" exposure_at_most signetd.service 0.2
    check "signetd's sandbox opens its TPM and its state, and nothing else" sandbox_refuses
    check "other users' rights to the key are as without Signet" key_rights_unchanged
    check "a call on the bus starts signetd" bus_starts_signetd
    check "signetd killed comes back and has its keys" killed_signetd_comes_back
    check "a key plugged while signetd is stopped is there when it starts" key_waits_for_signetd
    check "the boot log is where signetd may read it" boot_log_is_copied

    patience=180 check "people sit, wait and work from afar" people_arrive

    patience=180 check "the authority starts under its own unit" authority_starts
    check "exposure of signet-authority is at most 1.3, measured live" exposure_at_most signet-authority.service 1.3
    patience=240 check "the machine enrols" machine_enrols
    patience=240 check "its operator enrols a key" operator_enrols_key
    patience=240 check "the operator logs in" operator_logs_in
    patience=240 check "a key pulled in the middle of a login ends it with the reason" pulled_key_ends_login
    patience=240 check "after signetd was restarted the operator logs in again" login_after_restart
    patience=240 check "suspended and resumed, the operator logs in again" suspend_is_survived
    check "the TPM's count of resets is noted for the next boot" note_reset_count
}
