//! One decision, from a gateway's question to an answer that is already on record.

use std::net::IpAddr;

use signet_evidence::{DeviceId, RejectionCode, UnixTime};
use signet_verifier::bearer::Challenge;
use signet_verifier::permit::{Grant, MatchedAction, Permit, PermitError, Redemption, Standing};
use signet_verifier::token::{CheckedToken, SeenTokens, TokenChecker, TokenClaims};
use signet_verifier::{AssuranceLevel, Rejection};
use thiserror::Error;

use super::ledger::{Ledger, Look, token_id};
use super::request::{Question, RawQuestion};
use crate::in_force::Sets;
use crate::limits::Limited;
use crate::metrics::Metrics;
use crate::policy::{
    Access, Decision, Denial, Outcome, PolicyVersion, PresenceFacts, RecordedRequest, RequestFacts,
    StepUp,
};
use crate::problem::Audience;
use crate::store::{self, Appended, AuditEntry, CommitError, Event, StoreError};

/// How a token is looked up, until nothing is revoked between the look and the record.
const LOOKS: [Look; 4] = [Look::Remembered, Look::Stored, Look::Stored, Look::Stored];

/// What a gateway is told.
#[derive(Debug)]
pub enum Answer {
    /// Let the request pass.
    Permit(Permit),
    /// Do not.
    Refuse(Refusal),
}

/// Why a request does not pass, as far as its sender may know.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The exact code.
    pub code: RejectionCode,
    /// Whether the sender may know it: only who came with a good token.
    pub audience: Audience,
    /// `WWW-Authenticate`; absent when no token would help.
    pub challenge: Option<String>,
}

/// No decision could be made; the request does not pass.
#[derive(Debug, Error)]
pub enum Undecided {
    /// The store does not answer, so nothing could be looked up or put on record.
    #[error("the store could not be asked or written")]
    Store(#[from] StoreError),
    /// A bug: proofs were mixed up.
    #[error("the permit could not be put together")]
    Permit(#[from] PermitError),
    /// Whoever asks has to wait.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// Each time something was revoked before the decision was on record.
    #[error("revocations come faster than this can be decided")]
    Overtaken,
}

/// Decides for gateways.
#[derive(Debug)]
pub struct Arbiter<'a, L: ?Sized> {
    /// Judges tokens.
    pub checker: &'a TokenChecker,
    /// Remembers whose signatures were good.
    pub seen: &'a SeenTokens,
    /// Judges actions.
    pub sets: &'a Sets,
    /// Counts and measures.
    pub metrics: &'a Metrics,
    /// Knows what was revoked and used up, and keeps the record.
    pub ledger: &'a L,
    /// Now.
    pub now: UnixTime,
}

/// A refusal with everything its record and its answer need.
pub(super) struct Refused {
    pub(super) rejection: Rejection,
    audience: Audience,
    challenge: Option<String>,
}

#[derive(Debug, Error)]
#[error("policy {version}: {denial}")]
struct PolicySaysNo {
    version: PolicyVersion,
    denial: Denial,
}

#[derive(Debug, Error)]
#[error("policy {version}: {} within {} s{} is due", .step_up.levels[0], .step_up.max_age.as_secs(),
    if .step_up.single_use { ", for this very request," } else { "" })]
struct PolicyWantsPresence {
    version: PolicyVersion,
    step_up: StepUp,
}

