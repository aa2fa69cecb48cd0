//! Step 11 for a security key: WebAuthn Level 3 section 7.2.

use super::case;
use crate::forge::Edit::{Assertion, AuthenticatorData, By, ClientData, NoAssertion, With};
use crate::forge::map::{bytes, cut, edit, replace, set};
use crate::forge::{Case, Part};
use crate::world::Change;

pub(super) const CASES: &[Case] = &[
    case!(
        "assertion-missing",
        "pin-session-without-pin",
        "protocol 2.4 step 11",
        "consistent evidence that nobody was asked for",
        Pin,
        [NoAssertion]
    ),
    case!(
        "assertion-missing",
        "in-software",
        "protocol 2.4 step 11",
        "consistent evidence that nobody touched for",
        Session,
        [NoAssertion]
    ),
    case!(
        "assertion-challenge-mismatch",
        "zeros",
        "WebAuthn L3 7.2 step 12",
        "a challenge of zeros",
        Session,
        [ClientData(|b| challenge(b, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),]
    ),
    case!(
        "assertion-challenge-mismatch",
        "empty",
        "WebAuthn L3 7.2 step 12",
        "an empty challenge",
        Action,
        [ClientData(|b| challenge(b, ""))]
    ),
    case!(
        "assertion-challenge-mismatch",
        "padded",
        "WebAuthn L3 5.8.1",
        "the challenge with base64 padding",
        Session,
        [ClientData(|b| replace(b, "\",\"origin\"", "=\",\"origin\"")),]
    ),
    case!(
        "assertion-client-data-wrong",
        "of-a-registration",
        "WebAuthn L3 7.2 step 11",
        "type webauthn.create",
        Session,
        [ClientData(|b| replace(b, "webauthn.get", "webauthn.create")),]
    ),
    case!(
        "assertion-client-data-wrong",
        "of-a-payment",
        "WebAuthn L3 7.2 step 11",
        "type payment.get",
        Session,
        [ClientData(|b| replace(b, "webauthn.get", "payment.get")),]
    ),
    case!(
        "assertion-client-data-wrong",
        "origin-by-http",
        "WebAuthn L3 7.2 step 13",
        "an origin by http",
        Session,
        [ClientData(|b| replace(b, "https://", "http://")),]
    ),
    case!(
        "assertion-client-data-wrong",
        "origin-with-slash",
        "WebAuthn L3 7.2 step 13",
        "a slash behind the origin",
        Action,
        [ClientData(|b| replace(b, "mesh.example\"", "mesh.example/\"")),]
    ),
    case!(
        "assertion-client-data-wrong",
        "origin-of-a-subdomain",
        "WebAuthn L3 7.2 step 13",
        "an origin below the RP ID",
        Session,
        [ClientData(|b| replace(b, "https://", "https://evil.")),]
    ),
    case!(
        "assertion-client-data-wrong",
        "cross-origin",
        "WebAuthn L3 7.2 step 14",
        "crossOrigin true",
        Session,
        [ClientData(|b| replace(b, "false", "true")),]
    ),
    case!(
        "assertion-client-data-wrong",
        "top-origin",
        "WebAuthn L3 7.2 step 14",
        "a topOrigin",
        Session,
        [ClientData(|b| replace(b, "false}", "false,\"topOrigin\":\"https://evil.example\"}")),]
    ),
    case!(
        "assertion-client-data-wrong",
        "fifth-member",
        "protocol 2.2",
        "a fifth member",
        Session,
        [ClientData(|b| replace(b, "false}", "false,\"note\":\"\"}")),]
    ),
    case!(
        "assertion-client-data-wrong",
        "blank",
        "protocol 2.2",
        "a blank after a colon",
        Session,
        [ClientData(|b| replace(b, "\"type\":", "\"type\": ")),]
    ),
    case!(
        "assertion-client-data-wrong",
        "byte-order-mark",
        "protocol 2.2",
        "a byte order mark before it",
        Session,
        [ClientData(|b| drop(b.splice(0..0, [0xef, 0xbb, 0xbf]))),]
    ),
    case!(
        "assertion-client-data-wrong",
        "member-twice",
        "protocol 2.2",
        "a second challenge behind the first",
        Session,
        [ClientData(|b| replace(b, "\"origin\"", "\"challenge\":\"AA\",\"origin\"")),]
    ),
    case!(
        "assertion-client-data-wrong",
        "not-json",
        "protocol 2.2",
        "bytes that are no JSON",
        Session,
        [ClientData(|b| *b = vec![0xff; 64])]
    ),
    case!(
        "rp-id-mismatch",
        "hash-of-the-origin",
        "WebAuthn L3 7.2 step 15",
        "the hash of the origin",
        Session,
        [AuthenticatorData(|d| d[..32]
            .copy_from_slice(&signet_evidence::binding::sha256(b"https://presence.mesh.example"))),]
    ),
    case!(
        "rp-id-mismatch",
        "hash-of-the-parent-domain",
        "WebAuthn L3 7.2 step 15",
        "the hash of a registrable suffix",
        Action,
        [AuthenticatorData(
            |d| d[..32].copy_from_slice(&signet_evidence::binding::sha256(b"mesh.example"))
        ),]
    ),
    case!(
        "rp-id-mismatch",
        "zeros",
        "WebAuthn L3 7.2 step 15",
        "zeros",
        Session,
        [AuthenticatorData(|d| d[..32].fill(0))]
    ),
    case!(
        "up-missing",
        "signed-uv-alone",
        "WebAuthn L3 7.2 step 16",
        "UV without UP, signed",
        Session,
        [AuthenticatorData(|d| d[32] = 4)]
    ),
    case!(
        "up-missing",
        "signed-no-flags",
        "WebAuthn L3 7.2 step 16",
        "no flag at all, signed",
        Action,
        [AuthenticatorData(|d| d[32] = 0)]
    ),
    case!(
        "uv-missing",
        "signed-up-alone",
        "WebAuthn L3 7.2 step 17",
        "UP without UV, signed",
        Action,
        [AuthenticatorData(|d| d[32] = 1)]
    ),
    case!(
        "backup-eligible",
        "signed-eligible",
        "WebAuthn L3 7.2 step 18",
        "BE, signed",
        Session,
        [AuthenticatorData(|d| d[32] |= 8)]
    ),
    case!(
        "backup-eligible",
        "signed-backed-up",
        "WebAuthn L3 7.2 step 18",
        "BE and BS, signed",
        Action,
        [AuthenticatorData(|d| d[32] |= 0x18)]
    ),
    case!(
        "backup-eligible",
        "signed-state-alone",
        "WebAuthn L3 6.1.3",
        "BS without BE, signed",
        Session,
        [AuthenticatorData(|d| d[32] |= 0x10)]
    ),
    case!(
        "assertion-malformed",
        "byte-behind",
        "WebAuthn L3 6.1",
        "a byte after authenticator data, signed",
        Session,
        [AuthenticatorData(|d| d.push(0)),]
    ),
    case!(
        "assertion-malformed",
        "extensions-announced",
        "WebAuthn L3 6.1",
        "ED without extensions, signed",
        Session,
        [AuthenticatorData(|d| d[32] |= 0x80),]
    ),
    case!(
        "assertion-malformed",
        "credential-announced",
        "WebAuthn L3 6.1",
        "AT without credential data, signed",
        Action,
        [AuthenticatorData(|d| d[32] |= 0x40),]
    ),
    case!(
        "assertion-malformed",
        "extensions-not-a-map",
        "WebAuthn L3 6.1",
        "extensions that are a number, signed",
        Session,
        [AuthenticatorData(|d| {
            d[32] |= 0x80;
            d.push(1);
        }),]
    ),
    case!(
        "assertion-malformed",
        "extensions-indefinite",
        "CTAP 2.1 section 8",
        "extensions of indefinite length, signed",
        Session,
        [AuthenticatorData(|d| {
            d[32] |= 0x80;
            d.extend_from_slice(&[0xbf, 0xff]);
        }),]
    ),
    case!(
        "assertion-malformed",
        "one-byte",
        "WebAuthn L3 6.1",
        "authenticator data of one byte, signed",
        Session,
        [AuthenticatorData(|d| d.truncate(1)),]
    ),
    case!(
        "assertion-signature-invalid",
        "signed-by-the-tls-key",
        "WebAuthn L3 7.2 step 21",
        "signed by the TLS key",
        Session,
        [By(Part::Assertion, "tls"),]
    ),
    case!(
        "assertion-signature-invalid",
        "signed-by-the-platform-key",
        "WebAuthn L3 7.2 step 21",
        "signed by another key of the operator",
        Action,
        [By(Part::Assertion, "platform"),]
    ),
    case!(
        "assertion-signature-invalid",
        "not-der",
        "WebAuthn L3 6.5.6",
        "r and s without DER",
        Session,
        [Assertion(|m| set(m, 4, bytes([7; 64]))),]
    ),
    case!(
        "assertion-signature-invalid",
        "byte-behind",
        "WebAuthn L3 6.5.6",
        "a byte after the signature",
        Session,
        [Assertion(|m| edit(m, 4, |b| b.push(0))),]
    ),
    case!(
        "assertion-signature-invalid",
        "length-in-two-bytes",
        "WebAuthn L3 6.5.6",
        "BER in the place of DER",
        Session,
        [Assertion(|m| edit(m, 4, |b| b.insert(1, 0x81))),]
    ),
    case!(
        "assertion-signature-invalid",
        "counter-edited",
        "WebAuthn L3 7.2 step 21",
        "a higher counter, written in after the touch",
        Session,
        [Assertion(|m| edit(m, 2, |b| b[33] ^= 1)),]
    ),
    case!(
        "assertion-signature-invalid",
        "zeros",
        "FIPS 186-5 section 6.4.2",
        "r and s of zero",
        Action,
        [Assertion(|m| set(m, 4, bytes([0x30, 6, 2, 1, 0, 2, 1, 0]))),]
    ),
    case!(
        "counter-regressed",
        "zero",
        "WebAuthn L3 7.2 step 22",
        "a counter of zero from a key that counts",
        Session,
        [AuthenticatorData(|d| d[33..37].fill(0)),]
    ),
    case!(
        "counter-regressed",
        "of-an-action",
        "WebAuthn L3 7.2 step 22",
        "a later count is known",
        Action,
        [With(Change::CounterAhead)]
    ),
    case!(
        "credential-unknown",
        "action-of-another-operator",
        "protocol 2.4 step 11",
        "the key is somebody else's",
        Action,
        [With(Change::CredentialUnknown),]
    ),
    case!(
        "credential-unknown",
        "id-cut",
        "protocol 2.4 step 11",
        "the credential id without its last byte",
        Session,
        [Assertion(|m| edit(m, 1, cut)),]
    ),
    case!(
        "credential-revoked",
        "action",
        "protocol 2.4 step 11",
        "an action with a revoked key",
        Action,
        [With(Change::CredentialRevoked)]
    ),
    case!(
        "authenticator-status",
        "action",
        "protocol 4.2",
        "an action with a key whose model was reported",
        Action,
        [With(Change::ModelReported)]
    ),
    case!(
        "uv-missing",
        "touch-only-key-asked-for-more",
        "protocol 4.2",
        "a touch-only key where user verification is asked for",
        Session,
        [
            crate::forge::Edit::Statement(|s| s.acr = Some("signet.uv".into())),
            With(Change::CredentialTouchOnly),
        ]
    ),
    case!(
        "policy-denied",
        "in-software",
        "protocol 2.4 step 12",
        "a genuine approval of what policy lets pass nowhere",
        Action,
        [With(Change::ViewsOnly),]
    ),
    case!(
        "presence-expired",
        "in-software",
        "protocol 3.2",
        "a renewal after presence ran out",
        Renewal,
        [With(Change::PresenceExpired)]
    ),
    case!(
        "presence-expired",
        "with-scope",
        "protocol 3.2",
        "a renewal with a scope after presence ran out",
        Renewal,
        [
            crate::forge::Edit::Statement(|s| s.scope = Some("mesh.route.view".into())),
            With(Change::PresenceExpired),
        ]
    ),
    case!(
        "challenge-replayed",
        "action-sent-twice",
        "protocol 2.4 step 13",
        "an approval, the second time",
        Action,
        [With(Change::ChallengeConsumed)]
    ),
    case!(
        "challenge-replayed",
        "renewal-sent-twice",
        "protocol 2.4 step 13",
        "a renewal, the second time",
        Renewal,
        [With(Change::ChallengeConsumed)]
    ),
    case!(
        "challenge-replayed",
        "workload-sent-twice",
        "protocol 2.4 step 13",
        "a workload, the second time",
        Workload,
        [With(Change::ChallengeConsumed)]
    ),
];

/// Puts another challenge into client data.
fn challenge(client_data: &mut Vec<u8>, other: &str) {
    let text = String::from_utf8_lossy(client_data).into_owned();
    let mark = "\"challenge\":\"";
    if let Some((before, rest)) = text.split_once(mark)
        && let Some((_, after)) = rest.split_once('"')
    {
        *client_data = format!("{before}{mark}{other}\"{after}").into_bytes();
    }
}
