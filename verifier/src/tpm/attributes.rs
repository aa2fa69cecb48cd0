//! What kind of TPM key this is: attestation key, TLS key, endorsement key.

use signet_evidence::tpm::{
    EccCurve, EccParameters, HashAlgorithm, Name, ObjectAttributes, PublicParameters, Scheme,
    Symmetric, TpmtPublic,
};
use thiserror::Error;

use crate::certificate::{CertificateError, KeyPurpose, VerifiedPath};
use crate::ecdsa::{NotAPoint, P256PublicKey};

pub(super) const MADE_INSIDE: ObjectAttributes = ObjectAttributes::FIXED_TPM
    .union(ObjectAttributes::FIXED_PARENT)
    .union(ObjectAttributes::SENSITIVE_DATA_ORIGIN);

/// Why a public area is not of the kind it should be. Variants stand in the order of the checks.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum TemplateError {
    /// Attributes that must be set are clear.
    #[error("key attributes {:#010x} must be set and are not", .0.bits())]
    MissingAttributes(ObjectAttributes),
    /// Attributes that must be clear are set.
    #[error("key attributes {:#010x} must not be set and are", .0.bits())]
    ForbiddenAttributes(ObjectAttributes),
    /// The name algorithm is SHA-1, or does not belong to the template.
    #[error("name algorithm {0:?} does not belong to this kind of key")]
    NameAlgorithm(HashAlgorithm),
    /// Not an ECC key on P-256 (for EKs: nor on P-384, nor RSA with 2048 bits).
    #[error("key is of another type or size")]
    KeyType,
    /// The key does not fix ECDSA with SHA-256; an EK fixes none.
    #[error("key has the wrong signing scheme")]
    Scheme(Scheme),
    /// A signing key with a symmetric algorithm, or an EK with the wrong one.
    #[error("key has the wrong symmetric algorithm")]
    Symmetric(Symmetric),
    /// The EK's policy is none of the TCG EK credential profile's.
    #[error("endorsement key does not have a policy of the TCG EK credential profile")]
    AuthPolicy,
    /// The point is not on the curve, or the modulus is not of its stated size.
    #[error("public key is not valid")]
    PublicKey,
}

/// An attestation key: restricted, so that it signs only what its TPM made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationKey(P256PublicKey);

/// Why a certificate does not vouch for an attestation key.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum AttestationKeyError {
    /// The certificate is not for an attestation key (2.23.133.8.3).
    #[error("certificate is not that of an attestation key")]
    Purpose,
    /// The certificate's key is of another kind.
    #[error("certificate key cannot be an attestation key")]
    Key(#[source] CertificateError),
}

impl AttestationKey {
    /// Checks a public area at enrolment (protocol §4.1 step 1): fixedTPM, fixedParent,
    /// sensitiveDataOrigin, restricted, sign; not decrypt; ECC P-256 with ECDSA-SHA256.
    ///
    /// `restricted` is what all else stands on: an unrestricted key signs a forged `TPMS_ATTEST`.
    ///
    /// # Errors
    /// See [`TemplateError`]. RSA keys are [`TemplateError::KeyType`].
    pub fn from_public(public: &TpmtPublic) -> Result<Self, TemplateError> {
        let required =
            MADE_INSIDE.union(ObjectAttributes::RESTRICTED).union(ObjectAttributes::SIGN);
        let forbidden = ObjectAttributes::DECRYPT.union(ObjectAttributes::X509_SIGN);
        signing_key(public, required, forbidden, P256PublicKey::from_uncompressed_point).map(Self)
    }

    /// The key of a verified certificate for attestation keys: the authority's CA issues these only
    /// to keys that passed [`AttestationKey::from_public`].
    ///
    /// # Errors
    /// See [`AttestationKeyError`].
    pub fn from_certificate(path: &VerifiedPath) -> Result<Self, AttestationKeyError> {
        if !path.leaf().purposes().contains(&KeyPurpose::AttestationKey) {
            return Err(AttestationKeyError::Purpose);
        }
        path.leaf().p256_key().cloned().map(Self).map_err(AttestationKeyError::Key)
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> &P256PublicKey {
        &self.0
    }
}

/// A TLS key: made inside a TPM, and never leaves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsKey(P256PublicKey);

impl TlsKey {
    /// Checks a public area (protocol §4.1 step 1): fixedTPM, fixedParent, sensitiveDataOrigin, sign;
    /// not restricted, not decrypt; ECC P-256 with ECDSA-SHA256.
    ///
    /// # Errors
    /// See [`TemplateError`].
    pub fn from_public(public: &TpmtPublic) -> Result<Self, TemplateError> {
        Self::checked(public, P256PublicKey::from_uncompressed_point)
    }

    /// The same, where the key should be `expected`, which is not put on the curve again.
    pub(super) fn expecting(
        expected: &P256PublicKey,
        public: &TpmtPublic,
    ) -> Result<Self, TemplateError> {
        Self::checked(public, |point| expected.or_of_point(point))
    }

