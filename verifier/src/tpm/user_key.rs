//! User keys: which method stands behind a key is derived from its certified `authPolicy`, and
//! believed of nobody (protocol §5.1).

use signet_evidence::tpm::{
    EccCurve, FINGERPRINT_POLICY_REF, HashAlgorithm, Name, ObjectAttributes, Scheme, TpmtPublic,
    WireError, policy_auth_value, policy_signed,
};
use signet_evidence::{PlatformKeyId, PlatformRegistration};
use thiserror::Error;

use super::attributes::{AttestationKey, MADE_INSIDE, TemplateError, attributes};
use super::certification::{CertificationError, certified};
use crate::ecdsa::P256PublicKey;

/// What a signature by a user key needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UserKeyMethod {
    /// A PIN that the TPM checks, with its dictionary-attack lockout on.
    Pin,
    /// A signature of a key in software that the workstation uses after a fingerprint matched.
    Fingerprint,
}

impl UserKeyMethod {
    const ALL: [Self; 2] = [Self::Pin, Self::Fingerprint];

    /// Its name in messages and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pin => "tpm-pin",
            Self::Fingerprint => "fingerprint",
        }
    }

    /// The method of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == name)
    }
}

/// Why a key is not taken as a user key. Variants stand in the order of the checks.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum UserKeyError {
    /// The AK does not vouch for this key over this statement.
    #[error("the attestation key does not certify this key")]
    Certification(#[source] CertificationError),
    /// The key could leave the TPM, could be used without its policy, or is of the wrong kind.
    #[error("certified key is not a user key made inside the TPM")]
    Template(#[source] TemplateError),
    /// A PIN that may be tried without end is no protection.
    #[error("a PIN key is exempt from the TPM's dictionary-attack lockout")]
    LockoutExempt,
    /// `TPMT_PUBLIC` of the authorisation key is malformed.
    #[error("public area of the authorisation key is malformed")]
    AuthorisationPublic(#[source] WireError),
    /// The authorisation key is no signing key on P-256.
    #[error("authorisation key is of the wrong kind")]
    AuthorisationKey(#[source] TemplateError),
    /// The `authPolicy` is none that a method is known for.
    #[error("the key's policy is not that of a known method")]
    Policy,
    /// A PIN key came with an authorisation key, which nothing can mean.
    #[error("a PIN key has no authorisation key")]
    UnusedAuthorisationKey,
}

/// A key inside the TPM that signs only by one known method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserKey {
    id: PlatformKeyId,
    public_key: P256PublicKey,
    method: UserKeyMethod,
}

impl UserKey {
    /// Checks a new user key: that `ak` certified it over `challenge`, its attributes, and that its
    /// `authPolicy` is that of one method.
    ///
    /// # Errors
    /// See [`UserKeyError`]; the first check that fails decides.
    pub fn verify(
        ak: &AttestationKey,
        registration: &PlatformRegistration,
        challenge: &[u8],
    ) -> Result<Self, UserKeyError> {
        let signed = &registration.certification;
        let certified =
            certified(ak, &signed.attest, &signed.signature, challenge, &registration.public)
                .map_err(UserKeyError::Certification)?;
        let authorisation_key = registration.authorisation_key.as_deref();
        Self::from_public(&certified.public, authorisation_key)
    }

    fn from_public(
        public: &TpmtPublic,
        authorisation_key: Option<&[u8]>,
    ) -> Result<Self, UserKeyError> {
        let public_key = user_key(public).map_err(UserKeyError::Template)?;
        // The name algorithm is SHA-256, so the Name has the one length that an id has.
        let id = PlatformKeyId::from_bytes(Name::of(public).as_bytes())
            .ok_or(UserKeyError::Template(TemplateError::NameAlgorithm(public.name_algorithm)))?;
        let method = method(public, authorisation_key)?;
        Ok(Self { id, public_key, method })
    }

    /// Its Name.
    #[must_use]
    pub fn id(&self) -> PlatformKeyId {
        self.id
    }

    /// Its public key.
    #[must_use]
    pub fn public_key(&self) -> &P256PublicKey {
        &self.public_key
    }

    /// What a signature by it needs.
    #[must_use]
    pub fn method(&self) -> UserKeyMethod {
        self.method
    }
}

fn method(
    public: &TpmtPublic,
    authorisation_key: Option<&[u8]>,
) -> Result<UserKeyMethod, UserKeyError> {
    if public.auth_policy == policy_auth_value() {
        return match authorisation_key {
            Some(_) => Err(UserKeyError::UnusedAuthorisationKey),
            None if public.attributes.no_da() => Err(UserKeyError::LockoutExempt),
            None => Ok(UserKeyMethod::Pin),
        };
    }
    let key = authorisation_key.ok_or(UserKeyError::Policy)?;
    let key = TpmtPublic::parse(key).map_err(UserKeyError::AuthorisationPublic)?;
    let may_sign = ObjectAttributes::SIGN;
    p256(&key, may_sign, ObjectAttributes::DECRYPT).map_err(UserKeyError::AuthorisationKey)?;
    if public.auth_policy != policy_signed(&Name::of(&key), FINGERPRINT_POLICY_REF) {
        return Err(UserKeyError::Policy);
    }
    Ok(UserKeyMethod::Fingerprint)
}

/// fixedTPM, fixedParent, sensitiveDataOrigin, sign; not restricted, not decrypt. userWithAuth is
/// clear, or the policy could be walked around; adminWithPolicy is clear, or nobody could certify it.
fn user_key(public: &TpmtPublic) -> Result<P256PublicKey, TemplateError> {
    let forbidden = ObjectAttributes::RESTRICTED
        .union(ObjectAttributes::DECRYPT)
        .union(ObjectAttributes::X509_SIGN)
        .union(ObjectAttributes::USER_WITH_AUTH)
        .union(ObjectAttributes::ADMIN_WITH_POLICY);
    p256(public, MADE_INSIDE.union(ObjectAttributes::SIGN), forbidden)
}

/// A signing key on P-256 that is named by SHA-256; it may leave its scheme to the caller.
fn p256(
    public: &TpmtPublic,
    required: ObjectAttributes,
    forbidden: ObjectAttributes,
) -> Result<P256PublicKey, TemplateError> {
    attributes(public, required, forbidden)?;
    if public.name_algorithm != HashAlgorithm::Sha256 {
        return Err(TemplateError::NameAlgorithm(public.name_algorithm));
    }
    let ecc = public.ecc().filter(|ecc| ecc.curve == EccCurve::P256);
    let ecc = ecc.ok_or(TemplateError::KeyType)?;
    if !matches!(ecc.scheme, Scheme::Null | Scheme::Ecdsa(HashAlgorithm::Sha256)) {
        return Err(TemplateError::Scheme(ecc.scheme));
    }
    P256PublicKey::from_uncompressed_point(&ecc.uncompressed_point())
        .map_err(|_| TemplateError::PublicKey)
}

#[cfg(test)]
mod tests;
