#!/bin/bash
# customise.sh ROOT: makes the tree a workstation with two people, a test console and nothing slow.
set -euo pipefail
root=$1
here=$(cd "$(dirname "$0")" && pwd)

echo workstation > "$root/etc/hostname"
printf '127.0.0.1 localhost workstation\n' > "$root/etc/hosts"
echo 5167e70000000000000000000005167e > "$root/etc/machine-id"
: > "$root/etc/fstab"
chroot "$root" useradd -m -s /bin/bash -u 1000 alice
chroot "$root" useradd -m -s /bin/bash -u 1001 mallory
chroot "$root" passwd -qd root

install -m 755 "$here/guest-run" "$root/usr/local/sbin/guest-run"
units=$root/etc/systemd/system
install -D -m 644 "$here/guest-run.service" "$units/guest-run.service"
mkdir -p "$units/graphical.target.wants" "$root/etc/systemd/system-generators"
ln -s ../guest-run.service "$units/graphical.target.wants/guest-run.service"
ln -sf /lib/systemd/system/graphical.target "$units/default.target"

# A check holds back a sleep for as long as it looks.
install -d "$root/etc/systemd/logind.conf.d"
printf '%s\n' '[Login]' InhibitDelayMaxSec=2min > "$root/etc/systemd/logind.conf.d/vm.conf"

# Slow under emulation, and not what is tested. udev, logind, D-Bus and tmpfiles stay as Debian has
# them; kmod-static-nodes too, which makes /dev/uhid.
mask_units="apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer
    e2scrub_reap.service getty@tty1.service serial-getty@ttyS0.service getty.target systemd-pstore.service
    systemd-timesyncd.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount
    proc-sys-fs-binfmt_misc.mount sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount
    modprobe@configfs.service modprobe@drm.service modprobe@fuse.service modprobe@dm_mod.service
    modprobe@loop.service systemd-update-utmp.service systemd-update-utmp-runlevel.service
    systemd-initctl.socket systemd-ask-password-console.path systemd-ask-password-wall.path
    systemd-networkd.service ssh.service"
for unit in $mask_units; do ln -sf /dev/null "$units/$unit"; done
mask_generators="systemd-gpt-auto-generator systemd-cryptsetup-generator systemd-veritysetup-generator
    systemd-integritysetup-generator systemd-hibernate-resume-generator systemd-rc-local-generator
    systemd-bless-boot-generator systemd-run-generator systemd-system-update-generator
    systemd-sysv-generator systemd-getty-generator systemd-debug-generator"
for generator in $mask_generators; do ln -sf /dev/null "$root/etc/systemd/system-generators/$generator"; done
