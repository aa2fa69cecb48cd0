#!/bin/bash
# build.sh FOLDER: makes FOLDER/root.ext4 and FOLDER/vmlinuz, a Debian 12 workstation.
#
# No image is mounted, no loop device is used, and root is not needed: without it the work is done in a
# user namespace (package uidmap). What comes from the network is kept in $SIGNET_VM_CACHE and made
# anew when a list or the script that makes it changes; the file system is made each time (seconds).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
cache=${SIGNET_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/signet-vm}
mirror=${SIGNET_VM_MIRROR:-http://deb.debian.org/debian}
security=${SIGNET_VM_SECURITY_MIRROR:-http://deb.debian.org/debian-security}
suite=bookworm
mode=$([ "$(id -u)" = 0 ] && echo root || echo unshare)

key=$(cat "$here/packages.list" "$here/modules.list" "$here/kernel.sh" <(sed -n '/^make_base/,/^}/p' "$0") \
    | sha256sum | cut -c1-16)
base=$cache/$suite-$key

make_base() { # FOLDER: base.tar and vmlinuz
    local proxy
    proxy=$(apt-config dump --format '%v%n' Acquire::http::Proxy 2>/dev/null || true)
    mmdebstrap --quiet --mode="$mode" --variant=essential \
        --include="$(grep -v '^#' "$here/packages.list" | paste -sd,)" \
        --aptopt='APT::Install-Recommends "false"' ${proxy:+--aptopt="Acquire::http::Proxy \"$proxy\""} \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt=force-unsafe-io \
        --customize-hook="$here/kernel.sh \"\$1\" '$here/modules.list'" \
        --customize-hook="download /boot/vmlinuz '$1/vmlinuz'" \
        --customize-hook='rm -rf "$1"/boot/* "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*' \
        "$suite" "$1/base.tar" \
        "deb $mirror $suite main" "deb $mirror $suite-updates main" "deb $security $suite-security main"
}

if [ ! -f "$base/base.tar" ]; then
    mkdir -p "$cache"
    unfinished=$(mktemp -d "$cache/unfinished.XXXXXX")
    trap 'rm -rf "$unfinished"' EXIT
    make_base "$unfinished"
    # Another run may have been quicker: the same key, the same content.
    mv -T "$unfinished" "$base" 2>/dev/null || [ -f "$base/base.tar" ]
fi

# shellcheck disable=SC2016 # expanded inside
make_file_system='
    set -eu
    tree=$(mktemp -d "$1/tree.XXXXXX")
    trap "rm -rf \"$tree\"" EXIT
    tar -C "$tree" --exclude="./dev/*" --numeric-owner -xf "$2/base.tar"
    "$3/customise.sh" "$tree"
    rm -f "$1/root.ext4"
    PATH=$PATH:/usr/sbin:/sbin mke2fs -q -t ext4 -L root -O ^has_journal,^metadata_csum \
        -E lazy_itable_init=1,nodiscard -N 60000 -d "$tree" "$1/root.ext4" 2G > /dev/null'
if [ "$mode" = root ]; then
    bash -c "$make_file_system" build "$out" "$base" "$here"
else
    unshare --user --map-root-user --map-auto --mount bash -c "$make_file_system" build "$out" "$base" "$here"
fi
cp "$base/vmlinuz" "$out/vmlinuz"
