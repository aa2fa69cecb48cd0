//! Why an operation failed, sorted by what the person can do about it.

use std::{fmt, io};

use crate::cbor::DecodeError;
use crate::channel::ChannelError;
use crate::key::CommandError;
use crate::status::{Status, StatusWord};

/// Something a key lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Verifying its user in any way.
    UserVerification,
    /// Built-in user verification.
    BuiltInUserVerification,
    /// A PIN.
    Pin,
    /// The extension credProtect.
    CredentialProtection,
    /// Enrolling fingers.
    FingerEnrolment,
    /// Managing credentials.
    CredentialManagement,
    /// Renaming the account of a stored credential.
    CredentialUpdate,
    /// One of the algorithms asked for.
    Algorithm,
    /// Settings of its own.
    Configuration,
    /// Verifying its user for everything.
    AlwaysUv,
    /// A minimum length of the PIN that can be raised.
    MinPinLength,
    /// Attestation that names the single key, or it is not enabled.
    EnterpriseAttestation,
    /// A reset over this connection.
    Reset,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserVerification => "verifying its user; a touch is all it takes",
            Self::BuiltInUserVerification => "verifying its user without the host's keyboard",
            Self::Pin => "a pin",
            Self::CredentialProtection => "credential protection",
            Self::FingerEnrolment => "fingerprints",
            Self::CredentialManagement => "managing its credentials",
            Self::CredentialUpdate => "renaming a credential's account",
            Self::Algorithm => "the signature algorithms asked for",
            Self::Configuration => "settings of its own",
            Self::AlwaysUv => "always verifying its user",
            Self::MinPinLength => "a longer minimum for its pin",
            Self::EnterpriseAttestation => "enterprise attestation, or it is not enabled",
            Self::Reset => "being reset this way; use its maker's tool",
        })
    }
}

/// Why an operation failed. Display says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// The key was pulled out, or its process ended.
    #[error("the security key was removed; plug it in and try again")]
    KeyRemoved(#[source] io::Error),
    /// The key does not answer.
    #[error("the security key does not answer; plug it in again")]
    NoAnswer,
    /// Another program uses the key.
    #[error("the security key is busy with another program; try again")]
    Busy,
    /// Nobody touched the key in time.
    #[error("nobody touched the security key in time; try again")]
    Timeout,
    /// Someone cancelled on the key or through another program.
    #[error("the operation was cancelled at the security key")]
    Cancelled,
    /// The person refused on the key.
    #[error("the operation was refused at the security key")]
    Refused,
    /// The person did not give the PIN.
    #[error("no pin was given")]
    Declined,
    /// A PIN is needed and there is no way to ask for it.
    #[error("a pin is needed and nobody can be asked for it")]
    NobodyToAsk,
    /// No key is plugged in.
    #[error("no security key is plugged in")]
    NoKey,
    /// The key holds none of the acceptable credentials.
    #[error("this security key is not enrolled; use another one")]
    NoCredentials,
    /// Of several keys one was touched that holds none of the acceptable credentials.
    #[error("the security key that was touched is not enrolled; touch the other one")]
    WrongKey,
    /// The key holds a credential of the exclude list.
    #[error("this security key is enrolled already")]
    AlreadyRegistered,
    /// The PIN is wrong.
    #[error("wrong pin, {tries_left} tries left")]
    WrongPin {
        /// Tries left until the key must be reset.
        tries_left: u32,
    },
    /// Too many wrong PINs in a row.
    #[error("too many wrong pins; unplug the security key, plug it in again and try once more")]
    PinAuthBlocked,
    /// No PIN tries are left.
    #[error("the pin is blocked; the security key must be reset and enrolled again")]
    PinBlocked,
    /// No PIN is set.
    #[error("the security key has no pin; set one first")]
    PinNotSet,
    /// A PIN is set already.
    #[error("the security key has a pin already; change it instead")]
    PinAlreadySet,
    /// The PIN must be changed before it is good for anything.
    #[error("the pin must be changed first")]
    PinChangeRequired,
    /// The new PIN is too short.
    #[error("the pin is too short, at least {min_length} characters are needed")]
    PinTooShort {
        /// Shortest PIN, code points.
        min_length: u32,
    },
    /// The new PIN is too long.
    #[error("the pin is too long, at most 63 bytes fit")]
    PinTooLong,
    /// The new PIN is the old one.
    #[error("the new pin is the old one; choose another")]
    PinUnchanged,
    /// The key does not like the new PIN.
    #[error("the pin breaks the security key's rules; choose another one")]
    PinPolicy,
    /// The key no longer takes the token that PIN or finger gave.
    #[error("the permission given by pin or finger is no longer good; try again")]
    TokenRejected,
    /// No tries for built-in user verification are left; the right PIN gives new ones.
    #[error("the fingerprint is blocked; use the pin once to unblock it")]
    UvBlocked,
    /// A key that verifies its user during the command did not recognise the finger.
    #[error("the finger was not recognised; try again or use the pin")]
    WrongFinger,
    /// The key has a sensor and knows no finger.
    #[error("no finger is enrolled on the security key; enrol one first")]
    NoFingerEnrolled,
    /// The key lacks something the operation needs.
    #[error("the security key does not support {0}")]
    Unsupported(Feature),
    /// The key has no room.
    #[error("the security key is full; delete something first")]
    Full,
    /// The key has no room for another finger.
    #[error("the security key has no room for another finger; remove one first")]
    FingersFull,
    /// The key knows no finger with this template.
    #[error("the security key knows no such finger; list the fingers to see which there are")]
    FingerNotFound,
    /// The finger's name is too long.
    #[error("the finger's name is too long, at most {limit} bytes fit")]
    NameTooLong {
        /// Longest name, bytes of UTF-8.
        limit: u32,
    },
    /// The key stores no credential with this id.
    #[error("the security key stores no such credential; list them to see which there are")]
    CredentialNotFound,
    /// The minimum length of the PIN can only rise, up to what fits.
    #[error("the minimum length of the pin must be from {from} (as now; it can only rise) to {to}")]
    MinPinLengthOutOfRange {
        /// The minimum now, code points.
        from: u32,
        /// The longest PIN, code points.
        to: u32,
    },
    /// The key can tell its minimum PIN length to so many relying parties only.
    #[error("the security key can tell its minimum pin length to {limit} relying parties only")]
    TooManyRelyingParties {
        /// How many.
        limit: u32,
    },
    /// The key made an ordinary attestation although one that names it was asked for.
    #[error("the security key does not attest itself singly to this relying party")]
    NotEnterprise,
    /// The key took the setting and does not show it.
    #[error("the security key did not apply the setting")]
    NotApplied,
    /// The key does not allow this now.
    #[error("the security key does not allow this now; plug it in again and try at once")]
    NotAllowed,
    /// A reset is allowed only as the first thing shortly after the key was plugged in.
    #[error("too late; unplug the security key, plug it in again and reset it within ten seconds")]
    NotJustPlugged,
    /// The key signed without the UV flag although user verification was required.
    #[error("the security key did not verify its user")]
    UvFlagMissing,
    /// The request wanted no user verification, the key insists on it.
    #[error("the security key insists on a fingerprint or pin")]
    UvRequiredByKey,
    /// The key signed without the UP flag.
    #[error("the security key signed without a touch")]
    UpFlagMissing,
    /// The key signed for another relying party, or with a credential that was not asked for.
    #[error("the security key signed something else than it was asked to")]
    AnswerMismatch,
    /// The key did not apply the protection that was asked for.
    #[error("the security key did not apply the credential protection asked for")]
    ProtectionMissing,
    /// The key answered with a status that has no error of its own.
    #[error("the security key answered {name}: {advice}", name = .0, advice = .0.advice())]
    Status(Status),
    /// The key broke the protocol.
    #[error("the security key broke the protocol")]
    Protocol(#[source] CommandError),
}

impl From<CommandError> for OperationError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Channel(ChannelError::Removed(cause)) => Self::KeyRemoved(cause),
            CommandError::Channel(ChannelError::Silent) => Self::NoAnswer,
            CommandError::Channel(ChannelError::Busy) => Self::Busy,
            CommandError::Status(status) => Self::from(status),
            // A key that was told to verify its user always does no U2F (CTAP 2.1 §7.2.4).
            CommandError::StatusWord(StatusWord::COMMAND_NOT_ALLOWED) => Self::UvRequiredByKey,
            CommandError::StatusWord(StatusWord::WRONG_DATA) => Self::NoCredentials,
            CommandError::NoPinProtocol => Self::Unsupported(Feature::Pin),
            other => Self::Protocol(other),
        }
    }
}

