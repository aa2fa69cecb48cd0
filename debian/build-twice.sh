#!/bin/sh
# Builds the packages twice, each time from nothing and in another place, and compares: FOLDER. Takes as
# long as two release builds.
set -eu

mkdir -p "$1"
folder=$(cd "$1" && pwd)
first=$folder/first
second=$folder/the-second/and-deeper
debian/build.sh "$first"
debian/build.sh "$second"
for package in "$first"/*.deb; do
	name=$(basename "$package")
	if ! cmp "$package" "$second/$name"; then
		echo "$name is not reproducible; see diffoscope '$package' '$second/$name'" >&2
		exit 1
	fi
done
(cd "$first" && sha256sum -- *.deb)
