//! Step 11 for keys in the machine's TPM, and their registration (protocol sections 4.2 and 5.1).

use signet_evidence::tpm::{
    EccCurve, HashAlgorithm, ObjectAttributes, PublicParameters, Scheme, TpmtPublic,
};

use super::case;
use crate::forge::Edit::{
    Assertion, By, Claims, NewCertify, NewPublic, Registration, Statement, With,
};
use crate::forge::map::{bytes, cut, edit, flip_last, inner, item, remove, set};
use crate::forge::{Case, Part};
use crate::world::Change;

fn with(public: &mut TpmtPublic, attribute: ObjectAttributes) {
    public.attributes = public.attributes.union(attribute);
}

fn without(public: &mut TpmtPublic, attribute: ObjectAttributes) {
    public.attributes = public.attributes.difference(attribute);
}

pub(super) const CASES: &[Case] = &[
    case!("accepted", "software-pin", "protocol 5.1", "keys in software throughout", Pin, []),
    case!(
        "accepted",
        "software-fingerprint",
        "protocol 5.1",
        "keys in software throughout",
        Finger,
        []
    ),
    case!(
        "assertion-malformed",
        "platform-signature-by-rsa",
        "protocol 5.1",
        "RSASSA in the signature's algorithm",
        Pin,
        [Assertion(|m| edit(m, 2, |b| b[1] = 0x14)),]
    ),
    case!(
        "assertion-malformed",
        "platform-signature-over-sha1",
        "protocol 5.1",
        "SHA-1 in the signature's hash",
        Finger,
        [Assertion(|m| edit(m, 2, |b| b[3] = 0x04)),]
    ),
    case!(
        "assertion-malformed",
        "platform-signature-with-a-byte-behind",
        "TPM 2.0 Part 2 section 11.3.4",
        "a byte after TPMT_SIGNATURE",
        Pin,
        [Assertion(|m| edit(m, 2, |b| b.push(0))),]
    ),
    case!(
        "assertion-signature-invalid",
        "platform-signed-by-the-tls-key",
        "protocol 5.1",
        "signed by the TLS key",
        Pin,
        [By(Part::Assertion, "tls"),]
    ),
    case!(
        "assertion-signature-invalid",
        "platform-signed-by-its-releaser",
        "protocol 5.1",
        "signed by the key that releases the fingerprint key",
        Finger,
        [By(Part::Assertion, "release"),]
    ),
    case!(
        "assertion-signature-invalid",
        "platform-signature-of-zeros",
        "FIPS 186-5 section 6.4.2",
        "r and s of zero",
        Pin,
        [Assertion(|m| edit(m, 2, |b| b[6..38].fill(0))),]
    ),
    case!(
        "credential-unknown",
        "platform-name-edited",
        "protocol 2.4 step 11",
        "the Name of a key that nobody registered",
        Pin,
        [Assertion(|m| edit(m, 1, |b| flip_last(b))),]
    ),
    case!(
        "credential-revoked",
        "fingerprint-key",
        "protocol 2.4 step 11",
        "a revoked fingerprint key",
        Finger,
        [With(Change::CredentialRevoked)]
    ),
    case!(
        "platform-facts-missing",
        "no-fingers",
        "protocol 5.1",
        "a reader without fingers",
        Finger,
        [Claims(|m| inner(m, -70005, |m| remove(m, 2))),]
    ),
    case!(
        "platform-facts-missing",
        "no-facts-at-all",
        "protocol 5.1",
        "no host facts",
        Finger,
        [Statement(|s| s.host_facts = None)]
    ),
    case!(
        "platform-fingers-changed",
        "one-bit",
        "protocol 5.1",
        "one bit of the finger set",
        Finger,
        [Claims(|m| inner(m, -70005, |m| edit(m, 2, |b| flip_last(b)))),]
    ),
    case!(
        "platform-fingers-changed",
        "reader-in-lower-case",
        "protocol 5.1",
        "the reader's name in lower case",
        Finger,
        [Claims(|m| inner(m, -70005, |m| set(m, 1, "goodix moc fingerprint sensor"))),]
    ),
    case!(
        "platform-fingers-changed",
        "no-finger-enrolled",
        "protocol 5.1",
        "the digest of no finger",
        Finger,
        [Claims(|m| inner(m, -70005, |m| set(
            m,
            2,
            bytes(signet_evidence::finger_set_digest([]))
        ))),]
    ),
    // Registration.
    case!(
        "accepted",
        "software-new-pin",
        "protocol 4.2",
        "keys in software throughout",
        NewPin,
        []
    ),
    case!(
        "accepted",
        "software-new-finger",
        "protocol 4.2",
        "keys in software throughout",
        NewFinger,
        []
    ),
    case!(
        "attestation-invalid",
        "platform-certified-by-the-tls-key",
        "protocol 4.2",
        "certified by the TLS key",
        NewPin,
        [By(Part::NewKey, "tls")]
    ),
    case!(
        "attestation-invalid",
        "platform-certification-cut",
        "protocol 4.2",
        "a certification without its last byte",
        NewPin,
        [Registration(|m| item(m, 2, 0, cut)),]
    ),
    case!(
        "attestation-invalid",
        "platform-public-area-empty",
        "protocol 4.2",
        "a public area that is none",
        NewPin,
        [Registration(|m| set(m, 1, bytes([0]))),]
    ),
    case!(
        "assertion-challenge-mismatch",
        "platform-certified-over-zeros",
        "protocol 2.2",
        "a new key certified over zeros",
        NewPin,
        [NewCertify(|a| a.extra_data.fill(0)),]
    ),
    case!(
        "assertion-challenge-mismatch",
        "platform-certified-over-nothing",
        "protocol 2.2",
        "a new key certified over nothing",
        NewFinger,
        [NewCertify(|a| a.extra_data.clear()),]
    ),
    case!(
        "platform-key-attributes",
        "not-fixed-to-its-parent",
        "protocol 4.2",
        "fixedParent is clear",
        NewPin,
        [NewPublic(|p| without(p, ObjectAttributes::FIXED_PARENT)),]
    ),
    case!(
        "platform-key-attributes",
        "made-outside",
        "protocol 4.2",
        "sensitiveDataOrigin is clear",
        NewFinger,
        [NewPublic(|p| without(p, ObjectAttributes::SENSITIVE_DATA_ORIGIN)),]
    ),
    case!(
        "platform-key-attributes",
        "does-not-sign",
        "protocol 4.2",
        "sign is clear",
        NewPin,
        [NewPublic(|p| without(p, ObjectAttributes::SIGN)),]
    ),
    case!(
        "platform-key-attributes",
        "restricted",
        "protocol 4.2",
        "restricted is set",
        NewPin,
        [NewPublic(|p| with(p, ObjectAttributes::RESTRICTED)),]
    ),
    case!(
        "platform-key-attributes",
        "decrypts",
        "protocol 4.2",
        "decrypt is set",
        NewPin,
        [NewPublic(|p| with(p, ObjectAttributes::DECRYPT))]
    ),
    case!(
        "platform-key-attributes",
        "admin-with-policy",
        "protocol 4.2",
        "adminWithPolicy is set",
        NewFinger,
        [NewPublic(|p| with(p, ObjectAttributes::ADMIN_WITH_POLICY)),]
    ),
    case!(
        "platform-key-attributes",
        "named-by-sha384",
        "protocol 4.2",
        "a Name by SHA-384",
        NewPin,
        [NewPublic(|p| {
            p.name_algorithm = HashAlgorithm::Sha384;
            p.auth_policy.clear();
        }),]
    ),
    case!(
        "platform-key-attributes",
        "scheme-with-sha1",
        "protocol 4.2",
        "ECDSA with SHA-1",
        NewPin,
        [NewPublic(|p| if let PublicParameters::Ecc(e) = &mut p.parameters {
            e.scheme = Scheme::Ecdsa(HashAlgorithm::Sha1)
        }),]
    ),
    case!(
        "platform-key-attributes",
        "of-p384",
        "protocol 4.2",
        "a key on P-384",
        NewPin,
        [NewPublic(|p| if let PublicParameters::Ecc(e) = &mut p.parameters {
            e.curve = EccCurve::P384
        }),]
    ),
    case!(
        "platform-key-policy",
        "one-bit",
        "protocol 4.2",
        "one bit of the PIN policy",
        NewPin,
        [NewPublic(|p| p.auth_policy[0] ^= 1)]
    ),
    case!(
        "platform-key-policy",
        "no-policy-of-a-pin-key",
        "protocol 4.2",
        "no policy at all",
        NewPin,
        [NewPublic(|p| p.auth_policy.clear())]
    ),
    case!(
        "platform-key-policy",
        "releaser-does-not-sign",
        "protocol 4.2",
        "an authorisation key that may not sign",
        NewFinger,
        [Registration(|m| edit(m, 3, |b| b[5] &= !0x04)),]
    ),
    case!(
        "platform-key-policy",
        "releaser-cut",
        "protocol 4.2",
        "an authorisation key without its last byte",
        NewFinger,
        [Registration(|m| edit(m, 3, cut)),]
    ),
    case!(
        "platform-key-policy",
        "releaser-not-on-the-curve",
        "protocol 4.2",
        "an authorisation key that is no point",
        NewFinger,
        [Registration(|m| edit(m, 3, |b| flip_last(b))),]
    ),
    case!(
        "platform-facts-missing",
        "new-finger-without-reader",
        "protocol 4.2",
        "a fingerprint key without its reader",
        NewFinger,
        [Claims(|m| inner(m, -70005, |m| remove(m, 1))),]
    ),
    case!(
        "credential-duplicate",
        "platform-key-in-software",
        "protocol 4.2",
        "a platform key that is enrolled already",
        NewFinger,
        [With(Change::CredentialEnrolled),]
    ),
    case!(
        "registration-not-authorised",
        "fingerprint-key",
        "protocol 4.2",
        "a fingerprint key that nothing allows",
        NewFinger,
        [With(Change::NoGrant),]
    ),
    case!(
        "device-revoked",
        "new-key-of-a-revoked-machine",
        "protocol 2.4 step 6",
        "a new key on a machine that was revoked",
        NewPin,
        [With(Change::DeviceRevoked),]
    ),
];
