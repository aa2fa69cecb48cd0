#!/bin/bash
# Runs in signetd's sandbox and ends with 1 if it could do what it should not, or not what it should.
node=$1 wrong=0
may() { if ! eval "$1" 2> /dev/null; then echo "WRONG: cannot: $1"; wrong=1; fi; }
may_not() { if eval "$1" 2> /dev/null; then echo "WRONG: can: $1"; wrong=1; else echo "refused: $1"; fi; }

may 'exec 3<> /dev/tpmrm0'
may 'echo here > "$STATE_DIRECTORY/probe" && rm "$STATE_DIRECTORY/probe"'
may 'busctl --system status org.freedesktop.login1 > /dev/null'
for device in "$node" /dev/tpm0 /dev/uhid /dev/nvme0n1 /dev/mem /dev/kmsg /dev/ttyS0 /dev/rtc0; do
    may_not "exec 3< $device"
done
may_not 'mknod /tmp/node c 10 224'
may_not 'exec 3<> /dev/tcp/127.0.0.1/8443'
may_not 'python3 -c "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"'
may_not 'python3 -c "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"'
may_not 'echo x > /etc/signet/x'
may_not 'echo x > /usr/x'
may_not 'echo x > /run/signet/x'
may_not 'echo x > /sys/power/state'
may_not 'ls -A /home | grep .'
may_not 'ls -A /root | grep .'
may_not 'cat /etc/shadow'
may_not 'kill -0 1'
may_not 'ls -d /proc/1'
may_not 'cat /proc/sys/kernel/osrelease'
may_not 'unshare --user true'
may_not 'unshare --mount true'
may_not 'dmesg'
may_not 'date --set=2030-01-01'
may_not 'hostname elsewhere'
may_not 'python3 -c "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)"'
exit $wrong
