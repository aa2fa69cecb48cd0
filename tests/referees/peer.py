"""python-fido2 as the other side: as the relying party that judges what Signet's client brought from a
key, or as the client whose results Signet's verifier judges.

usage: peer.py judge < JSON      prints "accepted" or "refused: WHY"
       peer.py use KEY < JSON    prints what its client brought, as JSON

Byte strings are base64url without padding.
"""

import json
import sys

import rig
from anchored import Anchored
from fido2.attestation.base import InvalidAttestation
from fido2.client import DefaultClientDataCollector, Fido2Client, UserInteraction
from fido2.server import Fido2Server
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import PublicKeyCredentialRpEntity


def server(case):
    """A relying party under https://RP_ID that wants attestation under the root of the case."""
    rp = PublicKeyCredentialRpEntity(id=case["rp_id"], name="referee")
    anchored = Anchored(websafe_decode(case["root"]))
    return Fido2Server(rp, attestation="direct", verify_attestation=anchored.verify_attestation)


def state(challenge):
    return {"challenge": challenge, "user_verification": "required"}


def credential(answer, credential_id):
    members = {"clientDataJSON": answer["client_data"]}
    for name, member in [
        ("attestation_object", "attestationObject"),
        ("authenticator_data", "authenticatorData"),
        ("signature", "signature"),
    ]:
        if name in answer:
            members[member] = answer[name]
    return {
        "id": credential_id,
        "rawId": credential_id,
        "type": "public-key",
        "response": members,
    }


def judge(case):
    relying_party = server(case)
    made, used = case["registration"], case["assertion"]
    try:
        answer = credential(made, case["credential_id"])
        known = relying_party.register_complete(state(made["challenge"]), answer).credential_data
        answer = credential(used, case["credential_id"])
        relying_party.authenticate_complete(state(used["challenge"]), [known], answer)
    except (ValueError, InvalidAttestation) as why:
        return f"refused: {type(why).__name__} {why}".strip()
    return "accepted"


class Typist(UserInteraction):
    def __init__(self, pin):
        self.pin = pin

    def request_pin(self, permissions, rp_id):
        return self.pin


def use(case, key):
    """Registers, and asserts, with python-fido2's own client; the relying party is ours."""
    collector = DefaultClientDataCollector(f"https://{case['rp_id']}")
    client = Fido2Client(rig.open_key(key), collector, user_interaction=Typist(case["pin"]))
    options = {
        "challenge": websafe_decode(case["registration_challenge"]),
        "rp": {"id": case["rp_id"], "name": "Signet"},
        "user": {"id": b"operator-1", "name": "op", "displayName": "Op"},
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
        "authenticatorSelection": {"userVerification": "required"},
        "attestation": "direct",
    }
    made = client.make_credential(options)
    options = {
        "challenge": websafe_decode(case["assertion_challenge"]),
        "rpId": case["rp_id"],
        "allowCredentials": [{"type": "public-key", "id": made.raw_id}],
        "userVerification": "required",
    }
    used = client.get_assertion(options).get_response(0)
    return {
        "credential_id": websafe_encode(made.raw_id),
        "registration": {
            "client_data": websafe_encode(made.response.client_data),
            "attestation_object": websafe_encode(made.response.attestation_object),
        },
        "assertion": {
            "client_data": websafe_encode(used.response.client_data),
            "authenticator_data": websafe_encode(used.response.authenticator_data),
            "signature": websafe_encode(used.response.signature),
        },
    }


def main():
    given = json.load(sys.stdin)
    match sys.argv[1:]:
        case ["judge"]:
            print(judge(given))
        case ["use", key]:
            print(json.dumps(use(given, key)))
        case _:
            sys.exit(__doc__)


main()