impl<L: Ledger + ?Sized> Arbiter<'_, L> {
    /// Judges one request and puts the decision on record; what is not on record is not answered.
    ///
    /// # Errors
    /// [`Undecided`] when no decision could be made or recorded.
    pub async fn authorize(&self, raw: &RawQuestion<'_>, id: &str) -> Result<Answer, Undecided> {
        for look in LOOKS {
            if let Some(answer) = self.judge_by(raw, id, look).await? {
                return Ok(answer);
            }
        }
        Err(Undecided::Overtaken)
    }

    /// Nothing where something was revoked since the look.
    async fn judge_by(
        &self,
        raw: &RawQuestion<'_>,
        id: &str,
        look: Look,
    ) -> Result<Option<Answer>, Undecided> {
        let mut entry = AuditEntry::new(self.now, Event::Authorize, store::Decision::Allowed);
        entry.gateway = Some(raw.gateway.to_owned());
        match self.judge(raw, id, look, &mut entry).await? {
            Ok(permit) => Ok(permit.map(Answer::Permit)),
            Err(refused) => {
                let code = refused.rejection.code();
                entry.decision = store::Decision::Refused(code);
                entry.detail = format!("{} {}", detail(raw, id), refused.rejection.chain());
                // A no needs no proof that it still counts.
                self.ledger.record(&entry, None).await?;
                let Refused { audience, challenge, .. } = refused;
                Ok(Some(Answer::Refuse(Refusal { code, audience, challenge })))
            }
        }
    }

    async fn judge(
        &self,
        raw: &RawQuestion<'_>,
        id: &str,
        look: Look,
        entry: &mut AuditEntry,
    ) -> Result<Result<Option<Permit>, Refused>, Undecided> {
        let question = match Question::parse(raw) {
            Ok(question) => question,
            Err(rejection) => return Ok(Err(stranger(rejection))),
        };
        let token = match self.seen.check_jwt(self.checker, question.token, question.peer, self.now)
        {
            Ok(token) => token,
            Err(rejection) => return Ok(Err(stranger(rejection))),
        };
        describe(&token, entry);
        let state = self.ledger.token_state(token.claims(), look, self.now).await?;
        entry.action = state.action;
        if let Some(code) = state.refused {
            return Ok(Err(stranger(code.into())));
        }
        let standing = Standing::confirmed(&token);
        let matched = match MatchedAction::of(&token, question.line()) {
            Ok(matched) => matched,
            Err(rejection) => return Ok(Err(known(rejection))),
        };
        let decision = self.ask_policy(raw, &question, &token, matched.as_ref(), entry);
        let reads = decision.action.as_ref().is_some_and(|action| action.access == Access::Read);
        let grant = match grant(decision) {
            Ok(grant) => grant,
            Err(refused) => return Ok(Err(refused)),
        };
        entry.rule = grant.rules().first().cloned();
        entry.detail =
            format!("{} {} by {}", detail(raw, id), grant.action(), grant.rules().join(", "));
        entry.detail.push_str(&format!(" of policy {}", grant.version()));
        let single_use = match matched {
            None if reads && state.heard && self.ledger.note(entry) => None,
            None => match self.ledger.record(entry, Some(state.as_of)).await? {
                Appended::Written => None,
                Appended::Overtaken => return Ok(Ok(None)),
            },
            Some(matched) => match self.redeem(&token, entry).await? {
                Ok(redemption) => Some((matched, redemption)),
                Err(rejection) => return Ok(Err(stranger(rejection))),
            },
        };
        Ok(Ok(Some(Permit::new(&token, &standing, grant, single_use)?)))
    }

    fn ask_policy(
        &self,
        raw: &RawQuestion<'_>,
        question: &Question<'_>,
        token: &CheckedToken,
        matched: Option<&MatchedAction>,
        entry: &mut AuditEntry,
    ) -> Decision {
        let request = Requested {
            gateway: raw.gateway,
            method: question.method,
            host: &question.host,
            target: question.target,
            source: raw.client,
            approved: matched.map(MatchedAction::names),
        };
        let facts = request.facts(token.claims(), self.now);
        let decision = self.sets.decide(&facts, self.metrics);
        keep(&facts, &decision, entry);
        decision
    }

    /// Uses the token up and writes the decision in one transaction.
    async fn redeem(
        &self,
        token: &CheckedToken,
        entry: &AuditEntry,
    ) -> Result<Result<Redemption, Rejection>, Undecided> {
        let Some(id) = token_id(token.claims()) else {
            return Ok(Err(RejectionCode::TokenMalformed.into()));
        };
        match self.ledger.redeem(&id, self.now, entry).await {
            Ok(()) => Ok(Ok(Redemption::recorded(token))),
            Err(CommitError::Rejected(code)) => Ok(Err(code.into())),
            Err(CommitError::Limited(limited)) => Err(limited.into()),
            // Only a mint chooses a place.
            Err(CommitError::PlaceRevoked) => Ok(Err(RejectionCode::TokenRevoked.into())),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }
}

/// Puts into the record what is due to decide this again.
pub(super) fn keep(facts: &RequestFacts<'_>, decision: &Decision, entry: &mut AuditEntry) {
    entry.policy = Some(decision.version.to_string());
    let recorded = RecordedRequest::of(facts, decision);
    entry.request = recorded.and_then(|recorded| serde_json::to_string(&recorded).ok());
}