impl From<DecodeError> for OperationError {
    fn from(error: DecodeError) -> Self {
        Self::Protocol(error.into())
    }
}

impl From<Status> for OperationError {
    fn from(status: Status) -> Self {
        match status {
            Status::TIMEOUT | Status::USER_ACTION_TIMEOUT | Status::ACTION_TIMEOUT => Self::Timeout,
            Status::CHANNEL_BUSY
            | Status::LOCK_REQUIRED
            | Status::PROCESSING
            | Status::USER_ACTION_PENDING
            | Status::OPERATION_PENDING => Self::Busy,
            Status::KEEPALIVE_CANCEL => Self::Cancelled,
            Status::OPERATION_DENIED => Self::Refused,
            Status::NO_CREDENTIALS | Status::INVALID_CREDENTIAL => Self::NoCredentials,
            Status::CREDENTIAL_EXCLUDED => Self::AlreadyRegistered,
            Status::PIN_AUTH_INVALID | Status::PIN_TOKEN_EXPIRED => Self::TokenRejected,
            Status::PIN_AUTH_BLOCKED => Self::PinAuthBlocked,
            Status::PIN_BLOCKED => Self::PinBlocked,
            Status::PIN_NOT_SET => Self::PinNotSet,
            Status::PIN_POLICY_VIOLATION => Self::PinPolicy,
            Status::PUAT_REQUIRED => Self::UvRequiredByKey,
            Status::UV_INVALID => Self::WrongFinger,
            Status::UV_BLOCKED => Self::UvBlocked,
            Status::UNSUPPORTED_ALGORITHM => Self::Unsupported(Feature::Algorithm),
            Status::KEY_STORE_FULL | Status::LARGE_BLOB_STORAGE_FULL => Self::Full,
            Status::FP_DATABASE_FULL => Self::FingersFull,
            Status::NOT_ALLOWED => Self::NotAllowed,
            other => Self::Status(other),
        }
    }
}
