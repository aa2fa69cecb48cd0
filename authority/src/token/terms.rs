//! What judged evidence is granted: a new session, new presence in one, a renewal, or one action
//! (the table of protocol §3.2).

use std::collections::BTreeSet;
use std::time::Duration;

use signet_evidence::{Purpose, RejectionCode, SessionId, UnixTime};
use signet_verifier::AttestationResult;
use signet_verifier::token::{PresenceRecord, SessionTerms, StatusReference};

use crate::appraise::{AppraiseError, Rows};
use crate::documents::status_uri;
use crate::state::Authority;
use crate::status_list::LIST_LENGTH;
use crate::store::{SessionChange, SessionKind, SessionRow};

/// How many token lives a session may rest before it is over.
const IDLE_LIVES: u32 = 2;

/// The terms of one token.
pub(super) struct Granted {
    pub(super) token_id: [u8; 16],
    pub(super) lifetime: Duration,
    pub(super) session: SessionTerms,
    pub(super) status: StatusReference,
    pub(super) scope: Option<String>,
    pub(super) change: SessionChange,
}

/// Decides what the evidence is granted; nothing is written.
pub(super) async fn grant(
    authority: &Authority,
    result: &AttestationResult,
    rows: &Rows,
    now: UnixTime,
) -> Result<Granted, AppraiseError> {
    match (result.purpose(), &rows.session) {
        (Purpose::Session, None) => start(authority, result, SessionKind::Person, now).await,
        (Purpose::Action, None) => start(authority, result, SessionKind::Action, now).await,
        (Purpose::Workload, None) => start(authority, result, SessionKind::Workload, now).await,
        (Purpose::Session, Some(session)) => refresh(authority, result, session, now),
        (Purpose::Renew, Some(session)) => renew(authority, result, session, now),
        (Purpose::Renew, None) => Err(RejectionCode::SessionEnded.into()),
        _ => Err(RejectionCode::PurposeWrong.into()),
    }
}

async fn start(
    authority: &Authority,
    result: &AttestationResult,
    kind: SessionKind,
    now: UnixTime,
) -> Result<Granted, AppraiseError> {
    let lifetimes = &authority.config.settings.lifetimes;
    let (lifetime, session_lifetime) = match kind {
        SessionKind::Person => (&lifetimes.session_token, lifetimes.session.get_ref()),
        SessionKind::Workload => (&lifetimes.session_token, lifetimes.session_token.get_ref()),
        // Its session ends with its one token: there is nothing to renew.
        SessionKind::Action => (&lifetimes.action_token, lifetimes.action_token.get_ref()),
    };
    let expires = now.plus(session_lifetime.duration());
    let presence = new_presence(authority, result, expires, now);
    let index = authority.status_index().await?;
    let id = SessionId(crate::random::bytes());
    let session = SessionRow {
        id,
        kind,
        subject: result.subject().map(str::to_owned),
        device: result.device().clone(),
        credential: result.credential().map(|(id, _)| id.to_vec()),
        reset_count: result.clock().reset_count,
        scope: result.scope().map(str::to_owned),
        started_at: now,
        expires,
        last_token_at: now,
        presence: presence.clone(),
        status_index: index,
        ended: false,
    };
    Ok(Granted {
        token_id: crate::random::bytes(),
        lifetime: lifetime.get_ref().duration(),
        session: SessionTerms { id, expires, presence },
        status: status(authority, index),
        scope: session.scope.clone(),
        change: SessionChange::Start(session),
    })
}

/// New presence in a session that is alive: same `sid`, new `auth_time`, rights as asked for.
fn refresh(
    authority: &Authority,
    result: &AttestationResult,
    session: &SessionRow,
    now: UnixTime,
) -> Result<Granted, AppraiseError> {
    check_alive(authority, session, now)?;
    let presence = new_presence(authority, result, session.expires, now)
        .ok_or(RejectionCode::AssertionMissing)?;
    let (credential, _) = result.credential().ok_or(RejectionCode::AssertionMissing)?;
    let scope = result.scope().map(str::to_owned).or_else(|| session.scope.clone());
    let change = SessionChange::Refresh {
        id: session.id,
        credential: credential.to_vec(),
        presence: presence.clone(),
        scope: scope.clone(),
        place: session.status_index,
    };
    Ok(continued(authority, session, presence, scope, change))
}

/// Another token on the presence that was proved: same `auth_time`, the same rights or fewer.
fn renew(
    authority: &Authority,
    result: &AttestationResult,
    session: &SessionRow,
    now: UnixTime,
) -> Result<Granted, AppraiseError> {
    check_alive(authority, session, now)?;
    let presence = session.presence.clone().ok_or(RejectionCode::PresenceRequired)?;
    if presence.expires <= now {
        return Err(RejectionCode::PresenceExpired.into());
    }
    let scope = match result.scope() {
        None => session.scope.clone(),
        Some(wanted) if is_within(wanted, session.scope.as_deref()) => Some(wanted.to_owned()),
        Some(_) => return Err(RejectionCode::PresenceRequired.into()),
    };
    let (id, place) = (session.id, session.status_index);
    let change = SessionChange::Renew { id, scope: scope.clone(), place };
    Ok(continued(authority, session, presence, scope, change))
}

/// Only a person's session is continued, and not after it rested for long: a machine that was away
/// proves its person anew.
pub(super) fn check_alive(
    authority: &Authority,
    session: &SessionRow,
    now: UnixTime,
) -> Result<(), RejectionCode> {
    let life = authority.config.settings.lifetimes.session_token.get_ref().duration();
    let idle = now.since(session.last_token_at) > life * IDLE_LIVES;
    if session.kind != SessionKind::Person || session.ended || session.expires <= now || idle {
        return Err(RejectionCode::SessionEnded);
    }
    Ok(())
}

fn continued(
    authority: &Authority,
    session: &SessionRow,
    presence: PresenceRecord,
    scope: Option<String>,
    change: SessionChange,
) -> Granted {
    Granted {
        token_id: crate::random::bytes(),
        lifetime: authority.config.settings.lifetimes.session_token.get_ref().duration(),
        session: SessionTerms {
            id: session.id,
            expires: session.expires,
            presence: Some(presence),
        },
        status: status(authority, session.status_index),
        scope,
        change,
    }
}

fn new_presence(
    authority: &Authority,
    result: &AttestationResult,
    session_expires: UnixTime,
    now: UnixTime,
) -> Option<PresenceRecord> {
    let lifetime = authority.config.settings.lifetimes.presence.get_ref().duration();
    result.presence(now, now.plus(lifetime).min(session_expires))
}

fn status(authority: &Authority, index: u64) -> StatusReference {
    StatusReference { index: index % LIST_LENGTH, uri: status_uri(authority, index / LIST_LENGTH) }
}

/// Whether every word of `wanted` is in `granted` (RFC 6749 §3.3). A session without scope is not
/// limited by one, so it may take any.
fn is_within(wanted: &str, granted: Option<&str>) -> bool {
    let Some(granted) = granted else { return true };
    let granted: BTreeSet<&str> = granted.split(' ').collect();
    wanted.split(' ').all(|word| granted.contains(word))
}

#[cfg(test)]
mod tests {
    use super::is_within;

    #[test]
    fn a_renewal_never_widens_the_scope() {
        assert!(is_within("a b", Some("b a c")));
        assert!(!is_within("a d", Some("a b c")));
        assert!(!is_within("a", Some("")));
        assert!(is_within("a", None));
    }
}
