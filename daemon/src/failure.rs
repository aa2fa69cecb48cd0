//! What a caller is told when something did not work: the D-Bus error names and their messages.
//!
//! Every message says what to do next; the cause stays in `source()` and in the log.

use std::time::Duration;

use signet_ctap::operation::Feature;
use signet_evidence::action::ActionError;
use signet_evidence::presence::EvidenceError;
use signet_evidence::statement::StatementError;

use crate::ceremony::{PersonsNo, Refused, Waited};
use crate::enrol::TranscriptError;
use crate::platform::fprintd::ReaderError;
use crate::polkit::Unauthorised;
use crate::sessions::Cause;
use crate::state::StateError;
use crate::tpm::TpmError;

/// Prefix of the D-Bus error names.
pub const ERROR_PREFIX: &str = "org.signet.Presence1.Error.";

/// An argument that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// A member that is needed is absent.
    #[error("member {0} is missing")]
    Missing(&'static str),
    /// A member has another D-Bus type than the interface says.
    #[error("member {0} has the wrong type")]
    Type(&'static str),
    /// A member has a value that is not allowed.
    #[error("member {0} has a value that is not allowed")]
    Value(&'static str),
    /// A member that the interface does not know.
    #[error("member {0:?} is unknown")]
    Unknown(String),
    /// A minimum that is not above the present one.
    #[error("min_pin_length must be from {from} (as now; it can only rise) to {to}")]
    MinPinLength {
        /// The present one, characters.
        from: u32,
        /// The longest PIN, characters.
        to: u32,
    },
    /// The key keeps no such long names.
    #[error("the name is too long, at most {limit} bytes fit")]
    NameTooLong {
        /// Most bytes.
        limit: u32,
    },
    /// Not exactly one setting of a key.
    #[error(
        "name one setting: always_uv, min_pin_length or force_pin_change or both, or enterprise_attestation"
    )]
    Settings,
    /// Not `[A-Za-z0-9_]{1,64}`.
    #[error("handle_token must be 1 to 64 letters, digits or underscores")]
    HandleToken,
    /// A request of this caller with the same token is unfinished.
    #[error("handle_token is in use by an unfinished request of this caller")]
    HandleTokenInUse,
    /// The action cannot be shown and checked.
    #[error("the action cannot be used")]
    Action(#[source] ActionError),
    /// The claims do not fit the purpose.
    #[error("the claims do not fit the purpose")]
    Statement(#[source] StatementError),
    /// The parts together are larger than evidence may be.
    #[error("the evidence would be too large")]
    Evidence(#[source] EvidenceError),
    /// The transcript is not about this machine or these values.
    #[error("the transcript does not fit")]
    Transcript(#[source] TranscriptError),
    /// The leaf certificate is not for the machine's key.
    #[error("the leaf of {0} is not for this machine's key")]
    ForeignCertificate(&'static str),
    /// A certificate that no issuer of the enrolment signed.
    #[error("no issuer of this machine's enrolment signed {0}")]
    ForeignIssuer(&'static str),
    /// A certificate that would take away from the one that is there.
    #[error("the leaf of {0} ends earlier than the one that is there")]
    EndsEarlier(&'static str),
    /// Not the content of a TLS 1.3 client CertificateVerify (RFC 8446 §4.4.3).
    #[error("the message is not a TLS 1.3 client CertificateVerify")]
    NotCertificateVerify,
    /// A PIN was not asked for.
    #[error("no pin was asked for")]
    PinNotAsked,
    /// A number was not asked for, or was given already.
    #[error("no number was asked for")]
    NumberNotAsked,
    /// The pipe held no PIN of 4 to 63 bytes of UTF-8.
    #[error("the pipe did not hold a pin of 1 to 63 bytes of UTF-8")]
    Pin,
}

/// Why a request failed. One variant for each error name of the interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No enrolment is stored.
    #[error(
        "this machine is not enrolled: run `signet enrol` with a ticket from your administrator"
    )]
    NotEnrolled,
    /// Another enrolment is stored.
    #[error(
        "this machine is enrolled at {authority}: to enrol it elsewhere, stop signetd, run `signetd --forget` and enrol again"
    )]
    AlreadyEnrolled {
        /// The authority's URL.
        authority: String,
    },
    /// The caller's mistake.
    #[error("{0}: correct the call")]
    InvalidArgument(#[from] ArgumentError),
    /// The request belongs to somebody else.
    #[error("this request was made by another program: only its maker may use it")]
    NotAllowed,
    /// polkit does not let the caller.
    #[error(transparent)]
    NotAuthorised(#[from] Unauthorised),
    /// No security key is plugged in.
    #[error("no security key is plugged in: plug in yours and try again")]
    NoAuthenticator,
    /// None of the plugged keys holds one of the credentials.
    #[error(
        "no plugged-in security key holds a credential for this: plug in the key you enrolled, or enrol one with `signet key add`"
    )]
    NoCredential,
    /// This machine has no key of its own with a PIN that the caller made.
    #[error(
        "you have no key with a PIN on this machine: make one with `signet key add --platform pin`"
    )]
    NoPinKey,
    /// The key that was touched does not hold the credential; another plugged one may.
    #[error(
        "the security key you touched holds no credential for this, but another one is plugged in: repeat and touch that one"
    )]
    WrongAuthenticator,
    /// The key holds a credential of the operator already.
    #[error("this security key is enrolled already: use it, or plug in another one")]
    CredentialExcluded,
    /// The key went away in the middle.
    #[error("the security key was removed: plug it in again and repeat")]
    AuthenticatorRemoved,
    /// The key does not answer.
    #[error("the security key does not answer: unplug it, plug it in again and repeat")]
    AuthenticatorSilent,
    /// Another program talks to the key.
    #[error("another program uses the security key: let it finish, then repeat")]
    AuthenticatorBusy,
    /// The key refused for a reason of its own.
    #[error("the security key cannot do this: use a FIDO2 key with ES256 and user verification")]
    AuthenticatorUnsuitable,
    /// The person declined on the key.
    #[error("the security key refused: the request was declined on it, repeat when you are ready")]
    Declined,
    /// Wrong PIN.
    #[error("wrong PIN: tries left before the key locks itself: {tries_left}")]
    PinInvalid {
        /// Tries left.
        tries_left: u32,
    },
    /// The key's PIN is locked until it is plugged in anew.
    #[error("too many wrong PINs in a row: unplug the key, plug it in again and repeat")]
    PinAuthBlocked,
    /// The key is locked for good.
    #[error("the key's PIN is locked: reset the key (this erases it) and enrol it again")]
    PinBlocked,
    /// The key has no PIN and no finger.
    #[error("the key has no PIN: set a PIN first, with `signet key pin set`")]
    PinNotSet,
    /// The key wants another PIN before it works again.
    #[error("the key wants a new PIN first: change it with `signet key pin change`")]
    PinChangeRequired,
    /// The key has a PIN already.
    #[error("the key has a PIN already: change it with `signet key pin change`")]
    PinAlreadySet,
    /// The new PIN is too short.
    #[error("the PIN is too short: this key wants at least {min_length} characters")]
    PinTooShort {
        /// Fewest characters.
        min_length: u32,
    },
    /// The new PIN is too long.
    #[error("the PIN is too long: at most 63 bytes fit, choose a shorter one")]
    PinTooLong,
    /// The new PIN is the present one.
    #[error("the new PIN is the present one: choose another one")]
    PinUnchanged,
    /// The key has rules of its own.
    #[error("the PIN breaks the key's own rules: choose another one")]
    PinPolicy,
    /// The key has no room for another credential.
    #[error("the security key is full: delete something from it, or use another one")]
    AuthenticatorFull,
    /// There is no room for another finger.
    #[error("the key can hold no more fingers: remove one first")]
    FingerprintsFull,
    /// No such discoverable credential.
    #[error("the key stores no such credential: list them and choose one of them")]
    CredentialNotFound,
    /// No such template.
    #[error("the key knows no such finger: list its fingers and choose one of them")]
    FingerNotFound,
    /// The key lacks what this needs.
    #[error("the security key does not support {lacks}: use another one")]
    NotSupported {
        /// What.
        lacks: Feature,
    },
    /// The key took a setting and does not show it.
    #[error("the security key did not apply the setting: use its maker's tool")]
    SettingNotApplied,
    /// The key wants finger or PIN although a touch was asked for.
    #[error("the security key insists on finger or PIN: repeat and ask for them")]
    UvRequiredByAuthenticator,
    /// A sensor without fingers.
    #[error("the security key knows no finger: add one with `signet finger add`, or set a PIN")]
    NoFingerEnrolled,
    /// The key allows this only shortly after it was plugged in.
    #[error(
        "the key allows this only in its first ten seconds: unplug it, plug it in again and repeat at once"
    )]
    NotJustPlugged,
    /// That was no enrolled finger.
    #[error("the finger was not recognised: repeat with an enrolled finger, or use the PIN")]
    UvInvalid,
    /// Too many wrong fingers and no PIN to fall back on.
    #[error("the fingerprint is locked after wrong tries: repeat and use the key's PIN")]
    UvBlocked,
    /// The fingerprint reader of this machine.
    #[error(transparent)]
    Reader(#[from] ReaderError),
    /// No room for another platform key.
    #[error(
        "this machine remembers as many platform keys as it can: enrol it anew, or use a security key"
    )]
    PlatformKeysFull,
    /// Taken back by the caller.
    #[error("the request was cancelled: repeat it if that was a mistake")]
    Cancelled,
    /// Nobody, or nothing, answered in time.
    #[error("{}", timed_out(.0))]
    TimedOut(Waited),
    /// The configuration says that nobody sits here.
    #[error(
        "nobody can be asked at this machine: repeat where someone sits, or set prompts = \"caller\" in signetd's configuration"
    )]
    CannotPrompt,
    /// Only agents may ask, and this user has none.
    #[error(
        "nobody can be asked: start `signet agent` in your session, or set prompts = \"caller\" in signetd's configuration"
    )]
    NoAgent,
    /// The action wants a number to be given at an agent, and this user has none that could ask.
    #[error(
        "this action wants a number to be confirmed, and no agent can ask for it: start `signet agent` in your session, or `signet agent --terminal` in another terminal"
    )]
    NoNumber,
    /// Only agents may give a PIN.
    #[error("your session's agent asks for the PIN: enter it there")]
    AgentAsks,
    /// Not the agent that shows this prompt.
    #[error("this prompt was given to another agent: only that one may answer it")]
    NotAsked,
    /// The person said no at the prompt.
    #[error("refused at the prompt: repeat it only if that was a mistake")]
    Refused,
    /// Not the number that was shown.
    #[error("a wrong number was given at the prompt: repeat, and compare it with the number here")]
    WrongNumber,
    /// The person refused the same words just now.
    #[error("the same was refused at the prompt just now: it can be asked again in {} s", left.as_secs().max(1))]
    CoolingDown {
        /// How long it cannot.
        left: Duration,
    },
    /// Renewals wait until this is over.
    #[error("{}", paused(*.0))]
    SessionPaused(Cause),
    /// Renewals wait for the user.
    #[error("{}: sign in again with `signet login`", ended(*.0))]
    PresenceNeeded(Cause),
    /// Too many requests are unfinished.
    #[error("{0}: let them finish or cancel some, then try again")]
    TooManyRequests(Refused),
    /// See [`TpmError`].
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The TPM took longer than the configured time.
    #[error("the TPM did not answer in time: try again; if this stays, restart the machine")]
    TpmSlow,
    /// The state directory could not be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A bug.
    #[error("signetd made a mistake ({0}): report it with the journal, then try again")]
    Internal(Bug),
}

