"""Programs that people have judge what Signet makes, each what it is made for: python-fido2 the touches
and attestations, tpm2_checkquote the quotes, python-cwt the tokens in CBOR. (PyJWT judges the tokens in
JSON as part of tests/referee.)

usage: libraries.py FIXTURES < TOKENS    with one CWT a line, in base64

Prints "PROGRAM FOLDER/NAME accepted" or "PROGRAM FOLDER/NAME refused: WHY" for each fixture that has
such a part and is judged in the world as it is, and for each token and its edits.
"""

import base64
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

import cbor2
from anchored import Anchored
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key
from cwt import COSEKey
from cwt.cwt import CWT
from cwt.exceptions import CWTError
from fido2.attestation.base import InvalidAttestation
from fido2.cose import CoseKey
from fido2.server import Fido2Server
from fido2.webauthn import AttestedCredentialData, PublicKeyCredentialRpEntity


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def b64u(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class RelyingParty:
    """What python-fido2's server says of a touch and of a new key."""

    def __init__(self, world):
        rp = PublicKeyCredentialRpEntity(id=world["rp_id"], name="referee")
        anchored = Anchored(base64.b64decode(world["attestation_root"]))
        self.server = Fido2Server(rp, attestation="direct", verify_attestation=anchored.verify_attestation)
        identifier, key = (base64.b64decode(world[name]) for name in ("credential", "credential_key"))
        self.credential = AttestedCredentialData.create(
            base64.b64decode(world["aaguid"]), identifier, CoseKey.parse(cbor2.loads(key))
        )

    def judge(self, context, statement, identifier, response):
        state = {"challenge": b64u(sha256(context, statement)), "user_verification": "required"}
        members = {name: b64u(value) for name, value in response.items()}
        shown = {"id": b64u(identifier), "rawId": b64u(identifier), "type": "public-key", "response": members}
        try:
            if "signature" in response:
                self.server.authenticate_complete(state, [self.credential], shown)
            else:
                self.server.register_complete(state, shown)
        except (ValueError, TypeError, KeyError, InvalidAttestation) as error:
            return f"refused: {type(error).__name__} {error}".splitlines()[0]
        return "accepted"

    def assertion(self, part, statement):
        names = {2: "authenticatorData", 3: "clientDataJSON", 4: "signature"}
        response = {name: part[at] for at, name in names.items()}
        return self.judge(b"signet-fido-v1\0", statement, part[1], response)

    def registration(self, part, statement):
        response = {"attestationObject": part[1], "clientDataJSON": part[2]}
        data = cbor2.loads(part[1])["authData"]
        identifier = data[55 : 55 + int.from_bytes(data[53:55])]
        return self.judge(b"signet-fidoreg-v1\0", statement, identifier, response)


def quote(part, pieces):
    """What tpm2_checkquote says of the AK's signature, the qualifying data and the PCR values."""
    certificate = part[1][0] if isinstance(part[1], list) else part[1]
    key = x509.load_der_x509_certificate(certificate).public_key()
    values = part.get(4, {})
    files = {
        "ak.pem": key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "message": part[2][0],
        "signature": part[2][1],
        "pcrs": b"".join(values[index] for index in sorted(values)),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            pathlib.Path(folder, name).write_bytes(content)
        command = "tpm2_checkquote -u ak.pem -m message -s signature -g sha256 -f pcrs".split()
        command += ["-q", sha256(b"signet-tpm-v1\0", *map(sha256, pieces)).hex()]
        command += ["-l", "sha256:" + ",".join(map(str, sorted(values)))]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return f"refused: {ran.stderr.splitlines()[0]}" if ran.returncode else "accepted"


def judge_evidence(name, message, party):
    protected, _, statement, _ = cbor2.loads(message).value
    header = cbor2.loads(protected)
    pieces = [statement, header.get(-70101, header.get(-70103, b""))]
    pieces += [header[label] for label in (-70104, -70105) if label in header]
    print("tpm2_checkquote", name, quote(cbor2.loads(header[-70102]), pieces))
    if -70101 in header:
        print("fido2", name, party.assertion(cbor2.loads(header[-70101]), statement))
    if -70104 in header:
        print("fido2", name, party.registration(cbor2.loads(header[-70104]), statement))


def judge_token(name, token, key):
    """As python-cwt reads it, at whatever hour: the fixtures' is their own."""
    try:
        claims = CWT.new(leeway=1 << 40).decode(token, keys=[key])
    except (CWTError, ValueError, TypeError) as error:
        print("cwt", name, f"refused: {type(error).__name__} {error}".splitlines()[0])
        return
    fits = claims[8] == {5: claims[8][5]} and len(claims[8][5]) == 32 and claims[4] > claims[6]
    print("cwt", name, "accepted" if fits else "refused: claims")


def edits(token):
    protected, unprotected, payload, signature = cbor2.loads(token).value
    header, claims = cbor2.loads(protected), cbor2.loads(payload)
    yield "signature", [protected, unprotected, payload, signature[:-1] + bytes([signature[-1] ^ 1])]
    yield "subject", [protected, unprotected, cbor2.dumps(claims | {2: "mallory"}), signature]
    yield "algorithm", [cbor2.dumps(header | {1: -7}), unprotected, payload, signature]


def main():
    folder = pathlib.Path(sys.argv[1])
    world = json.loads((folder / "world.json").read_text())
    party = RelyingParty(world)
    for path in sorted(folder.glob("accepted/*")) + sorted(folder.glob("rejected/*/*")):
        header, body = path.read_text().split("\n\n", 1)
        told = dict(line.split(": ", 1) for line in header.splitlines())
        readable = told["expect"] not in ("evidence-malformed", "evidence-too-large")
        if told["kind"] != "token" and told["with"] == "nothing" and readable:
            try:
                judge_evidence(f"{path.parent.name}/{path.stem}", base64.b64decode(body), party)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                print("none", f"{path.parent.name}/{path.stem}", f"refused: unreadable: {error}".splitlines()[0])
    public = load_der_private_key(base64.b64decode(world["token_key"]), None).public_key()
    x, y = (number.to_bytes(32) for number in (public.public_numbers().x, public.public_numbers().y))
    for number, line in enumerate(sys.stdin):
        token = base64.b64decode(line)
        kid = cbor2.loads(cbor2.loads(token).value[0])[4]
        key = COSEKey.new({1: 2, 2: kid, 3: -9, -1: 1, -2: x, -3: y})
        judge_token(f"token/{number}", token, key)
        for what, edited in edits(token):
            judge_token(f"{what}/{number}", cbor2.dumps(cbor2.CBORTag(18, edited)), key)


main()
