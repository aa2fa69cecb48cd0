# shellcheck shell=bash
# What the packages put where, and how the parts start each other.

signet_installs() {
    if [ -d packages ]; then
        dpkg -i packages/*.deb
    else # as the packages do it
        cp -rv --no-preserve=ownership tree/. /
        systemd-sysusers
        systemd-tmpfiles --create
        systemctl daemon-reload
        udevadm control --reload
        busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig
        systemctl enable --now signetd.socket
    fi
    signet --version
}

installation_is_whole() {
    says '^signet:.*:/' getent passwd signet
    says '^signet-authority:' getent passwd signet-authority
    says '(^| )tss($| )' id -nG signet
    local unit
    for unit in signetd.service signetd.socket signet-key@hidraw0.service signet-keys.service \
        signet-boot-log.service signet-authority.service; do
        systemd-analyze verify --man=no "$unit"
    done
    [ -z "$(systemctl --failed --no-legend)" ]
}

nothing_runs() {
    says '^inactive$' systemctl is-active signetd.service
    refused pgrep -x signetd
}

authenticators() {
    busctl call --json=short org.signet.Presence1 /org/signet/Presence1 org.signet.Presence1 ListAuthenticators
}
has_key() { authenticators | grep -q "\"$(key_node "$1")\""; }
has_no_key() { ! authenticators | grep -q '/dev/hidraw'; }

restart_signetd() {
    systemctl restart signetd.service
    await 60 has_key blue
}

settings=/etc/signet/signetd.toml

# change_setting NAME VALUE: of signetd, until restore_settings.
change_setting() {
    cp -a $settings /root/signetd.toml.saved
    sed -i "s/^#$1 = .*/$1 = \"$2\"/" $settings
    restart_signetd
}

restore_settings() {
    cp -a /root/signetd.toml.saved $settings
    restart_signetd
}

# A unit's DeviceAllow=char-hidraw counts for what is loaded when the unit starts. The broker's units start
# with the key; a daemon with such a rule would be refused here.
late_driver_is_no_trap() {
    refused grep hidraw /proc/devices
    says '"data":' authenticators
    says '^root:root 600$' stat -c '%U:%G %a' /run/signet/keys
    start_key blue --fingers right-index # opening /dev/uhid loads the drivers
    await 60 has_key blue
}

plugged_key_wakes_signetd() {
    unplug blue
    await 30 has_no_key
    systemctl stop signetd.service
    replug blue
    await 60 systemctl is-active signetd.service
    await 60 has_key blue
    says '^SYSTEMD_WANTS=signet-key@' udevadm info --query=property "$(key_node blue)"
}

key_rights_unchanged() {
    says '^root:root 600$' stat -c '%U:%G %a' "$(key_node blue)"
    refused setpriv --reuid mallory --regid mallory --init-groups fido2-token -I "$(key_node blue)"
}

bus_starts_signetd() {
    systemctl stop signetd.service
    authenticators
    says '^active$' systemctl is-active signetd.service
    await 60 has_key blue
}

main_pid() { systemctl show --value -p MainPID signetd.service; }
runs_anew() { local pid; pid=$(main_pid); [ "$pid" != 0 ] && [ "$pid" != "$1" ]; }

killed_signetd_comes_back() {
    local before
    before=$(main_pid)
    kill -KILL "$before"
    await 60 runs_anew "$before"
    await 60 has_key blue
}

boot_log_is_copied() {
    says '^root:signet 640$' stat -c '%U:%G %a' /run/signet/boot-log
    cmp /run/signet/boot-log /sys/kernel/security/tpm0/binary_bios_measurements
}

# switches PID: how often its threads began to wait, or were made to.
switches() { cat /proc/"$1"/task/*/status | awk '/ctxt_switches/ { sum += $2 } END { print sum }'; }

# The watchdog is fed once a minute, by one thread.
idle_signetd_sleeps() {
    local pid before after
    pid=$(systemctl show --property MainPID --value signetd.service)
    before=$(switches "$pid")
    sleep 60
    after=$(switches "$pid")
    echo "switches: $before, a minute later $after"
    [ $((after - before)) -le 8 ]
}