/// Places that are never reached in a daemon without bugs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bug {
    /// A task ended without an answer.
    #[error("a task ended without an answer")]
    TaskLost,
    /// Our own parts did not make valid evidence.
    #[error("the evidence is not valid")]
    Evidence,
    /// The TPM's public area is not what its template says.
    #[error("a key has an unexpected form")]
    KeyForm,
    /// The bus refused an object.
    #[error("the bus refused an object")]
    Bus,
    /// The system gives no random numbers.
    #[error("there are no random numbers")]
    Randomness,
}

fn paused(cause: Cause) -> &'static str {
    match cause {
        Cause::ScreenLocked => "your screen is locked: unlock it, and renewals go on",
        Cause::Suspended => "the machine is going to sleep: renewals go on when it is awake",
        Cause::KeyRemoved => "your security key is unplugged: plug it in, and renewals go on",
        Cause::Asked => "renewals are paused: try again later",
    }
}

fn ended(cause: Cause) -> &'static str {
    match cause {
        Cause::ScreenLocked => "your sessions ended when the screen was locked",
        Cause::Suspended => "your sessions ended when the machine went to sleep",
        Cause::KeyRemoved => "your sessions ended when the security key was unplugged",
        Cause::Asked => "your sessions were ended at this machine",
    }
}

