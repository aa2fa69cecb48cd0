//! Where a decision becomes an answer: its audit record is written and it is counted before anybody
//! hears of it.

use signet_evidence::RejectionCode;
use signet_verifier::Rejection;

use crate::boot;
use crate::limits::Limit;
use crate::problem::{Audience, Problem};
use crate::state::Authority;
use crate::store::{AuditEntry, CommitError, Decision, Event, StoreError};

/// Refuses: writes the exact reason, counts it, and returns what the caller may know of it.
///
/// `entry.decision` and `entry.detail` are set here. When the record cannot be written the caller
/// hears that the authority is unavailable: no answer leaves without its record.
pub async fn refuse(
    authority: &Authority,
    mut entry: AuditEntry,
    rejection: &Rejection,
    audience: Audience,
) -> Problem {
    entry.decision = Decision::Refused(rejection.code());
    entry.detail = rejection.chain();
    if is_guess(rejection.code()) {
        let guesses = entry.tallies.iter_mut().filter(|tally| tally.limit == Limit::Guesses);
        guesses.for_each(|guess| guess.counts = true);
    }
    if let Err(problem) = record(authority, &entry).await {
        return problem;
    }
    if raises_alarm(rejection.code())
        && let Err(problem) = alert(authority, entry, rejection.code()).await
    {
        return problem;
    }
    let problem = Problem::rejected(rejection.code(), audience);
    match (rejection.boot(), audience) {
        // What its own machine booted is no secret to whoever sits there.
        (Some(report), Audience::Enrolled) => problem.with_findings(boot::said(report)),
        _ => problem,
    }
}

/// Refusals of something that is secret and was not known.
fn is_guess(code: RejectionCode) -> bool {
    matches!(code, RejectionCode::TicketInvalid | RejectionCode::EnrolmentUnknown)
}

/// Refusals that no mistake explains: a key was copied (WebAuthn L3 §6.1.1).
fn raises_alarm(code: RejectionCode) -> bool {
    code == RejectionCode::CounterRegressed
}

/// A record and a count of their own, for rules that wake somebody.
async fn alert(
    authority: &Authority,
    mut entry: AuditEntry,
    code: RejectionCode,
) -> Result<(), Problem> {
    entry.event = Event::Alert;
    authority.store.append_audit(&entry).await.map_err(|error| failed(authority, error))?;
    authority.metrics.alerted(code);
    tracing::error!(
        code = code.as_str(),
        subject = entry.subject.as_deref(),
        device = entry.device.as_ref().map(ToString::to_string),
        "alert: {}",
        entry.detail
    );
    Ok(())
}

/// Writes and counts a decision that changes nothing but the audit table.
///
/// # Errors
/// [`Problem::unavailable`] when the record cannot be written.
pub async fn record(authority: &Authority, entry: &AuditEntry) -> Result<(), Problem> {
    let written = match entry.tallies.is_empty() {
        true => authority.store.append_audit(entry).await.map_err(CommitError::from),
        false => authority.store.append_counted(entry).await,
    };
    match written {
        Ok(()) => {
            authority.metrics.decided(entry.event, entry.decision);
            Ok(())
        }
        // Nobody hears whether they were right who ask too often.
        Err(CommitError::Limited(limited)) => Err(authority.limited(limited)),
        Err(CommitError::Store(error)) => Err(failed(authority, error)),
        Err(CommitError::Rejected(code)) => Err(Problem::rejected(code, Audience::Anyone)),
        Err(CommitError::PlaceRevoked) => Err(Problem::unavailable()),
    }
}

/// The answer to a commit that carried its own audit record (`entry`, decision "allowed").
///
/// # Errors
/// The refusal, written and counted, when the commit was refused; [`Problem::unavailable`] when the
/// store failed.
pub async fn committed(
    authority: &Authority,
    entry: AuditEntry,
    outcome: Result<(), CommitError>,
    audience: Audience,
) -> Result<(), Problem> {
    match outcome {
        Ok(()) => {
            authority.metrics.decided(entry.event, entry.decision);
            Ok(())
        }
        Err(CommitError::Rejected(code)) => {
            Err(refuse(authority, entry, &Rejection::new(code), audience).await)
        }
        // Whoever tried again with other places had no luck. Nothing was used up.
        Err(CommitError::PlaceRevoked) => Err(Problem::unavailable()),
        Err(CommitError::Limited(limited)) => Err(authority.limited(limited)),
        Err(CommitError::Store(error)) => Err(failed(authority, error)),
    }
}

/// A store that failed: counted, logged, and told as "unavailable".
pub fn failed(authority: &Authority, error: StoreError) -> Problem {
    authority.metrics.store_failed();
    error.into()
}
