# shellcheck shell=bash
# For people: a root shell on the third serial port instead of checks (see README.md).

checks() {
    stty -F /dev/ttyS2 sane -echo
    setsid bash --noediting < /dev/ttyS2 > /dev/ttyS2 2>&1
}