fn timed_out(waited: &Waited) -> &'static str {
    match waited {
        Waited::Turn => "other requests took too long: try again",
        Waited::Person => "nobody touched the key in time: repeat and touch it when it blinks",
        Waited::Machine => {
            "the TPM did not answer in time: try again; if this stays, restart the machine"
        }
    }
}

impl Failure {
    /// Last part of the D-Bus error name; also the outcome of a request.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotEnrolled => "NotEnrolled",
            Self::AlreadyEnrolled { .. } => "AlreadyEnrolled",
            Self::InvalidArgument(_) => "InvalidArgument",
            Self::NotAllowed | Self::AgentAsks | Self::NotAsked => "NotAllowed",
            Self::NotAuthorised(_) => "NotAuthorized",
            Self::NoAuthenticator
            | Self::AuthenticatorSilent
            | Self::AuthenticatorBusy
            | Self::AuthenticatorUnsuitable => "NoAuthenticator",
            Self::NoCredential
            | Self::NoPinKey
            | Self::CredentialExcluded
            | Self::CredentialNotFound => "NoCredential",
            Self::WrongAuthenticator => "WrongAuthenticator",
            Self::AuthenticatorFull => "AuthenticatorFull",
            Self::AuthenticatorRemoved => "AuthenticatorRemoved",
            Self::PinInvalid { .. } => "PinInvalid",
            Self::PinAuthBlocked | Self::PinBlocked => "PinBlocked",
            Self::PinNotSet => "PinNotSet",
            Self::PinChangeRequired => "PinChangeRequired",
            Self::PinAlreadySet => "PinAlreadySet",
            Self::PinTooShort { .. } => "PinTooShort",
            Self::PinTooLong => "PinTooLong",
            Self::PinPolicy | Self::PinUnchanged => "PinPolicy",
            Self::FingerprintsFull => "FingerprintsFull",
            Self::FingerNotFound => "FingerNotFound",
            Self::NotSupported { .. } | Self::SettingNotApplied => "NotSupported",
            Self::UvRequiredByAuthenticator => "UvRequired",
            Self::NoFingerEnrolled => "NoEnrolledFingers",
            Self::NotJustPlugged => "NotJustPlugged",
            Self::UvInvalid => "UvInvalid",
            Self::UvBlocked => "UvBlocked",
            Self::Cancelled | Self::Declined | Self::Refused | Self::WrongNumber => "Cancelled",
            Self::CoolingDown { .. } => "CoolingDown",
            Self::TimedOut(Waited::Machine) | Self::TpmSlow => "TpmUnavailable",
            Self::TimedOut(Waited::Turn | Waited::Person) => "TimedOut",
            Self::CannotPrompt | Self::NoAgent | Self::NoNumber => "CannotPrompt",
            Self::SessionPaused(_) => "SessionPaused",
            Self::PresenceNeeded(_) => "PresenceNeeded",
            Self::TooManyRequests(_) => "TooManyRequests",
            Self::Reader(error) => reader_name(*error),
            Self::PlatformKeysFull => "AuthenticatorFull",
            Self::Tpm(error) => tpm_name(error),
            Self::State(_) => "StateUnwritable",
            Self::Internal(_) => "Internal",
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::CoolingDown { left } => Self::CoolingDown { left },
            limit => Self::TooManyRequests(limit),
        }
    }
}

