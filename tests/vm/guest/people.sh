# shellcheck shell=bash
# Who is where: alice in front of the machine, on a hidden console, and from another host; mallory from afar.

people_arrive() {
    local where
    for where in seat behind ssh; do begin_session alice $where; done
    begin_session mallory ssh
}
