# shellcheck shell=bash
# The enrolled machine with its own command line again, and Secure Boot switched off.
source ./installation.sh
source ./people.sh
source ./operator.sh
source ./boot-policy.sh

checks() {
    check "the enrolled machine is back" machine_is_back
    check "its login is refused" login_is_refused 'boot'
    check "the authority names Secure Boot" authority_explains '[Ss]ecure ?[Bb]oot'
}
