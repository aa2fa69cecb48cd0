"""python-fido2's way to a software key: the socket that stands for a hidraw node, and the control
socket that touches, unplugs and plugs it (tests/authenticators/src/panel.rs)."""

import socket

from fido2.hid import CtapHidDevice
from fido2.hid.base import CtapHidConnection, HidDescriptor

# Longer than either firmware waits for a person.
PATIENCE = 40


class Connection(CtapHidConnection):
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)

    def read_packet(self):
        packet = self.socket.recv(64)
        if not packet:
            raise OSError("the key was unplugged")
        return packet

    def write_packet(self, data):
        # As to hidraw: the number of the report comes first.
        self.socket.send(b"\0" + data)

    def close(self):
        self.socket.close()


def descriptor(path):
    return HidDescriptor(path, 0x20A0, 0x42B2, 64, 64, "software key", None)


def open_key(path):
    return CtapHidDevice(descriptor(path), Connection(path))


def control(path, command):
    """Works the key; returns when it took effect."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as panel:
        panel.settimeout(PATIENCE)
        panel.connect(path)
        panel.sendall(f"{command}\n".encode())
        answer = panel.recv(64)
    if answer != b"ok\n":
        raise RuntimeError(f"{command}: {answer!r}")
