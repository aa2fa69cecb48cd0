"""Keylime's verifier, as it is after its installation. `evidence.py FOLDER PORT`: keeps its state in FOLDER,
serves at 127.0.0.1:PORT, and writes FOLDER/request.json, the body of a `verify/evidence` that it accepts."""

import base64
import ctypes
import hashlib
import json
import os
import signal
import struct
import sys
import types

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

FOLDER, PORT = sys.argv[1:]
# The defaults of its templates, which the wheel lacks.
VERIFIER = f"""[verifier]
version = 2.6
uuid = default
ip = 127.0.0.1
port = {PORT}
registrar_ip = 127.0.0.1
registrar_port = 8891
enable_agent_mtls = True
tls_dir = generate
server_key = default
server_key_password =
server_cert = default
cert_subject_alternative_names =
trusted_client_ca = default
client_key = default
client_key_password =
client_cert = default
trusted_server_ca = default
authorization_provider = simple
database_url = sqlite
database_pool_sz_ovfl = 5,10
auto_migrate_db = True
num_workers = 1
max_workers = 16
exponential_backoff = True
retry_interval = 2
max_retries = 5
quote_interval = 2
max_upload_size = 104857600
request_timeout = 60.0
measured_boot_policy_name = accept-all
measured_boot_imports = []
measured_boot_evaluate = once
severity_labels = ["info", "notice", "warning", "error", "critical", "alert", "emergency"]
severity_policy = [{{"event_id": ".*", "severity_label" : "emergency"}}]
ignore_tomtou_errors = False
durable_attestation_import =
require_allow_list_signatures = False
mode = pull
challenge_lifetime = 1800
verification_timeout = 0
session_create_rate_limit_per_ip = 50
session_create_rate_limit_window_ip = 60
session_create_rate_limit_per_agent = 15
session_create_rate_limit_window_agent = 60
session_lifetime = 180
extend_token_on_attestation = True
auto_recover_attestation_failures = False
shutdown_drain_timeout = 10
[revocations]
enabled_revocation_notifications = []
zmq_ip = 127.0.0.1
zmq_port = 8992
webhook_url =
"""
LOGGING = """[logging]
version = 2.6
[loggers]
keys = root,keylime
[handlers]
keys = consoleHandler
[formatters]
keys = formatter
[formatter_formatter]
format = %(name)s %(levelname)s %(message)s
datefmt =
[logger_root]
level = INFO
handlers = consoleHandler
[handler_consoleHandler]
class = StreamHandler
level = INFO
formatter = formatter
args = (sys.stdout,)
[logger_keylime]
level = INFO
qualname = keylime
handlers =
"""
CA = """[ca]
version = 2.6
password = default
cert_country = US
cert_ca_name = Keylime Certificate Authority
cert_state = MA
cert_locality = Lexington
cert_organization = Keylime
cert_org_unit = 53
cert_ca_lifetime = 3650
cert_lifetime = 365
cert_bits = 2048
cert_crl_dist = http://localhost:38080/crl
"""


def sized(part):
    return struct.pack(">H", len(part)) + part


def request():
    """One ECDSA quote over three PCRs, in the forms of tpm2-tools, with the policy that it satisfies."""
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_numbers()
    coordinates = [number.to_bytes(32, "big") for number in (point.x, point.y)]
    # TPMT_PUBLIC: ECC, SHA-256, fixedTPM and the like, restricted, sign; ECDSA with SHA-256 on P-256.
    public = struct.pack(">HHI", 0x23, 0x0B, 0x50072) + sized(b"")
    public += struct.pack(">HHHHH", 0x10, 0x18, 0x0B, 3, 0x10) + b"".join(map(sized, coordinates))
    pcrs = {number: bytes([number]) * 32 for number in (0, 4, 7)}
    select = sum(1 << number for number in pcrs).to_bytes(3, "little")
    nonce = "a nonce of the tenant"
    # TPMS_ATTEST of a quote.
    attest = struct.pack(">IH", 0xFF544347, 0x8018) + sized(b"\0\x0b" + bytes(32)) + sized(nonce.encode())
    attest += struct.pack(">QIIBQ", 1000, 5, 0, 1, 1) + struct.pack(">IHB", 1, 0x0B, 3) + select
    attest += sized(hashlib.sha256(b"".join(pcrs.values())).digest())
    pair = utils.decode_dss_signature(key.sign(attest, ec.ECDSA(hashes.SHA256())))
    signature = struct.pack(">HH", 0x18, 0x0B) + b"".join(sized(part.to_bytes(32, "big")) for part in pair)
    # TPML_PCR_SELECTION and TPML_DIGEST as they lie in memory.
    values = struct.pack("<IHB", 1, 0x0B, 3) + select + bytes(2 + 8 * 15) + struct.pack("<II", 1, len(pcrs))
    values += b"".join(struct.pack("<H", 32) + value + bytes(32) for value in pcrs.values())
    values += bytes(66 * (8 - len(pcrs)))
    text = [base64.b64encode(part).decode() for part in (attest, signature, values, sized(public))]
    policy = {str(number): [value.hex()] for number, value in pcrs.items()}
    data = {"quote": "r" + ":".join(text[:3]), "nonce": nonce, "hash_alg": "sha256"}
    data |= {"tpm_ek": text[3], "tpm_ak": text[3], "tpm_policy": json.dumps(policy)}
    return {"type": "tpm", "data": data}


# It ends with whoever started it: PR_SET_PDEATHSIG.
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
os.environ["KEYLIME_DIR"] = FOLDER
for name, text in (("verifier", VERIFIER), ("logging", LOGGING), ("ca", CA)):
    path = os.path.join(FOLDER, name + ".conf")
    with open(path, "w") as file:
        file.write(text)
    os.environ[f"KEYLIME_{name.upper()}_CONFIG"] = path
with open(os.path.join(FOLDER, "request.json"), "w") as file:
    json.dump(request(), file)

# A package of the distribution, for signatures of lists that this bench has none of.
sys.modules["gpg"] = types.ModuleType("gpg")
from keylime.cmd import verifier  # noqa: E402

verifier.main()
