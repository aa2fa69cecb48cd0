//! Step 1: the message, its header and its parts are of one shape only.

use signet_evidence::cbor::Value;

use super::case;
use crate::forge::Case;
use crate::forge::Edit::{Assertion, Bytes, Claims, Header, HeaderBytes, Message, Tpm};
use crate::forge::map::{behead, bytes, edit, inner, item, remove, set};

pub(super) const CASES: &[Case] = &[
    case!(
        "accepted",
        "software-session",
        "protocol 2.4",
        "keys in software throughout",
        Session,
        []
    ),
    case!("accepted", "software-action", "protocol 2.4", "keys in software throughout", Action, []),
    case!(
        "accepted",
        "software-alg-es256",
        "protocol 2.1",
        "alg -7 is taken as equal",
        Session,
        [Header(|m| set(m, 1, -7)),]
    ),
    case!(
        "accepted",
        "software-unknown-claim",
        "RFC 9711 section 4.1",
        "a claim that nobody knows",
        Session,
        [Claims(|m| set(m, -70099, "unknown")),]
    ),
    case!(
        "evidence-too-large",
        "unknown-claim-of-8-kilobytes",
        "protocol 2.1",
        "8,192 bytes in a claim that is ignored",
        Session,
        [Claims(|m| set(m, -70099, bytes(vec![0; 8192]))),]
    ),
    case!(
        "evidence-too-large",
        "unknown-fact-of-8-kilobytes",
        "protocol 2.1",
        "8,192 bytes in a fact that is ignored",
        Finger,
        [Claims(|m| inner(m, -70005, |m| set(m, 99, bytes(vec![0; 8192])))),]
    ),
    case!(
        "evidence-malformed",
        "empty",
        "protocol 2.1",
        "no bytes at all",
        Session,
        [Bytes(|b| b.clear())]
    ),
    case!(
        "evidence-malformed",
        "untagged",
        "protocol 2.1",
        "COSE_Sign1 without its tag",
        Session,
        [Bytes(behead),]
    ),
    case!(
        "evidence-malformed",
        "tag-cwt",
        "protocol 2.1",
        "tag 61 around it",
        Session,
        [Bytes(|b| drop(b.splice(0..0, [0xd8, 61]))),]
    ),
    case!(
        "evidence-malformed",
        "tag-mac0",
        "protocol 2.1",
        "tag 17 in the place of 18",
        Session,
        [Bytes(|b| b[0] = 0xd1),]
    ),
    case!(
        "evidence-malformed",
        "tag-sign",
        "protocol 2.1",
        "tag 98 in the place of 18",
        Session,
        [Bytes(|b| drop(b.splice(0..1, [0xd8, 98]))),]
    ),
    case!(
        "evidence-malformed",
        "three-members",
        "RFC 9052 section 4.2",
        "no signature",
        Session,
        [Message(|m| m.truncate(3)),]
    ),
    case!(
        "evidence-malformed",
        "five-members",
        "RFC 9052 section 4.2",
        "a member more",
        Session,
        [Message(|m| m.push(Value::Null)),]
    ),
    case!(
        "evidence-malformed",
        "payload-nil",
        "protocol 2.1",
        "a detached payload",
        Session,
        [Message(|m| m[2] = Value::Null),]
    ),
    case!(
        "evidence-malformed",
        "payload-not-wrapped",
        "protocol 2.1",
        "the statement as a map, not as bytes",
        Session,
        [Message(|m| m[2] = Value::Map(Vec::new())),]
    ),
    case!(
        "evidence-malformed",
        "signature-of-63-bytes",
        "protocol 2.1",
        "a byte short",
        Session,
        [Message(|m| m[3] = bytes(vec![1; 63])),]
    ),
    case!(
        "evidence-malformed",
        "signature-of-65-bytes",
        "protocol 2.1",
        "a byte long",
        Session,
        [Message(|m| m[3] = bytes(vec![1; 65])),]
    ),
    case!(
        "evidence-malformed",
        "signature-missing",
        "protocol 2.1",
        "an empty signature",
        Session,
        [Message(|m| m[3] = bytes(vec![])),]
    ),
    case!(
        "evidence-malformed",
        "unprotected-alg",
        "protocol 2.1",
        "alg in the unprotected header too",
        Session,
        [Message(|m| m[1] = Value::Map(vec![(1.into(), (-9).into())])),]
    ),
    case!(
        "evidence-malformed",
        "unprotected-certificate",
        "protocol 2.1",
        "another certificate chain in the unprotected header",
        Session,
        [Message(|m| m[1] = Value::Map(vec![(33.into(), bytes([0x30, 0x00]))])),]
    ),
    case!(
        "evidence-malformed",
        "protected-empty",
        "protocol 2.1",
        "an empty protected header",
        Session,
        [HeaderBytes(|b| b.clear()),]
    ),
    case!(
        "evidence-malformed",
        "protected-trailing-byte",
        "protocol 2.1",
        "a byte after the protected header's map",
        Session,
        [HeaderBytes(|b| b.push(0)),]
    ),
    case!(
        "evidence-malformed",
        "alg-missing",
        "protocol 2.1",
        "no alg",
        Session,
        [Header(|m| remove(m, 1))]
    ),
    case!(
        "evidence-malformed",
        "alg-esp384",
        "protocol 2.1",
        "alg -51, ESP384",
        Session,
        [Header(|m| set(m, 1, -51))]
    ),
    case!(
        "evidence-malformed",
        "alg-eddsa",
        "protocol 2.1",
        "alg -8",
        Session,
        [Header(|m| set(m, 1, -8))]
    ),
    case!(
        "evidence-malformed",
        "alg-hmac",
        "protocol 2.1",
        "alg 5, HMAC with SHA-256",
        Session,
        [Header(|m| set(m, 1, 5))]
    ),
    case!(
        "evidence-malformed",
        "alg-by-name",
        "protocol 2.1",
        "alg as text",
        Session,
        [Header(|m| set(m, 1, "ESP256"))]
    ),
    case!(
        "evidence-malformed",
        "typ-missing",
        "RFC 9596",
        "no typ",
        Session,
        [Header(|m| remove(m, 16))]
    ),
    case!(
        "evidence-malformed",
        "typ-cwt",
        "RFC 9596",
        "typ application/cwt",
        Session,
        [Header(|m| set(m, 16, "application/cwt")),]
    ),
    case!(
        "evidence-malformed",
        "typ-number",
        "RFC 9596",
        "typ by content format",
        Session,
        [Header(|m| set(m, 16, 263))]
    ),
    case!(
        "evidence-malformed",
        "crit-header",
        "RFC 9052 section 3.1",
        "a crit header",
        Session,
        [Header(|m| set(m, 2, Value::Array(vec![(-70101).into()]))),]
    ),
    case!(
        "evidence-malformed",
        "kid-header",
        "protocol 2.1",
        "a kid in the protected header",
        Session,
        [Header(|m| set(m, 4, bytes([1]))),]
    ),
    case!(
        "evidence-malformed",
        "unknown-label",
        "protocol 2.1",
        "a label that nobody knows",
        Session,
        [Header(|m| set(m, -70199, 1)),]
    ),
    case!(
        "evidence-malformed",
        "text-label",
        "protocol 2.1",
        "a label that is text",
        Session,
        [Header(|m| set(m, "signet", 1)),]
    ),
    case!(
        "evidence-malformed",
        "certificates-missing",
        "protocol 2.1",
        "no x5chain",
        Session,
        [Header(|m| remove(m, 33))]
    ),
    case!(
        "evidence-malformed",
        "certificate-empty",
        "protocol 2.1",
        "an empty certificate",
        Session,
        [Header(|m| set(m, 33, bytes([]))),]
    ),
    case!(
        "evidence-malformed",
        "one-certificate-in-an-array",
        "RFC 9360 section 2",
        "an array of one certificate",
        Session,
        [Header(|m| {
            if let Some((_, value)) = m.iter_mut().find(|(key, _)| *key == Value::from(33)) {
                *value = Value::Array(vec![value.clone()]);
            }
        }),]
    ),
    case!(
        "evidence-malformed",
        "five-certificates",
        "protocol 2.1",
        "five certificates",
        Session,
        [Header(|m| {
            if let Some((_, value)) = m.iter_mut().find(|(key, _)| *key == Value::from(33)) {
                *value = Value::Array(vec![value.clone(); 5]);
            }
        }),]
    ),
    case!(
        "evidence-malformed",
        "assertion-not-wrapped",
        "protocol 2.1",
        "the assertion as a map, not as bytes",
        Session,
        [Header(|m| set(m, -70101, Value::Map(Vec::new()))),]
    ),
    case!(
        "evidence-malformed",
        "assertion-unknown-member",
        "protocol 2.1",
        "a sixth member of the assertion",
        Session,
        [Assertion(|m| set(m, 6, 1)),]
    ),
    case!(
        "evidence-malformed",
        "assertion-without-id",
        "protocol 2.1",
        "no credential id",
        Session,
        [Assertion(|m| remove(m, 1))]
    ),
    case!(
        "evidence-malformed",
        "assertion-id-of-1024-bytes",
        "protocol 2.1",
        "a credential id of 1,024 bytes",
        Session,
        [Assertion(|m| set(m, 1, bytes(vec![7; 1024]))),]
    ),
    case!(
        "evidence-malformed",
        "assertion-signature-of-257-bytes",
        "protocol 2.1",
        "a signature of 257 bytes",
        Session,
        [Assertion(|m| set(m, 4, bytes(vec![7; 257]))),]
    ),
    case!(
        "evidence-malformed",
        "assertion-hint-of-4",
        "protocol 2.1",
        "a verification that nobody knows",
        Session,
        [Assertion(|m| set(m, 5, 4)),]
    ),
    case!(
        "evidence-malformed",
        "platform-name-by-sha1",
        "protocol 2.1",
        "the Name of a key by SHA-1",
        Pin,
        [Assertion(|m| edit(m, 1, |b| b[1] = 0x04)),]
    ),
    case!(
        "evidence-malformed",
        "tpm-missing",
        "protocol 2.1",
        "no TPM evidence",
        Session,
        [Header(|m| remove(m, -70102))]
    ),
    case!(
        "evidence-malformed",
        "tpm-unknown-member",
        "protocol 2.1",
        "a sixth member of the TPM's part",
        Session,
        [Tpm(|m| set(m, 6, 1)),]
    ),
    case!(
        "evidence-malformed",
        "tpm-without-quote",
        "protocol 2.1",
        "no quote",
        Session,
        [Tpm(|m| remove(m, 2))]
    ),
    case!(
        "evidence-malformed",
        "tpm-without-certificate",
        "protocol 2.1",
        "no AK certificate",
        Session,
        [Tpm(|m| remove(m, 1))]
    ),
    case!(
        "evidence-malformed",
        "quote-of-three",
        "protocol 2.1",
        "a quote of three byte strings",
        Session,
        [Tpm(|m| set(m, 2, Value::Array(vec![bytes([1]), bytes([2]), bytes([3])]))),]
    ),
    case!(
        "evidence-malformed",
        "certification-of-two",
        "protocol 2.1",
        "a certification without its public area",
        Session,
        [Tpm(|m| set(m, 3, Value::Array(vec![bytes([1]), bytes([2])]))),]
    ),
    case!(
        "evidence-malformed",
        "pcr-24",
        "protocol 2.1",
        "a PCR that there is not",
        Session,
        [Tpm(|m| inner(m, 4, |m| set(m, 24, bytes([0; 32])))),]
    ),
    case!(
        "evidence-malformed",
        "pcr-by-name",
        "protocol 2.1",
        "a PCR that is named by text",
        Session,
        [Tpm(|m| inner(m, 4, |m| set(m, "0", bytes([0; 32])))),]
    ),
    case!(
        "evidence-malformed",
        "pcr-of-20-bytes",
        "protocol 2.1",
        "a PCR value of the SHA-1 bank",
        Session,
        [Tpm(|m| inner(m, 4, |m| set(m, 0, bytes([0; 20])))),]
    ),
    case!(
        "evidence-malformed",
        "log-empty",
        "protocol 2.1",
        "an event log of no bytes",
        Session,
        [Tpm(|m| set(m, 5, bytes([])))]
    ),
    case!(
        "evidence-malformed",
        "log-withheld-for-reason-4",
        "protocol 2.1",
        "a reason that nobody knows",
        Session,
        [Tpm(|m| set(m, 5, 4)),]
    ),
    case!(
        "evidence-malformed",
        "log-digest-of-31-bytes",
        "protocol 2.1",
        "a digest of 31 bytes",
        Session,
        [Tpm(|m| set(m, 5, Value::Array(vec![bytes([0; 31])]))),]
    ),
    case!(
        "evidence-malformed",
        "log-digest-twice",
        "protocol 2.1",
        "two digests",
        Session,
        [Tpm(|m| set(m, 5, Value::Array(vec![bytes([0; 32]), bytes([0; 32])]))),]
    ),
    case!(
        "evidence-malformed",
        "quote-as-text",
        "protocol 2.1",
        "the quote's signature as text",
        Session,
        [Tpm(|m| {
            item(m, 2, 1, |b| b.clear());
            if let Some((_, Value::Array(items))) =
                m.iter_mut().find(|(key, _)| *key == Value::from(2))
            {
                items[1] = "signature".into();
            }
        }),]
    ),
    case!(
        "evidence-malformed",
        "too-deep",
        "protocol 2.1",
        "a claim of twenty levels",
        Session,
        [Claims(|m| {
            let deep = (0..20).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
            set(m, -70099, deep);
        }),]
    ),
];
