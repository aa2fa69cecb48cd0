//! Steps 1 to 3: the statement, what its purpose demands and forbids, and its challenge.

use signet_evidence::cbor::Value;

use super::case;
use crate::forge::Case;
use crate::forge::Edit::{Challenge, Claims, Header, Later, Payload, Statement};
use crate::forge::map::{bytes, edit, inner, remove, set};

pub(super) const CASES: &[Case] = &[
    case!(
        "evidence-malformed",
        "statement-not-a-map",
        "protocol 2.1",
        "an empty array for a statement",
        Session,
        [Payload(|b| *b = vec![0x80]),]
    ),
    case!(
        "evidence-malformed",
        "statement-trailing-byte",
        "protocol 2.1",
        "a byte after the statement",
        Session,
        [Payload(|b| b.push(0))]
    ),
    case!(
        "evidence-malformed",
        "claim-by-name",
        "RFC 8392 section 3",
        "a claim that is named by text",
        Session,
        [Claims(|m| set(m, "sub", "alice")),]
    ),
    case!(
        "evidence-malformed",
        "profile-missing",
        "RFC 9711 section 4.3.2",
        "no eat_profile",
        Session,
        [Claims(|m| remove(m, 265))]
    ),
    case!(
        "evidence-malformed",
        "nonce-missing",
        "protocol 2.1",
        "no eat_nonce",
        Session,
        [Claims(|m| remove(m, 10))]
    ),
    case!(
        "evidence-malformed",
        "nonce-of-7-bytes",
        "RFC 9711 section 4.1",
        "a nonce of 7 bytes",
        Session,
        [Claims(|m| set(m, 10, bytes([0; 7]))),]
    ),
    case!(
        "evidence-malformed",
        "nonce-of-65-bytes",
        "RFC 9711 section 4.1",
        "a nonce of 65 bytes",
        Session,
        [Claims(|m| set(m, 10, bytes([0; 65]))),]
    ),
    case!(
        "evidence-malformed",
        "two-nonces",
        "protocol 2.1",
        "an array of nonces",
        Session,
        [Claims(|m| set(m, 10, Value::Array(vec![bytes([0; 39]), bytes([1; 39])]))),]
    ),
    case!(
        "evidence-malformed",
        "audience-missing",
        "protocol 2.1",
        "no aud",
        Session,
        [Claims(|m| remove(m, 3))]
    ),
    case!(
        "evidence-malformed",
        "two-audiences",
        "protocol 2.1",
        "an array of audiences",
        Session,
        [Claims(|m| set(m, 3, Value::Array(vec!["https://authority.mesh.example".into()]))),]
    ),
    case!(
        "evidence-malformed",
        "audience-of-513-bytes",
        "protocol 2.1",
        "an aud of 513 bytes",
        Session,
        [Claims(|m| set(m, 3, "x".repeat(513))),]
    ),
    case!(
        "evidence-malformed",
        "issued-at-missing",
        "protocol 2.1",
        "no iat",
        Session,
        [Claims(|m| remove(m, 6))]
    ),
    case!(
        "evidence-malformed",
        "issued-at-float",
        "protocol 2.1",
        "an iat with a fraction",
        Session,
        [Claims(|m| set(m, 6, Value::Float(1.5))),]
    ),
    case!(
        "evidence-malformed",
        "confirmation-missing",
        "protocol 2.1",
        "no cnf",
        Session,
        [Claims(|m| remove(m, 8))]
    ),
    case!(
        "evidence-malformed",
        "confirmation-of-31-bytes",
        "RFC 9679",
        "a ckt of 31 bytes",
        Session,
        [Claims(|m| inner(m, 8, |m| set(m, 5, bytes([0; 31])))),]
    ),
    case!(
        "evidence-malformed",
        "confirmation-with-two-keys",
        "RFC 8747 section 3.1",
        "a COSE_Key beside the ckt",
        Session,
        [Claims(|m| inner(m, 8, |m| set(m, 1, Value::Map(Vec::new())))),]
    ),
    case!(
        "evidence-malformed",
        "confirmation-by-key-id",
        "RFC 8747 section 3.4",
        "a kid in the place of the ckt",
        Session,
        [Claims(|m| set(m, 8, Value::Map(vec![(3.into(), bytes([0; 32]))]))),]
    ),
    case!(
        "evidence-malformed",
        "device-missing",
        "protocol 2.1",
        "no ueid",
        Session,
        [Claims(|m| remove(m, 256))]
    ),
    case!(
        "evidence-malformed",
        "device-of-type-2",
        "RFC 9711 section 4.2.1",
        "a ueid of type EUI",
        Session,
        [Claims(|m| edit(m, 256, |b| b[0] = 2)),]
    ),
    case!(
        "evidence-malformed",
        "device-of-16-bytes",
        "RFC 9711 section 4.2.1",
        "a ueid a byte short",
        Session,
        [Claims(|m| edit(m, 256, |b| b.truncate(16))),]
    ),
    case!(
        "evidence-malformed",
        "device-of-34-bytes",
        "RFC 9711 section 4.2.1",
        "a ueid of 34 bytes",
        Session,
        [Claims(|m| edit(m, 256, |b| b.resize(34, 4))),]
    ),
    case!(
        "evidence-malformed",
        "subject-empty",
        "protocol 2.1",
        "an empty sub",
        Session,
        [Claims(|m| set(m, 2, ""))]
    ),
    case!(
        "evidence-malformed",
        "subject-of-513-bytes",
        "protocol 2.1",
        "a sub of 513 bytes",
        Session,
        [Claims(|m| set(m, 2, "a".repeat(513))),]
    ),
    case!(
        "evidence-malformed",
        "subject-as-bytes",
        "protocol 2.1",
        "a sub that is no text",
        Session,
        [Claims(|m| set(m, 2, bytes(*b"alice"))),]
    ),
    case!(
        "evidence-malformed",
        "scope-empty",
        "protocol 2.1",
        "an empty scope",
        Session,
        [Claims(|m| set(m, 9, ""))]
    ),
    case!(
        "evidence-malformed",
        "acr-as-number",
        "protocol 2.1",
        "an acr that is a number",
        Session,
        [Claims(|m| set(m, -70002, 4))]
    ),
    case!(
        "evidence-malformed",
        "purpose-missing",
        "protocol 2.1",
        "no purpose",
        Session,
        [Claims(|m| remove(m, -70001))]
    ),
    case!(
        "evidence-malformed",
        "purpose-by-name",
        "protocol 2.1",
        "a purpose by name",
        Session,
        [Claims(|m| set(m, -70001, "session")),]
    ),
    case!(
        "evidence-malformed",
        "session-id-of-15-bytes",
        "protocol 2.1",
        "a sid of 15 bytes",
        Renewal,
        [Claims(|m| set(m, -70004, bytes([0x51; 15]))),]
    ),
    case!(
        "evidence-malformed",
        "facts-not-a-map",
        "protocol 2.1",
        "host facts that are a text",
        Session,
        [Claims(|m| set(m, -70005, "Goodix")),]
    ),
    case!(
        "evidence-malformed",
        "finger-set-of-31-bytes",
        "protocol 2.1",
        "a finger set of 31 bytes",
        Finger,
        [Claims(|m| inner(m, -70005, |m| set(m, 2, bytes([0; 31])))),]
    ),
    case!(
        "evidence-malformed",
        "driver-of-129-bytes",
        "protocol 2.1",
        "a driver's name of 129 bytes",
        Finger,
        [Claims(|m| inner(m, -70005, |m| set(m, 1, "d".repeat(129)))),]
    ),
    case!(
        "profile-wrong",
        "upper-case",
        "protocol 2.4 step 2",
        "the profile in upper case",
        Session,
        [Claims(|m| set(m, 265, "urn:uuid:5B2D8F0E-7C1A-4E57-9A3C-1D6F0C9BE2A4")),]
    ),
    case!(
        "profile-wrong",
        "longer",
        "protocol 2.4 step 2",
        "the profile with a suffix",
        Session,
        [Claims(|m| set(m, 265, "urn:uuid:5b2d8f0e-7c1a-4e57-9a3c-1d6f0c9be2a4/v2")),]
    ),
    case!(
        "profile-wrong",
        "bare-uuid",
        "protocol 2.4 step 2",
        "the profile without urn:uuid:",
        Renewal,
        [Claims(|m| set(m, 265, "5b2d8f0e-7c1a-4e57-9a3c-1d6f0c9be2a4")),]
    ),
    case!(
        "purpose-wrong",
        "purpose-zero",
        "protocol 2.4 step 2",
        "purpose 0",
        Session,
        [Claims(|m| set(m, -70001, 0))]
    ),
    case!(
        "purpose-wrong",
        "purpose-seven",
        "protocol 2.4 step 2",
        "purpose 7",
        Session,
        [Claims(|m| set(m, -70001, 7))]
    ),
    case!(
        "purpose-wrong",
        "purpose-negative",
        "protocol 2.4 step 2",
        "purpose -1",
        Session,
        [Claims(|m| set(m, -70001, -1))]
    ),
    case!(
        "purpose-wrong",
        "purpose-257",
        "protocol 2.4 step 2",
        "a purpose that is 1 where a byte is read",
        Session,
        [Claims(|m| set(m, -70001, 257)),]
    ),
    case!(
        "purpose-wrong",
        "session-without-subject",
        "protocol 2.1",
        "a session of nobody",
        Session,
        [Claims(|m| remove(m, 2))]
    ),
    case!(
        "purpose-wrong",
        "session-with-action",
        "protocol 2.1",
        "a session with an action",
        Action,
        [Claims(|m| set(m, -70001, 1)),]
    ),
    case!(
        "purpose-wrong",
        "session-with-registration",
        "protocol 2.1",
        "a session with a new key",
        NewKey,
        [Claims(|m| set(m, -70001, 1)),]
    ),
    case!(
        "purpose-wrong",
        "renewal-without-session",
        "protocol 2.1",
        "a renewal of no session",
        Renewal,
        [Claims(|m| remove(m, -70004)),]
    ),
    case!(
        "purpose-wrong",
        "renewal-with-touch",
        "protocol 2.1",
        "a renewal with an assertion",
        Session,
        [Claims(|m| {
            set(m, -70001, 2);
            set(m, -70004, bytes([0x51; 16]));
        }),]
    ),
    case!(
        "purpose-wrong",
        "renewal-with-pin",
        "protocol 2.1",
        "a renewal with a platform key's assertion",
        Pin,
        [Claims(|m| {
            set(m, -70001, 2);
            set(m, -70004, bytes([0x51; 16]));
        }),]
    ),
    case!(
        "purpose-wrong",
        "action-without-action",
        "protocol 2.1",
        "an action without its action",
        Action,
        [Claims(|m| remove(m, -70003)),]
    ),
    case!(
        "purpose-wrong",
        "action-with-session",
        "protocol 2.1",
        "an action in a session",
        Action,
        [Claims(|m| set(m, -70004, bytes([0x51; 16]))),]
    ),
    case!(
        "purpose-wrong",
        "workload-with-subject",
        "protocol 2.1",
        "a workload that names a person",
        Workload,
        [Claims(|m| set(m, 2, "alice")),]
    ),
    case!(
        "purpose-wrong",
        "workload-with-touch",
        "protocol 2.1",
        "a workload with an assertion",
        Session,
        [Claims(|m| {
            set(m, -70001, 6);
            remove(m, 2);
        }),]
    ),
    case!(
        "purpose-wrong",
        "workload-with-session",
        "protocol 2.1",
        "a workload in a person's session",
        Workload,
        [Claims(|m| set(m, -70004, bytes([0x51; 16]))),]
    ),
    case!(
        "purpose-wrong",
        "machine-for-a-token",
        "protocol 2.4 step 2",
        "evidence for certificates where a token is asked for",
        Machine,
        []
    ),
    case!(
        "purpose-wrong",
        "new-key-without-registration",
        "protocol 2.1",
        "a new key that is not there",
        NewKey,
        [Header(|m| remove(m, -70104)),]
    ),
    case!(
        "purpose-wrong",
        "new-key-without-subject",
        "protocol 2.1",
        "a new key of nobody",
        NewKey,
        [Claims(|m| remove(m, 2))]
    ),
    case!(
        "audience-wrong",
        "slash-behind",
        "protocol 2.4 step 2",
        "a slash behind the authority's URL",
        Session,
        [Statement(|s| s.audience.push('/')),]
    ),
    case!(
        "audience-wrong",
        "without-tls",
        "protocol 2.4 step 2",
        "http in the place of https",
        Session,
        [Statement(|s| s.audience = "http://authority.mesh.example".into()),]
    ),
    case!(
        "audience-wrong",
        "upper-case",
        "protocol 2.4 step 2",
        "the host in upper case",
        Action,
        [Statement(|s| s.audience = "https://AUTHORITY.mesh.example".into()),]
    ),
    case!(
        "audience-wrong",
        "with-port",
        "protocol 2.4 step 2",
        "the default port written out",
        Workload,
        [Statement(|s| s.audience.push_str(":443")),]
    ),
    case!(
        "challenge-invalid",
        "version-2",
        "protocol 2.3",
        "version 2",
        Session,
        [Challenge(|c| c[0] = 2)]
    ),
    case!(
        "challenge-invalid",
        "later-expiry",
        "protocol 2.3",
        "one second more to live",
        Session,
        [Challenge(|c| c[6] ^= 1)]
    ),
    case!(
        "challenge-invalid",
        "mac-edited",
        "protocol 2.3",
        "one bit of the MAC",
        Session,
        [Challenge(|c| c[38] ^= 1)]
    ),
    case!(
        "challenge-invalid",
        "mac-zero",
        "protocol 2.3",
        "a MAC of zeros",
        Renewal,
        [Challenge(|c| c[23..].fill(0))]
    ),
    case!(
        "challenge-invalid",
        "byte-short",
        "protocol 2.3",
        "38 bytes",
        Session,
        [Challenge(|c| c.truncate(38))]
    ),
    case!(
        "challenge-invalid",
        "byte-long",
        "protocol 2.3",
        "40 bytes",
        Session,
        [Challenge(|c| c.push(0))]
    ),
    case!(
        "challenge-invalid",
        "zeros",
        "protocol 2.3",
        "39 zeros",
        Workload,
        [Challenge(|c| c.fill(0))]
    ),
    case!(
        "challenge-invalid",
        "for-another-session",
        "protocol 2.3",
        "issued for the renewal of another session",
        Renewal,
        [Claims(|m| set(m, -70004, bytes([0x52; 16]))),]
    ),
    case!(
        "challenge-invalid",
        "session-id-added",
        "protocol 2.3",
        "issued for a new session, used in a running one",
        Session,
        [Claims(|m| set(m, -70004, bytes([0x51; 16]))),]
    ),
    case!(
        "challenge-expired",
        "at-its-end",
        "protocol 2.3",
        "in the very second of its end",
        Action,
        [Later(120)]
    ),
    case!(
        "challenge-expired",
        "a-second-late",
        "protocol 2.3",
        "a second after its end",
        Renewal,
        [Later(121)]
    ),
    case!(
        "challenge-expired",
        "a-year-late",
        "protocol 2.3",
        "a year after its end",
        Workload,
        [Later(31_536_000)]
    ),
    case!(
        "challenge-expired",
        "a-new-key-late",
        "protocol 2.3",
        "a new key, too late",
        NewKey,
        [Later(500)]
    ),
];
