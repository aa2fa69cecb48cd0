//! Session tokens: got by a touch, cached, renewed by the TPM alone until presence runs out.

mod access_token;
mod boot_clock;
mod cache;
mod record;

use std::time::Duration;

use aws_lc_rs::rand;
use signet_evidence::{Purpose, RejectionCode, SessionId};
use thiserror::Error;

pub use access_token::AccessToken;
pub use boot_clock::BootTime;
pub use cache::{CacheError, Fault, RenewalLock, TokenCache, read_private, write_private};
pub use record::{BoundToken, Freshness, SessionRecord};

use crate::authority::{Shown, TokenResponse};
use crate::ceremony::Attendant;
use crate::daemon::{DaemonRefusal, Enrolment, Means};
use crate::workstation::{Ask, PresenceError, Unattended, Workstation};

/// Waits between tries to renew while the authority or `signetd` cannot be reached.
const RETRY_AFTER: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];
/// How soon a keeper tries again after a failure.
const KEEPER_PAUSE: Duration = Duration::from_secs(10);
/// How long a keeper rests at most. Timers stand still while the machine sleeps; the boot clock, by which a
/// renewal is due, does not.
const KEEPER_REST: Duration = Duration::from_secs(10);

/// A workstation's tokens.
#[derive(Clone, Debug)]
pub struct Tokens {
    workstation: Workstation,
    cache: TokenCache,
}

/// Why there is no token.
#[derive(Debug, Error)]
pub enum TokensError {
    /// No session yet, or one of before the last restart.
    #[error("not logged in: run `signet login`")]
    NotLoggedIn,
    /// Only a touch helps.
    #[error("your presence has run out: run `signet login` and touch your key")]
    PresenceOver,
    /// The session could not be begun or renewed.
    #[error(transparent)]
    Presence(#[from] PresenceError),
    /// The authority gave a token without a session.
    #[error("the authority's answer names no session: use versions that fit")]
    NoSession,
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The lock could not be waited for.
    #[error("waiting for another renewal was interrupted")]
    Lock(#[source] tokio::task::JoinError),
}

/// What to log in for.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoginTerms<'a> {
    /// Rights asked for.
    pub scope: Option<&'a str>,
    /// Assurance asked for.
    pub acr: Option<&'a str>,
    /// Begin a new session even where one could go on.
    pub new_session: bool,
    /// What to prove it with.
    pub means: Means,
}

impl Tokens {
    /// The tokens of `workstation`, kept in `cache`.
    #[must_use]
    pub fn new(workstation: Workstation, cache: TokenCache) -> Self {
        Self { workstation, cache }
    }

    /// Tokens that are bound to certificates of the operator. The cache keeps one of each kind.
    #[must_use]
    pub fn as_operator(self) -> Self {
        Self { workstation: self.workstation.as_operator(), ..self }
    }

    /// The workstation.
    #[must_use]
    pub fn workstation(&self) -> &Workstation {
        &self.workstation
    }