/// A request, as far as policy looks at it.
pub(super) struct Requested<'a> {
    pub(super) gateway: &'a str,
    pub(super) method: &'a str,
    pub(super) host: &'a str,
    pub(super) target: &'a str,
    pub(super) source: Option<IpAddr>,
    /// The actions that the person was shown, for a token approved for exactly this request.
    pub(super) approved: Option<&'a [String]>,
}

impl<'a> Requested<'a> {
    /// The request with what `claims` say of its sender.
    pub(super) fn facts(&self, claims: &'a TokenClaims, now: UnixTime) -> RequestFacts<'a> {
        let facts = &claims.signet;
        RequestFacts {
            subject: &claims.sub,
            device: &claims.client_id,
            gateway: self.gateway,
            method: self.method,
            host: self.host,
            target: self.target,
            source: self.source,
            presence: PresenceFacts {
                // `check_jwt` refuses a level that is not known; the lowest stands in for none.
                level: claims.assurance().unwrap_or(AssuranceLevel::Device),
                human: facts.human,
                age: claims.presence_age(now),
                uvm: facts.uvm.as_deref(),
                uvm_source: facts.uvm_src.as_deref(),
                key_attestation: facts.key_att.as_deref(),
                boot: &facts.boot,
                device_identity: &facts.dev,
            },
            scope: claims.scope.as_deref(),
            approved: self.approved,
            now,
        }
    }
}

/// The policy's yes, or the refusal that its no is.
pub(super) fn grant(decision: Decision) -> Result<Grant, Refused> {
    let version = decision.version;
    let action = decision.action.map(|action| action.name).unwrap_or_default();
    let denied = |denial: Denial| {
        let (code, challenge) = match &denial {
            Denial::ApprovedOther => {
                let code = RejectionCode::ActionMismatch;
                (code, Challenge::for_code(code))
            }
            Denial::Scope => (RejectionCode::PolicyDenied, Some(Challenge::Scope(&action))),
            _ => (RejectionCode::PolicyDenied, None),
        };
        let challenge = challenge.map(|challenge| challenge.header());
        let rejection = Rejection::because(code, PolicySaysNo { version, denial });
        Refused { rejection, audience: Audience::Enrolled, challenge }
    };
    match decision.outcome {
        Outcome::Permit { rules } => {
            Grant::new(action.clone(), rules, version).ok_or_else(|| denied(Denial::NoRule))
        }
        Outcome::Deny(denial) => Err(denied(denial)),
        Outcome::StepUp(step_up) => {
            let challenge = Challenge::Presence {
                levels: &step_up.levels,
                max_age: step_up.max_age,
                no_pin: step_up.no_pin,
                scope: Some(&action),
            };
            let challenge = challenge.header();
            let cause = PolicyWantsPresence { version, step_up };
            Err(Refused {
                rejection: Rejection::because(RejectionCode::PresenceRequired, cause),
                audience: Audience::Enrolled,
                challenge: Some(challenge),
            })
        }
    }
}

/// A refusal of somebody who has not shown a good token.
fn stranger(rejection: Rejection) -> Refused {
    refused(rejection, Audience::Anyone)
}

/// A refusal of somebody whose token is good.
fn known(rejection: Rejection) -> Refused {
    refused(rejection, Audience::Enrolled)
}

fn refused(rejection: Rejection, audience: Audience) -> Refused {
    let challenge = Challenge::for_code(rejection.code()).map(|challenge| challenge.header());
    Refused { rejection, audience, challenge }
}

fn describe(token: &CheckedToken, entry: &mut AuditEntry) {
    let claims = token.claims();
    entry.subject = Some(claims.sub.clone());
    entry.device = claims.client_id.rsplit('/').next().and_then(DeviceId::from_hex);
    entry.session = claims.session();
    entry.token = token_id(claims);
}

/// What was asked, for the record: the query may hold secrets, so it stays out.
fn detail(raw: &RawQuestion<'_>, id: &str) -> String {
    let shown =
        |text: &str| text.chars().take(200).flat_map(char::escape_default).collect::<String>();
    let host = raw.hosts.first().map(|host| String::from_utf8_lossy(host)).unwrap_or_default();
    let path = raw.target.split('?').next().unwrap_or_default();
    format!("{id} {} {}{}", shown(raw.method), shown(&host), shown(path))
}
