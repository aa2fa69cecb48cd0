"""The appraisal of docs/protocol.md (2.2 to 2.4, 4.2, 5.1), written from that page alone."""

import hmac
import re
import struct
from datetime import datetime, timezone

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from fido2.webauthn import AuthenticatorData

import tpm
import wire
from wire import Refused, b64u, demand, sha256

PROFILE = "urn:uuid:5b2d8f0e-7c1a-4e57-9a3c-1d6f0c9be2a4"
MALFORMED, INVALID, ATTRIBUTES = "evidence-malformed", "attestation-invalid", "platform-key-attributes"
SESSION, RENEW, ACTION, ENROL_DEVICE, ENROL_KEY, WORKLOAD = 1, 2, 3, 4, 5, 6
SUB, ACT, SID = 2, -70003, -70004
LABELS = {"fido": -70101, "tpm": -70102, "platform": -70103, "security": -70104, "own": -70105}
PERSON, NEW = {"fido", "platform"}, {"security", "own"}
# What a purpose demands of each of these, and what it allows besides (2.1).
PURPOSES = {
    SESSION: ({SUB}, {SID} | PERSON),
    RENEW: ({SUB, SID}, set()),
    ACTION: ({SUB, ACT}, PERSON),
    ENROL_DEVICE: (set(), {SUB}),
    ENROL_KEY: ({SUB}, {"fido"} | NEW),
    WORKLOAD: (set(), set()),
}
FORMS = ("fido-u2f", "tpm", "android-key", "apple")  # 4.2 has them, the referee only packed
EXTENSIONS = {"2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.37"}


def leaf(chain, anchor, now, code, usage=None):
    """The first certificate of a chain that leads to the anchor now, for this usage."""
    try:
        chain = [x509.load_der_x509_certificate(one) for one in ([chain] if type(chain) is bytes else chain)]
        found = [{e.oid.dotted_string: e for e in one.extensions} for one in chain]
        for place, one in enumerate(chain):
            demand(one.not_valid_before_utc.timestamp() <= now <= one.not_valid_after_utc.timestamp(), code)
            issuers = [e.value.ca for e in found[place].values() if isinstance(e.value, x509.BasicConstraints)]
            demand(issuers == [True] if place else issuers in ([], [False]), code)
            demand(not any(e.critical and oid not in EXTENSIONS for oid, e in found[place].items()), code)
            if one.issuer == anchor.subject:
                one.verify_directly_issued_by(anchor)
                break
            one.verify_directly_issued_by(chain[place + 1])
        demand(not usage or usage in [one.dotted_string for one in found[0]["2.5.29.37"].value], code)
        demand(isinstance(chain[0].public_key().curve, ec.SECP256R1), code)
        return chain[0], found[0]
    except (ValueError, TypeError, InvalidSignature, KeyError, IndexError, AttributeError):
        raise Refused(code) from None


def point(key):
    numbers = key.public_numbers()
    return numbers.x.to_bytes(32), numbers.y.to_bytes(32)