impl PersonsNo for Failure {
    fn is_persons_no(&self) -> bool {
        matches!(self, Self::Declined | Self::Refused | Self::WrongNumber)
    }
}

fn reader_name(error: ReaderError) -> &'static str {
    use ReaderError as E;
    match error {
        E::NoBus | E::NoService | E::NoReader | E::Virtual | E::Denied | E::Removed => {
            "ReaderMissing"
        }
        E::Busy => "ReaderBusy",
        E::NoFingers => "NoEnrolledFingers",
        E::Changed => "FingersChanged",
        E::NoMatch => "UvInvalid",
        E::ServiceEnded | E::Failed | E::Silent => "ReaderFailed",
    }
}

fn tpm_name(error: &TpmError) -> &'static str {
    match error {
        TpmError::InvalidTcti { .. }
        | TpmError::NotFound { .. }
        | TpmError::AccessDenied { .. } => "TpmMissing",
        TpmError::Lockout | TpmError::PinLocked { .. } => "TpmLockout",
        TpmError::WrongPin { .. } => "PinInvalid",
        TpmError::UserKeyLost => "PlatformKeyLost",
        TpmError::Cleared | TpmError::Tampered => "TpmCleared",
        TpmError::BootChanged => "BootChanged",
        TpmError::QueueFull | TpmError::CallerLimit => "TooManyRequests",
        TpmError::NoTlsKey => "NotEnrolled",
        TpmError::CredentialRefused
        | TpmError::MalformedCredential
        | TpmError::NoEndorsementKey
        | TpmError::PcrSelection => "InvalidArgument",
        _ => "TpmUnavailable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_in_the_interface_file_and_every_message_says_what_to_do() {
        let tcti = || "device:/dev/tpmrm0".to_owned();
        let refused = Refused::TotalLimit { limit: 64 };
        let path = std::path::PathBuf::from("/var/lib/signet/state");
        let failures = [
            Failure::NotEnrolled,
            Failure::AlreadyEnrolled { authority: "https://authority.example".into() },
            ArgumentError::Missing("purpose").into(),
            Failure::NotAllowed,
            Failure::NoAuthenticator,
            Failure::NoCredential,
            Failure::NoPinKey,
            Failure::CredentialExcluded,
            Failure::AuthenticatorRemoved,
            Failure::AuthenticatorSilent,
            Failure::AuthenticatorBusy,
            Failure::AuthenticatorUnsuitable,
            Failure::AuthenticatorFull,
            Failure::Declined,
            Failure::PinInvalid { tries_left: 3 },
            Failure::PinAuthBlocked,
            Failure::PinBlocked,
            Failure::PinNotSet,
            Failure::PinChangeRequired,
            Failure::PinAlreadySet,
            Failure::PinTooShort { min_length: 6 },
            Failure::PinTooLong,
            Failure::PinPolicy,
            Failure::FingerprintsFull,
            Failure::FingerNotFound,
            Failure::NotSupported { lacks: Feature::FingerEnrolment },
            Failure::SettingNotApplied,
            Failure::UvRequiredByAuthenticator,
            Failure::NoFingerEnrolled,
            Failure::PinUnchanged,
            Failure::CredentialNotFound,
            Failure::NotJustPlugged,
            Failure::UvInvalid,
            Failure::WrongAuthenticator,
            Failure::UvBlocked,
            Failure::Cancelled,
            Failure::TimedOut(Waited::Person),
            Failure::TimedOut(Waited::Turn),
            Failure::TimedOut(Waited::Machine),
            Failure::CannotPrompt,
            Failure::NoAgent,
            Failure::NoNumber,
            Failure::AgentAsks,
            Failure::NotAsked,
            Failure::Refused,
            Failure::WrongNumber,
            Refused::CoolingDown { left: Duration::from_secs(7) }.into(),
            refused.into(),
            TpmError::NotFound { tcti: tcti() }.into(),
            TpmError::Timeout.into(),
            TpmError::Busy.into(),
            TpmError::HandleTaken { handle: 0x8100_0001 }.into(),
            TpmError::FailureMode.into(),
            TpmError::CallerLimit.into(),
            TpmError::PcrBankOff { bank: crate::tpm::PcrBank::Sha384 }.into(),
            TpmError::Lockout.into(),
            TpmError::PinLocked { wait: Duration::from_secs(600) }.into(),
            TpmError::WrongPin { tries_left: 2 }.into(),
            TpmError::UserKeyLost.into(),
            TpmError::AuthorisationRefused.into(),
            Failure::PlatformKeysFull,
            ReaderError::NoBus.into(),
            ReaderError::NoService.into(),
            ReaderError::NoReader.into(),
            ReaderError::Virtual.into(),
            ReaderError::Denied.into(),
            ReaderError::Removed.into(),
            ReaderError::Busy.into(),
            ReaderError::NoFingers.into(),
            ReaderError::Changed.into(),
            ReaderError::NoMatch.into(),
            ReaderError::ServiceEnded.into(),
            ReaderError::Failed.into(),
            ReaderError::Silent.into(),
            TpmError::Cleared.into(),
            TpmError::BootChanged.into(),
            Failure::TpmSlow,
            StateError::Corrupt { path }.into(),
            Failure::Internal(Bug::TaskLost),
        ];
        let listed = include_str!("../dbus/org.signet.Presence1.xml");
        let listed = &listed[listed.find("NAME is one of").unwrap()..];
        let listed: Vec<&str> = listed[..listed.find("Versioning").unwrap()]
            .split(|c: char| !c.is_ascii_alphanumeric())
            .collect();
        for failure in &failures {
            assert!(listed.contains(&failure.name()), "{failure:?}");
            let words = failure.to_string();
            assert!(words.contains(": "), "no advice: {words}");
        }
    }
}
