# shellcheck shell=bash
# A machine that sleeps, as logind tells it (PrepareForSleep). Woken by the clock; the firmware tells the TPM,
# which counts a restart.

preparing_for_sleep() {
    busctl get-property org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager \
        PreparingForSleep | grep -q "$1"
}

restart_count() { tpm2_readclock | sed -n 's/ *restart_count: //p'; }

# sleep_and [COMMAND...]: suspends to memory; the command runs while everybody is told and the machine is not
# asleep yet.
sleep_and() {
    # When everything else sleeps already, the alarm is set. One that rang is taken back: it would wake the
    # machine from its next sleep at once.
    install -D -m 755 /dev/stdin /usr/lib/systemd/system-sleep/vm-wake <<-'HOOK'
	#!/bin/sh
	case $1 in
	    pre) rtcwake -m no -s 5 ;;
	    post) rtcwake -m disable ;;
	esac
	HOOK
    systemd-run --quiet --collect --unit=vigil \
        systemd-inhibit --what=sleep --mode=delay --why="a check looks" sleep infinity
    await 30 bash -c 'systemd-inhibit --list --no-legend | grep -q "a check looks"'
    busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager Suspend b false
    await 30 preparing_for_sleep true
    [ $# = 0 ] || "$@"
    systemctl stop vigil.service
    await 120 preparing_for_sleep false
}

renewals_are_held_back() {
    held_back() { says '"SessionPaused"' as alice seat signet --json token --renew; }
    await 30 held_back
    refused renews
}

suspend_pauses_renewals() {
    local before after
    renews
    before=$(restart_count)
    sleep_and renewals_are_held_back
    after=$(restart_count)
    echo "restart count $before, now $after"
    [ "$after" -gt "$before" ]
    await 60 renews
    await 60 has_key blue
    log_in
}

# With on_suspend = "end" whoever comes back has to be present anew.
suspend_ends_session() {
    change_setting on_suspend end
    log_in
    sleep_and
    await 60 has_key blue
    refused renews
    says '"PresenceNeeded"' as alice seat signet --json token --renew
    log_in
    renews
    restore_settings
}
