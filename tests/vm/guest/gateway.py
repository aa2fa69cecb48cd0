#!/usr/bin/python3
"""gateway.py CERTIFICATE KEY CLIENT_CA PORT FILE: stands where a gateway would, and notes who came with what.

Takes connections of enrolled machines only. FILE gets a line of JSON for each request: method, path, and what
its token says; whether the token is good is the authority's business, and tested elsewhere.
"""

import base64
import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

certificate, key, client_ca, port, file = sys.argv[1:]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        payload = token.split(".")[1] if token.count(".") == 2 else ""
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)) or b"{}")
        note = {"method": self.command, "path": self.path, "scheme": scheme, "claims": claims}
        with open(file, "a") as notes:
            notes.write(json.dumps(note) + "\n")
        self.send_response(204)
        self.end_headers()

    do_DELETE = do_PUT = do_GET = answer


server = HTTPServer(("127.0.0.1", int(port)), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
context.load_verify_locations(client_ca)
context.verify_mode = ssl.CERT_REQUIRED
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
