# shellcheck shell=bash
# The packages' later life: upgrade, removal, purge.

upgrade_keeps_enrolment() {
    local before
    systemctl start signetd.service
    before=$(main_pid)
    dpkg -i newer/*.deb
    await 60 runs_anew "$before"
    says '^Version: .*vm2' dpkg -s signetd
    says '"enrolled"' signet --json status
    says '^active$' systemctl is-active signet-authority.service
    await 60 has_key blue
    [ -z "$(systemctl --failed --no-legend)" ]
}

removal_keeps_enrolment() {
    dpkg -r signetd signet signet-authority
    systemctl daemon-reload
    local unit
    for unit in signetd.service signetd.socket signet-keys.service signet-authority.service; do
        says '^(not-found|masked)$' systemctl show --value -p LoadState "$unit"
        says '^inactive$' systemctl is-active "$unit"
    done
    refused authenticators
    refused ls /usr/lib/udev/rules.d/70-signet.rules /usr/bin/signet /usr/bin/signetd
    ls -l /var/lib/signet /etc/signet/signetd.toml
    # A key is still everybody else's business.
    unplug blue
    replug blue
    udevadm settle
    says "^$(key_node blue):" fido2-token -L
    [ -z "$(systemctl --failed --no-legend)" ]
}

purge_takes_enrolment() {
    dpkg -P signetd signet signet-authority
    refused ls /var/lib/signet
    refused ls /etc/signet/signetd.toml
    ls -d /var/lib/signet-authority/keys
    says '^signet:' getent passwd signet # its uid is not given to somebody else
}
