//! Sessions as members of dictionaries, and what a finished request says about them.

use signet_evidence::{Purpose, SessionId, UnixTime};

use super::request::Results;
use crate::failure::Failure;
use crate::platform::Means;
use crate::sessions::{Known, Sessions, State};
use crate::work::{Product, Work};

/// What a request means for its user's sessions once it is done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meaning {
    Nothing,
    Presence { session: Option<SessionId>, means: Means },
    Renewal { session: Option<SessionId> },
}

impl Meaning {
    pub(super) fn of(work: &Work) -> Self {
        let Work::Presence { prepared, .. } = work else { return Self::Nothing };
        let session = prepared.session();
        match prepared.purpose() {
            Purpose::Session => Self::Presence { session, means: prepared.means() },
            Purpose::Renew => Self::Renewal { session },
            _ => Self::Nothing,
        }
    }

    /// Notes it, if the request went well.
    pub(super) fn note(
        self,
        sessions: &Sessions,
        uid: u32,
        now: UnixTime,
        result: &Result<Product, Failure>,
    ) {
        let Ok(Product::Evidence(produced)) = result else { return };
        match self {
            Self::Nothing => {}
            Self::Presence { session, means } => {
                sessions.present(uid, session, means, produced.key.clone(), now);
            }
            Self::Renewal { session } => sessions.renewed(uid, session, now),
        }
    }
}

/// `ListSessions`: the sessions of a user, or how it stands without any.
pub(super) fn list(uid: u32, state: State, known: Vec<Known>) -> Vec<Results> {
    let mut base = Results::from([("uid", uid.into()), ("state", state.name().into())]);
    if let Some(cause) = state.cause() {
        base.insert("cause", cause.name().into());
    }
    if known.is_empty() && state != State::Active {
        return vec![base];
    }
    let seconds = |time: UnixTime| u64::try_from(time.0).unwrap_or_default();
    let session = |known: Known| {
        let mut results: Results = base
            .iter()
            .filter_map(|(name, value)| Some((*name, value.try_clone().ok()?)))
            .collect();
        results.insert("renewals", known.renewals.into());
        if let Some(id) = known.session {
            results.insert("session", id.0.to_vec().into());
        }
        if let Some(since) = known.since {
            results.insert("since", seconds(since).into());
        }
        if let Some(means) = known.means {
            results.insert("method", means.name().into());
        }
        if let Some(renewed) = known.renewed {
            results.insert("renewed", seconds(renewed).into());
        }
        results
    };
    known.into_iter().map(session).collect()
}
