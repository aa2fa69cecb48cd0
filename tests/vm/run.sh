#!/bin/bash
# run.sh STAGE...: boots a whole workstation and checks Signet on it, stage after stage (`make vm-test`).
#
# A stage is a boot of the same machine: guest/STAGE.sh lists its checks. One line a check; results,
# console and journal are left in $SIGNET_VM_OUT (target/vm). Ends with "N passed, N failed, N skipped".
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=${SIGNET_VM_OUT:-$root/target/vm}
programs=${SIGNET_VM_PROGRAMS:-${CARGO_TARGET_DIR:-$root/target}/debug}
limit=${SIGNET_VM_LIMIT:-900}
qemu_options=()
# shellcheck source=machine.sh
source "$here/machine.sh"

summary() {
    local passed failed skipped
    passed=$(cat "$out"/*/checks 2>/dev/null | grep -c '^ok ' || true)
    failed=$(cat "$out"/*/checks "$out"/*/trouble 2>/dev/null | grep -c '^FAILED ' || true)
    skipped=$(cat "$out"/*/checks "$out"/*/trouble 2>/dev/null | grep -c '^SKIPPED ' || true)
    echo "vm-test: $passed passed, $failed failed, $skipped skipped ($SECONDS s; results in $out)"
    [ "$failed" = 0 ]
}

skip_all() {
    echo "SKIPPED ALL CHECKS OF THE WHOLE MACHINE: $1" 
    echo "vm-test: 0 passed, 0 failed, 1 skipped"
    exit 0
}

mkdir -p "$out"
rm -rf "${out:?}"/*
for tool in qemu-system-x86_64 mmdebstrap swtpm swtpm_setup mke2fs; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$tool" > /dev/null || skip_all "$tool is not installed and could not be"
done

"$here/image/build.sh" "$out/image"
echo "vm-test: image ready after $SECONDS s"
make_machine "$out/machine" "$out/image"

for stage in "$@"; do
    payload=$out/payload
    rm -rf "$payload"
    mkdir -p "$payload/programs" "$payload/maker"
    cp "$here/guest/"* "$payload/"
    echo "$stage" > "$payload/stage"
    for program in signetd signet signet-authority opensk-key make-attestation uhid-key; do
        cp "$programs/$program" "$payload/programs/"
        strip --strip-debug "$payload/programs/$program"
    done
    cp "$out/machine/maker/"*.pem "$payload/maker/"
    rm -f "$payload/maker/signkey.pem" "$payload/maker/swtpm-localca-rootca-privkey.pem"
    began=$SECONDS
    echo "vm-test: boot for $stage"
    boot_machine "$out/machine" "$payload" "$out/$stage" "$limit" || break
    echo "vm-test: $stage took $((SECONDS - began)) s"
done
rm -rf "$out/payload"
summary
