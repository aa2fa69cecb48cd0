#!/bin/bash
# kernel.sh ROOT LIST: Debian's cloud kernel as ROOT/boot/vmlinuz, with the modules of LIST only.
#
# The cloud kernel has NVMe, ext4 and the TPM's drivers built in, so that it boots without an initrd.
# Unpacked and not installed: its maintainer scripts would make one, and bring 100 MB of modules.
set -euo pipefail
root=$1 list=$2
work=$(mktemp -d)
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
export APT_CONFIG=${MMDEBSTRAP_APT_CONFIG:-}
cd "$work"
kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[^ ]*\)/\1/p' | head -n 1)
apt-get -qq -o APT::Sandbox::User=root download "$kernel"
dpkg-deb -x "$kernel"_*.deb tree
version=$(ls tree/lib/modules)
mkdir -p "$root/boot" "$root/lib/modules/$version"
cp "tree/boot/vmlinuz-$version" "$root/boot/vmlinuz"
cp -r tree/lib/modules "$root/var/all-modules"
mkdir -p "$root/var/modules-root/lib"
mv "$root/var/all-modules" "$root/var/modules-root/lib/modules"
chroot "$root" depmod -b /var/modules-root "$version"
grep -v '^#' "$list" | while read -r module; do
    chroot "$root" modprobe -d /var/modules-root -S "$version" --show-depends "$module" \
        | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | sort -u | while read -r file; do
    install -D -m 644 "$root$file" "$root${file#/var/modules-root}"
done
cp "$root/var/modules-root/lib/modules/$version/"modules.{order,builtin*} "$root/lib/modules/$version/"
rm -rf "$root/var/modules-root"
chroot "$root" depmod "$version"
