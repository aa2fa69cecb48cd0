"""A workstation that shares no code with Signet: tpm2-tools drive the TPM, tlslite-ng speaks TLS with its
key, cryptography is the security key, and cbor2 and docs/protocol.md do the rest.

usage: attester.py SETTINGS.json

Enrols a machine and a key, proves presence, renews, approves an action; then sends what must be refused.
Prints one line "STEP STATUS CODE" for each answer, where CODE is "-" for a permit.
"""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import time
import urllib.parse

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key
from tlslite.api import HandshakeSettings, HTTPTLSConnection, X509, X509CertChain
from tlslite.utils.python_ecdsakey import Python_ECDSAKey

PROFILE = "urn:uuid:5b2d8f0e-7c1a-4e57-9a3c-1d6f0c9be2a4"
PURPOSES = {"session": 1, "renew": 2, "action": 3, "enrol-key": 5, "workload": 6}
ECDSA = ec.ECDSA(hashes.SHA256())


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def b64u(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64u(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def dumps(item):
    return cbor2.dumps(item, canonical=True)


class Tpm:
    """AK and TLS key in a TPM, by tpm2-tools."""

    AK, TLS = 0x81010010, 0x81010011

    def __init__(self, settings):
        self.folder, self.port = pathlib.Path(settings["folder"]), settings["tpm_port"]
        self.environment = os.environ | {"TPM2TOOLS_TCTI": f"swtpm:host=127.0.0.1,port={self.port}"}
        self.run("tpm2_createek -G rsa -c ek.ctx -u ek.pub")
        self.run("tpm2_createak -C ek.ctx -c ak.ctx -u ak.pub -G ecc -g sha256 -s ecdsa")
        self.run(f"tpm2_evictcontrol -C o -c ak.ctx {self.AK:#x}")
        self.run("tpm2_createprimary -C o -G ecc -c srk.ctx")
        self.run("tpm2_evictcontrol -C o -c srk.ctx 0x81000001")
        attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign|noda"
        create = f"tpm2_create -C 0x81000001 -G ecc256:ecdsa-sha256 -a {attributes} -u tls.pub -r tls.priv"
        self.run(create)
        self.run("tpm2_load -C 0x81000001 -u tls.pub -r tls.priv -c tls.ctx")
        self.run(f"tpm2_evictcontrol -C o -c tls.ctx {self.TLS:#x}")
        self.run("tpm2_nvread -C o -o ek.der 0x01c00002")

    def run(self, command):
        ran = subprocess.run(
            command.split(), cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        if ran.returncode:
            sys.exit(f"{command}: {ran.stderr}")
        if "flush" not in command:
            self.run("tpm2_flushcontext -t")

    def read(self, name):
        return (self.folder / name).read_bytes()

    def public(self, name):
        """A TPM2B_PUBLIC without its size."""
        return self.read(name)[2:]

    def activate(self, blob, secret):
        file = struct.pack(">II", 0xBADCC0DE, 1)
        file += blob + secret  # with their sizes, as TPM2B structures have them
        (self.folder / "credential").write_bytes(file)
        self.run("tpm2_startauthsession --policy-session -S session")
        self.run("tpm2_policysecret -S session -c e")
        self.run("tpm2_activatecredential -c ak.ctx -C ek.ctx -i credential -o secret -P session:session")
        self.run("tpm2_flushcontext session")
        return self.read("secret")

    def quote(self, data, pcrs):
        selection = ",".join(map(str, pcrs))
        command = f"tpm2_quote -c {self.AK:#x} -l sha256:{selection} -g sha256 -q {data.hex()}"
        self.run(f"{command} -m quote -s quote.sig -o pcrs -F values")
        values = self.read("pcrs")
        values = {index: values[32 * at : 32 * at + 32] for at, index in enumerate(sorted(pcrs))}
        return self.read("quote"), self.read("quote.sig"), values

    def certify(self, data):
        """TPM2_Certify with qualifying data, which tpm2_certify cannot set (part 3, 18.2)."""
        password = struct.pack(">IHBH", 0x40000009, 0, 0, 0)
        body = struct.pack(">III", self.TLS, self.AK, 2 * len(password)) + 2 * password
        body += struct.pack(">H", len(data)) + data + struct.pack(">H", 0x10)
        with socket.create_connection(("127.0.0.1", self.port)) as link:
            link.sendall(struct.pack(">HII", 0x8002, 10 + len(body), 0x148) + body)
            answer = link.recv(4096)
        if struct.unpack_from(">I", answer, 6) != (0,):
            sys.exit(f"TPM2_Certify: {answer.hex()}")
        (size,) = struct.unpack_from(">I", answer, 10)
        answer = answer[14 : 14 + size]
        (size,) = struct.unpack_from(">H", answer)
        return answer[2 : 2 + size], answer[2 + size :]

    def sign(self, message, digest=False):
        """ECDSA with SHA-256 by the TLS key, r || s."""
        (self.folder / "message").write_bytes(message)
        how = " -d" if digest else ""
        self.run(f"tpm2_sign -c {self.TLS:#x} -g sha256 -s ecdsa -f plain{how} -o signature message")
        r, s = decode_dss_signature(self.read("signature"))
        return r.to_bytes(32) + s.to_bytes(32)

    def certificate_request(self):
        """PKCS#10 (RFC 2986) of an empty subject, which nothing but the TLS key has to sign."""
        numbers = struct.unpack(">32s2x32s", self.public("tls.pub")[-66:])
        self.key = ec.EllipticCurvePublicNumbers(*map(int.from_bytes, numbers), ec.SECP256R1()).public_key()
        info = der(0x30, b"\2\1\0", der(0x30), spki(self.key), der(0xA0))
        algorithm = der(0x30, bytes.fromhex("06082a8648ce3d040302"))  # ecdsa-with-SHA256
        signature = self.sign(info)
        signature = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
        return der(0x30, info, algorithm, der(3, b"\0", signature))


class TlsKey(Python_ECDSAKey):
    """The TPM's key as tlslite-ng wants one."""

    def __init__(self, tpm):
        numbers = tpm.key.public_numbers()
        super().__init__(numbers.x, numbers.y, "NIST256p")
        self.tpm = tpm

    def hasPrivateKey(self):
        return True

    def _sign(self, data, hash_alg):
        signature = self.tpm.sign(bytes(data), digest=True)
        r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
        return bytearray(encode_dss_signature(r, s))


def spki(key):
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def der(tag, *parts):
    content = b"".join(parts)
    size = len(content)
    long = size.to_bytes((size.bit_length() + 7) // 8) if size > 127 else b""
    return bytes([tag, 0x80 | len(long) if long else size]) + long + content


class SecurityKey:
    """A credential in software, attested as a model's batch key would."""

    def __init__(self, settings, rp_id):
        self.rp_id, self.key, self.count = rp_id, ec.generate_private_key(ec.SECP256R1()), 0
        self.id, self.aaguid = os.urandom(32), bytes.fromhex(settings["aaguid"])
        self.batch = load_der_private_key(base64.b64decode(settings["batch_key"]), None)
        self.certificate = base64.b64decode(settings["batch_certificate"])

    def client_data(self, kind, challenge):
        head = f'{{"type":"webauthn.{kind}","challenge":"{b64u(challenge)}","origin":"https://{self.rp_id}"'
        return f'{head},"crossOrigin":false}}'.encode()

    def data(self, flags, more=b""):
        self.count += 1
        return sha256(self.rp_id.encode()) + struct.pack(">BI", flags, self.count) + more

    def register(self, statement):
        numbers = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
        made = self.aaguid + struct.pack(">H", len(self.id)) + self.id + dumps(cose)
        data = self.data(0xC5, made + dumps({"credProtect": 3}))
        client_data = self.client_data("create", sha256(b"signet-fidoreg-v1\0", statement))
        signature = self.batch.sign(data + sha256(client_data), ECDSA)
        attested = {"alg": -7, "sig": signature, "x5c": [self.certificate]}
        return dumps({1: dumps({"fmt": "packed", "attStmt": attested, "authData": data}), 2: client_data})

    def touch(self, statement, flags=0x05):
        data = self.data(flags)
        client_data = self.client_data("get", sha256(b"signet-fido-v1\0", statement))
        signature = self.key.sign(data + sha256(client_data), ECDSA)
        return dumps({1: self.id, 2: data, 3: client_data, 4: signature, 5: 1})


class Workstation:
    def __init__(self, settings):
        self.settings, self.tpm = settings, Tpm(settings)
        self.ca = x509.load_pem_x509_certificate(pathlib.Path(settings["server_ca"]).read_bytes())
        self.chain = []

    def post(self, path, body, form=False):
        """One request on its own connection, with the machine's certificate once there is one."""
        content = urllib.parse.urlencode(body) if form else json.dumps(body)
        kind = "application/x-www-form-urlencoded" if form else "application/json"
        host, port = urllib.parse.urlsplit(self.settings["authority"]).netloc.split(":")
        mine = {}
        if self.chain:
            certificates = [X509() for _ in self.chain]
            for certificate, encoded in zip(certificates, self.chain):
                certificate.parseBinary(bytearray(encoded))
            mine = {"certChain": X509CertChain(certificates), "privateKey": TlsKey(self.tpm)}
        settings = HandshakeSettings()
        settings.minVersion = settings.maxVersion = (3, 4)
        settings.certificate_compression_send = []
        link = HTTPTLSConnection(host, int(port), settings=settings, checker=self.check, **mine)
        link.request("POST", path, content.encode(), {"content-type": kind})
        answer = link.getresponse()
        return answer.status, json.loads(answer.read() or "{}")

    def check(self, link):
        chain = [x509.load_der_x509_certificate(bytes(one.bytes)) for one in link.session.serverCertChain.x509List]
        chain[0].verify_directly_issued_by(self.ca)

    def said(self, step, answer):
        status, body = answer
        print(step, status, body.get("code", "-"), flush=True)
        if status == 200:
            return body
        return None

    def enrol(self):
        publics = {name: b64u(self.tpm.public(f"{name[:-7]}.pub")) for name in ("ek_public", "ak_public", "tls_public")}
        first = {"ticket": self.settings["ticket"], "ek_kind": "rsa-2048", **publics}
        first["ek_certificate"] = b64u(self.tpm.read("ek.der"))
        first["ek_chain"] = [self.settings["ek_intermediate"]]
        begun = self.said("begin", self.post("/v1/enrol/device/begin", first))
        secret = self.tpm.activate(*(unb64u(begun[name]) for name in ("credential_blob", "encrypted_secret")))
        transcript, nonce = unb64u(begun["transcript"]), unb64u(begun["nonce"])
        data = sha256(b"signet-enrol-v1\0", sha256(transcript), nonce)
        certified, (quote, signed, values) = self.tpm.certify(data), self.tpm.quote(data, [0, 2, 4, 7])
        second = {
            "enrolment_id": begun["enrolment_id"],
            "proof": b64u(hmac.digest(secret, transcript + nonce, "sha256")),
            "certify": dict(zip(("attest", "signature"), map(b64u, certified))),
            "quote": {"attest": b64u(quote), "signature": b64u(signed)},
            "pcrs": {str(index): b64u(value) for index, value in values.items()},
            "csr": b64u(self.tpm.certificate_request()),
        }
        self.enrolled = self.said("finish", self.post("/v1/enrol/device/finish", second))
        self.chain, self.ak_chain = (
            [unb64u(one) for one in self.enrolled[name]] for name in ("device_chain", "ak_chain")
        )
        leaf = x509.load_der_x509_certificate(self.chain[0])
        name = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value[0].value
        self.device = bytes.fromhex(name.rsplit("/", 1)[1])
        numbers = leaf.public_key().public_numbers()
        key = {1: 2, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
        self.thumbprint = sha256(dumps(key))
        self.key = SecurityKey(self.settings, self.enrolled["rp_id"])

    def evidence(self, purpose, claims={}, touch=None, register=False, certify=False, edit=lambda claims: claims):
        """Evidence of protocol 2.1 over a fresh challenge; `touch` makes the assertion of a statement."""
        question = {"purpose": purpose}
        question |= {"action": b64u(claims[-70003])} if -70003 in claims else {}
        question |= {"session": claims[-70004].hex()} if -70004 in claims else {}
        status, given = self.post("/v1/challenge", question)
        if status != 200:
            sys.exit(f"challenge for {purpose}: {status} {given}")
        statement = {265: PROFILE, 10: unb64u(given["challenge"]), 3: given["audience"], 6: int(time.time())}
        statement |= {8: {5: self.thumbprint}, 256: self.device, -70001: PURPOSES[purpose]} | claims
        statement |= {2: given["subject"]} if given.get("subject") and purpose != "workload" else {}
        statement = dumps(edit(statement))
        parts = {-70101: touch(statement)} if touch else {}
        parts |= {-70104: self.key.register(statement)} if register else {}
        pieces = [statement, parts.get(-70101, b"")] + ([parts[-70104]] if register else [])
        data = sha256(b"signet-tpm-v1\0", *map(sha256, pieces))
        quote, signed, values = self.tpm.quote(data, given["pcrs"])
        tpm = {1: x5chain(self.ak_chain), 2: [quote, signed], 4: values, 5: 1}
        tpm |= {3: [*self.tpm.certify(data), self.tpm.public("tls.pub")]} if certify else {}
        header = {1: -9, 16: "application/eat+cwt", 33: x5chain(self.chain), -70102: dumps(tpm), **parts}
        protected = dumps(header)
        signature = self.tpm.sign(cbor2.dumps(["Signature1", protected, b"", statement]))
        return cbor2.dumps(cbor2.CBORTag(18, [protected, {}, statement, signature]))

    def token(self, step, evidence):
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": b64u(evidence),
            "subject_token_type": "urn:signet:token-type:evidence",
        }
        return self.said(step, self.post("/v1/token", form, form=True))


def x5chain(chain):
    return chain[0] if len(chain) == 1 else chain


def action(host):
    one = {"type": "signet_action", "actions": ["mesh.route.update"], "locations": [host], "method": "PUT"}
    digest = base64.b64encode(sha256(b"{}")).decode()
    one |= {"path": "/v1/namespaces/sandbox/routes/web", "content_digest": f"sha-256=:{digest}:"}
    return json.dumps([one]).encode()


def main():
    station = Workstation(json.loads(pathlib.Path(sys.argv[1]).read_text()))
    station.enrol()
    touch = station.key.touch
    key = {"evidence": b64u(station.evidence("enrol-key", register=True)), "name": "python"}
    station.said("key", station.post("/v1/enrol/authenticator", key))
    first = station.evidence("session", touch=touch, certify=True)
    session = station.token("session", first)
    sid = {-70004: bytes.fromhex(session["session"])}
    station.token("renewal", station.evidence("renew", sid))
    station.token("workload", station.evidence("workload", certify=True))
    approved = {-70003: action("https://ctl.mesh.example")}
    station.token("action", station.evidence("action", approved, touch=touch))

    station.token("again", first)
    station.token("touchless", station.evidence("session", certify=True))
    station.token("unverified", station.evidence("session", touch=lambda s: touch(s, 0x01), certify=True))
    moved = lambda statement: touch(statement + b"\0")
    station.token("moved-touch", station.evidence("session", touch=moved, certify=True))
    other = lambda claims: claims | {3: "https://other.example"}
    station.token("audience", station.evidence("session", touch=touch, certify=True, edit=other))
    bare = station.evidence("session", touch=touch)
    station.token("uncertified", bare)


main()
