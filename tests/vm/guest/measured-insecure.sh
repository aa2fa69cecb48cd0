# shellcheck shell=bash
# The enrolled machine with its own command line again, and Secure Boot switched off.
source ./installation.sh
source ./people.sh
source ./operator.sh
source ./boot-policy.sh

checks() {
    patience=240 check "the enrolled machine is back" machine_is_back
    patience=240 check "its login is refused" login_is_refused 'boot'
    check "the authority names Secure Boot" authority_explains '[Ss]ecure ?[Bb]oot'
}
