# shellcheck shell=bash
# The enrolled machine with another kernel command line, which its policy does not know.
source ./installation.sh
source ./people.sh
source ./operator.sh
source ./boot-policy.sh

checks() {
    check "the machine boots with another command line" says 'apparmor=0' cat /proc/cmdline
    check "the enrolled machine is back" machine_is_back
    check "its login is refused" login_is_refused 'boot-policy-refused.*apparmor=0'
    check "the authority names the changed command line" authority_explains 'apparmor=0'
}
