#!/bin/bash
# uefi.sh MACHINE WORDS...: gives a machine UEFI firmware with Microsoft's keys, and a disk with Debian's shim,
# GRUB and kernel, all signed, that boots with these words as the kernel's command line.
#
# Run again to change the command line. The signed programs are unpacked from Debian's packages into the
# cache and installed nowhere.
set -euo pipefail
machine=$1
shift
cache=${SIGNET_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/signet-vm}
files=$cache/uefi-bookworm

if [ ! -d "$files" ]; then
    mkdir -p "$cache"
    unfinished=$(mktemp -d "$cache/unfinished.XXXXXX")
    trap 'rm -rf "$unfinished"' EXIT
    (cd "$unfinished" && apt-get -qq -o APT::Sandbox::User=root download ovmf shim-signed grub-efi-amd64-signed)
    for package in "$unfinished"/*.deb; do dpkg-deb -x "$package" "$unfinished/tree"; done
    mkdir "$unfinished/files"
    cp "$unfinished"/tree/usr/share/OVMF/OVMF_{CODE_4M.secboot,VARS_4M.ms,VARS_4M}.fd \
        "$unfinished"/tree/usr/lib/shim/shimx64.efi.signed \
        "$unfinished"/tree/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed "$unfinished/files/"
    mv -T "$unfinished/files" "$files" 2>/dev/null || [ -d "$files" ]
fi

ln -sf "$files/OVMF_CODE_4M.secboot.fd" "$machine/firmware.fd"
[ -f "$machine/variables.fd" ] || cp "$files/OVMF_VARS_4M.ms.fd" "$machine/variables.fd"
ln -sf "$files/OVMF_VARS_4M.fd" "$machine/variables-without-keys.fd"

disk=$machine/boot-disk
truncate -s 64M "$disk.new"
mformat -i "$disk.new" -F ::
mmd -i "$disk.new" ::/EFI ::/EFI/BOOT ::/EFI/debian
mcopy -i "$disk.new" "$files/shimx64.efi.signed" ::/EFI/BOOT/BOOTX64.EFI
mcopy -i "$disk.new" "$files/grubx64.efi.signed" ::/EFI/BOOT/grubx64.efi
mcopy -i "$disk.new" "$machine/vmlinuz" ::/vmlinuz
printf 'set timeout=0\nlinux /vmlinuz %s\nboot\n' "$*" | mcopy -i "$disk.new" - ::/EFI/BOOT/grub.cfg
mv "$disk.new" "$disk"
