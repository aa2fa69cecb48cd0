//! Steps 4 and 5: certificate, connection, key and outer signature.

use signet_evidence::KeyThumbprint;

use super::case;
use crate::forge::Case;
use crate::forge::Edit::{By, Connection, Header, Message, Peer, Statement};
use crate::forge::Part;
use crate::forge::map::{bytes, set};
use signet_evidence::cbor::Value;

pub(super) const CASES: &[Case] = &[
    case!(
        "certificate-mismatch",
        "over-another-machines-connection",
        "protocol 2.4 step 4",
        "a challenge of the connection's machine, evidence of another",
        Session,
        [Connection("workstation"),]
    ),
    case!(
        "certificate-mismatch",
        "another-certificate-of-the-key",
        "protocol 2.4 step 4",
        "another certificate of the same key on the connection",
        Renewal,
        [Connection("software-namesake-ca"),]
    ),
    case!(
        "certificate-mismatch",
        "of-another-device",
        "protocol 2.4 step 4",
        "a certificate that names another device, on both sides",
        Session,
        [Peer("software-other-device"),]
    ),
    case!(
        "certificate-mismatch",
        "of-another-trust-domain",
        "protocol 2.4 step 4",
        "a certificate of another trust domain, by the right CA",
        Session,
        [Peer("software-other-domain"),]
    ),
    case!(
        "certificate-mismatch",
        "of-a-user",
        "protocol 2.4 step 4",
        "a certificate that names a user",
        Workload,
        [Peer("software-user")]
    ),
    case!(
        "certificate-mismatch",
        "intermediate-first",
        "protocol 2.4 step 4",
        "the leaf behind another certificate",
        Session,
        [Header(|m| {
            if let Some((_, value)) = m.iter_mut().find(|(key, _)| *key == Value::from(33)) {
                *value = Value::Array(vec![bytes([0x30, 0x00]), value.clone()]);
            }
        }),]
    ),
    case!(
        "device-certificate-untrusted",
        "expired",
        "protocol 2.4 step 4",
        "a certificate that has run out",
        Session,
        [Peer("software-expired")]
    ),
    case!(
        "device-certificate-untrusted",
        "not-yet",
        "protocol 2.4 step 4",
        "a certificate of next year",
        Session,
        [Peer("software-not-yet")]
    ),
    case!(
        "device-certificate-untrusted",
        "server-certificate",
        "protocol 2.4 step 4",
        "a certificate for servers",
        Session,
        [Peer("software-server")]
    ),
    case!(
        "device-certificate-untrusted",
        "no-usage",
        "protocol 2.4 step 4",
        "a certificate without extended key usage",
        Session,
        [Peer("software-no-usage"),]
    ),
    case!(
        "device-certificate-untrusted",
        "ak-usage",
        "protocol 2.4 step 4",
        "a certificate for attestation keys",
        Session,
        [Peer("software-ak-usage"),]
    ),
    case!(
        "device-certificate-untrusted",
        "nameless",
        "protocol 2.4 step 4",
        "a certificate without SPIFFE ID",
        Session,
        [Peer("software-nameless"),]
    ),
    case!(
        "device-certificate-untrusted",
        "two-names",
        "SPIFFE X509-SVID section 2",
        "a certificate with two SPIFFE IDs",
        Session,
        [Peer("software-two-names"),]
    ),
    case!(
        "device-certificate-untrusted",
        "of-another-ca",
        "protocol 2.4 step 4",
        "a certificate of another CA",
        Workload,
        [Peer("software-other-ca"),]
    ),
    case!(
        "device-certificate-untrusted",
        "of-a-namesake-of-the-ca",
        "protocol 2.4 step 4",
        "a certificate of a CA with the same name and another key",
        Session,
        [Peer("software-namesake-ca"),]
    ),
    case!(
        "key-thumbprint-mismatch",
        "zeros",
        "protocol 2.2",
        "a thumbprint of zeros",
        Session,
        [Statement(|s| s.confirmation = KeyThumbprint([0; 32])),]
    ),
    case!(
        "key-thumbprint-mismatch",
        "one-bit",
        "protocol 2.2",
        "one bit of the thumbprint",
        Renewal,
        [Statement(|s| s.confirmation.0[31] ^= 1),]
    ),
    case!(
        "key-thumbprint-mismatch",
        "one-bit-of-an-action",
        "protocol 2.2",
        "one bit of the thumbprint",
        Action,
        [Statement(|s| s.confirmation.0[0] ^= 0x80),]
    ),
    case!(
        "evidence-signature-invalid",
        "signed-by-the-ak",
        "protocol 2.4 step 5",
        "signed by the AK",
        Session,
        [By(Part::Message, "ak")]
    ),
    case!(
        "evidence-signature-invalid",
        "signed-by-the-credential",
        "protocol 2.4 step 5",
        "signed by the operator's credential",
        Session,
        [By(Part::Message, "credential"),]
    ),
    case!(
        "evidence-signature-invalid",
        "zeros",
        "FIPS 186-5 section 6.4.2",
        "r and s of zero",
        Session,
        [Message(|m| m[3] = bytes([0; 64])),]
    ),
    case!(
        "evidence-signature-invalid",
        "halves-swapped",
        "FIPS 186-5 section 6.4.2",
        "s before r",
        Session,
        [Message(|m| if let Value::Bytes(b) = &mut m[3] {
            b.rotate_left(32)
        }),]
    ),
    case!(
        "evidence-signature-invalid",
        "r-alone",
        "FIPS 186-5 section 6.4.2",
        "s of zero",
        Renewal,
        [Message(|m| if let Value::Bytes(b) = &mut m[3] {
            b[32..].fill(0)
        }),]
    ),
    case!(
        "evidence-signature-invalid",
        "alg-exchanged",
        "protocol 2.1",
        "alg -9 became -7 after signing",
        Session,
        [Message(|m| if let Value::Bytes(b) = &mut m[0] {
            b[2] = 0x26
        }),]
    ),
    case!(
        "evidence-signature-invalid",
        "subject-exchanged",
        "protocol 2.4 step 5",
        "alice became admin after signing",
        Session,
        [Message(|m| if let Value::Bytes(b) = &mut m[2] {
            crate::forge::map::swap(b, b"alice", b"admin")
        }),]
    ),
    case!(
        "evidence-signature-invalid",
        "assertion-taken-out",
        "protocol 2.4 step 5",
        "the touch was taken out after signing",
        Action,
        [Message(|m| {
            if let Value::Bytes(b) = &mut m[0]
                && let Ok(mut header) = crate::forge::map::decode(b)
            {
                crate::forge::map::remove(&mut header, -70101);
                *b = crate::forge::map::encode(header);
            }
        }),]
    ),
    case!(
        "evidence-signature-invalid",
        "hint-written-in",
        "protocol 2.4 step 5",
        "a claim was added after signing",
        Workload,
        [Message(|m| {
            if let Value::Bytes(b) = &mut m[2]
                && let Ok(mut claims) = crate::forge::map::decode(b)
            {
                set(&mut claims, -70002, "signet.uv-hw");
                *b = crate::forge::map::encode(claims);
            }
        }),]
    ),
];
