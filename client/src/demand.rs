//! What a gateway demands in an answer, and the token that satisfies it.

use hyper::HeaderMap;
use hyper::StatusCode;
use hyper::header::WWW_AUTHENTICATE;
use reqwest::Url;
use signet_evidence::Action;
use thiserror::Error;

use crate::approval::{ApprovalError, action_for};
use crate::authority::printable;
use crate::ceremony::Attendant;
use crate::daemon::Means;
use crate::step_up::{BearerChallenge, StepUp};
use crate::tokens::{BoundToken, LoginTerms, Tokens, TokensError};
use crate::workstation::PresenceError;

/// A gateway's wish for presence (RFC 9470 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// What would satisfy it.
    pub step_up: StepUp,
    /// The gateway's words for a person, printable; such as which kind of key is due, which no level says.
    pub description: Option<String>,
}

/// What a person is told before they are asked.
#[derive(Clone, Copy, Debug)]
pub enum Announcement<'a> {
    /// Presence is to be proved anew.
    Presence {
        /// The gateway's words.
        description: Option<&'a str>,
    },
    /// This very request is to be approved.
    Action(&'a Action),
}

/// The request that was answered with a demand.
#[derive(Clone, Copy, Debug)]
pub struct Demanded<'a> {
    /// Method.
    pub method: &'a str,
    /// URL.
    pub url: &'a Url,
    /// The whole body.
    pub body: &'a [u8],
    /// Names of the action; the gateway's where there are none.
    pub actions: &'a [String],
    /// What to prove presence with.
    pub means: Means,
}

/// Why a demand was not satisfied.
#[derive(Debug, Error)]
pub enum DemandError {
    /// A touch for a request of no name.
    #[error("the gateway wants a touch for this request but names no action: use --action")]
    Unnamed,
    /// The request cannot be approved.
    #[error(transparent)]
    Approval(#[from] ApprovalError),
    /// No presence, or no action token.
    #[error(transparent)]
    Presence(#[from] PresenceError),
    /// No session token.
    #[error(transparent)]
    Tokens(#[from] TokensError),
}

impl DemandError {
    /// Why presence was not proved, if that is why.
    #[must_use]
    pub fn presence(&self) -> Option<&PresenceError> {
        match self {
            Self::Presence(error) | Self::Tokens(TokensError::Presence(error)) => Some(error),
            _ => None,
        }
    }

    /// Whether nothing was decided: a part that is missing or busy, not a no.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Presence(error) => error.is_unavailable(),
            Self::Tokens(error) => error.is_unavailable(),
            Self::Unnamed | Self::Approval(_) => false,
        }
    }
}

impl Demand {
    /// The demand in an answer; `None` when presence would not help.
    #[must_use]
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return None;
        }
        let challenges = headers.get_all(WWW_AUTHENTICATE).iter();
        challenges.filter_map(|value| BearerChallenge::parse(value.to_str().ok()?)).find_map(
            |challenge| {
                let step_up = challenge.step_up()?;
                let description = challenge.description.map(|text| printable(&text));
                Some(Self { step_up, description: description.filter(|text| !text.is_empty()) })
            },
        )
    }
}

impl Tokens {
    /// The token that the gateway demands, by a touch or a login, with the certificate that it is bound to.
    ///
    /// # Errors
    /// See [`DemandError`].
    pub async fn satisfy_bound(
        &self,
        demand: &Demand,
        demanded: Demanded<'_>,
        attendant: &impl Attendant,
    ) -> Result<BoundToken, DemandError> {
        let Demanded { method, url, body, actions, means } = demanded;
        match &demand.step_up {
            StepUp::Action { names } => {
                let names = if actions.is_empty() { names } else { actions };
                if names.is_empty() {
                    return Err(DemandError::Unnamed);
                }
                let action = action_for(method, url, body, names)?;
                attendant.announce(Announcement::Action(&action));
                let workstation = self.workstation();
                let approved = workstation.approve(action.as_bytes(), None, means, attendant).await;
                Ok(approved?.into())
            }
            StepUp::Presence { acr_values, scope } => {
                let description = demand.description.as_deref();
                attendant.announce(Announcement::Presence { description });
                // Rights are added to those of the session; a session without a list has them all.
                let had = self.load().ok().and_then(|record| record.scope);
                let scope = had.map(|had| widened(&had, scope));
                let terms = LoginTerms {
                    scope: scope.as_deref(),
                    acr: acr_values.first().map(String::as_str),
                    new_session: false,
                    means,
                };
                Ok(self.log_in(terms, attendant).await?.bound_token())
            }
        }
    }
}

/// The words of both, each once.
fn widened(had: &str, due: &[String]) -> String {
    let mut words: Vec<&str> = had.split(' ').filter(|word| !word.is_empty()).collect();
    words.extend(due.iter().map(String::as_str));
    let mut seen = std::collections::HashSet::new();
    words.retain(|word| seen.insert(*word));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_added_once() {
        assert_eq!(widened("a b", &["b".into(), "c".into()]), "a b c");
        assert_eq!(widened("", &["c".into()]), "c");
    }

    #[test]
    fn only_a_refusal_with_a_challenge_demands() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, "Basic realm=\"a\"".parse().unwrap());
        assert_eq!(Demand::of(StatusCode::UNAUTHORIZED, &headers), None);
        let challenge = "Bearer error=\"insufficient_user_authentication\", max_age=0, \
                         scope=\"mesh.route.update\", error_description=\"touch\"";
        headers.append(WWW_AUTHENTICATE, challenge.parse().unwrap());
        let demand = Demand::of(StatusCode::UNAUTHORIZED, &headers).unwrap();
        assert_eq!(demand.description.as_deref(), Some("touch"));
        assert_eq!(demand.step_up, StepUp::Action { names: vec!["mesh.route.update".into()] });
        assert_eq!(Demand::of(StatusCode::OK, &headers), None);
    }
}
