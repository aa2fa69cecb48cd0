//! Platform keys: a person was there by a method that the key's certified policy names (protocol §5.1).

use signet_evidence::binding::{platform_message, platform_registration_challenge};
use signet_evidence::tpm::{HashAlgorithm, TpmtSignature};
use signet_evidence::{
    DeviceId, FingerFacts, HostFacts, PlatformAssertion, PlatformKeyId, PlatformRegistration,
};
use thiserror::Error;

use crate::ecdsa::P256PublicKey;
use crate::records::{EnrolledPlatformKey, PlatformMethod};
use crate::tpm::{AttestationKey, UserKey, UserKeyError, UserKeyMethod};

/// Why an assertion by a platform key is not believed. Variants stand in the order of the checks.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PlatformAssertionError {
    /// Made by another key than the one looked up, or by one that was registered elsewhere.
    #[error("the platform key is not one of this machine")]
    OtherKey,
    /// Not a `TPMT_SIGNATURE` of ECDSA with SHA-256.
    #[error("the signature is not one of ECDSA with SHA-256")]
    Malformed,
    /// The key did not sign this statement.
    #[error("the platform key did not sign this statement")]
    SignatureInvalid,
    /// A fingerprint without the reader and the fingers behind it.
    #[error("the host does not say by which reader and which enrolled fingers")]
    FactsMissing,
    /// Another reader, or other enrolled fingers, than at registration.
    #[error("the reader or the set of enrolled fingers is not that of the registration")]
    FingersChanged,
}

/// An assertion by a registered platform key over the expected statement.
#[derive(Debug)]
pub struct VerifiedPlatformAssertion {
    method: UserKeyMethod,
}

impl VerifiedPlatformAssertion {
    /// Checks that `assertion` was made by `key`, on the machine that it was registered on, over
    /// `statement`; for a fingerprint also that reader and fingers are those of the registration.
    ///
    /// # Errors
    /// See [`PlatformAssertionError`].
    pub fn verify(
        assertion: &PlatformAssertion,
        key: &EnrolledPlatformKey,
        device: &DeviceId,
        statement: &[u8],
        facts: Option<&HostFacts>,
    ) -> Result<Self, PlatformAssertionError> {
        use PlatformAssertionError as E;
        if assertion.key != key.id || *device != key.device {
            return Err(E::OtherKey);
        }
        let signature = TpmtSignature::parse(&assertion.signature).map_err(|_| E::Malformed)?;
        let TpmtSignature::Ecdsa { hash: HashAlgorithm::Sha256, r_s } = &signature else {
            return Err(E::Malformed);
        };
        key.public_key
            .verify_fixed(&platform_message(statement), r_s)
            .map_err(|_| E::SignatureInvalid)?;
        if let PlatformMethod::Fingerprint(registered) = &key.method {
            let found = facts.and_then(HostFacts::finger_facts).ok_or(E::FactsMissing)?;
            if found != *registered {
                return Err(E::FingersChanged);
            }
        }
        Ok(Self { method: key.method.kind() })
    }

    /// What the signature needed.
    #[must_use]
    pub fn method(&self) -> UserKeyMethod {
        self.method
    }
}

/// Why a platform key is not registered. Variants stand in the order of the checks.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PlatformRegistrationError {
    /// Not certified, or not by one method.
    #[error("the key is not a user key of this machine's TPM")]
    Key(#[from] UserKeyError),
    /// A fingerprint without the reader and the fingers behind it.
    #[error("the host does not say which reader and which enrolled fingers")]
    FactsMissing,
}

/// A platform key that may be enrolled.
#[derive(Debug)]
pub struct VerifiedPlatformKey {
    key: UserKey,
    method: PlatformMethod,
}

impl VerifiedPlatformKey {
    /// Checks the registration of a key in the TPM of `ak`, made for `statement`.
    ///
    /// # Errors
    /// See [`PlatformRegistrationError`].
    pub fn verify(
        ak: &AttestationKey,
        registration: &PlatformRegistration,
        statement: &[u8],
        facts: Option<&HostFacts>,
    ) -> Result<Self, PlatformRegistrationError> {
        let challenge = platform_registration_challenge(statement);
        let key = UserKey::verify(ak, registration, &challenge)?;
        let method = match key.method() {
            UserKeyMethod::Pin => PlatformMethod::Pin,
            UserKeyMethod::Fingerprint => {
                let facts = facts.and_then(HostFacts::finger_facts);
                PlatformMethod::Fingerprint(facts.ok_or(PlatformRegistrationError::FactsMissing)?)
            }
        };
        Ok(Self { key, method })
    }

    /// Its Name: the credential id.
    #[must_use]
    pub fn id(&self) -> PlatformKeyId {
        self.key.id()
    }

    /// Its public key.
    #[must_use]
    pub fn public_key(&self) -> &P256PublicKey {
        self.key.public_key()
    }

    /// How it is used, with the reader and the fingers of a fingerprint key.
    #[must_use]
    pub fn method(&self) -> &PlatformMethod {
        &self.method
    }

    /// Driver and finger set, of a fingerprint key.
    #[must_use]
    pub fn fingers(&self) -> Option<&FingerFacts> {
        match &self.method {
            PlatformMethod::Pin => None,
            PlatformMethod::Fingerprint(facts) => Some(facts),
        }
    }
}
