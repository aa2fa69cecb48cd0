"""The checks of protocol 3.3 at a gateway, but for the policy; signatures by PyJWT."""

import base64
import hashlib
import json
import re

import jwt
from cryptography.hazmat.primitives.serialization import load_der_private_key

import wire
from appraise import point
from wire import Refused, b64u, demand, sha256

CLAIMS = {
    "iss": str, "aud": str, "sub": str, "client_id": str, "iat": int, "nbf": int, "exp": int, "jti": str, "sid": str,
    "acr": str, "cnf": dict, "status": dict, "signet": dict,
}
MAYBE = {"auth_time": int, "amr": list, "scope": str, "authorization_details": list}
LEVELS = [f"signet.{level}" for level in ("device", "host", "tpm-pin", "touch", "uv", "uv-hw")]
FACTS = {"human", "uvm", "uvm_src", "key_att", "dev", "boot", "pres_exp", "sess_exp", "x5t_hex", "once"}


def authorize(fixture, world):
    method, url, *body = fixture["request"].split(" ", 2)
    host, path = re.fullmatch(r"(https://[^/]+)(/.*)", url).groups()
    demand(wire.unambiguous(path), "target-ambiguous")
    demand(fixture["peer"] != "none", "certificate-missing")
    demand(fixture["bytes"], "token-missing")
    key = load_der_private_key(world["token_key"], None).public_key()
    claims = read(fixture["bytes"], key)
    demand(claims["iss"] == world["audience"] and claims["aud"] == world["trust_domain"], "token-audience-wrong")
    demand(claims["nbf"] - 5 <= fixture["now"] < claims["exp"] + 5, "token-expired")
    action = claims.get("authorization_details")
    cap = 60 if action else 900
    demand(claims["exp"] - claims["iat"] <= cap and claims["acr"] in LEVELS, "token-malformed")
    peer = world["peers"][fixture["peer"]]
    bound = claims["cnf"] == {"x5t#S256": b64u(sha256(peer))}
    demand(bound and claims["signet"]["x5t_hex"] == sha256(peer).hex(), "token-binding-mismatch")
    demand("session-revoked" not in fixture["with"], "token-revoked")
    demand("token-redeemed" not in fixture["with"], "token-redeemed")
    if action:
        one = wire.action(json.dumps(action).encode(), "token-malformed")
        digest = hashlib.sha256("".join(body).encode()).digest()
        request = (method, host, path, f"sha-256=:{base64.b64encode(digest).decode()}:")
        demand(request == tuple(one[m] for m in ("method", "locations", "path", "content_digest")), "action-mismatch")


def read(token, key):
    """Shape, algorithm, key id and signature of a JWT of ours (3.1)."""
    malformed = "token-malformed"
    try:
        text = token.decode("ascii")
        parts = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in text.split(".")]
        demand(len(token) <= 8192 and len(parts) == 3 and len(parts[2]) == 64 and text == ".".join(map(b64u, parts)), malformed)
        header, claims = (json.loads(part, object_pairs_hook=wire.once) for part in parts[:2])
        demand(header.keys() == {"alg", "typ", "kid"}, malformed)
        demand(header["alg"] == "ES256" and header["typ"] == "at+jwt", malformed)
    except (ValueError, AttributeError):
        raise Refused(malformed) from None
    x, y = map(b64u, point(key))
    thumbprint = b64u(sha256(f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'.encode()))
    demand(header["kid"] == thumbprint, "token-signature-invalid")
    try:
        jwt.PyJWS().decode(token, key, algorithms=["ES256"])
    except jwt.PyJWTError:
        raise Refused("token-signature-invalid") from None
    demand(type(claims) is dict and CLAIMS.keys() <= claims.keys() <= CLAIMS.keys() | MAYBE.keys(), malformed)
    demand(all(type(claims[name]) is kind for name, kind in (CLAIMS | MAYBE).items() if name in claims), malformed)
    demand(claims["signet"].keys() <= FACTS, malformed)
    demand(("authorization_details" in claims) == (claims["signet"].get("once") is True), malformed)
    return claims
