//! How the TPM is, as the last answers showed it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::TpmError;
use super::properties::Lockout;

/// State of the TPM in one word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Health {
    /// It answers.
    Ok,
    /// It answers that it has no time, or more is asked of it than it can do.
    Busy,
    /// It answers, and takes no PIN for now.
    Lockout,
    /// It says that it is broken, gave a wrong result in the self-test, or hangs.
    Failed,
    /// There is none, or none that we can reach.
    Missing,
}

impl Health {
    /// As on D-Bus: `ok`, `busy`, `lockout`, `failed`, `missing`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Busy => "busy",
            Self::Lockout => "lockout",
            Self::Failed => "failed",
            Self::Missing => "missing",
        }
    }

    /// What an error says of the TPM; `None` when it is about the request alone.
    fn of(error: &TpmError) -> Option<Self> {
        match error {
            TpmError::Busy => Some(Self::Busy),
            TpmError::Timeout
            | TpmError::Stopped
            | TpmError::NoThread
            | TpmError::FailureMode
            | TpmError::SelfTest
            | TpmError::ResponseForged
            | TpmError::MalformedResponse => Some(Self::Failed),
            TpmError::InvalidTcti { .. }
            | TpmError::NotFound { .. }
            | TpmError::AccessDenied { .. }
            | TpmError::Unreachable { .. } => Some(Self::Missing),
            _ => None,
        }
    }
}

/// What the thread saw last.
#[derive(Debug, Default)]
pub(super) struct Record(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// The last request failed because of the TPM itself.
    trouble: Option<TpmError>,
    /// What the last self-test said: passed, or a wrong result.
    self_test: Option<bool>,
    lockout: Option<Lockout>,
}

impl Record {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a request ended.
    pub(super) fn note(&self, error: Option<&TpmError>) {
        let trouble = error.filter(|error| Health::of(error).is_some()).cloned();
        self.lock().trouble = trouble;
    }

    /// How a self-test ended; one that could not be made says nothing.
    pub(super) fn note_self_test(&self, result: &Result<(), TpmError>) {
        match result {
            Ok(()) => self.lock().self_test = Some(true),
            Err(TpmError::SelfTest) => self.lock().self_test = Some(false),
            Err(_) => {}
        }
    }

    pub(super) fn self_tested(&self) -> bool {
        self.lock().self_test == Some(true)
    }

    pub(super) fn note_lockout(&self, lockout: Lockout) {
        self.lock().lockout = Some(lockout);
    }

    /// The state, and what to do about it where it is not well.
    pub(super) fn report(&self) -> (Health, Option<TpmError>) {
        let seen = self.lock();
        if seen.self_test == Some(false) {
            return (Health::Failed, Some(TpmError::SelfTest));
        }
        if let Some(error) = &seen.trouble {
            return (Health::of(error).unwrap_or(Health::Ok), Some(error.clone()));
        }
        match seen.lockout.and_then(Lockout::refusal) {
            Some(refusal) => (Health::Lockout, Some(refusal)),
            None => (Health::Ok, None),
        }
    }
}
