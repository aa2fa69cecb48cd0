"""A second implementation of docs/protocol.md as referee, with libraries that are not ours.

usage: python tests/referee FIXTURES

Prints "FOLDER/NAME CODE" for each fixture: "accepted", or the code of protocol 6.
"""

import base64
import json
import pathlib
import sys

from cryptography import x509

from appraise import Evidence
from gateway import authorize
from wire import Refused

# What `with` may say of the world, as fixtures/README.md explains it.
CASES = set(
    """nothing device-unknown device-revoked pcrs-drifted machines-judged clock-ahead session-rebooted
    session-ended credential-unknown credential-revoked counter-ahead platform-key-elsewhere
    other-attestation-roots other-models model-denied model-reported metadata-stale
    model-has-cred-protect model-touch-only touch-only-accepted credential-touch-only software-ak software-keys
    challenge-consumed presence-expired credential-enrolled no-grant session-revoked token-redeemed
    views-only""".split()
)
PLAIN = {"audience", "trust_domain", "rp_id", "operator", "driver"}


def read_world(path):
    world = json.loads(path.read_text())
    for name in ("device_ca", "attestation_root"):
        world[name] = x509.load_der_x509_certificate(base64.b64decode(world[name]))
    return decoded(world)


def decoded(members):
    """All texts that are bytes in base64, at any depth."""
    for name, value in members.items():
        if type(value) is dict:
            decoded(value)
        elif type(value) is str and name not in PLAIN:
            members[name] = base64.b64decode(value)
    return members


def judge(path, world):
    header, body = path.read_text().split("\n\n", 1)
    fixture = dict(line.split(": ", 1) for line in header.splitlines())
    fixture |= {"now": int(fixture["now"]), "bytes": base64.b64decode(body), "with": fixture["with"].split(", ")}
    unknown = set(fixture["with"]) - CASES
    if unknown or fixture["kind"] not in ("evidence", "registration", "token"):
        sys.exit(f"{path}: the referee knows nothing of {unknown or fixture['kind']}")
    try:
        authorize(fixture, world) if fixture["kind"] == "token" else Evidence(fixture, world).appraise()
        return "accepted"
    except Refused as refused:
        return refused.args[0]


def main():
    folder = pathlib.Path(sys.argv[1])
    world = read_world(folder / "world.json")
    for path in sorted(folder.glob("accepted/*")) + sorted(folder.glob("rejected/*/*")):
        print(f"{path.parent.name}/{path.stem} {judge(path, world)}")


main()
