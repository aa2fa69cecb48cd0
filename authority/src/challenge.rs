//! `POST /v1/challenge`: what evidence must answer (protocol §2.3). Writes nothing.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use signet_evidence::{Action, DeviceId, Purpose, SessionId};
use signet_verifier::AssuranceLevel;
use signet_verifier::boot::judged_pcrs;
use signet_verifier::challenge::ChallengeContext;

use crate::appraise::AppraiseError;
use crate::caller::{EnrolledMachine, Peer, require_machine};
use crate::decision;
use crate::extract::{Base64Url, StrictJson};
use crate::problem::{Audience, Problem};
use crate::state::Authority;
use crate::store::{AuditEntry, CredentialRow, Decision, DeviceRow, Event};
use crate::token::can_go_on;

/// What evidence is wanted for. `scope` is taken so that one request says it all; it counts only as
/// the statement repeats it. `acr` (one or more levels, RFC 9470) also decides which keys are worth
/// asking for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    purpose: String,
    subject: Option<String>,
    #[serde(rename = "scope")]
    _scope: Option<String>,
    acr: Option<String>,
    action: Option<Base64Url>,
    session: Option<String>,
}

/// What the statement must hold.
#[derive(Debug, Serialize)]
pub struct ChallengeAnswer {
    challenge: Base64Url,
    audience: String,
    subject: Option<String>,
    rp_id: String,
    /// Keys that verify their user.
    allow_credentials: Vec<Base64Url>,
    /// Keys that can only be touched, where a touch would do.
    touch_credentials: Vec<Base64Url>,
    /// What `allow_credentials` are asked for; the others are asked for a touch.
    user_verification: &'static str,
    pcrs: Vec<u8>,
    /// SHA-256 of the event log that is kept of this machine: it need not be sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_log: Option<Base64Url>,
    expires_in: u64,
}

struct Wanted {
    purpose: Purpose,
    action: Option<Vec<u8>>,
    session: Option<SessionId>,
}

/// Issues a challenge for the calling machine.
///
/// # Errors
/// A problem: the machine is not enrolled, or the request makes no sense.
pub async fn issue(
    State(authority): State<Arc<Authority>>,
    peer: Peer,
    StrictJson(request): StrictJson<ChallengeRequest>,
) -> Result<Json<ChallengeAnswer>, Problem> {
    let EnrolledMachine { certificate, device } =
        require_machine(&authority, peer, Event::Challenge).await?;
    let wanted = wanted(&request)?;
    let machine = authority.store.machine(&device.id).await;
    let machine = machine.map_err(|error| decision::failed(&authority, error))?;
    if let Some(session) = wanted.session {
        refuse_ended(&authority, session, &device).await?;
    }
    let human = matches!(wanted.purpose, Purpose::Session | Purpose::Action | Purpose::EnrolKey);
    let subject = match wanted.purpose {
        Purpose::Workload | Purpose::EnrolDevice => None,
        _ => Some(request.subject.unwrap_or(device.operator)),
    };
    let (mut allow_credentials, mut touch_credentials) = (Vec::new(), Vec::new());
    if let (true, Some(subject)) = (human, &subject) {
        let credentials = authority.store.credentials_of(subject).await;
        let credentials = credentials.map_err(|error| decision::failed(&authority, error))?;
        // A key is only ever added by someone whom a key has verified.
        let touch_does = wanted.purpose != Purpose::EnrolKey
            && AssuranceLevel::least_asked(request.acr.as_deref()) <= Some(AssuranceLevel::Touch);
        let acr = request.acr.as_deref();
        let live = credentials.into_iter().filter(|key| {
            let fit = !key.revoked && key.reported.is_none();
            fit && may_answer(key, wanted.purpose, &device.id, acr)
        });
        for key in live {
            match key.touch_only {
                false => allow_credentials.push(Base64Url(key.id)),
                true if touch_does => touch_credentials.push(Base64Url(key.id)),
                true => {}
            }
        }
    }
    let lifetime = lifetime(&authority, wanted.purpose);
    let context = ChallengeContext {
        peer: certificate.thumbprint(),
        purpose: wanted.purpose,
        action: wanted.action.as_deref(),
        session: wanted.session,
    };
    let expires = authority.now().plus(lifetime);
    let challenge = authority.keys.challenge.issue(&context, expires, crate::random::bytes());
    let required = &authority.appraisal.required_pcrs;
    let judged = judged_pcrs(&authority.appraisal, &machine.groups);
    Ok(Json(ChallengeAnswer {
        challenge: Base64Url(challenge),
        audience: authority.appraisal.audience.clone(),
        subject,
        rp_id: authority.appraisal.rp_id.clone(),
        allow_credentials,
        touch_credentials,
        user_verification: if human { "required" } else { "discouraged" },
        pcrs: required.union(&judged).copied().collect(),
        event_log: machine.kept_log().map(|digest| Base64Url(digest.to_vec())),
        expires_in: lifetime.as_secs(),
    }))
}

