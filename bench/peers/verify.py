"""A verifier as people write one: PyJWT behind uvicorn. `verify.py SOCKET KEY.pem ISSUER AUDIENCE`."""

import base64
import binascii
import sys

import jwt
import uvicorn
from cryptography.hazmat.primitives.serialization import load_pem_public_key

SOCKET, KEY, ISSUER, AUDIENCE = sys.argv[1:]
with open(KEY, "rb") as file:
    PUBLIC = load_pem_public_key(file.read())


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    status = 401
    try:
        headers = dict(scope["headers"])
        token = headers[b"authorization"][7:].decode()
        claims = jwt.decode(token, PUBLIC, algorithms=["ES256"], audience=AUDIENCE, issuer=ISSUER)
        bound = base64.urlsafe_b64decode(claims["cnf"]["x5t#S256"] + "=")
        if binascii.unhexlify(headers[b"x-signet-peer-sha256"]) == bound:
            status = 200
    except Exception:
        pass
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


uvicorn.run(app, uds=SOCKET, log_level="critical", access_log=False, timeout_keep_alive=600)
