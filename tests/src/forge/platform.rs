//! Public areas of TPM keys that no TPM holds.

use signet_evidence::tpm::{
    EccCurve, EccParameters, FINGERPRINT_POLICY_REF, HashAlgorithm, Name, ObjectAttributes,
    PublicParameters, Scheme, Symmetric, TpmtPublic, policy_auth_value, policy_signed,
};

use crate::platform_keys::public_area;

/// What a TPM says of a key that it made and that never leaves it.
const MADE_INSIDE: ObjectAttributes = ObjectAttributes::FIXED_TPM
    .union(ObjectAttributes::FIXED_PARENT)
    .union(ObjectAttributes::SENSITIVE_DATA_ORIGIN);

fn public(point: &[u8; 65], attributes: ObjectAttributes, auth_policy: Vec<u8>) -> TpmtPublic {
    TpmtPublic {
        name_algorithm: HashAlgorithm::Sha256,
        attributes,
        auth_policy,
        parameters: PublicParameters::Ecc(EccParameters {
            symmetric: Symmetric::Null,
            scheme: Scheme::Ecdsa(HashAlgorithm::Sha256),
            curve: EccCurve::P256,
            x: point[1..33].to_vec(),
            y: point[33..].to_vec(),
        }),
    }
}

/// A TLS key.
pub fn tls_key(point: &[u8; 65]) -> TpmtPublic {
    let attributes = ObjectAttributes::SIGN.union(ObjectAttributes::USER_WITH_AUTH);
    public(point, MADE_INSIDE.union(attributes), Vec::new())
}

/// A restricted key, of which nothing but its Name is used.
pub fn attestation_key(point: &[u8; 65]) -> TpmtPublic {
    let attributes = ObjectAttributes::SIGN.union(ObjectAttributes::RESTRICTED);
    public(point, MADE_INSIDE.union(attributes), Vec::new())
}

/// A key behind a PIN.
pub fn pin_key(point: &[u8; 65]) -> TpmtPublic {
    public(point, MADE_INSIDE.union(ObjectAttributes::SIGN), policy_auth_value().to_vec())
}

/// A key that a signature of the key `release` opens.
pub fn finger_key(point: &[u8; 65], release: &[u8; 65]) -> TpmtPublic {
    let release = TpmtPublic::parse(&public_area(release));
    let policy = release.map(|key| policy_signed(&Name::of(&key), FINGERPRINT_POLICY_REF).to_vec());
    public(point, MADE_INSIDE.union(ObjectAttributes::SIGN), policy.unwrap_or_default())
}
