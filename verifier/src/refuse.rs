//! Which code each finding has: the one place where errors of the checks become rejections.

use signet_evidence::webauthn::{
    Aaguid, AttestationObjectError, AuthenticatorDataError, CoseKeyError, CredProtect,
};
use signet_evidence::{Purpose, RejectionCode, UnixTime};
use thiserror::Error;

use crate::challenge::ChallengeError;
use crate::platform::{PlatformAssertionError, PlatformRegistrationError};
use crate::records::TpmClock;
use crate::rejection::Rejection;
use crate::tpm::{CertificationError, QuoteError, UserKeyError};
use crate::webauthn::{AssertionError, AttestationError, RegistrationError};

/// Findings of the appraisal itself, with what was expected and found.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    #[error("the statement is for {found:?}")]
    Audience { found: String },
    #[error("evidence for {found} was sent where another purpose is due")]
    Purpose { found: Purpose },
    #[error("the connection's certificate is not the evidence's")]
    OtherCertificate,
    #[error("the certificate is that of {certified}")]
    OtherDevice { certified: String },
    #[error("the statement confirms another key than the certificate's")]
    OtherKey,
    #[error("the session began at TPM reset {session}, and it is {found} now")]
    Rebooted { session: u32, found: u32 },
    #[error("authenticator model {0} is not one that its root may vouch for")]
    Model(Aaguid),
    #[error("the authenticator does not attest its model")]
    Unattested,
    #[error("the settings deny authenticator model {0}")]
    Denied(Aaguid),
    #[error("the settings allow other authenticator models than {0}")]
    NotAllowed(Aaguid),
    #[error("metadata ran out at {next_update}")]
    MetadataStale { next_update: UnixTime },
    #[error("metadata reports authenticator model {model}: {status}")]
    Reported { model: Aaguid, status: String },
    #[error("the credential's key is not fixed to its TPM")]
    LeavesTpm,
    #[error("the authenticator cannot verify its user, and the settings do not accept that")]
    TouchOnly,
    #[error("the authenticator did not verify its user at registration")]
    Unverified,
    #[error("the key proves a touch only, and more is asked for")]
    MoreThanTouch,
    #[error("the authenticator applied credProtect {found:?} where {least:?} is due")]
    CredProtect { found: Option<CredProtect>, least: CredProtect },
    #[error("the TPM's clock reads {found:?} after {last:?}")]
    Clock { found: TpmClock, last: TpmClock },
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::Audience { .. } => RejectionCode::AudienceWrong,
            Refusal::Purpose { .. } => RejectionCode::PurposeWrong,
            Refusal::OtherCertificate | Refusal::OtherDevice { .. } => {
                RejectionCode::CertificateMismatch
            }
            Refusal::OtherKey => RejectionCode::KeyThumbprintMismatch,
            Refusal::Rebooted { .. } => RejectionCode::TpmRebooted,
            Refusal::Model(_) | Refusal::NotAllowed(_) => RejectionCode::AaguidRefused,
            Refusal::Denied(_) => RejectionCode::AaguidDenied,
            Refusal::MetadataStale { .. } => RejectionCode::MetadataStale,
            Refusal::Reported { .. } => RejectionCode::AuthenticatorStatus,
            Refusal::LeavesTpm => RejectionCode::AttestationInvalid,
            Refusal::TouchOnly => RejectionCode::TouchOnlyRefused,
            Refusal::Unverified | Refusal::MoreThanTouch => RejectionCode::UvMissing,
            Refusal::CredProtect { .. } => RejectionCode::CredProtectInsufficient,
            Refusal::Unattested => RejectionCode::AttestationFormatRefused,
            Refusal::Clock { .. } => RejectionCode::TpmClockRegressed,
        };
        Self::because(code, refusal)
    }
}

impl From<ChallengeError> for Rejection {
    fn from(error: ChallengeError) -> Self {
        let code = match error {
            ChallengeError::Invalid => RejectionCode::ChallengeInvalid,
            ChallengeError::Expired { .. } => RejectionCode::ChallengeExpired,
        };
        Self::because(code, error)
    }
}

impl From<QuoteError> for Rejection {
    fn from(error: QuoteError) -> Self {
        let code = match &error {
            QuoteError::Malformed(_) | QuoteError::SignatureScheme => RejectionCode::QuoteMalformed,
            QuoteError::SignatureInvalid => RejectionCode::QuoteSignatureInvalid,
            QuoteError::Magic { .. } => RejectionCode::QuoteMagicWrong,
            QuoteError::Type { .. } => RejectionCode::QuoteTypeWrong,
            QuoteError::ExtraData => RejectionCode::QuoteChallengeMismatch,
            QuoteError::PcrSelection(_) | QuoteError::PcrDigest => RejectionCode::PcrDigestMismatch,
        };
        Self::because(code, error)
    }
}