    fn checked(
        public: &TpmtPublic,
        on_curve: impl FnOnce(&[u8]) -> Result<P256PublicKey, NotAPoint>,
    ) -> Result<Self, TemplateError> {
        let required = MADE_INSIDE.union(ObjectAttributes::SIGN);
        let forbidden = ObjectAttributes::RESTRICTED
            .union(ObjectAttributes::DECRYPT)
            .union(ObjectAttributes::X509_SIGN);
        signing_key(public, required, forbidden, on_curve).map(Self)
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> &P256PublicKey {
        &self.0
    }
}

/// An endorsement key of a template that the TCG knows; not yet known to be a real TPM's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndorsementKey(TpmtPublic);

impl EndorsementKey {
    /// Checks a public area against templates L-1, L-2, H-1, H-2 and H-3 of the TCG EK Credential
    /// Profile v2.6 §B: a restricted decryption key, made inside the TPM, with the profile's policy.
    ///
    /// # Errors
    /// See [`TemplateError`].
    pub fn from_public(public: &TpmtPublic) -> Result<Self, TemplateError> {
        let required = MADE_INSIDE
            .union(ObjectAttributes::ADMIN_WITH_POLICY)
            .union(ObjectAttributes::RESTRICTED)
            .union(ObjectAttributes::DECRYPT);
        let forbidden = ObjectAttributes::SIGN.union(ObjectAttributes::X509_SIGN);
        attributes(public, required, forbidden)?;
        let (hash, key_bits, symmetric, scheme) = match &public.parameters {
            PublicParameters::Ecc(ecc) => {
                let (hash, bits) = match ecc.curve {
                    EccCurve::P256 => (HashAlgorithm::Sha256, 128),
                    EccCurve::P384 => (HashAlgorithm::Sha384, 256),
                };
                (hash, bits, ecc.symmetric, ecc.scheme)
            }
            PublicParameters::Rsa(rsa) => {
                if rsa.key_bits != 2048 {
                    return Err(TemplateError::KeyType);
                }
                if rsa.modulus.len() != 256 || rsa.modulus.first().is_none_or(|byte| *byte < 0x80) {
                    return Err(TemplateError::PublicKey);
                }
                (HashAlgorithm::Sha256, 128, rsa.symmetric, rsa.scheme)
            }
        };
        if public.name_algorithm != hash {
            return Err(TemplateError::NameAlgorithm(public.name_algorithm));
        }
        if symmetric != (Symmetric::AesCfb { key_bits }) {
            return Err(TemplateError::Symmetric(symmetric));
        }
        if scheme != Scheme::Null {
            return Err(TemplateError::Scheme(scheme));
        }
        if !EK_POLICIES.contains(&public.auth_policy.as_slice()) {
            return Err(TemplateError::AuthPolicy);
        }
        Ok(Self(public.clone()))
    }

    /// The public area.
    #[must_use]
    pub fn public(&self) -> &TpmtPublic {
        &self.0
    }

    /// Its name: how the authority tells one TPM from another.
    #[must_use]
    pub fn name(&self) -> Name {
        Name::of(&self.0)
    }
}

/// `authPolicy` values of the TCG EK Credential Profile v2.6: PolicyA (SHA-256), and PolicyB with
/// SHA-256 and SHA-384.
const EK_POLICIES: [&[u8]; 3] = [
    &[
        0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7,
        0x24, 0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14,
        0x69, 0xaa,
    ],
    &[
        0xca, 0x3d, 0x0a, 0x99, 0xa2, 0xb9, 0x39, 0x06, 0xf7, 0xa3, 0x34, 0x24, 0x14, 0xef, 0xcf,
        0xb3, 0xa3, 0x85, 0xd4, 0x4c, 0xd1, 0xfd, 0x45, 0x90, 0x89, 0xd1, 0x9b, 0x50, 0x71, 0xc0,
        0xb7, 0xa0,
    ],
    &[
        0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a,
        0x1a, 0x07, 0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4,
        0x19, 0xca, 0xcb, 0x47, 0xba, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3,
        0xf8, 0x0e, 0x12,
    ],
];

fn signing_key(
    public: &TpmtPublic,
    required: ObjectAttributes,
    forbidden: ObjectAttributes,
    on_curve: impl FnOnce(&[u8]) -> Result<P256PublicKey, NotAPoint>,
) -> Result<P256PublicKey, TemplateError> {
    attributes(public, required, forbidden)?;
    // A name by SHA-1 would let two keys share it.
    if public.name_algorithm == HashAlgorithm::Sha1 {
        return Err(TemplateError::NameAlgorithm(public.name_algorithm));
    }
    let ecc: &EccParameters = public.ecc().ok_or(TemplateError::KeyType)?;
    if ecc.curve != EccCurve::P256 {
        return Err(TemplateError::KeyType);
    }
    if ecc.symmetric != Symmetric::Null {
        return Err(TemplateError::Symmetric(ecc.symmetric));
    }
    if ecc.scheme != Scheme::Ecdsa(HashAlgorithm::Sha256) {
        return Err(TemplateError::Scheme(ecc.scheme));
    }
    on_curve(&ecc.uncompressed_point()).map_err(|_| TemplateError::PublicKey)
}

pub(super) fn attributes(
    public: &TpmtPublic,
    required: ObjectAttributes,
    forbidden: ObjectAttributes,
) -> Result<(), TemplateError> {
    let missing = required.difference(public.attributes);
    if !missing.is_empty() {
        return Err(TemplateError::MissingAttributes(missing));
    }
    let present = forbidden.intersection(public.attributes);
    if !present.is_empty() {
        return Err(TemplateError::ForbiddenAttributes(present));
    }
    Ok(())
}