class Evidence:
    def __init__(self, fixture, world):
        self.now, self.case = fixture["now"], set(fixture["with"])
        if self.case & {"software-ak", "software-keys"}:
            world = world | {"ak": world["software_ak"]}
        if "software-keys" in self.case:
            world = world | world["software"]
        self.world = world
        self.peer, self.data, self.kind = world["peers"][fixture["peer"]], fixture["bytes"], fixture["kind"]

    def unless(self, case, code):
        """The fixture's world says otherwise."""
        demand(case not in self.case, code)

    def appraise(self):
        self.shape()
        self.purpose()
        self.challenge()
        self.connection()
        self.unless("challenge-consumed", "challenge-replayed")
        self.unless("device-unknown", "device-unknown")
        demand(self.claims[256] == self.world["device"], "device-unknown")
        self.unless("device-revoked", "device-revoked")
        self.quote()
        self.boot()
        self.clock()
        self.certification()
        self.assertion()
        if self.claims[-70001] == RENEW:
            self.unless("presence-expired", "presence-expired")
        if NEW & self.parts.keys():
            self.security_key() if "security" in self.parts else self.platform_key()
            self.unless("credential-enrolled", "credential-duplicate")
            demand("no-grant" not in self.case or "fido" in self.parts, "registration-not-authorised")

    def shape(self):
        demand(len(self.data) <= 8192 + 262144, "evidence-too-large")
        message = wire.cbor(self.data)
        demand(isinstance(message, cbor2.CBORTag) and message.tag == 18 and wire.MESSAGE(message.value), MALFORMED)
        self.protected, _, self.statement, self.signature = message.value
        header, self.claims = wire.cbor(self.protected), wire.cbor(self.statement)
        demand(wire.fields({265: wire.CLAIM, -70001: wire.integer}, {}, lambda key: True)(self.claims), MALFORMED)
        demand(self.claims[265] == PROFILE, "profile-wrong")
        demand(self.claims[-70001] in PURPOSES, "purpose-wrong")
        demand(wire.HEADER(header) and wire.STATEMENT(self.claims), MALFORMED)
        self.chain, self.raw = header[33], {name: header[at] for name, at in LABELS.items() if at in header}
        self.parts = {name: wire.cbor(raw) for name, raw in self.raw.items()}
        demand(all(wire.PARTS[LABELS[name]](part) for name, part in self.parts.items()), MALFORMED)
        demand(not PERSON <= self.raw.keys() and not NEW <= self.raw.keys(), MALFORMED)
        log = self.parts["tpm"].get(5)
        demand(len(self.data) - (len(log) if type(log) is bytes else 0) <= 8192, "evidence-too-large")
        if ACT in self.claims:
            wire.action(self.claims[ACT], MALFORMED)

    def purpose(self):
        purpose = self.claims[-70001]
        carried = {SUB, ACT, SID} & self.claims.keys() | self.parts.keys() - {"tpm"}
        demanded, allowed = PURPOSES[purpose]
        demand(demanded <= carried <= demanded | allowed, "purpose-wrong")
        demand(purpose != ENROL_KEY or NEW & carried, "purpose-wrong")
        demand(self.claims[3] == self.world["audience"], "audience-wrong")
        token = purpose in (SESSION, RENEW, ACTION, WORKLOAD)
        demand(token if self.kind == "evidence" else purpose == ENROL_KEY, "purpose-wrong")

    def challenge(self):
        nonce = self.claims[10]
        demand(len(nonce) == 39 and nonce[0] == 1, "challenge-invalid")
        data = nonce[:23] + sha256(self.peer) + bytes([self.claims[-70001]])
        for claim in (ACT, SID):
            data += bytes([claim in self.claims]) + sha256(self.claims.get(claim, b""))
        demand(hmac.digest(self.world["challenge_key"], data, "sha256")[:16] == nonce[23:], "challenge-invalid")
        demand(self.now < int.from_bytes(nonce[1:7]), "challenge-expired")

    def connection(self):
        demand((self.chain if type(self.chain) is bytes else self.chain[0]) == self.peer, "certificate-mismatch")
        code = "device-certificate-untrusted"
        certificate, extensions = leaf(self.chain, self.world["device_ca"], self.now, code, "1.3.6.1.5.5.7.3.2")
        names = list(extensions["2.5.29.17"].value) if "2.5.29.17" in extensions else []
        name = f"spiffe://{self.world['trust_domain']}/device/{self.claims[256].hex()}"
        demand([type(one) for one in names] == [x509.UniformResourceIdentifier], code)
        demand(names[0].value == name, "certificate-mismatch")
        self.key = certificate.public_key()
        x, y = point(self.key)
        thumbprint = sha256(cbor2.dumps({1: 2, -1: 1, -2: x, -3: y}, canonical=True))
        demand(self.claims[8][5] == thumbprint, "key-thumbprint-mismatch")
        structure = cbor2.dumps(["Signature1", self.protected, b"", self.statement])
        signed = encode_dss_signature(int.from_bytes(self.signature[:32]), int.from_bytes(self.signature[32:]))
        tpm.verify(self.key, signed, structure, "evidence-signature-invalid")

    def quote(self):
        chain, (quoted, signed), code = self.parts["tpm"][1], self.parts["tpm"][2], "ak-certificate-untrusted"
        self.ak = leaf(chain, self.world["device_ca"], self.now, code, "2.23.133.8.3")[0].public_key()
        demand(b"\4" + b"".join(point(self.ak)) == self.world["ak"], "ak-mismatch")
        tpm.verify(self.ak, tpm.signature(signed, "quote-malformed"), quoted, "quote-signature-invalid")
        self.quoted = tpm.attest(quoted, 0x8018, ["quote-magic-wrong", "quote-type-wrong", "quote-malformed"])
        person = self.raw.get("fido", self.raw.get("platform", b""))
        made = [sha256(self.raw[name]) for name in NEW & self.raw.keys()]
        self.extra = sha256(b"signet-tpm-v1\0", sha256(self.statement), sha256(person), *made)
        demand(self.quoted.extra == self.extra, "quote-challenge-mismatch")

    def boot(self):
        values, mismatch = self.parts["tpm"].get(4), "pcr-digest-mismatch"
        selected = [(bank, indices) for bank, indices in self.quoted.selections if indices]
        if values is not None:
            demand([sorted(values)] == [indices for _, indices in selected], mismatch)
            demand(self.quoted.digest == sha256(*(values[index] for index in sorted(values))), mismatch)
            demand({len(one) for one in values.values()} == {tpm.BANKS.get(selected[0][0], (0, 0))[1]}, mismatch)
        required = set(map(int, self.world["pcrs"]))
        banks = [bank for bank, indices in selected if bank in tpm.BANKS and required <= set(indices)]
        demand(banks, "pcr-selection-insufficient")
        bank = banks[0]
        if "machines-judged" in self.case:  # a policy that wants a log that explains PCRs 0, 4 and 7
            log = self.parts["tpm"].get(5)
            demand(log != 2, "boot-log-too-long")
            demand(type(log) is bytes, "boot-log-missing")
            replayed = tpm.replay(log, bank)
            demand(values, "pcr-selection-insufficient")
            demand(all(replayed.get(index) == values[index] for index in (0, 4, 7)), "boot-log-mismatch")
        self.unless("pcrs-drifted", "boot-policy-refused" if values else "pcr-selection-insufficient")

    def clock(self):
        now, world = self.quoted, self.world
        clock = (1 << 64) - 1 if "clock-ahead" in self.case else world["clock_ms"]
        held = now.reset >= world["reset_count"] and (not now.safe or now.clock >= clock)
        boot = now.reset == world["reset_count"]
        demand(held and (not boot or now.restart >= world["restart_count"]), "tpm-clock-regressed")
        if SID in self.claims:
            self.unless("session-ended", "session-ended")
            demand(self.claims[SID] == world["session"] and self.claims[SUB] == world["operator"], "session-ended")
            demand(boot and "session-rebooted" not in self.case, "tpm-rebooted")

    def certified(self, part, public, extra, malformed, signature, challenge, name):
        """TPM2_Certify by the AK of this public area."""
        tpm.verify(self.ak, tpm.signature(part[1], malformed), part[0], signature)
        said = tpm.attest(part[0], 0x8017, [malformed] * 3)
        demand(said.extra == extra, challenge)
        try:
            tpm.public(public, malformed, "of another kind")
        except Refused as refused:
            demand(refused.args[0] != malformed, malformed)
        demand(said.name == tpm.name(public), name)

    def certification(self):
        part, other = self.parts["tpm"].get(3), "certification-key-mismatch"
        if part is None:
            return demand(self.claims[-70001] not in (SESSION, ENROL_DEVICE, WORKLOAD), "certification-missing")
        codes = [f"certification-{what}" for what in ("malformed", "signature-invalid", "challenge-mismatch")]
        self.certified(part, part[2], self.extra, *codes, other)
        public = tpm.public(part[2], other, "tls-key-attributes")
        must = tpm.FIXED_TPM | tpm.FIXED_PARENT | tpm.ORIGIN | tpm.SIGN
        must_not = tpm.RESTRICTED | tpm.DECRYPT | tpm.X509_SIGN
        demand(public.scheme == 0x18 and tpm.has(public.attributes, must, must_not), "tls-key-attributes")
        demand(point(public.key) == point(self.key), other)

    def assertion(self):
        if not PERSON & self.parts.keys():
            return demand(self.claims[-70001] not in (SESSION, ACTION), "assertion-missing")
        self.unless("credential-unknown", "credential-unknown")
        demand(self.claims[SUB] == self.world["operator"], "credential-unknown")
        if "platform" in self.parts:
            return self.platform_assertion()
        part, world = self.parts["fido"], self.world
        demand(part[1] == world["credential"], "credential-unknown")
        self.unless("credential-revoked", "credential-revoked")
        self.unless("model-reported", "authenticator-status")
        data = authenticator_data(part[2], "assertion-malformed")
        self.client_data(part[3], "webauthn.get", b"signet-fido-v1\0")
        self.flags(data)
        demand(data.flags & 4 and "credential-touch-only" not in self.case, "uv-missing")
        demand(not data.flags & 0x18, "backup-eligible")
        key = p256(cbor2.loads(world["credential_key"]))
        tpm.verify(key, part[4], part[2] + sha256(part[3]), "assertion-signature-invalid")
        before = 0xFFFFFFFF if "counter-ahead" in self.case else world["sign_count"]
        demand(data.counter > before or data.counter == before == 0, "counter-regressed")

    def client_data(self, data, kind, context):
        tail = f'"origin":"https://{self.world["rp_id"]}","crossOrigin":false}}'
        found = re.fullmatch(f'{{"type":"{kind}","challenge":"([^"]*)",{re.escape(tail)}'.encode(), data)
        demand(found, "assertion-client-data-wrong")
        demand(found[1] == b64u(sha256(context, self.statement)).encode(), "assertion-challenge-mismatch")

    def flags(self, data):
        demand(data.rp_id_hash == sha256(self.world["rp_id"].encode()), "rp-id-mismatch")
        demand(data.flags & 1, "up-missing")

    def platform_assertion(self):
        part, facts = self.parts["platform"], self.claims.get(-70005, {})
        keys = {b"\0\x0b" + sha256(self.world[name]): name for name in ("pin_key", "finger_key")}
        demand(part[1] in keys and "platform-key-elsewhere" not in self.case, "credential-unknown")
        self.unless("credential-revoked", "credential-revoked")
        signed = tpm.signature(part[2], "assertion-malformed")
        key = tpm.public(self.world[keys[part[1]]], MALFORMED, MALFORMED).key
        tpm.verify(key, signed, b"signet-platform-v1\0" + self.statement, "assertion-signature-invalid")
        if keys[part[1]] == "finger_key":
            demand({1, 2} <= facts.keys(), "platform-facts-missing")
            registered = [self.world["driver"], self.world["fingers"]]
            demand([facts[1], facts[2]] == registered, "platform-fingers-changed")

    def platform_key(self):
        part, policy, extra = self.parts["own"], "platform-key-policy", sha256(b"signet-platformreg-v1\0", self.statement)
        self.certified(part[2], part[1], extra, INVALID, INVALID, "assertion-challenge-mismatch", INVALID)
        public = tpm.public(part[1], INVALID, ATTRIBUTES)
        pin = public.policy == sha256(bytes(32), bytes.fromhex("0000016b"))
        must_not = tpm.RESTRICTED | tpm.DECRYPT | tpm.X509_SIGN | tpm.USER_WITH_AUTH | tpm.ADMIN_WITH_POLICY
        must = tpm.FIXED_TPM | tpm.FIXED_PARENT | tpm.ORIGIN | tpm.SIGN
        demand(tpm.has(public.attributes, must, must_not | (tpm.NO_DA if pin else 0)), ATTRIBUTES)
        demand(pin != (3 in part), policy)
        if not pin:
            key = tpm.public(part[3], policy, policy)
            inner = sha256(bytes(32), bytes.fromhex("00000160"), key.name)
            demand(key.attributes & tpm.SIGN and public.policy == sha256(inner, b"signet-fprint-v1"), policy)
            demand({1, 2} <= self.claims.get(-70005, {}).keys(), "platform-facts-missing")

    def security_key(self):
        part, world = self.parts["security"], self.world
        self.client_data(part[2], "webauthn.create", b"signet-fidoreg-v1\0")
        try:
            made = cbor2.loads(part[1])
            shown, form, statement = made["authData"], made["fmt"], made["attStmt"]
            demand(form in ("packed", *FORMS), "attestation-format-refused")
            demand(made.keys() == {"authData", "fmt", "attStmt"} and form == "packed", INVALID)
            demand("x5c" in statement, "attestation-format-refused")
            data = authenticator_data(shown, INVALID)
            aaguid, key = bytes(data.credential_data.aaguid), data.credential_data.public_key
            demand((key.get(3), statement["alg"]) == (-7, -7), "credential-algorithm-refused")
            demand(data.credential_data.credential_id and (key[1], key[-1]) == (2, 1), INVALID)
            p256(key)
            level = (data.extensions or {}).get("credProtect")
            demand(level in (None, 1, 2, 3) and statement.keys() == {"alg", "sig", "x5c"}, INVALID)
            signer = x509.load_der_x509_certificate(statement["x5c"][0])
            tpm.verify(signer.public_key(), statement["sig"], shown + sha256(part[2]), INVALID)
            inside = [e.value.value for e in signer.extensions if e.oid.dotted_string == "1.3.6.1.4.1.45724.1.1.4"]
            demand(inside in ([], [b"\4\x10" + aaguid]), "aaguid-refused")
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise Refused(INVALID) from None
        root = world["device_ca" if "other-attestation-roots" in self.case else "attestation_root"]
        leaf(statement["x5c"], root, self.now, "attestation-untrusted")
        self.flags(data)
        demand(not data.flags & 0x18, "backup-eligible")
        self.unless("model-denied", "aaguid-denied")
        self.unless("metadata-stale", "metadata-stale")
        self.unless("model-reported", "authenticator-status")
        demand("other-models" not in self.case and aaguid == world["aaguid"], "aaguid-refused")
        if "model-touch-only" in self.case:
            return demand("touch-only-accepted" in self.case, "touch-only-refused")
        demand(data.flags & 4, "uv-missing")
        unsaid = 0 if "model-has-cred-protect" in self.case else 3
        demand((unsaid if level is None else level) >= 3, "cred-protect-insufficient")


def p256(key):
    """The key of a COSE_Key; an error where it is no point of the curve."""
    x, y = int.from_bytes(key[-2]), int.from_bytes(key[-3])
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def authenticator_data(data, code):
    """WebAuthn L3 6.1, read by python-fido2."""
    try:
        read = AuthenticatorData(data)
        demand(read.extensions is None or isinstance(read.extensions, dict), code)
        return read
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, struct.error):
        raise Refused(code) from None