impl From<CertificationError> for Rejection {
    fn from(error: CertificationError) -> Self {
        let code = match &error {
            CertificationError::Malformed(_)
            | CertificationError::SignatureScheme
            | CertificationError::Magic { .. }
            | CertificationError::Type { .. }
            | CertificationError::Public(_) => RejectionCode::CertificationMalformed,
            CertificationError::SignatureInvalid => RejectionCode::CertificationSignatureInvalid,
            CertificationError::ExtraData => RejectionCode::CertificationChallengeMismatch,
            CertificationError::Name => RejectionCode::CertificationKeyMismatch,
            CertificationError::Template(_) => RejectionCode::TlsKeyAttributes,
        };
        Self::because(code, error)
    }
}

impl From<AssertionError> for Rejection {
    fn from(error: AssertionError) -> Self {
        let code = match &error {
            AssertionError::CredentialMismatch => RejectionCode::CredentialUnknown,
            AssertionError::Challenge => RejectionCode::AssertionChallengeMismatch,
            AssertionError::ClientData(_) => RejectionCode::AssertionClientDataWrong,
            AssertionError::AuthenticatorData(_)
            | AssertionError::AttestedCredentialData
            | AssertionError::PublicKey => RejectionCode::AssertionMalformed,
            AssertionError::RpId => RejectionCode::RpIdMismatch,
            AssertionError::UserPresence => RejectionCode::UpMissing,
            AssertionError::UserVerification => RejectionCode::UvMissing,
            AssertionError::BackupEligible => RejectionCode::BackupEligible,
            AssertionError::SignatureInvalid => RejectionCode::AssertionSignatureInvalid,
            AssertionError::CounterRegressed { .. } => RejectionCode::CounterRegressed,
        };
        Self::because(code, error)
    }
}

impl From<PlatformAssertionError> for Rejection {
    fn from(error: PlatformAssertionError) -> Self {
        let code = match &error {
            PlatformAssertionError::OtherKey => RejectionCode::CredentialUnknown,
            PlatformAssertionError::Malformed => RejectionCode::AssertionMalformed,
            PlatformAssertionError::SignatureInvalid => RejectionCode::AssertionSignatureInvalid,
            PlatformAssertionError::FactsMissing => RejectionCode::PlatformFactsMissing,
            PlatformAssertionError::FingersChanged => RejectionCode::PlatformFingersChanged,
        };
        Self::because(code, error)
    }
}

impl From<PlatformRegistrationError> for Rejection {
    fn from(error: PlatformRegistrationError) -> Self {
        use UserKeyError as Key;
        let code = match &error {
            PlatformRegistrationError::FactsMissing => RejectionCode::PlatformFactsMissing,
            PlatformRegistrationError::Key(key) => match key {
                Key::Certification(CertificationError::ExtraData) => {
                    RejectionCode::AssertionChallengeMismatch
                }
                Key::Certification(_) => RejectionCode::AttestationInvalid,
                Key::Template(_) | Key::LockoutExempt => RejectionCode::PlatformKeyAttributes,
                Key::AuthorisationPublic(_)
                | Key::AuthorisationKey(_)
                | Key::Policy
                | Key::UnusedAuthorisationKey => RejectionCode::PlatformKeyPolicy,
            },
        };
        Self::because(code, error)
    }
}

impl From<RegistrationError> for Rejection {
    fn from(error: RegistrationError) -> Self {
        let code = match &error {
            RegistrationError::Challenge => RejectionCode::AssertionChallengeMismatch,
            RegistrationError::ClientData(_) => RejectionCode::AssertionClientDataWrong,
            RegistrationError::Attestation(attestation) => match attestation {
                AttestationError::Object(AttestationObjectError::UnsupportedFormat) => {
                    RejectionCode::AttestationFormatRefused
                }
                AttestationError::AuthenticatorData(AuthenticatorDataError::PublicKey(
                    CoseKeyError::UnsupportedAlgorithm(_),
                ))
                | AttestationError::Algorithm(_) => RejectionCode::CredentialAlgorithmRefused,
                AttestationError::Untrusted(_) => RejectionCode::AttestationUntrusted,
                AttestationError::AaguidMismatch => RejectionCode::AaguidRefused,
                _ => RejectionCode::AttestationInvalid,
            },
            RegistrationError::RpId => RejectionCode::RpIdMismatch,
            RegistrationError::UserPresence => RejectionCode::UpMissing,
            RegistrationError::UserVerification => RejectionCode::UvMissing,
            RegistrationError::BackupEligible => RejectionCode::BackupEligible,
        };
        Self::because(code, error)
    }
}
