//! Tickets that operators ask for and administrators approve, each with a touch of their own key over
//! the exact request (protocol §4.4).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use signet_evidence::action::content_digest;
use signet_evidence::binding::Sha256;
use signet_evidence::thumbprint::{hex, unhex};
use signet_evidence::{Action, ActionDetails, ActionKind, Purpose, RejectionCode, UnixTime};
use signet_verifier::{AssuranceLevel, AttestationResult};

use crate::appraise::AppraiseError;
use crate::caller::{EnrolledMachine, Peer, require_machine};
use crate::config::is_name;
use crate::decision;
use crate::extract::{Base64Url, StrictJson};
use crate::problem::{Audience, Problem};
use crate::state::Authority;
use crate::store::{
    AuditEntry, Decision, Event, NewTicketRequest, Quorum, TicketApproval, TicketDocument,
    TicketKind, TicketRequest,
};

/// The action that an administrator's key signs.
pub const ACTION: &str = "signet.ticket.approve";
/// Administrators that a ticket takes.
const ADMINISTRATORS: usize = 2;
/// For how long those whom a request is about are told of it.
const SHOWN_FOR: i64 = 30 * 86400;
/// Longest reason, in characters.
const MAX_REASON: usize = 200;

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskRequest {
    /// SHA-256 of the ticket that whoever asks made and keeps.
    ticket: Base64Url,
    kind: String,
    operator: String,
    asset: Option<String>,
    reason: String,
}

/// A request as operators see it.
#[derive(Serialize)]
pub struct Ticket {
    id: String,
    /// The exact bytes that are approved; they say the rest.
    document: String,
    #[serde(flatten)]
    content: TicketDocument,
    approvals: Vec<Approval>,
    approvals_due: usize,
    approve_until: i64,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    opens_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_at: Option<i64>,
}

/// Who approved it.
#[derive(Serialize)]
pub struct Approval {
    administrator: String,
    at: i64,
}

/// Requests that concern the machine's operator.
#[derive(Serialize)]
pub struct Tickets {
    /// Whether the machine's operator may approve requests of others.
    administrator: bool,
    tickets: Vec<Ticket>,
}

/// An administrator's evidence of purpose `action`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    evidence: Base64Url,
}

/// Records a request for a ticket. Needs no touch: it gives nothing.
///
/// # Errors
/// A problem: the machine is not enrolled, or too many requests wait.
pub async fn ask(
    State(authority): State<Arc<Authority>>,
    peer: Peer,
    StrictJson(request): StrictJson<AskRequest>,
) -> Result<Json<Ticket>, Problem> {
    let event = Event::TicketRequest;
    let EnrolledMachine { device, .. } = require_machine(&authority, peer, event).await?;
    let now = authority.now();
    let (id, document) = document(request, device.operator.clone(), now)?;
    let bytes = serde_json::to_vec(&document).map_err(|_| Problem::unavailable())?;
    let mut entry = AuditEntry::new(now, event, Decision::Allowed);
    entry.subject = Some(document.operator.clone());
    entry.device = Some(device.id.clone());
    entry.detail = format!(
        "{} ticket {} asked for by {}: {}",
        document.kind, document.ticket, document.requested_by, document.reason
    );
    let expires = now.plus(authority.config.settings.recovery.request.get_ref().duration());
    let new = NewTicketRequest { id, document, bytes, device: device.id, expires };
    let outcome = authority.store.request_ticket(&new, &entry).await;
    decision::committed(&authority, entry, outcome, Audience::Enrolled).await?;
    let NewTicketRequest { id, document, bytes, expires, .. } = new;
    let made = TicketRequest { id, document, bytes, expires, approvals: Vec::new(), ticket: None };
    Ok(Json(ticket(&authority, &made, now)))
}

