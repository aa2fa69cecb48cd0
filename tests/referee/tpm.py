"""TCG structures (TPM 2.0 Library part 2) and event logs (PC Client Platform Firmware Profile)."""

import hashlib
import struct
from types import SimpleNamespace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from wire import Refused, demand

FIXED_TPM, FIXED_PARENT, ORIGIN, USER_WITH_AUTH, ADMIN_WITH_POLICY = 2, 16, 32, 64, 128
NO_DA, RESTRICTED, DECRYPT, SIGN, X509_SIGN = 1 << 10, 1 << 16, 1 << 17, 1 << 18, 1 << 19
DEFINED = 0x000F0CF6  # the bits of TPMA_OBJECT that have a meaning (part 2, 8.3)
NAMES = {b"\0\x04": "sha1", b"\0\x0b": "sha256", b"\0\x0c": "sha384", b"\0\x0d": "sha512"}
BANKS = {0x0B: ("sha256", 32), 0x0C: ("sha384", 48)}


class Reader:
    def __init__(self, data, code):
        self.data, self.at, self.code = data, 0, code

    def take(self, size):
        demand(size <= len(self.data) - self.at, self.code)
        self.at += size
        return self.data[self.at - size : self.at]

    def numbers(self, layout):
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def number(self, layout):
        return self.numbers(layout)[0]

    def sized(self):
        return self.take(self.number(">H"))

    def end(self):
        demand(self.at == len(self.data), self.code)


def attest(data, kind, codes):
    """TPMS_ATTEST of a quote or a certification, by the codes of a wrong magic, type and shape."""
    wrong_magic, wrong_type, code = codes
    read, said = Reader(data, code), SimpleNamespace()
    demand(read.number(">I") == 0xFF544347, wrong_magic)
    said.type = read.number(">H")
    demand(said.type in (0x8018, 0x8017), wrong_type)
    read.sized()
    said.extra = read.sized()
    said.clock, said.reset, said.restart, said.safe = read.numbers(">QIIB")
    demand(said.safe <= 1, code)
    read.take(8)
    if said.type == 0x8018:
        said.selections = []
        for _ in range(read.number(">I")):
            bank, bits = read.number(">H"), read.take(read.number(">B"))
            said.selections.append((bank, [i for i in range(8 * len(bits)) if bits[i // 8] >> i % 8 & 1]))
        said.digest = read.sized()
    else:
        said.name = read.sized()
        read.sized()
    read.end()
    demand(said.type == kind, wrong_type)
    return said


def signature(data, code):
    """TPMT_SIGNATURE of ECDSA with SHA-256, in DER."""
    read = Reader(data, code)
    demand(read.numbers(">HH") == (0x18, 0x0B), code)
    r, s = read.sized(), read.sized()
    read.end()
    demand(len(r) <= 32 and len(s) <= 32, code)
    return encode_dss_signature(int.from_bytes(r), int.from_bytes(s))


def verify(key, signed, message, code):
    try:
        key.verify(signed, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Refused(code) from None


def name(data):
    """The Name of a TPMT_PUBLIC (part 1, 16)."""
    algorithm = NAMES.get(data[2:4])
    return data[2:4] + hashlib.new(algorithm, data).digest() if algorithm else None


def public(data, malformed, code):
    """TPMT_PUBLIC of a key on P-256 for ECDSA, named by SHA-256; `code` where it is another key."""
    read = Reader(data, malformed)
    kind, _, attributes = read.numbers(">HHI")
    demand(data[2:4] in NAMES and not attributes & ~DEFINED, malformed)
    demand(kind == 0x23, code)
    policy, (symmetric, scheme) = read.sized(), read.numbers(">HH")
    demand(scheme in (0x10, 0x18), code)
    demand(scheme == 0x10 or read.number(">H") == 0x0B, code)
    demand(read.numbers(">HH") == (3, 0x10), code)
    x, y = read.sized(), read.sized()
    read.end()
    demand(data[2:4] == b"\0\x0b" and symmetric == 0x10, code)
    try:
        key = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), ec.SECP256R1()).public_key()
    except ValueError:
        raise Refused(code) from None
    return SimpleNamespace(attributes=attributes, policy=policy, scheme=scheme, name=name(data), key=key)


def has(attributes, must, must_not):
    return attributes & must == must and not attributes & must_not


def event_size(read):
    size = read.number("<I")
    demand(size <= 131072, "boot-log-malformed")
    return size


def replay(log, bank):
    """The PCR values that a log in the format of TPM 2.0 leads to, in the bank of this algorithm."""
    (algorithm, size), malformed = BANKS[bank], "boot-log-malformed"
    read = Reader(log, "boot-log-truncated")
    _, kind, _ = read.numbers("<II20s")
    first = read.take(event_size(read))
    demand(kind == 3 and first[:16] == b"Spec ID Event03\0", malformed)
    spec = Reader(first[24:], malformed)
    sizes = dict(spec.numbers("<HH") for _ in range(spec.number("<I")))
    demand(sizes.get(bank) == size, malformed)
    values, start = {}, bytes(size)
    while len(log[read.at :].strip(b"\0")) * len(log[read.at :].strip(b"\xff")):
        index, kind, count = read.numbers("<III")
        demand((index < 24 or kind == 3) and 1 <= count <= len(sizes), malformed)
        digests = {}
        for _ in range(count):
            which = read.number("<H")
            demand(which in sizes and which not in digests, malformed)
            digests[which] = read.take(sizes[which])
        data = read.take(event_size(read))
        if kind != 3:
            demand(bank in digests, malformed)
            before = values.get(index, bytes(size) if index else start)
            values[index] = hashlib.new(algorithm, before + digests[bank]).digest()
        elif data[:16] == b"StartupLocality\0":
            start = bytes(size - 1) + data[16:17]
    return values
