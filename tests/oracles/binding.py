"""Judges recorded evidence and tokens with libraries that are not ours: cbor2, cryptography,
python-fido2 and PyJWT. What ties the pieces together (protocol 2.2) is written here a second time.

usage: binding.py FIXTURES

Prints "NAME accepted" or "NAME refused: WHY" for each fixture of kind evidence, registration or
token whose refusal does not need the store, the hour or a policy. It knows nothing of the codes.
"""

import base64
import hashlib
import json
import pathlib
import struct
import sys

import cbor2
import jwt
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_private_key
from fido2.cose import ES256
from fido2.webauthn import AuthenticatorData

ES256_HASH = ec.ECDSA(hashes.SHA256())


class Refused(Exception):
    pass


def demand(held, why):
    if not held:
        raise Refused(why)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def signed_by(key, signature, message, why):
    try:
        key.verify(signature, message, ES256_HASH)
    except InvalidSignature:
        raise Refused(why) from None


def r_s(signature):
    return encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))


def tpm_signature(data):
    """TPMT_SIGNATURE of ECDSA with SHA-256 (TCG part 2, 11.3.4)."""
    algorithm, digest, size = struct.unpack_from(">HHH", data)
    demand((algorithm, digest) == (0x18, 0x0B), "not ECDSA with SHA-256")
    r = data[6 : 6 + size]
    demand(len(data) >= 8 + size, "signature is cut short")
    (other,) = struct.unpack_from(">H", data, 6 + size)
    s = data[8 + size : 8 + size + other]
    demand(len(data) == 8 + size + other, "signature has a tail")
    return encode_dss_signature(int.from_bytes(r), int.from_bytes(s))


def attest(data):
    """Magic, type, extraData and the rest of a TPMS_ATTEST (part 2, 10.12.12)."""
    magic, kind, size = struct.unpack_from(">IHH", data)
    at = 8 + size
    (size,) = struct.unpack_from(">H", data, at)
    return magic, kind, data[at + 2 : at + 2 + size], data[at + 2 + size + 25 :]


def name_of(public):
    return b"\x00\x0b" + sha256(public)


def leaf(chain):
    try:
        return x509.load_der_x509_certificate(chain[0] if isinstance(chain, list) else chain)
    except ValueError:
        raise Refused("no certificate") from None


def issued_by(certificate, ca):
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError):
        raise Refused("a certificate of another CA") from None


def judge_evidence(fixture, world, ca):
    peer = base64.b64decode(world["peers"][fixture["peer"]])
    message = cbor2.loads(fixture["bytes"])
    demand(message.tag == 18, "no COSE_Sign1")
    protected, unprotected, statement, signature = message.value
    demand(unprotected == {}, "something unsigned")
    header = cbor2.loads(protected)
    claims = cbor2.loads(statement)
    demand(cbor2.dumps(claims, canonical=True) == statement, "statement is not canonical")
    demand(not {-70101, -70103} <= set(header), "two kinds of assertion")
    demand(not {-70104, -70105} <= set(header), "two kinds of registration")
    demand(-70103 not in header or claims[-70001] in (1, 3), "a platform key has no place here")
    assertion, tpm = header.get(-70101, header.get(-70103)), header[-70102]
    registration = header.get(-70104, header.get(-70105))

    certificate = leaf(header[33])
    first = header[33][0] if isinstance(header[33], list) else header[33]
    demand(first == peer, "another peer")
    issued_by(certificate, ca)
    point = certificate.public_key().public_numbers()
    key = {1: 2, -1: 1, -2: point.x.to_bytes(32), -3: point.y.to_bytes(32)}
    demand(claims[8] == {5: sha256(cbor2.dumps(key, canonical=True))}, "cnf of another key")
    structure = cbor2.dumps(["Signature1", protected, b"", statement])
    signed_by(certificate.public_key(), r_s(signature), structure, "outer signature")

    evidence = cbor2.loads(tpm)
    ak = leaf(evidence[1])
    issued_by(ak, ca)
    parts = [b"signet-tpm-v1\0", sha256(statement), sha256(assertion or b"")]
    data = sha256(*parts, *([sha256(registration)] if registration else []))
    quoted, quote_signature = evidence[2]
    signed_by(ak.public_key(), tpm_signature(quote_signature), quoted, "quote signature")
    magic, kind, extra, quote = attest(quoted)
    demand(magic == 0xFF544347 and kind == 0x8018, "no quote of a TPM")
    demand(extra == data, "quote over something else")
    values = b"".join(evidence[4][index] for index in sorted(evidence[4]))
    demand(quote.endswith(b"\x00\x20" + sha256(values)), "PCR values do not hash to the digest")
    if 3 in evidence:
        certified, certify_signature, public = evidence[3]
        signed_by(ak.public_key(), tpm_signature(certify_signature), certified, "certify signature")
        magic, kind, extra, body = attest(certified)
        demand(magic == 0xFF544347 and kind == 0x8017, "no certification of a TPM")
        demand(extra == data, "certification over something else")
        demand(body.startswith(b"\x00\x22" + name_of(public)), "another key was certified")
        coordinates = b"\x00\x20" + point.x.to_bytes(32) + b"\x00\x20" + point.y.to_bytes(32)
        demand(public.endswith(coordinates), "the certified key is not the peer's")
    else:
        demand(claims[-70001] not in (1, 6), "no certification")
    if -70105 in header:
        judge_platform_key(cbor2.loads(registration), ak, statement, claims)
    if -70103 in header:
        judge_platform_assertion(cbor2.loads(assertion), statement, claims, world)
    elif assertion:
        judge_assertion(cbor2.loads(assertion), statement, world)
    else:
        demand(claims[-70001] not in (1, 3), "nobody touched a key")


