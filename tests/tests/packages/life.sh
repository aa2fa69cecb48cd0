#!/bin/sh
# The life of the packages, in a root that is this machine's with a layer of memory above it: nothing
# that is written here stays. Needs a mount namespace of its own and root.
#
# life.sh DEB...
set -eu

folder=$(mktemp -d)
trap 'umount -R "$folder" 2>/dev/null; rmdir "$folder"' EXIT
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root" "$folder/new"
root=$folder/root
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" overlay "$root"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
# No systemd and no bus here: the scripts must see that.
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mkdir "$root/tmp/first" "$root/tmp/second"
cp "$@" "$root/tmp/first"
for package in "$root"/tmp/first/*.deb; do
	rm -rf "$folder/new"
	dpkg-deb --raw-extract "$package" "$folder/new"
	sed -i 's/^\(Version: .*\)$/\1+next/' "$folder/new/DEBIAN/control"
	dpkg-deb --build -Zgzip -z1 "$folder/new" "$root/tmp/second" >/dev/null
done

step() { echo "life: $*"; }
in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"; }
held() {
	"$@" && return
	echo "life: not held: $*" >&2
	exit 1
}
ours() { (cd "$root" && find etc lib usr var -path '*signet*' ! -path 'usr/src/*' ! -path 'var/lib/dpkg/*' | sort); }
state() { in_root dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || echo gone; }

in_root dpkg --purge signet signetd signet-authority >/dev/null 2>&1 || true
before=$(ours)

step install
in_root dpkg -i $(cd "$root" && ls tmp/first/*.deb | sed 's,^,/,')
for package in signetd signet signet-authority; do
	held test "$(state $package)" = installed
	held test -z "$(in_root dpkg --verify $package)"
done
held in_root signetd --check --config /etc/signet/signetd.toml
held in_root id -u signet
held in_root id -u signet-authority
held test "$(in_root id -nG signet)" = "signet tss"
held test "$(stat -c '%U %a' "$root/run/signet")" = "root 755"
held test ! -e "$root/etc/systemd/system/multi-user.target.wants/signet-authority.service"
held in_root man --where signet-login signet-authority-serve signetd signet-agent signet-broker
held in_root bash -c '. /usr/share/bash-completion/completions/signet && complete -p signet'
held in_root zsh -c 'autoload -Uz compinit && compinit -u && [[ $_comps[signet-authority] == _signet-authority ]]'
held in_root fish -c 'complete -C "signet log" | string match -q "login*"'

# What a machine and its administrator add.
mkdir -p "$root/var/lib/signet" "$root/var/lib/signet-authority"
echo enrolled >"$root/var/lib/signet/enrolment"
echo keys >"$root/var/lib/signet-authority/authority.db"
echo '# changed' >>"$root/etc/signet/signetd.toml"

step upgrade
in_root dpkg -i $(cd "$root" && ls tmp/second/*.deb | sed 's,^,/,')
held test "$(state signetd)" = installed
held grep -q changed "$root/etc/signet/signetd.toml"
held test -s "$root/var/lib/signet/enrolment"

step remove
in_root dpkg --remove signet signetd signet-authority
held test "$(state signetd)" = config-files
held test ! -e "$root/usr/bin/signetd"
held grep -q changed "$root/etc/signet/signetd.toml"
held test -s "$root/var/lib/signet/enrolment"

step install again
in_root dpkg -i $(cd "$root" && ls tmp/first/*.deb | sed 's,^,/,')
held grep -q changed "$root/etc/signet/signetd.toml"
held test -s "$root/var/lib/signet/enrolment"

step purge
in_root dpkg --purge signet signetd signet-authority
held test "$(state signetd)" = gone
held test ! -e "$root/var/lib/signet"
held test ! -e "$root/etc/signet"
held test -s "$root/var/lib/signet-authority/authority.db"
rm -r "$root/var/lib/signet-authority"
held test "$(ours)" = "$before"
echo "life: all held"
