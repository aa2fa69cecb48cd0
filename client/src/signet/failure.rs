//! Why a command did not succeed, and the exit code for it.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use signet_client::approval::ApprovalError;
use signet_client::authority::tls_cause;
use signet_client::ceremony::{CannotAsk, CeremonyError};
use signet_client::daemon::DaemonRefusal;
use signet_client::demand::DemandError;
use signet_client::enrolment::EnrolError;
use signet_client::inspection::InspectError;
use signet_client::one_line::causes;
use signet_client::proxy::{LocalCaError, OpenProxyError, ProxyListenError, TargetError};
use signet_client::remote::{FarError, ListenError};
use signet_client::settings::SettingsError;
use signet_client::tls::TlsConfigError;
use signet_client::tokens::{CacheError, TokensError};
use signet_client::workstation::{OpenError, PresenceError};
use signet_client::{AuthorityError, DaemonError};
use signet_evidence::RejectionCode;
use thiserror::Error;

/// Refused.
const REFUSED: u8 = 1;
/// Wrong usage; clap uses the same.
const USAGE: u8 = 2;
/// Something could not be reached or asked.
const UNAVAILABLE: u8 = 3;

/// Why a command did not succeed.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    #[error(transparent)]
    Presence(#[from] PresenceError),
    #[error(transparent)]
    Tokens(#[from] TokensError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(transparent)]
    Approval(#[from] ApprovalError),
    #[error(transparent)]
    Dumps(#[from] signet_process::memory::DumpError),
    #[error("cannot read the settings of the environment: {name} is not usable")]
    Environment { name: &'static str },
    #[error("{what} is not given: use {option}, or put it into the settings")]
    NotGiven { what: &'static str, option: &'static str },
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is larger than {limit} bytes")]
    TooLarge { path: PathBuf, limit: usize },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot write the result")]
    Print(#[source] io::Error),
    #[error("no ticket was given: type it at a terminal, or use --ticket-file")]
    NoTicket(#[source] CannotAsk),
    #[error("what was given is not a token")]
    NotAToken,
    #[error("the token is not for {audience:?}: it is for {found}")]
    Audience { audience: String, found: String },
    #[error("no key of yours is called {id:?}: see `signet key list`")]
    NoSuchKey { id: String },
    #[error("no ticket, or more than one, begins with {id:?}: see `signet ticket list`")]
    NoSuchTicket { id: String },
    #[error("ticket {id:?} is not what it shows: tell your security team; nothing was approved")]
    TicketUnclear { id: String },
    #[error("the system gives no random numbers: restart the machine")]
    Randomness,
    #[error("more than one key of yours begins with {id:?}: give more of its id")]
    AmbiguousKey { id: String },
    #[error("no finger of this key is called {finger:?}: see `signet finger list`")]
    NoSuchFinger { finger: String },
    #[error("several fingers are called {finger:?}: give the id that `signet finger list` shows")]
    AmbiguousFinger { finger: String },
    #[error("a finger called {name:?} is enrolled already: give another name")]
    FingerExists { name: String },
    #[error("no credential on this key begins with {id:?}: see `signet key credentials list`")]
    NoSuchCredential { id: String },
    #[error("more than one credential begins with {id:?}: give more of its id")]
    AmbiguousCredential { id: String },
    #[error("no key is plugged in at {path}: see `signet key list`")]
    NoSuchPath { path: String },
    #[error("several keys fit: choose one of {paths} with --key")]
    SeveralKeys { paths: String },
    #[error("not confirmed; nothing was changed")]
    NotConfirmed,
    #[error("the key was not unplugged and plugged in again; nothing was erased")]
    NotReplugged,
    #[error("another key was plugged in at {path}; nothing was erased: unplug it, and start again")]
    AnotherKey { path: String },
    #[error("cannot reach {origin}: check the URL and the network")]
    Gateway { origin: String, source: reqwest::Error },
    #[error("the certificate of {origin} is not trusted: give its CA with --cacert")]
    GatewayUntrusted { origin: String, source: rustls::Error },
    #[error("the answer of {origin} is larger than {limit} bytes")]
    AnswerTooLarge { origin: String, limit: usize },
    #[error("the gateway wants a touch for this request but names no action: use --action")]
    ActionUnnamed,
    #[error("there is no session bus: run this in a desktop session, or with --terminal")]
    NoSessionBus(#[source] zbus::Error),
    #[error("the session bus is gone")]
    SessionBusGone,
    #[error("an agent runs in this session already")]
    AgentRuns,
    #[error(
        "nothing can be asked here: install a notification server or a pinentry (Debian: pinentry-gnome3, pinentry-curses), or use --terminal"
    )]
    NothingToAskWith,
    #[error("--terminal needs a terminal")]
    NoTerminal,
    #[error(transparent)]
    Far(#[from] FarError),
    #[error(transparent)]
    FarHosts(#[from] ListenError),
    #[error(
        "only `signet request` goes through the workstation's socket: unset SIGNET_SOCKET, or run this at the workstation"
    )]
    OnlyRequests,
    #[error(
        "{option} is not for requests through a workstation's socket: the workstation decides it"
    )]
    NotOverSocket { option: &'static str },
    #[error("name the action that you want approved with --action, such as mesh.route.update")]
    ActionNotGiven,
    #[error(transparent)]
    ProxyListen(#[from] ProxyListenError),
    #[error(transparent)]
    LocalCa(#[from] LocalCaError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("cancelled")]
    Interrupted,
    #[error("cannot start")]
    Runtime(#[source] io::Error),
}

impl From<OpenProxyError> for Failure {
    fn from(error: OpenProxyError) -> Self {
        match error {
            OpenProxyError::Workstation(error) => error.into(),
            OpenProxyError::Tls(error) => error.into(),
        }
    }
}

impl From<DemandError> for Failure {
    fn from(error: DemandError) -> Self {
        match error {
            DemandError::Unnamed => Self::ActionUnnamed,
            DemandError::Approval(error) => error.into(),
            DemandError::Presence(error) => error.into(),
            DemandError::Tokens(error) => error.into(),
        }
    }
}

impl Failure {
    /// Sorts a failed exchange with a gateway.
    pub(crate) fn gateway(origin: String, error: reqwest::Error) -> Self {
        match tls_cause(&error) {
            Some(rustls::Error::Other(_) | rustls::Error::AlertReceived(_)) => {
                AuthorityError::of_exchange(&origin, error).into()
            }
            Some(source @ rustls::Error::InvalidCertificate(_)) => {
                Self::GatewayUntrusted { origin, source: source.clone() }
            }
            _ => Self::Gateway { origin, source: error },
        }
    }

    /// 1, 2 or 3, as the help says.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Settings(_)
            | Self::Environment { .. }
            | Self::NotGiven { .. }
            | Self::Read { .. }
            | Self::TooLarge { .. }
            | Self::Tls(_)
            | Self::Approval(_)
            | Self::NotAToken
            | Self::NoSuchKey { .. }
            | Self::AmbiguousKey { .. }
            | Self::NoSuchTicket { .. }
            | Self::NoSuchFinger { .. }
            | Self::AmbiguousFinger { .. }
            | Self::FingerExists { .. }
            | Self::NoSuchCredential { .. }
            | Self::AmbiguousCredential { .. }
            | Self::NoSuchPath { .. }
            | Self::SeveralKeys { .. }
            | Self::OnlyRequests
            | Self::Target(_)
            | Self::NotOverSocket { .. }
            | Self::ActionNotGiven
            | Self::Far(FarError::BodyTooLarge)
            | Self::ActionUnnamed => USAGE,
            _ if self.is_unavailable() => UNAVAILABLE,
            _ => REFUSED,
        })
    }

    fn is_unavailable(&self) -> bool {
        match self {
            Self::Daemon(error) | Self::Open(OpenError::Daemon(error)) => error.is_unavailable(),
            Self::Authority(error) | Self::Open(OpenError::Authority(error)) => {
                error.is_unavailable()
            }
            Self::Enrol(EnrolError::Daemon(error)) => error.is_unavailable(),
            Self::Enrol(EnrolError::Authority(error)) => error.is_unavailable(),
            Self::Presence(error) => error.is_unavailable(),
            Self::Tokens(error) => error.is_unavailable(),
            Self::Far(FarError::Refused(refusal)) => refusal.unavailable,
            Self::Cache(CacheError::Io { .. } | CacheError::NoRuntimeDirectory)
            | Self::Open(OpenError::Signer(_))
            | Self::Far(_)
            | Self::FarHosts(_)
            | Self::ProxyListen(_)
            | Self::LocalCa(_)
            | Self::Write { .. }
            | Self::Print(_)
            | Self::NoTicket(_)
            | Self::Gateway { .. }
            | Self::AnswerTooLarge { .. }
            | Self::NotReplugged
            | Self::NoSessionBus(_)
            | Self::SessionBusGone
            | Self::AgentRuns
            | Self::NothingToAskWith
            | Self::NoTerminal
            | Self::Runtime(_) => true,
            _ => false,
        }
    }

    /// The code in `--json` output: the authority's, `signetd`'s, or a kind of our own.
    pub(crate) fn code(&self) -> String {
        if let Some(refusal) = find::<signet_client::authority::Refusal>(self) {
            return refusal.name.clone();
        }
        if let Some(AuthorityError::CertificateOver) = find::<AuthorityError>(self) {
            return RejectionCode::DeviceCertificateUntrusted.as_str().to_owned();
        }
        if let Self::Far(FarError::Refused(refusal)) = self {
            return refusal.code.clone();
        }
        if let Some(name) = self.daemon_refusal().and_then(DaemonRefusal::as_str) {
            return name.to_owned();
        }
        let kind = match self {
            Self::Tokens(TokensError::NotLoggedIn) => "not-logged-in",
            Self::Tokens(TokensError::PresenceOver) => "presence-over",
            Self::Open(OpenError::NotEnrolled) => "not-enrolled",
            Self::Interrupted | Self::NotConfirmed => "cancelled",
            Self::NoTicket(_) => "could-not-ask",
            _ => match find::<CeremonyError>(self) {
                Some(CeremonyError::CannotAsk(_)) => "could-not-ask",
                Some(CeremonyError::PinWrong) => "PinInvalid",
                Some(CeremonyError::Cancelled) => "cancelled",
                _ if self.is_unavailable() => "unavailable",
                _ => "failed",
            },
        };
        kind.to_owned()
    }

    fn daemon_refusal(&self) -> Option<DaemonRefusal> {
        match self {
            Self::Daemon(error)
            | Self::Open(OpenError::Daemon(error))
            | Self::Enrol(EnrolError::Daemon(error)) => error.refusal(),
            Self::Presence(PresenceError::Ceremony(error))
            | Self::Tokens(TokensError::Presence(PresenceError::Ceremony(error))) => {
                error.refusal()
            }
            _ => None,
        }
    }

    /// The message and its causes, each once, in one line.
    pub(crate) fn message(&self) -> String {
        causes(self)
    }
}

/// Transparent errors hide themselves from `source()`, so the enums are looked through by hand.
fn find<T: StdError + 'static>(failure: &Failure) -> Option<&T> {
    let mut error: &(dyn StdError + 'static) = failure;
    loop {
        let inner: Option<&(dyn StdError + 'static)> = match error.downcast_ref::<Failure>() {
            Some(Failure::Authority(error)) => Some(error),
            Some(Failure::Enrol(EnrolError::Authority(error))) => Some(error),
            Some(Failure::Presence(error))
            | Some(Failure::Tokens(TokensError::Presence(error))) => Some(error),
            Some(_) => None,
            None => match error.downcast_ref::<PresenceError>() {
                Some(PresenceError::Authority(error)) => Some(error),
                Some(PresenceError::Ceremony(error)) => Some(error),
                _ => match error.downcast_ref::<AuthorityError>() {
                    Some(AuthorityError::Refused(refusal)) => Some(&**refusal),
                    _ => None,
                },
            },
        };
        error = inner?;
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signet_client::authority::Refusal;

    fn code(failure: &Failure) -> (ExitCode, String) {
        (failure.exit_code(), failure.code())
    }

    #[test]
    fn codes_are_those_of_the_help() {
        let refusal = Refusal::read(403, br#"{"code":"uv-missing"}"#);
        let refused = AuthorityError::from(Box::new(refusal));
        let refused = Failure::Tokens(TokensError::Presence(PresenceError::Authority(refused)));
        assert_eq!(code(&refused), (ExitCode::from(1), "uv-missing".into()));

        let locked =
            DaemonError::Refused { refusal: DaemonRefusal::TpmLockout, message: "wait".into() };
        let locked = Failure::Presence(locked.into());
        assert_eq!(code(&locked), (ExitCode::from(3), "TpmLockout".into()));

        let asked = CeremonyError::CannotAsk(CannotAsk::NoTerminal);
        let asked = Failure::Presence(PresenceError::Ceremony(asked));
        assert_eq!(code(&asked), (ExitCode::from(3), "could-not-ask".into()));

        let cancelled = Failure::Presence(PresenceError::Ceremony(CeremonyError::Cancelled));
        assert_eq!(code(&cancelled), (ExitCode::from(1), "cancelled".into()));
        assert_eq!(
            code(&Failure::Tokens(TokensError::NotLoggedIn)),
            (ExitCode::from(1), "not-logged-in".into())
        );
        let stopped = Failure::Daemon(DaemonError::NotRunning);
        assert_eq!(code(&stopped), (ExitCode::from(3), "unavailable".into()));
        assert_eq!(Failure::NotAToken.exit_code(), ExitCode::from(2));
    }

    #[test]
    fn a_message_tells_its_causes_once() {
        let source = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let failure = Failure::Read { path: "a".into(), source };
        assert_eq!(failure.message(), "cannot read a: no such file");
        let asked = PresenceError::Ceremony(CeremonyError::CannotAsk(CannotAsk::Empty));
        assert_eq!(Failure::Presence(asked).message(), "could not ask: no PIN was entered");
    }
}