def judge_assertion(assertion, statement, world):
    challenge = base64.urlsafe_b64encode(sha256(b"signet-fido-v1\0", statement)).rstrip(b"=").decode()
    client_data = json.loads(assertion[3])
    expected = {"type": "webauthn.get", "challenge": challenge}
    expected |= {"origin": f"https://{world['rp_id']}", "crossOrigin": False}
    demand(client_data == expected, "client data")
    demand(assertion[1] == base64.b64decode(world["credential"]), "another credential")
    try:
        data = AuthenticatorData(assertion[2])
    except Exception as error:  # python-fido2 raises what struct and its parser raise
        raise Refused(f"authenticator data: {error}") from None
    demand(data.rp_id_hash == sha256(world["rp_id"].encode()), "another RP")
    demand(data.is_user_present() and data.is_user_verified(), "UP or UV")
    demand(not data.is_backup_eligible(), "backup eligible")
    key = ES256(cbor2.loads(base64.b64decode(world["credential_key"])))
    try:
        key.verify(assertion[2] + sha256(assertion[3]), assertion[4])
    except InvalidSignature:
        raise Refused("assertion signature") from None


def public_area(data):
    """Name algorithm, attributes, policy and key of a TPMT_PUBLIC of an ECC key on P-256 (part 2,
    12.2.4): type, nameAlg, objectAttributes, authPolicy, symmetric, scheme, curve, kdf, x, y."""
    kind, name_algorithm, attributes, size = struct.unpack_from(">HHIH", data)
    policy, rest = data[10 : 10 + size], data[10 + size :]
    demand(kind == 0x23 and name_algorithm == 0x0B, "not an ECC key named by SHA-256")
    symmetric, scheme = struct.unpack_from(">HH", rest)
    rest = rest[4:] if scheme == 0x10 else rest[6:]
    demand(symmetric == 0x10 and scheme in (0x10, 0x18), "not a key for ECDSA")
    curve, kdf, size = struct.unpack_from(">HHH", rest)
    x, rest = rest[6 : 6 + size], rest[6 + size :]
    (size,) = struct.unpack_from(">H", rest)
    y = rest[2 : 2 + size]
    demand((curve, kdf) == (3, 0x10) and len(rest) == 2 + size, "not a key on P-256")
    try:
        key = ec.EllipticCurvePublicNumbers(
            int.from_bytes(x), int.from_bytes(y), ec.SECP256R1()
        ).public_key()
    except ValueError:
        raise Refused("a point that is not on the curve") from None
    return attributes, policy, key


