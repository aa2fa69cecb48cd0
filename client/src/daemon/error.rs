//! What can go wrong between a caller and `signetd`.

use signet_evidence::RejectionCode;
use thiserror::Error;

/// Prefix of the D-Bus error names of `signetd`.
const PREFIX: &str = "org.signet.Presence1.Error.";

macro_rules! daemon_refusals {
    ($($(#[doc = $doc:literal])* $variant:ident;)*) => {
        /// Why `signetd` did not do what it was asked: the last part of the D-Bus error name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DaemonRefusal {
            $($(#[doc = $doc])* $variant,)*
            /// The name of an authority's rejection, which `signetd` passes on.
            Rejected(RejectionCode),
            /// A name that this version does not know.
            Unrecognised,
        }

        impl DaemonRefusal {
            /// The names that `signetd` uses for itself, in the order of the interface's documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The last part of the D-Bus error name; `None` for a name that is not known here.
            #[must_use]
            pub fn as_str(self) -> Option<&'static str> {
                match self {
                    $(Self::$variant => Some(stringify!($variant)),)*
                    Self::Rejected(code) => Some(code.camel_case()),
                    Self::Unrecognised => None,
                }
            }
        }
    };
}

daemon_refusals! {
    /// This machine is not enrolled.
    NotEnrolled;
    /// This machine is enrolled already.
    AlreadyEnrolled;
    /// The caller's arguments do not fit.
    InvalidArgument;
    /// The caller may not do this.
    NotAllowed;
    /// No security key is plugged in.
    NoAuthenticator;
    /// No plugged-in key holds one of the credentials.
    NoCredential;
    /// The key was unplugged.
    AuthenticatorRemoved;
    /// The PIN was wrong.
    PinInvalid;
    /// Too many wrong PINs.
    PinBlocked;
    /// The key has no PIN and no other way to know its owner.
    PinNotSet;
    /// Too many wrong fingers.
    UvBlocked;
    /// The caller or the person cancelled.
    Cancelled;
    /// Nobody answered in time.
    TimedOut;
    /// There was nobody to ask.
    CannotPrompt;
    /// The caller has too many requests open.
    TooManyRequests;
    /// There is no TPM.
    TpmMissing;
    /// The TPM does not answer.
    TpmUnavailable;
    /// The TPM is locked against guessing.
    TpmLockout;
    /// The TPM was cleared since enrolment.
    TpmCleared;
    /// The TLS key is bound to a state of the machine that is no more.
    BootChanged;
    /// State could not be written.
    StateUnwritable;
    /// A fault of `signetd` itself.
    Internal;
    /// The touched key does not hold the credential, another plugged one may.
    WrongAuthenticator;
    /// The key has no room.
    AuthenticatorFull;
    /// The key cannot do it.
    NotSupported;
    /// The key allows it only just after it was plugged in.
    NotJustPlugged;
    /// The PIN must be changed first.
    PinChangeRequired;
    /// The key has a PIN already.
    PinAlreadySet;
    /// The new PIN is too short.
    PinTooShort;
    /// The new PIN is too long.
    PinTooLong;
    /// The key has other rules for its PIN.
    PinPolicy;
    /// The finger was not recognised.
    UvInvalid;
    /// The key can hold no more fingers.
    FingerprintsFull;
    /// The key does not know the finger.
    FingerNotFound;
    /// The key insists on finger or PIN.
    UvRequired;
    /// The key or the reader knows no finger.
    NoEnrolledFingers;
    /// There is no fingerprint reader that may be used.
    ReaderMissing;
    /// Another program uses the fingerprint reader.
    ReaderBusy;
    /// The fingerprint reader failed.
    ReaderFailed;
    /// The enrolled fingers are not those of the platform key's registration.
    FingersChanged;
    /// The TPM does not know the platform key any more.
    PlatformKeyLost;
    /// The person refused the same just now.
    CoolingDown;
    /// polkit does not let the caller.
    NotAuthorized;
    /// Renewals wait for a screen, the machine or a key.
    SessionPaused;
    /// The sessions ended here: the user has to be present anew.
    PresenceNeeded;
}

impl DaemonRefusal {
    /// The refusal of this D-Bus error name, or of its last part.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let name = name.strip_prefix(PREFIX).unwrap_or(name);
        if let Some(code) = name.strip_prefix("Rejected.") {
            return RejectionCode::ALL
                .iter()
                .find(|found| found.camel_case() == code)
                .map_or(Self::Unrecognised, |code| Self::Rejected(*code));
        }
        Self::ALL
            .iter()
            .copied()
            .find(|found| found.as_str() == Some(name))
            .unwrap_or(Self::Unrecognised)
    }

    /// Whether nothing was decided: a part that is missing or busy, not a no.
    #[must_use]
    pub fn is_unavailable(self) -> bool {
        matches!(
            self,
            Self::NoAuthenticator
                | Self::AuthenticatorRemoved
                | Self::CannotPrompt
                | Self::TooManyRequests
                | Self::TpmMissing
                | Self::TpmUnavailable
                | Self::TpmLockout
                | Self::StateUnwritable
                | Self::SessionPaused
                | Self::Internal
        )
    }
}

/// A call to `signetd` that did not succeed.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// No message bus at the address.
    #[error("cannot reach the message bus: start dbus, or name another address with --bus")]
    Bus(#[source] zbus::Error),
    /// Nobody owns the name on the bus.
    #[error("signetd is not running: start it with `systemctl start signetd`")]
    NotRunning,
    /// `signetd` went away before it answered.
    #[error("signetd stopped before it answered; nothing was changed, try again once it runs")]
    Vanished,
    /// `signetd` said no. The message is its own and says what to do next.
    #[error("{message}")]
    Refused {
        /// Which error.
        refusal: DaemonRefusal,
        /// What `signetd` tells the person.
        message: String,
    },
    /// The answer lacks a member that the interface promises, or has it in another type.
    #[error("signetd's answer has no usable {member:?}: use signet and signetd of one version")]
    Member {
        /// The member of the dictionary.
        member: &'static str,
    },
    /// The call failed below the interface.
    #[error("the call to signetd failed")]
    Call(#[source] zbus::Error),
    /// The pipe for the PIN could not be made.
    #[error("cannot hand the PIN to signetd")]
    PinPipe(#[source] std::io::Error),
}

impl DaemonError {
    /// Which error of the interface this is, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<DaemonRefusal> {
        match self {
            Self::Refused { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }

    /// Whether nothing was decided: a part that is missing or busy, not a no.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.refusal().is_none_or(DaemonRefusal::is_unavailable)
    }
}

impl From<zbus::Error> for DaemonError {
    fn from(error: zbus::Error) -> Self {
        use zbus::fdo::Error as Standard;
        match &error {
            zbus::Error::MethodError(name, message, _) if name.as_str().starts_with(PREFIX) => {
                let refusal = DaemonRefusal::from_name(name.as_str());
                Self::Refused { refusal, message: message.clone().unwrap_or_default() }
            }
            zbus::Error::FDO(standard) => match standard.as_ref() {
                Standard::ServiceUnknown(_) | Standard::NameHasNoOwner(_) => Self::NotRunning,
                Standard::NoReply(_) | Standard::Disconnected(_) => Self::Vanished,
                Standard::AccessDenied(message) => {
                    Self::Refused { refusal: DaemonRefusal::NotAllowed, message: message.clone() }
                }
                _ => Self::Call(error),
            },
            zbus::Error::InputOutput(_) => Self::Vanished,
            _ => Self::Call(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_interface_is_known_and_no_other() {
        let written = include_str!("../../../daemon/dbus/org.signet.Presence1.xml");
        let (_, names) = written.split_once("NAME is one of").unwrap();
        let (names, _) = names.split_once("\n\n").unwrap();
        let mut names: Vec<&str> =
            names.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
        let mut known: Vec<&str> =
            DaemonRefusal::ALL.iter().filter_map(|one| one.as_str()).collect();
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, names);
    }

    #[test]
    fn names_are_known_with_and_without_prefix() {
        for refusal in DaemonRefusal::ALL {
            let name = refusal.as_str().unwrap();
            assert_eq!(DaemonRefusal::from_name(name), *refusal);
            assert_eq!(DaemonRefusal::from_name(&format!("{PREFIX}{name}")), *refusal);
        }
        for code in RejectionCode::ALL {
            let name = code.dbus_name();
            assert_eq!(DaemonRefusal::from_name(&name), DaemonRefusal::Rejected(*code));
        }
        assert_eq!(DaemonRefusal::from_name("ok"), DaemonRefusal::Unrecognised);
    }
}