    /// Proves presence and keeps the token that the authority gives for it. Where a session is
    /// under way, presence is proved anew in it.
    ///
    /// # Errors
    /// See [`TokensError`].
    pub async fn log_in(
        &self,
        terms: LoginTerms<'_>,
        attendant: &impl Attendant,
    ) -> Result<SessionRecord, TokensError> {
        // A damaged or foreign record must not keep anyone from logging in.
        let session = match self.cache.load() {
            Ok(record) => record.filter(|_| !terms.new_session),
            Err(CacheError::Damaged { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let session = session
            .filter(|record| record.belongs_to(self.workstation.enrolment()))
            .filter(|record| record.can_go_on(BootTime::now()))
            .and_then(|record| record.session_id());
        let answer = match self.prove_session(terms, session, attendant).await {
            Err(error) if session.is_some() && ended(&error) => {
                self.prove_session(terms, None, attendant).await
            }
            answer => answer,
        };
        let (subject, response) = answer?;
        let record = self.record(subject.as_deref().unwrap_or_default(), response)?;
        // Tokens of an earlier touch are not kept beside it: they tell of less presence, or of fewer rights.
        self.cache.store(&record)?;
        Ok(record)
    }

    /// The current token, renewed first when it is time, by one process at a time.
    ///
    /// # Errors
    /// See [`TokensError`].
    pub async fn current(&self) -> Result<SessionRecord, TokensError> {
        let record = self.load()?;
        if self.freshness(&record) == Freshness::Fresh {
            return Ok(record);
        }
        let cache = self.cache.clone();
        let lock = tokio::task::spawn_blocking(move || cache.lock());
        let _lock = lock.await.map_err(TokensError::Lock)??;
        // Another process may have renewed it while we waited.
        let record = self.load()?;
        match self.freshness(&record) {
            Freshness::Fresh => Ok(record),
            Freshness::PresenceOver => Err(TokensError::PresenceOver),
            Freshness::RenewalDue | Freshness::Expired => self.renew(record).await,
        }
    }

    /// Renews now, whether it is time or not.
    ///
    /// # Errors
    /// See [`TokensError`].
    pub async fn renew_now(&self) -> Result<SessionRecord, TokensError> {
        let cache = self.cache.clone();
        let lock = tokio::task::spawn_blocking(move || cache.lock());
        let _lock = lock.await.map_err(TokensError::Lock)??;
        let record = self.load()?;
        self.prove_renewal(&record).await
    }

    /// Keeps the token renewed for as long as it is awaited; ends when only a person can go on.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn keep_renewed(&self) -> Result<std::convert::Infallible, TokensError> {
        loop {
            let wait = match self.current().await {
                Ok(record) if self.freshness(&record) == Freshness::Fresh => {
                    keeper_rest(record.renewal_in(BootTime::now()))
                }
                Ok(_) => KEEPER_PAUSE,
                Err(error) if error.is_unavailable() => KEEPER_PAUSE,
                Err(error) => return Err(error),
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// What the cache holds for this workstation, as it is: the token for the certificates that are shown; where
    /// there is none, the session's other.
    ///
    /// # Errors
    /// [`TokensError::NotLoggedIn`], [`TokensError::Cache`].
    pub fn load(&self) -> Result<SessionRecord, TokensError> {
        Ok(self.held()?.of_kind(self.workstation.shown()))
    }

    /// Every token of the session that the cache holds.
    ///
    /// # Errors
    /// [`TokensError::NotLoggedIn`], [`TokensError::Cache`].
    pub fn every_token(&self) -> Result<Vec<AccessToken>, TokensError> {
        Ok(self.held()?.every_token().collect())
    }

    fn held(&self) -> Result<SessionRecord, TokensError> {
        self.cache
            .load()?
            .filter(|record| record.belongs_to(self.workstation.enrolment()))
            .ok_or(TokensError::NotLoggedIn)
    }

    /// What to do with the token now. One of a certificate that was renewed since, or of another
    /// than is shown, opens nothing, as if it had run out.
    fn freshness(&self, record: &SessionRecord) -> Freshness {
        let freshness = record.freshness(BootTime::now());
        if self.fits(record) {
            return freshness;
        }
        let presence = record.presence_remaining(BootTime::now());
        match presence.is_some_and(|left| left.is_zero()) {
            true => Freshness::PresenceOver,
            false => Freshness::Expired,
        }
    }

    /// Whether the token is bound to a certificate that can be shown.
    pub(crate) fn fits(&self, record: &SessionRecord) -> bool {
        match self.workstation.shown() {
            Shown::Machine => record.is_bound_to(self.workstation.enrolment()),
            Shown::Operator => record.is_bound_to_operator(),
        }
    }

    async fn prove_session(
        &self,
        terms: LoginTerms<'_>,
        session: Option<SessionId>,
        attendant: &impl Attendant,
    ) -> Result<(Option<String>, TokenResponse), PresenceError> {
        let ask = Ask {
            purpose: Purpose::Session,
            scope: terms.scope,
            acr: terms.acr,
            action: None,
            session,
            means: terms.means,
        };
        let proof = self.workstation.prove(&ask, attendant).await?;
        let response = self.workstation.exchange(&proof.evidence).await?;
        attendant.warn(&response.warnings);
        Ok((proof.subject, response))
    }

    async fn renew(&self, record: SessionRecord) -> Result<SessionRecord, TokensError> {
        let mut pauses = RETRY_AFTER.into_iter();
        loop {
            let error = match self.prove_renewal(&record).await {
                Ok(renewed) => return Ok(renewed),
                Err(error) => error,
            };
            let alive =
                record.remaining(BootTime::now()) > Duration::from_secs(2) && self.fits(&record);
            if error.rejection() == Some(RejectionCode::PresenceExpired) {
                // Use what there is to its end.
                return if alive { Ok(record) } else { Err(TokensError::PresenceOver) };
            }
            if error.refusal() == Some(DaemonRefusal::SessionPaused) {
                // It takes a person to change that: trying again at once does not help.
                return if alive { Ok(record) } else { Err(error) };
            }
            if !error.is_unavailable() {
                return Err(error);
            }
            match pauses.next() {
                Some(pause) => tokio::time::sleep(pause).await,
                None if alive => {
                    tracing::warn!(%error, "renewal failed; using the token that is still good");
                    return Ok(record);
                }
                None => return Err(error),
            }
        }
    }

    async fn prove_renewal(&self, record: &SessionRecord) -> Result<SessionRecord, TokensError> {
        let ask = Ask {
            purpose: Purpose::Renew,
            scope: record.scope.as_deref(),
            acr: None,
            action: None,
            session: record.session_id(),
            means: Means::default(),
        };
        let renewed = async {
            let proof = self.workstation.prove(&ask, &Unattended).await?;
            Ok(self.workstation.exchange(&proof.evidence).await?)
        };
        match renewed.await {
            Ok(response) => {
                let renewed = self.record(&record.subject, response)?;
                let kept = match self.cache.load() {
                    Ok(Some(before)) => renewed.clone().renewed_beside(before),
                    Ok(None) | Err(_) => renewed.clone(),
                };
                self.cache.store(&kept)?;
                Ok(renewed)
            }
            Err(error) => {
                if over(&error) {
                    // A login that tried to go on with it would ask for a touch too many.
                    self.cache.clear()?;
                }
                Err(error.into())
            }
        }
    }

    fn record(&self, subject: &str, response: TokenResponse) -> Result<SessionRecord, TokensError> {
        let mut jitter = [0];
        let _ = rand::fill(&mut jitter);
        let enrolment: &Enrolment = self.workstation.enrolment();
        SessionRecord::new(enrolment, subject, response, BootTime::now(), jitter[0])
            .ok_or(TokensError::NoSession)
    }
}

/// How long a keeper rests before it looks at the clock again.
fn keeper_rest(due_in: Duration) -> Duration {
    due_in.clamp(Duration::from_secs(1), KEEPER_REST)
}

impl TokensError {
    /// The authority's code, when it refused with one.
    #[must_use]
    pub fn rejection(&self) -> Option<RejectionCode> {
        match self {
            Self::Presence(error) => error.rejection(),
            _ => None,
        }
    }

    /// The error of `signetd`, when it refused with one.
    #[must_use]
    pub fn refusal(&self) -> Option<DaemonRefusal> {
        match self {
            Self::Presence(PresenceError::Ceremony(error)) => error.refusal(),
            _ => None,
        }
    }

    /// Whether nothing was decided: a part that is missing or busy, not a no.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Presence(error) => error.is_unavailable(),
            Self::Cache(CacheError::Io { .. } | CacheError::NoRuntimeDirectory)
            | Self::Lock(_)
            | Self::NoSession => true,
            _ => false,
        }
    }
}

/// Whether the authority has ended the session.
fn over(error: &PresenceError) -> bool {
    matches!(
        error.rejection(),
        Some(
            RejectionCode::SessionEnded | RejectionCode::TpmRebooted | RejectionCode::TokenRevoked
        )
    )
}

/// Whether a session cannot go on, so that a new one is due.
fn ended(error: &PresenceError) -> bool {
    over(error) || error.rejection() == Some(RejectionCode::ChallengeInvalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that slept through the moment when renewal was due renews soon after it wakes, whatever its
    /// timers counted.
    #[test]
    fn a_keeper_looks_at_the_clock_again_soon() {
        assert_eq!(keeper_rest(Duration::from_secs(180)), KEEPER_REST);
        assert_eq!(keeper_rest(Duration::from_secs(3)), Duration::from_secs(3));
        assert_eq!(keeper_rest(Duration::ZERO), Duration::from_secs(1));
    }
}