# TPMA_OBJECT bits (part 2, 8.3).
FIXED_TPM, FIXED_PARENT, ORIGIN, USER_WITH_AUTH, ADMIN_WITH_POLICY = 2, 16, 32, 64, 128
NO_DA, RESTRICTED, DECRYPT, SIGN, X509_SIGN = 1 << 10, 1 << 16, 1 << 17, 1 << 18, 1 << 19


def judge_platform_key(registration, ak, statement, claims):
    public, (certified, signature) = registration[1], registration[2]
    signed_by(ak.public_key(), tpm_signature(signature), certified, "platform key's certification")
    magic, kind, extra, body = attest(certified)
    demand(magic == 0xFF544347 and kind == 0x8017, "no certification of a TPM")
    demand(extra == sha256(b"signet-platformreg-v1\0", statement), "certified for something else")
    demand(body.startswith(b"\x00\x22" + name_of(public)), "another key was certified")
    attributes, policy, _ = public_area(public)
    must = FIXED_TPM | FIXED_PARENT | ORIGIN | SIGN
    must_not = RESTRICTED | DECRYPT | X509_SIGN | USER_WITH_AUTH | ADMIN_WITH_POLICY
    demand(attributes & must == must and not attributes & must_not, "platform key's attributes")
    if policy == sha256(bytes(32), bytes.fromhex("0000016b")):  # TPM2_PolicyAuthValue
        demand(3 not in registration, "a PIN key with an authorisation key")
        demand(not attributes & NO_DA, "PINs without lockout")
        return
    demand(3 in registration, "a policy of nothing")
    public_area(registration[3])
    with_key = sha256(bytes(32), bytes.fromhex("00000160"), name_of(registration[3]))
    demand(policy == sha256(with_key, b"signet-fprint-v1"), "a policy of something else")
    demand({1, 2} <= set(claims.get(-70005, {})), "no reader or no fingers")


def judge_platform_assertion(assertion, statement, claims, world):
    keys = [base64.b64decode(world[name]) for name in ("pin_key", "finger_key")]
    public = next((key for key in keys if name_of(key) == assertion[1]), None)
    demand(public is not None, "another platform key")
    _, _, key = public_area(public)
    message = b"signet-platform-v1\0" + statement
    signed_by(key, tpm_signature(assertion[2]), message, "platform key's signature")
    if public == keys[1]:
        facts = claims.get(-70005, {})
        demand(facts.get(1) == world["driver"], "another reader")
        demand(facts.get(2) == base64.b64decode(world["fingers"]), "other fingers")


def judge_token(fixture, world, _):
    peer = base64.b64decode(world["peers"][fixture["peer"]])
    key = load_der_private_key(base64.b64decode(world["token_key"]), None).public_key()
    token = fixture["bytes"].decode()
    try:
        demand(jwt.get_unverified_header(token)["typ"] == "at+jwt", "typ")
        options = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
        claims = jwt.decode(
            token,
            key,
            algorithms=["ES256"],
            audience=world["trust_domain"],
            issuer=world["audience"],
            options=options,
        )
    except jwt.PyJWTError as error:
        raise Refused(f"PyJWT: {error}") from None
    demand(claims["nbf"] <= fixture["now"] < claims["exp"] + 5, "time")
    thumbprint = base64.urlsafe_b64encode(sha256(peer)).rstrip(b"=").decode()
    demand(claims["cnf"] == {"x5t#S256": thumbprint}, "bound to another certificate")


JUDGES = {"evidence": judge_evidence, "registration": judge_evidence, "token": judge_token}


def read(path):
    header, body = path.read_text().split("\n\n", 1)
    fixture = dict(line.split(": ", 1) for line in header.splitlines())
    return fixture | {"now": int(fixture["now"]), "bytes": base64.b64decode(body)}


def main():
    folder = pathlib.Path(sys.argv[1])
    world = json.loads((folder / "world.json").read_text())
    ca = x509.load_der_x509_certificate(base64.b64decode(world["device_ca"]))
    for path in sorted(folder.glob("accepted/*")) + sorted(folder.glob("rejected/*/*")):
        fixture = read(path)
        if fixture["peer"] == "none" or not fixture["bytes"]:
            continue
        try:
            JUDGES[fixture["kind"]](fixture, world, ca)
            verdict = "accepted"
        except Refused as why:
            verdict = f"refused: {why}"
        print(f"{path.parent.name}/{path.stem} {verdict}")


main()
