# shellcheck shell=bash
# Words for checks; sourced by run.

results=/run/results
keys=/var/lib/vm-keys
export TPM2TOOLS_TCTI=device:/dev/tpmrm0 TSS2_LOG=all+none

# check NAME FUNCTION [ARGUMENT...]: runs it within $patience seconds and says on ttyS1 what became of it.
check() {
    local name=$1 output began=$SECONDS
    shift
    output=$results/output/$(echo "$name" | tr -cs '[:alnum:]\n' -).txt
    if timeout --kill-after=5 "${patience:-240}" ./run "$@" > "$output" 2>&1 < /dev/null; then
        echo "ok $name ($((SECONDS - began)) s)"
    else
        [ $? != 124 ] || echo "not done within ${patience:-240} s" >> "$output"
        echo "FAILED $name ($((SECONDS - began)) s)"
        tail -n 8 "$output" | sed 's/^/    /'
    fi
}

# skip NAME REASON: a check that cannot be made here.
skip() { echo "SKIPPED $1: $2"; }

# await SECONDS COMMAND...: until the command succeeds.
await() {
    local end=$((SECONDS + $1))
    shift
    until "$@" > /dev/null 2>&1; do
        if [ $SECONDS -ge $end ]; then
            echo "in vain awaited: $*"
            "$@" || true
            return 1
        fi
        sleep 0.1
    done
}

# refused COMMAND...: it must fail.
refused() {
    if "$@"; then
        echo "not refused: $*"
        return 1
    fi
}

# says PATTERN COMMAND...: its output (both streams) must have a line with the pattern, whatever its exit code.
says() {
    local pattern=$1 output
    shift
    output=$("$@" 2>&1) || true
    printf '%s\n' "$output"
    grep -Eq -- "$pattern" <<< "$output" || { echo "no line has: $pattern"; return 1; }
}

# begin_session USER WHERE: a login session that stays (see login.py); `as` runs commands in it.
begin_session() {
    local file=/run/session-$1-$2
    systemd-run --quiet --collect --unit="session-$1-$2" /usr/bin/python3 "$PWD/login.py" "$1" "$2" "$file"
    await 200 test -f "$file"
}

# as USER WHERE COMMAND...: in that session, or in none when WHERE is `nowhere`. A process belongs to the
# session whose control group it is in; polkit and logind look nowhere else.
as() {
    local user=$1 where=$2 uid session=
    shift 2
    uid=$(id -u "$user")
    [ "$where" = nowhere ] || session=$(cat "/run/session-$user-$where")
    SESSION=$session USER_SLICE=user-$uid.slice bash -c '
        [ -z "$SESSION" ] || echo $$ > "/sys/fs/cgroup/user.slice/$USER_SLICE/session-$SESSION.scope/cgroup.procs"
        exec "$@"' as setpriv --reuid "$user" --regid "$user" --init-groups env -i \
        HOME="/home/$user" USER="$user" LOGNAME="$user" PATH=/usr/bin:/bin LANG=C.UTF-8 TERM=dumb \
        ${session:+XDG_SESSION_ID="$session"} XDG_RUNTIME_DIR="/run/user/$uid" \
        DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$uid/bus" "$@"
}

# start_key NAME [ARGUMENT...]: a software key behind /dev/uhid, plugged in. It keeps its memory over boots.
start_key() {
    local name=$1 home=$keys/$1
    shift
    mkdir -p "$home"
    [ -f "$keys/opensk.der" ] || ./programs/make-attestation "$keys"
    systemd-run --quiet --collect --unit="key-$name" "$PWD/programs/opensk-key" --detached \
        --socket "$home/key.sock" --control "$home/control.sock" --state "$home/state" \
        --attestation-key "$keys/opensk.key" --attestation-cert "$keys/opensk.der" "$@"
    systemd-run --quiet --collect --unit="uhid-$name" \
        "$PWD/programs/uhid-key" --socket "$home/key.sock" --name "Software key $name" --serial "$name"
    await 120 key_node "$name"
}

# key_node NAME: prints the device node of a plugged key.
key_node() {
    local uevent
    uevent=$(grep -lx "HID_UNIQ=$1" /sys/class/hidraw/*/device/uevent 2>/dev/null) || return 1
    uevent=${uevent%%/device/uevent*}
    echo "/dev/${uevent##*/}"
}

# press NAME WORDS...: works the key's button, sensor and plug (see tests/authenticators/src/panel.rs).
press() {
    local name=$1
    shift
    [ "$(echo "$*" | nc -NU "$keys/$name/control.sock")" = ok ]
}

gone() { ! "$@" > /dev/null 2>&1; }
unplug() { press "$1" unplug && await 30 gone key_node "$1"; }
replug() { press "$1" replug && await 30 key_node "$1"; }

# json EXPRESSION: of standard input, `it`.
json() { python3 -c 'import json, sys; it = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }

# exposure UNIT: what `systemd-analyze security` says of it, live.
exposure() { systemd-analyze security --no-pager "$1" | tee /dev/stderr | sed -n 's/.*Overall exposure level.*: \([0-9.]*\) .*/\1/p'; }
at_most() { python3 -c 'import sys; sys.exit(not float(sys.argv[1]) <= float(sys.argv[2]))' "$1" "$2"; }