fn document(
    request: AskRequest,
    requested_by: String,
    now: UnixTime,
) -> Result<(Sha256, TicketDocument), Problem> {
    let malformed = |detail: &'static str| Problem::malformed_request(detail);
    let id: Sha256 = request
        .ticket
        .0
        .try_into()
        .map_err(|_| malformed("ticket is the SHA-256 of a ticket, 32 bytes in base64url"))?;
    let kind = TicketKind::from_name(&request.kind)
        .ok_or_else(|| malformed("kind is device, rebinding, authenticator or recovery"))?;
    if !is_name(&request.operator) || request.asset.as_deref().is_some_and(|tag| !is_name(tag)) {
        return Err(malformed("operator and asset have letters, digits, '.', '-' and '_' only"));
    }
    let reason = request.reason.trim();
    let length = reason.chars().count();
    if length == 0 || length > MAX_REASON || reason.chars().any(char::is_control) {
        return Err(malformed("a reason has 1 to 200 printable characters"));
    }
    let document = TicketDocument {
        ticket: hex(&id),
        kind: kind.as_str().into(),
        operator: request.operator,
        asset: request.asset,
        reason: reason.to_owned(),
        requested_by,
        requested_at: now.0,
    };
    Ok((id, document))
}

/// The requests that the machine's operator made or that are for them; all for administrators.
///
/// # Errors
/// A problem: the machine is not enrolled.
pub async fn list(
    State(authority): State<Arc<Authority>>,
    peer: Peer,
) -> Result<Json<Tickets>, Problem> {
    let machine = require_machine(&authority, peer, Event::TicketRequest).await?;
    let operator = machine.device.operator;
    let now = authority.now();
    let found = authority.store.ticket_requests(UnixTime(now.0.saturating_sub(SHOWN_FOR))).await;
    let found = found.map_err(|error| decision::failed(&authority, error))?;
    let administrator =
        authority.config.settings.recovery.administrators.get_ref().contains(&operator);
    let concerns = |request: &&TicketRequest| {
        administrator
            || request.document.operator == operator
            || request.document.requested_by == operator
    };
    let shown = found.iter().filter(concerns);
    let tickets = shown.map(|request| ticket(&authority, request, now)).collect();
    Ok(Json(Tickets { administrator, tickets }))
}

/// Records an administrator's approval; the last one that is due makes the ticket.
///
/// # Errors
/// A problem with the exact code.
pub async fn approve(
    State(authority): State<Arc<Authority>>,
    peer: Peer,
    Path(id): Path<String>,
    StrictJson(request): StrictJson<ApproveRequest>,
) -> Result<Json<Ticket>, Problem> {
    let event = Event::TicketApprove;
    let EnrolledMachine { certificate, .. } = require_machine(&authority, peer, event).await?;
    let now = authority.now();
    let mut entry = AuditEntry::new(now, event, Decision::Allowed);
    let evidence = &request.evidence.0;
    let judged = judge(&authority, &id, evidence, certificate.der(), &mut entry, now).await;
    entry.event = event;
    let (asked, approval) = match judged {
        Ok(judged) => judged,
        Err(AppraiseError::Rejected(rejection)) => {
            return Err(decision::refuse(&authority, entry, &rejection, Audience::Enrolled).await);
        }
        Err(AppraiseError::Store(error)) => return Err(decision::failed(&authority, error)),
    };
    entry.detail = format!(
        "{} ticket {} for {}, approved by {}",
        asked.document.kind, asked.document.ticket, asked.document.operator, approval.administrator
    );
    let outcome = authority.store.approve_ticket(&approval, &entry).await;
    decision::committed(&authority, entry, outcome, Audience::Enrolled).await?;
    let changed = authority.store.ticket_request(&asked.id).await;
    let changed = changed.map_err(|error| decision::failed(&authority, error))?;
    Ok(Json(ticket(&authority, &changed.unwrap_or(asked), now)))
}

async fn judge(
    authority: &Authority,
    id: &str,
    evidence: &[u8],
    peer: &[u8],
    entry: &mut AuditEntry,
    now: UnixTime,
) -> Result<(TicketRequest, TicketApproval), AppraiseError> {
    let policy = authority.judging.policy(authority.store.as_ref()).await?;
    let appraiser = authority.appraiser(&policy, now);
    let (result, _) = appraiser.appraise(evidence, peer, &[Purpose::Action], entry).await?;
    let id: Option<Sha256> = unhex(id).and_then(|id| id.try_into().ok());
    let id = id.ok_or(RejectionCode::TicketInvalid)?;
    let request = authority.store.ticket_request(&id).await?;
    let request = request.ok_or(RejectionCode::TicketInvalid)?;
    if result.action().map(Action::details) != expected_action(authority, &request).as_ref() {
        return Err(RejectionCode::ActionMismatch.into());
    }
    let approval = approval(authority, &request, &result, now)?;
    Ok((request, approval))
}

