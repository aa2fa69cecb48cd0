# shellcheck shell=bash
# After `workstation`, on the same machine: a far host that asks through ssh, and sleep as logind tells it.
source ./installation.sh
source ./people.sh
source ./operator.sh
source ./boot-policy.sh
source ./desktop.sh
source ./sleep.sh

checks() {
    check "the workstation is back" machine_is_back
    check "the operator logs in" log_in
    check "her desktop begins" desktop_begins
    check "a host reached by ssh has one request approved at the workstation" far_request_is_approved_here
    check "and nothing else, and a button of the notification refuses it" far_host_gets_nothing_else
    check "her agent ends with her desktop" desktop_ends
    check "renewals pause when the machine falls asleep, and go on when it is awake" suspend_pauses_renewals
    check "sleep ends the session where that is set" suspend_ends_session
}
