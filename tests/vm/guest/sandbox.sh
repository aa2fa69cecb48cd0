# shellcheck shell=bash
# What signetd may and may not do on this machine.

exposure_at_most() {
    at_most "$(exposure "$1")" "$2"
}

signetd_has_no_privilege() {
    local status
    status=/proc/$(main_pid)/status
    says "^Uid:	$(id -u signet)	" cat "$status"
    says '^CapEff:	0+$' cat "$status"
    says '^CapBnd:	0+$' cat "$status"
    says '^NoNewPrivs:	1$' cat "$status"
    says '^Seccomp:	2$' cat "$status"
    says '^.* 0 +0 .*Max core|Max core file size +0 +0' cat "/proc/$(main_pid)/limits"
    # The TPM, and what every program has; no key's node.
    refused ls "/proc/$(main_pid)/root/$(key_node blue)"
    ls -l "/proc/$(main_pid)/root/dev/tpmrm0"
    says '^Inter|lo:' cat "/proc/$(main_pid)/net/dev"
    refused grep -q 'eth0' "/proc/$(main_pid)/net/dev"
}

# memory_is_locked UNIT: PINs and keys reach neither swap nor a core file.
memory_is_locked() {
    local process
    process=/proc/$(systemctl show --value -p MainPID "$1")
    says '^Max locked memory +unlimited +unlimited' cat "$process/limits"
    says '^Max core file size +0 +0' cat "$process/limits"
    says '^VmLck:[[:space:]]+[1-9]' cat "$process/status"
    says '^VmSwap:[[:space:]]+0 kB' cat "$process/status"
    # Locked as a whole, not page by page: what comes later is, too.
    python3 -c 'import sys
sizes = dict(line.split(":", 1) for line in open(sys.argv[1]) if line.startswith("Vm"))
kib = {name: int(size.split()[0]) for name, size in sizes.items()}
print(kib)
sys.exit(kib["VmLck"] < kib["VmRSS"])' "$process/status"
}

# The unit with another program in it: sandbox-probe.sh, which tries what signetd must not be able to do.
sandbox_refuses() {
    sed -e "s|^ExecStart=.*|ExecStart=/bin/bash $PWD/sandbox-probe.sh $(key_node blue)|" -e 's/^Type=.*/Type=oneshot/' \
        -e '/^\(BusName\|StandardInput\|Wants\|Requires\|After\|WatchdogSec\|Restart\|RestartSec\|ExecReload\)=/d' \
        "$(systemctl show --value -p FragmentPath signetd.service)" > /run/systemd/system/signet-probe.service
    systemctl daemon-reload
    systemctl start signet-probe.service || true
    journalctl -u signet-probe.service -o cat --no-pager
    says '^Result=success$' systemctl show -p Result signet-probe.service
}
