# shellcheck shell=bash
# Signet as a workstation's packages install it, and its operator's day.
source ./installation.sh
source ./sandbox.sh
source ./people.sh
source ./operator.sh
source ./desktop.sh
source ./sleep.sh

who_may() {
    if ! polkit_decides; then
        skip "who may ask what" "signetd does not ask polkit yet"
        return
    fi
    check "who sits at the machine may ask, and not enrol it" who_sits_there_may
    check "somebody on a hidden console may nothing" may_nothing mallory behind
    check "the same person from another host may nothing" may_nothing alice ssh
    check "a process without a session may nothing" may_nothing alice nowhere
    check "somebody else from another host may nothing" stranger_from_afar_may_nothing
    check "an administrator's rule admits what it says and no more" rule_admits
    check "without polkit nobody may" no_polkit_no_answer
}

checks() {
    patience=600 check "Signet installs" signet_installs
    check "its users, units and rules are in place" installation_is_whole
    check "nothing of it runs before it is needed" nothing_runs

    check "a key whose driver is loaded after signetd started is handed over" late_driver_is_no_trap
    check "a plugged key wakes signetd, which gets it from the broker" plugged_key_wakes_signetd
    check "signetd runs as signet, without any privilege" signetd_has_no_privilege
    check "what signetd has in memory is locked there" memory_is_locked signetd.service
    check "exposure of signetd is at most 0.2, measured live" exposure_at_most signetd.service 0.2
    check "signetd's sandbox opens its TPM and its state, and nothing else" sandbox_refuses
    check "other users' rights to the key are as without Signet" key_rights_unchanged
    check "a call on the bus starts signetd, which gets the keys that are there" bus_starts_signetd
    check "signetd killed comes back and has its keys" killed_signetd_comes_back
    check "the boot log is where signetd may read it" boot_log_is_copied

    check "people sit, wait and work from afar" people_arrive
    who_may

    check "the authority starts under its own unit" authority_starts
    check "what it has in memory is locked there" memory_is_locked signet-authority.service
    check "exposure of signet-authority is at most 1.3, measured live" exposure_at_most signet-authority.service 1.3
    check "the machine enrols" machine_enrols
    check "its operator enrols a key" operator_enrols_key
    check "the operator logs in" operator_logs_in
    check "the bus starts her agent as her own unit, which shows who asks what, live" agent_is_started_by_the_bus
    check "the agent's pinentry takes the PIN" agent_takes_the_pin
    check "a host reached by ssh has one request approved at the workstation" far_request_is_approved_here
    check "and nothing else, and a button of the notification refuses it" far_host_gets_nothing_else
    check "her agent ends with her desktop" desktop_ends
    if polkit_decides; then
        check "a locked screen pauses renewal" locked_screen_pauses
        check "a locked screen ends the session where that is set" lock_ends_session
    fi
    check "a key pulled in the middle of a login ends it with the reason" pulled_key_ends_login
    check "after signetd was restarted the operator logs in again" login_after_restart
    check "renewals pause while the machine falls asleep, and awake the operator goes on" suspend_pauses_renewals
    check "sleep ends the session where that is set" suspend_ends_session
    check "signetd with nothing to do is not woken for a minute, but by its watchdog" idle_signetd_sleeps
    check "the TPM's count of resets is noted for the next boot" note_reset_count
}