/// What an approval of this request signs: this authority, this request, these bytes.
fn expected_action(authority: &Authority, request: &TicketRequest) -> Option<ActionDetails> {
    Some(ActionDetails {
        kind: ActionKind::SignetAction,
        actions: vec![ACTION.into()],
        locations: vec![authority.config.settings.issuer.to_string()],
        method: "POST".into(),
        path: format!("/v1/tickets/{}/approvals", hex(&request.id)),
        content_digest: content_digest(&request.bytes),
    })
}

/// Who may approve: administrators, but not for themselves. A machine of one's own may be left to
/// one's own key, where the settings say so.
fn approval(
    authority: &Authority,
    request: &TicketRequest,
    result: &AttestationResult,
    now: UnixTime,
) -> Result<TicketApproval, RejectionCode> {
    let recovery = &authority.config.settings.recovery;
    let refused = RejectionCode::ApprovalNotAllowed;
    let subject = result.subject().ok_or(refused)?;
    let (credential, count) = result.credential().ok_or(RejectionCode::AssertionMissing)?;
    if result.assurance() < AssuranceLevel::Uv {
        return Err(RejectionCode::UvMissing);
    }
    let own = is_own_device(authority, request);
    let administrators = recovery.administrators.get_ref();
    let administrator = administrators.contains(subject);
    let allowed = if own {
        subject == request.document.operator
    } else {
        administrator && subject != request.document.operator
    };
    if !allowed {
        return Err(refused);
    }
    let opens = if own { now } else { now.plus(recovery.delay.duration()) };
    let counted =
        if own { vec![subject.to_owned()] } else { administrators.iter().cloned().collect() };
    Ok(TicketApproval {
        request: request.id,
        administrator: subject.to_owned(),
        device: result.device().clone(),
        clock: result.clock(),
        credential: (credential.to_vec(), count),
        challenge: result.challenge(),
        evidence: result.evidence_digest(),
        at: now,
        quorum: Quorum {
            administrators: counted,
            approvals: approvals_due(authority, request),
            opens,
            expires: opens.plus(recovery.request.get_ref().duration()),
        },
    })
}

/// A first enrolment of a machine, asked for at another machine of the same operator.
fn is_own_device(authority: &Authority, request: &TicketRequest) -> bool {
    let document = &request.document;
    authority.config.settings.recovery.own_device
        && request.kind() == Some(TicketKind::Device)
        && document.requested_by == document.operator
}

fn approvals_due(authority: &Authority, request: &TicketRequest) -> usize {
    if is_own_device(authority, request) { 1 } else { ADMINISTRATORS }
}

fn ticket(authority: &Authority, request: &TicketRequest, now: UnixTime) -> Ticket {
    let made = request.ticket;
    let state = match made {
        Some(ticket) if ticket.used.is_some() => "used",
        Some(ticket) if ticket.expires <= now => "expired",
        Some(ticket) if ticket.opens > now => "delayed",
        Some(_) => "open",
        None if request.expires <= now => "expired",
        None => "waiting",
    };
    let approvals = request.approvals.iter().map(|approved| Approval {
        administrator: approved.administrator.clone(),
        at: approved.at.0,
    });
    Ticket {
        id: hex(&request.id),
        document: String::from_utf8_lossy(&request.bytes).into_owned(),
        content: request.document.clone(),
        approvals: approvals.collect(),
        approvals_due: approvals_due(authority, request),
        approve_until: request.expires.0,
        state,
        opens_at: made.map(|ticket| ticket.opens.0),
        expires_at: made.map(|ticket| ticket.expires.0),
        used_at: made.and_then(|ticket| ticket.used).map(|at| at.0),
    }
}