/// How long a challenge for this is good.
pub(crate) fn lifetime(authority: &Authority, purpose: Purpose) -> Duration {
    let lifetimes = &authority.config.settings.lifetimes;
    let lifetime = match purpose {
        Purpose::Renew | Purpose::Workload | Purpose::EnrolDevice => {
            lifetimes.renewal_challenge.get_ref()
        }
        _ => lifetimes.challenge.get_ref(),
    };
    lifetime.duration()
}

/// Whether this key could answer. A platform key brings no further key, speaks on its own machine
/// only, and for no level above its own.
fn may_answer(key: &CredentialRow, purpose: Purpose, device: &DeviceId, acr: Option<&str>) -> bool {
    let Some(platform) = &key.platform else { return true };
    let level = AssuranceLevel::of_user_key(platform.method.kind());
    purpose != Purpose::EnrolKey
        && platform.device == *device
        && AssuranceLevel::least_asked(acr).is_none_or(|asked| asked <= level)
}

/// Nobody is asked for a touch that could bring nothing.
async fn refuse_ended(
    authority: &Authority,
    session: SessionId,
    device: &DeviceRow,
) -> Result<(), Problem> {
    let now = authority.now();
    match can_go_on(authority, session, &device.id, now).await {
        Ok(()) => Ok(()),
        Err(AppraiseError::Store(error)) => Err(decision::failed(authority, error)),
        Err(AppraiseError::Rejected(rejection)) => {
            let code = Decision::Refused(rejection.code());
            let mut entry = AuditEntry::new(now, Event::Challenge, code);
            entry.subject = Some(device.operator.clone());
            entry.device = Some(device.id.clone());
            entry.session = Some(session);
            Err(decision::refuse(authority, entry, &rejection, Audience::Enrolled).await)
        }
    }
}

fn wanted(request: &ChallengeRequest) -> Result<Wanted, Problem> {
    let malformed = |detail: &'static str| Problem::malformed_request(detail);
    let purpose = Purpose::from_name(&request.purpose).ok_or_else(|| {
        malformed("purpose is session, renew, action, enrol-device, enrol-key or workload")
    })?;
    if (purpose == Purpose::Action) != request.action.is_some() {
        return Err(malformed("send an action with purpose action, and only with it"));
    }
    if let Some(Base64Url(action)) = &request.action {
        Action::parse(action).map_err(|error| Problem::malformed_request(error.to_string()))?;
    }
    let session = match &request.session {
        None if purpose == Purpose::Renew => {
            return Err(malformed("send the session to renew"));
        }
        Some(_) if !matches!(purpose, Purpose::Renew | Purpose::Session) => {
            return Err(malformed("send a session with purpose renew or session only"));
        }
        None => None,
        Some(text) => Some(
            SessionId::from_hex(text)
                .ok_or_else(|| malformed("a session's id is 32 hex digits"))?,
        ),
    };
    Ok(Wanted { purpose, action: request.action.clone().map(|action| action.0), session })
}
