#!/bin/sh
# Builds the three packages: build.sh OUT [dev]. With "dev" it packs the programs of target/debug, or
# of BINARIES, stripped and hardly compressed; else they are compiled for release.
#
# DEB_VERSION names another version than Cargo.toml and CHANGELOG.md do.
set -eu

out=$(mkdir -p "$1" && cd "$1" && pwd)
profile=${2:-release}
target=${CARGO_TARGET_DIR:-$PWD/target}
tree=$out/signet
rm -rf "$tree" "$out"/*.deb "$out"/*.buildinfo "$out"/*.changes

# What git would commit; a build must not leave its traces in a work tree.
mkdir "$tree"
git ls-files -z --cached --others --exclude-standard -- . ':!fixtures' ':!fuzz' |
	tar --null --no-recursion --ignore-failed-read -cf - -T - 2>/dev/null | tar -xf - -C "$tree"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 TZ=UTC
# A checkout's times say when it was made.
find "$tree" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +

case $profile in
dev)
	BINARIES=${BINARIES:-$target/debug} DEB_COMPRESSION=-Zgzip\ -z1
	export BINARIES DEB_COMPRESSION CARGO_TARGET_DIR="$out/target"
	;;
release)
	unset BINARIES
	export CARGO_TARGET_DIR="${DEB_CARGO_TARGET:-$out/target}"
	;;
*)
	echo "build.sh: no profile is called $profile" >&2
	exit 2
	;;
esac

cd "$tree"
debian/changelog.py ${DEB_VERSION:+"$DEB_VERSION"}
# -d: compiler and tools may come from elsewhere than Debian's packages, such as rustup.
if ! dpkg-buildpackage -b -us -uc -d >"$out/build.log" 2>&1; then
	tail -n 40 "$out/build.log" >&2
	echo "build.sh: the packages were not built; $out/build.log has all of it" >&2
	exit 1
fi
rm -rf "$tree"
ls -1 "$out"/*.deb
