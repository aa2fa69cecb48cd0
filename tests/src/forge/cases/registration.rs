//! Registration of security keys: WebAuthn Level 3 section 7.1 and protocol section 4.2.

use signet_evidence::cbor::Value;

use super::case;
use crate::forge::Edit::{
    AuthenticatorData, By, ClientData, Connection, Object, Quote, Registration, With,
};
use crate::forge::map::{bytes, edit, inner, remove, replace, set};
use crate::forge::{Case, Part};
use crate::world::Change;

/// Appends extensions with this credProtect output.
fn protect(data: &mut Vec<u8>, level: u8) {
    data[32] |= 0x80;
    data.extend_from_slice(b"\xa1\x6bcredProtect");
    data.push(level);
}

pub(super) const CASES: &[Case] = &[
    case!(
        "accepted",
        "software-new-key",
        "protocol 4.2",
        "keys in software throughout",
        NewKey,
        []
    ),
    case!(
        "accepted",
        "software-new-key-cred-protect",
        "CTAP 2.1 section 12.1",
        "credProtect 3 was applied",
        NewKey,
        [AuthenticatorData(|d| protect(d, 3)), With(Change::ModelHasCredProtect),]
    ),
    case!(
        "attestation-format-refused",
        "empty-format",
        "WebAuthn L3 8",
        "an empty format",
        NewKey,
        [Object(|m| set(m, "fmt", ""))]
    ),
    case!(
        "attestation-format-refused",
        "upper-case",
        "WebAuthn L3 8",
        "a format in upper case",
        NewKey,
        [Object(|m| set(m, "fmt", "Packed"))]
    ),
    case!(
        "attestation-format-refused",
        "self-attestation",
        "WebAuthn L3 8.2",
        "packed, signed by the new credential itself",
        NewKey,
        [By(Part::NewKey, "platform"), Object(|m| inner(m, "attStmt", |m| remove(m, "x5c"))),]
    ),
    case!(
        "attestation-invalid",
        "signed-by-another-key",
        "WebAuthn L3 8.2",
        "signed by a key that is not the maker's",
        NewKey,
        [By(Part::NewKey, "credential"),]
    ),
    case!(
        "attestation-invalid",
        "signature-missing",
        "WebAuthn L3 8.2",
        "packed without sig",
        NewKey,
        [Object(|m| inner(m, "attStmt", |m| remove(m, "sig"))),]
    ),
    case!(
        "attestation-invalid",
        "statement-member-more",
        "WebAuthn L3 8.2",
        "an unknown member in attStmt",
        NewKey,
        [Object(|m| inner(m, "attStmt", |m| set(m, "ecdaaKeyId", bytes([1])))),]
    ),
    case!(
        "attestation-invalid",
        "fourth-member",
        "WebAuthn L3 6.5.4",
        "a fourth member of the attestation object",
        NewKey,
        [Object(|m| set(m, "epAtt", true)),]
    ),
    case!(
        "attestation-invalid",
        "no-certificates",
        "WebAuthn L3 8.2",
        "an empty x5c",
        NewKey,
        [Object(|m| inner(m, "attStmt", |m| set(m, "x5c", Value::Array(Vec::new())))),]
    ),
    case!(
        "attestation-invalid",
        "certificate-of-bytes",
        "WebAuthn L3 8.2",
        "an x5c of bytes that are no certificate",
        NewKey,
        [Object(|m| inner(m, "attStmt", |m| set(m, "x5c", Value::Array(vec![bytes([1])])))),]
    ),
    case!(
        "attestation-invalid",
        "no-credential",
        "WebAuthn L3 6.1",
        "authenticator data without a credential",
        NewKey,
        [AuthenticatorData(|d| {
            d[32] &= !0x40;
            d.truncate(37);
        }),]
    ),
    case!(
        "attestation-invalid",
        "posing-as-u2f",
        "WebAuthn L3 8.6",
        "fido-u2f with the statement of packed",
        NewKey,
        [Object(|m| {
            set(m, "fmt", "fido-u2f");
            inner(m, "attStmt", |m| remove(m, "alg"));
        }),]
    ),
    case!(
        "attestation-invalid",
        "posing-as-tpm",
        "WebAuthn L3 8.3",
        "tpm with the statement of packed",
        NewKey,
        [Object(|m| set(m, "fmt", "tpm")),]
    ),
    case!(
        "attestation-invalid",
        "posing-as-android",
        "WebAuthn L3 8.4",
        "android-key with the statement of packed",
        NewKey,
        [Object(|m| set(m, "fmt", "android-key")),]
    ),
    case!(
        "attestation-invalid",
        "credential-id-empty",
        "WebAuthn L3 6.5.2",
        "a credential id of no bytes",
        NewKey,
        [AuthenticatorData(|d| {
            d.drain(55..87);
            d[54] = 0;
        }),]
    ),
    case!(
        "attestation-invalid",
        "credential-id-too-long",
        "WebAuthn L3 7.1",
        "a credential id that says to have 1,024 bytes",
        NewKey,
        [AuthenticatorData(|d| {
            d[53] = 4;
            d[54] = 0;
        }),]
    ),
    case!(
        "attestation-invalid",
        "key-not-on-the-curve",
        "WebAuthn L3 6.5.1.1",
        "a public key that is no point",
        NewKey,
        [AuthenticatorData(|d| {
            let last = d.len() - 1;
            d[last] ^= 1;
        }),]
    ),
    case!(
        "attestation-invalid",
        "cred-protect-of-4",
        "CTAP 2.1 section 12.1",
        "a credProtect that there is not",
        NewKey,
        [AuthenticatorData(|d| protect(d, 4)),]
    ),
    case!(
        "attestation-untrusted",
        "in-software",
        "protocol 4.2",
        "a maker that the settings do not name",
        NewKey,
        [With(Change::OtherAttestationRoots),]
    ),
    case!(
        "attestation-untrusted",
        "with-a-chain",
        "protocol 4.2",
        "the maker's certificate twice, and a root that is not its",
        NewKey,
        [
            With(Change::OtherAttestationRoots),
            Object(|m| inner(m, "attStmt", |m| {
                if let Some((_, Value::Array(chain))) =
                    m.iter_mut().find(|(key, _)| *key == Value::from("x5c"))
                {
                    let leaf = chain[0].clone();
                    chain.push(leaf);
                }
            })),
        ]
    ),
    case!(
        "aaguid-refused",
        "aaguid-edited",
        "WebAuthn L3 8.2.1",
        "an AAGUID that is not the certificate's",
        NewKey,
        [AuthenticatorData(|d| d[37] ^= 1),]
    ),
    case!(
        "aaguid-refused",
        "aaguid-zero",
        "WebAuthn L3 8.2.1",
        "an AAGUID of zeros",
        NewKey,
        [AuthenticatorData(|d| d[37..53].fill(0))]
    ),
    case!(
        "aaguid-refused",
        "in-software",
        "protocol 4.2",
        "a model that its root may not vouch for",
        NewKey,
        [With(Change::OtherModels)]
    ),
    case!(
        "aaguid-denied",
        "in-software",
        "protocol 4.2",
        "a model on the deny list",
        NewKey,
        [With(Change::ModelDenied)]
    ),
    case!(
        "aaguid-denied",
        "touched-only",
        "protocol 4.2",
        "a model on the deny list, touched only",
        NewKey,
        [AuthenticatorData(|d| d[32] &= !4), With(Change::ModelDenied),]
    ),
    case!(
        "metadata-stale",
        "in-software",
        "protocol 4.2",
        "metadata that has run out",
        NewKey,
        [With(Change::MetadataStale)]
    ),
    case!(
        "metadata-stale",
        "with-cred-protect",
        "protocol 4.2",
        "metadata that has run out",
        NewKey,
        [AuthenticatorData(|d| protect(d, 3)), With(Change::MetadataStale),]
    ),
    case!(
        "authenticator-status",
        "new-key-in-software",
        "protocol 4.2",
        "a model that was reported",
        NewKey,
        [With(Change::ModelReported)]
    ),
    case!(
        "touch-only-refused",
        "in-software",
        "protocol 4.2",
        "a model that cannot verify its user",
        NewKey,
        [With(Change::ModelTouchOnly)]
    ),
    case!(
        "touch-only-refused",
        "touched-only",
        "protocol 4.2",
        "a model that cannot verify its user, and did not",
        NewKey,
        [AuthenticatorData(|d| d[32] &= !4), With(Change::ModelTouchOnly),]
    ),
    case!(
        "uv-missing",
        "new-key",
        "WebAuthn L3 7.1 step 16",
        "a new key that could have verified its user",
        NewKey,
        [AuthenticatorData(|d| d[32] &= !4),]
    ),
    case!(
        "up-missing",
        "new-key",
        "WebAuthn L3 7.1 step 15",
        "a new key that nobody touched",
        NewKey,
        [AuthenticatorData(|d| d[32] &= !1)]
    ),
    case!(
        "backup-eligible",
        "new-key",
        "WebAuthn L3 7.1 step 17",
        "a new key that can be copied",
        NewKey,
        [AuthenticatorData(|d| d[32] |= 8)]
    ),
    case!(
        "rp-id-mismatch",
        "new-key",
        "WebAuthn L3 7.1 step 14",
        "a new key of another relying party",
        NewKey,
        [AuthenticatorData(|d| d[0] ^= 1),]
    ),
    case!(
        "cred-protect-insufficient",
        "optional",
        "CTAP 2.1 section 12.1",
        "credProtect 1 was applied",
        NewKey,
        [AuthenticatorData(|d| protect(d, 1))]
    ),
    case!(
        "cred-protect-insufficient",
        "with-a-list",
        "CTAP 2.1 section 12.1",
        "credProtect 2 was applied",
        NewKey,
        [AuthenticatorData(|d| protect(d, 2))]
    ),
    case!(
        "credential-algorithm-refused",
        "statement-by-rs256",
        "protocol 4.2",
        "alg -257 in the statement",
        NewKey,
        [Object(|m| inner(m, "attStmt", |m| set(m, "alg", -257))),]
    ),
    case!(
        "credential-algorithm-refused",
        "key-for-es384",
        "protocol 4.2",
        "alg -35 in the credential's key",
        NewKey,
        [AuthenticatorData(|d| {
            let at = d.len() - 77 + 3;
            d.splice(at..at + 2, [0x03, 0x38, 0x22]);
        }),]
    ),
    case!(
        "credential-algorithm-refused",
        "statement-by-eddsa",
        "protocol 4.2",
        "alg -8 in the statement",
        NewKey,
        [Object(|m| inner(m, "attStmt", |m| set(m, "alg", -8))),]
    ),
    case!(
        "credential-duplicate",
        "in-software",
        "protocol 4.2",
        "a credential that is enrolled already",
        NewKey,
        [With(Change::CredentialEnrolled)]
    ),
    case!(
        "registration-not-authorised",
        "in-software",
        "protocol 4.2",
        "a new key that nothing allows",
        NewKey,
        [With(Change::NoGrant)]
    ),
    case!(
        "assertion-client-data-wrong",
        "registration-of-type-get",
        "WebAuthn L3 7.1 step 7",
        "type webauthn.get",
        NewKey,
        [ClientData(|b| replace(b, "webauthn.create", "webauthn.get")),]
    ),
    case!(
        "assertion-client-data-wrong",
        "registration-on-another-origin",
        "WebAuthn L3 7.1 step 9",
        "another origin",
        NewKey,
        [ClientData(|b| replace(b, "presence.mesh.example", "evil.example")),]
    ),
    case!(
        "evidence-malformed",
        "registration-unknown-member",
        "protocol 2.1",
        "a third member of the registration",
        NewKey,
        [Registration(|m| set(m, 3, bytes([1]))),]
    ),
    case!(
        "evidence-malformed",
        "registration-without-object",
        "protocol 2.1",
        "no attestation object",
        NewKey,
        [Registration(|m| remove(m, 1))]
    ),
    case!(
        "evidence-malformed",
        "attestation-object-of-6145-bytes",
        "protocol 2.1",
        "an attestation object of 6,145 bytes",
        NewKey,
        [Registration(|m| edit(m, 1, |b| b.resize(6145, 0))),]
    ),
    case!(
        "quote-challenge-mismatch",
        "new-key-not-quoted",
        "protocol 2.2",
        "a quote that does not cover the registration",
        NewKey,
        [Quote(|a| a.extra_data = vec![9; 32]),]
    ),
    case!(
        "certificate-mismatch",
        "new-key-over-another-certificate",
        "protocol 2.4 step 4",
        "another certificate of the same key on the connection",
        NewKey,
        [Connection("software-no-usage"),]
    ),
];
