"""The formats of protocol 2.1: deterministic CBOR, the shapes of its CDDL, and actions."""

import base64
import hashlib
import json
import re
import urllib.parse
from collections.abc import Mapping

import cbor2


class Refused(Exception):
    """The rejection code of protocol 6."""


def demand(held, code):
    if not held:
        raise Refused(code)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def b64u(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def deterministic(item, level=1):
    """Core deterministic encoding (RFC 8949 4.2.1); cbor2 sorts keys by their length first."""
    if level > 16:
        raise ValueError("too deep")
    if isinstance(item, cbor2.CBORTag):
        return head(6, item.tag) + deterministic(item.value, level + 1)
    if isinstance(item, (list, tuple)):
        return head(4, len(item)) + b"".join(deterministic(one, level + 1) for one in item)
    if isinstance(item, Mapping):
        pairs = sorted([deterministic(part, level + 1) for part in pair] for pair in item.items())
        return head(5, len(item)) + b"".join(key + value for key, value in pairs)
    return cbor2.dumps(item, canonical=True)


def head(major, number):
    encoded = cbor2.dumps(number)
    return bytes([encoded[0] | major << 5]) + encoded[1:]


def cbor(data, code="evidence-malformed"):
    try:
        item = cbor2.loads(data)
        demand(deterministic(item) == data, code)
        return item
    except (cbor2.CBORDecodeError, cbor2.CBOREncodeError, ValueError, TypeError, RecursionError):
        raise Refused(code) from None


def octets(least, most=None):
    return lambda item: type(item) is bytes and least <= len(item) <= (most or least)


def text(most):
    return lambda item: type(item) is str and 1 <= len(item.encode()) <= most


def integer(item):
    return type(item) is int


def of(*values):
    return lambda item: type(item) in (int, str) and item in values


def array(*kinds):
    return lambda item: type(item) in (list, tuple) and len(item) == len(kinds) and all(k(i) for k, i in zip(kinds, item))


def either(*kinds):
    return lambda item: any(kind(item) for kind in kinds)


def fields(demanded, allowed={}, others=None):
    """A map with these members, and `others` as the kind of further keys."""

    def fits(item):
        if type(item) is not dict or not demanded.keys() <= item.keys():
            return False
        kinds = demanded | allowed
        known = [(kinds.get(key) if type(key) is int else None, key, value) for key, value in item.items()]
        return all(kind(value) if kind else others and others(key) for kind, key, value in known)

    return fits


def pcrs(item):
    return type(item) is dict and all(of(*range(24))(k) and DIGEST(v) for k, v in item.items())


DIGEST = either(octets(32), octets(48))
SOME, CLAIM, PUBLIC = octets(0, 1 << 20), text(512), octets(1, 512)
X5CHAIN = either(octets(1, 1 << 20), *(array(*[octets(1, 1 << 20)] * count) for count in (2, 3, 4)))
EVENT_LOG = either(octets(1, 262144), array(octets(32)), of(1, 2, 3))
ATTESTED = array(SOME, SOME)
MESSAGE = array(SOME, lambda item: isinstance(item, Mapping) and not item, SOME, octets(64))
HEADER = fields(
    {1: of(-9, -7), 16: of("application/eat+cwt"), 33: X5CHAIN, -70102: SOME},
    {-70101: SOME, -70103: SOME, -70104: SOME, -70105: SOME},
)
STATEMENT = fields(
    {265: CLAIM, 10: octets(8, 64), 3: CLAIM, 6: integer, 8: fields({5: octets(32)}), -70001: integer}
    | {256: lambda item: octets(17, 33)(item) and item[0] == 1},
    {2: CLAIM, 9: CLAIM, -70002: CLAIM, -70003: octets(1, 8192), -70004: octets(16)}
    | {-70005: fields({}, {1: text(128), 2: octets(32)}, integer)},
    integer,
)
PARTS = {
    -70101: fields({1: octets(1, 1023), 2: octets(1, 2048), 3: octets(1, 1024), 4: octets(1, 256)}, {5: of(1, 2, 3)}),
    -70102: fields(
        {1: X5CHAIN, 2: ATTESTED}, {3: array(SOME, SOME, SOME), 4: pcrs, 5: EVENT_LOG}
    ),
    -70103: fields({1: lambda item: octets(34)(item) and item[:2] == b"\0\x0b", 2: octets(1, 256)}),
    -70104: fields({1: octets(1, 6144), 2: octets(1, 1024)}),
    -70105: fields({1: PUBLIC, 2: ATTESTED}, {3: PUBLIC}),
}


def once(pairs):
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a member stands twice")
    return dict(pairs)


ACTION = {
    "type": r"signet_action",
    "locations": r"https://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?",
    "method": r"[A-Z]+",
    "path": r"/[!$-;=?-\[\]_a-z~]{0,4095}",
    "content_digest": r"sha-256=:[A-Za-z0-9+/]{43}=:",
}


def action(data, code):
    """The one action of authorization_details (protocol 2.1)."""
    try:
        (one,) = json.loads(data.decode(), object_pairs_hook=once)
        names, (location,) = one["actions"], one["locations"]
        demand(one.keys() == ACTION.keys() | {"actions"} and type(names) is list and 1 <= len(names) <= 8, code)
        demand(all(re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", name) for name in names), code)
        demand(all(re.fullmatch(p, {**one, "locations": location}[m]) for m, p in ACTION.items()), code)
        base64_strictly(one["content_digest"][9:-1])
        demand(unambiguous(one["path"]), code)
        return {**one, "locations": location}
    except (ValueError, TypeError, KeyError):
        raise Refused(code) from None


def base64_strictly(encoded):
    if base64.b64encode(base64.b64decode(encoded)).decode() != encoded:
        raise ValueError("bits that mean nothing are set")


def unambiguous(target):
    """Each `%` encodes what cannot stand by itself and parts nothing, and all is UTF-8."""
    path = target.split("?")[0]
    try:
        encoded = [bytes.fromhex(two) for two in re.findall("%(..?|$)", path)]
        urllib.parse.unquote_to_bytes(path).decode()
    except ValueError:
        return False
    plain = not any(re.fullmatch(rb"[\w.~/\\%;\x00-\x1f\x7f-]", one, re.A) for one in encoded)
    return plain and not {".", ".."} & set(path.split("/")) and not re.search(";|//", path)
