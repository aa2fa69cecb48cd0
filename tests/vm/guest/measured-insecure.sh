# shellcheck shell=bash
# The enrolled machine with its own command line again, and Secure Boot switched off.
source ./installation.sh
source ./people.sh
source ./operator.sh
source ./boot-policy.sh

checks() {
    check "the enrolled machine is back" machine_is_back
    check "its login is refused" login_is_refused 'boot-(policy-refused|log-missing)'
    # Without Secure Boot GRUB 2.06 does not start kernels by their EFI stub, which keeps the log: PCR 7 is
    # what is left to tell.
    check "the authority names Secure Boot" authority_explains 'Secure ?Boot'
}
