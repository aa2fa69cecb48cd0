//! The settings file that `init` writes: every setting with its default and why one would change it.

use super::values::{HttpsUrl, RpId, TrustDomain};

/// The text of a new settings file.
#[must_use]
pub fn render(
    listen: std::net::SocketAddr,
    gateway_listen: std::net::SocketAddr,
    issuer: &HttpsUrl,
    trust_domain: &TrustDomain,
    rp_id: &RpId,
) -> String {
    format!(
        r#"# Settings of signet-authority. Check them with `signet-authority config check`.
# Relative paths are seen from this file's directory. Lengths of time: "90s", "5m", "10h", "7d".

# Where operators' machines connect (TLS 1.3; client certificate required but for enrolment).
listen = "{listen}"
# Where gateways connect (mutual TLS only).
gateway_listen = "{gateway_listen}"
# This authority's URL: issuer of tokens, audience of evidence.
issuer = "{issuer}"
# Audience of tokens: the trust domain or gateway group that they open.
audience = "{trust_domain}"
# SPIFFE trust domain of machines and gateways.
trust_domain = "{trust_domain}"
# Relying party id of the security keys: a reserved host name that no web server ever serves.
rp_id = "{rp_id}"

# SQLite file, or PostgreSQL ("postgres://signet@db.example.org/signet", for several authorities; the
# password by PGPASSFILE or the credential database-password), and the directory of keys and certificates
# (mode 0700).
database = "authority.db"
keys = "keys"
# How often a new token key takes over by itself; it is published ten minutes before, and tokens of the key
# before it stay good. Where several authorities have copies of the directory, leave it out and run
# `signet-authority keys rotate` on one of them.
# rotate_token_key = "90d"

# A certificate for the listeners that somebody else keeps, such as an ACME client; read again whenever the
# files change. Without it the authority issues its own. `ca` is what leads to it; gateways get it.
# [tls]
# certificate = "/etc/ssl/authority/fullchain.pem"
# key = "/etc/ssl/authority/key.pem"
# ca = "/etc/ssl/authority/ca.pem"

[lifetimes]
# At most 15m.
session_token = "5m"
# At most 60s; an action token works once and is never renewed.
action_token = "60s"
# How long one touch can carry a session. Policies narrow it by `presence_age_seconds`; the example
# set gives 15 minutes to writes and these four hours to reads.
presence = "4h"
# A session ends after this time, whatever is proved in between.
session = "10h"
# Time to answer a challenge: with a touch, and for a renewal without one.
challenge = "2m"
renewal_challenge = "30s"
# Enrolment: ticket, both halves of a machine's enrolment, and the grant for its first key.
ticket = "15m"
enrolment = "5m"
grant = "15m"
# Device and AK certificates.
device_certificate = "7d"

[tpm]
# TPM makers' certificates (PEM or DER): `signet-authority tpm roots import`. A machine whose endorsement
# certificate does not lead to one of them cannot enrol; one without a certificate waits for
# `signet-authority tpm approve`, and its tokens say that no maker vouches for the TPM.
ek_roots = "ek-roots"
# Accept every TPM without an endorsement certificate, with nobody's approval.
danger_accept_unproven = false
# PCRs that every quote must hold.
required_pcrs = [0, 2, 4, 7]
# Machines that no machine policy is for. "baseline": PCR values must equal those of the enrolment, or of
# a state that `signet-authority machine accept` accepted. "record": they judge nothing.
boot = "baseline"

[machines]
# Policies about what machines may boot, each with a mode (monitor, warn, enforce) for each group. Learn
# one with `signet-authority machine baseline`, review it, and put it here as NAME.toml.
policies = "machine-policies"

[registration]
# Accept keys that do not attest themselves. Whoever registers such a key may hold it in software.
danger_accept_unattested = false
# Accept keys that can only be touched, such as U2F keys. Whoever finds one can touch it too, so what
# they prove is never more than signet.touch; policies decide what that opens.
accept_touch_only = false
# How well a key must guard its credential, if it can: "uv-required", "uv-optional-with-list", "any".
cred_protect = "uv-required"
# Models that are never accepted.
deny_aaguids = []
# Where it is given, no other model is accepted.
# allow_aaguids = ["00000000-0000-0000-0000-000000000000"]

# FIDO metadata: what is published of models of security key. It says how a model verifies its user and
# which were revoked or broken; keys of those are refused, enrolled ones too. It vouches for the models
# in allow_aaguids, or for all with accept_all_models.
# [metadata]
# The root that the BLOB's signature leads to, and the name of the certificate that makes it.
# roots = "metadata-roots.pem"
# signer = "mds.fidoalliance.org"
# Where BLOBs come from: a file or a URL, or neither: `signet-authority metadata import FILE`.
# url = "https://mds3.fidoalliance.org/"
# refresh = "6h"
# When the next BLOB is overdue: "warn", or "refuse" to enrol keys until it is there.
# stale = "warn"
# accept_all_models = false

[recovery]
# Operators who may approve tickets for others, each with a touch of their own key. Two of them, at two
# machines, and never the person it is for.
administrators = []
# Tickets for people who have, or had, a key come from two administrators only, and not from
# `signet-authority ticket` on this host. Name three, so that one of them can lose a key.
two_administrators = false
# How long an approved ticket waits before it opens anything, so that a person can object.
delay = "0s"
# How long a request waits for approvals, and the ticket that comes of it for its use.
request = "1d"
# Let a person's own key approve a further machine of theirs, asked for at one that is enrolled.
own_device = false

# Models of security key. A key is accepted when one of these roots vouches for it and its AAGUID is
# listed; the one of zeros stands for U2F keys. user_verification is what the maker's metadata says:
# "none", "pin", "built-in-or-pin", "built-in".
# [[authenticators]]
# name = "Example key with fingerprint reader"
# roots = "attestation-roots/example.pem"
# aaguids = ["00000000-0000-0000-0000-000000000000"]
# user_verification = "built-in-or-pin"

# Gateways. Issue a certificate with `signet-authority gateway NAME`. peer_certificate names the one
# source of the client's certificate that is believed from this gateway: "sha256-header" (header
# x-signet-peer-sha256), "xfcc-json" (Envoy's x-forwarded-client-cert), "escaped-pem" (nginx's, in
# x-signet-peer-pem), "der-base64" (Traefik's x-forwarded-tls-client-cert), "attributes" (Envoy over gRPC).
# request says where its questions have method, host and target: "path" (their own) or "forwarded"
# (x-forwarded-method, -host and -uri).
# [[gateways]]
# spiffe_id = "spiffe://{trust_domain}/gateway/edge"
# peer_certificate = "sha256-header"
# request = "path"
# A Unix socket on which this gateway alone asks, without TLS, from processes of these users.
# socket = "/run/signet/edge.sock"
# socket_uids = [33]

[policy]
# Where Cedar policies and the map from requests to named actions are written. Nothing is allowed that no
# policy permits. Put into force at the first start, and by `signet-authority policy activate` or SIGHUP.
directory = "policies"

# docs/limits.md says what happens at each bound.
[limits]
# Connections at once on each listener, and of those from one address.
connections = 1024
connections_per_address = 256
# Requests under way at once on each listener, and others that wait for a second at most.
requests = 256
waiting = 256
# How often callers may ask one node: an address without a certificate, a machine, a gateway.
address = "3000/1m"
machine = "1200/1m"
gateway = "120000/1m"
# Over all nodes: evidence for tokens from one machine, and from all of an operator; wrong tickets.
machine_tokens = "120/1m"
operator_tokens = "600/1m"
guesses = "10/15m"
# Services and gateways that follow revocations at once, for each gateway's certificate.
verifiers = 64
# Time for the TLS handshake and for the first request's head, for its body, and until it is answered.
header_timeout = "10s"
body_timeout = "10s"
request_timeout = "30s"
# How long a connection may stay without a request.
idle_timeout = "5m"
# Largest database, so that it never fills a disk that others need. At the bound requests are refused.
# database_mebibytes = 4096

[audit]
# How long at most new records wait for a signed checkpoint, which witnesses then keep.
checkpoint = "1s"
# A file of this node alone, in which a yes to an action with access = "read" is on record at once; the database
# has it a moment later. Without this line every yes waits for the database (docs/audit.md).
journal = "audit.journal"
# Keep the evidence that decisions were made on, under the hash that their records name: it can be judged
# again (`signet-authority audit reappraise`). For how long, and how much at most; the oldest goes first.
keep_evidence = true
evidence_for = "30d"
evidence_mebibytes = 256

[log]
json = false

# Spans of each request to an OpenTelemetry collector: OTLP over HTTP, at this address and /v1/traces.
# [telemetry]
# otlp_endpoint = "http://127.0.0.1:4318"
# roots = "/etc/ssl/certs/ca-certificates.crt"
"#
    )
}
