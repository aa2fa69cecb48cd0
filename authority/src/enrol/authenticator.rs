//! A person's keys, security keys and keys in a machine's TPM: enrolment (protocol §4.2), list, removal
//! by their owner.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use signet_evidence::webauthn::{Aaguid, CoseKey};
use signet_evidence::{RejectionCode, UnixTime};
use signet_verifier::metadata::AttestationKeyId;
use signet_verifier::platform::VerifiedPlatformKey;
use signet_verifier::policy::RegistrationPolicy;
use signet_verifier::records::PlatformMethod;
use signet_verifier::tpm::UserKeyMethod;
use signet_verifier::webauthn::VerifiedRegistration;
use signet_verifier::{AttestationKind, ModelVerification, NewKey, RegistrationResult};

use crate::appraise::AppraiseError;
use crate::caller::{EnrolledMachine, Peer, require_machine};
use crate::config::AaguidText;
use crate::decision;
use crate::extract::{Base64Url, StrictJson};
use crate::limits::{self, Caller};
use crate::problem::{Audience, Problem};
use crate::state::Authority;
use crate::store::{
    AuditEntry, Authorisation, CredentialEnrolment, CredentialRow, Decision, DeviceRow, Event,
    Grant, PlatformKeyRow, RevocationTarget, TicketKind,
};
use crate::tickets;

/// Longest name that an owner may give a key, in characters.
const MAX_NAME: usize = 64;

/// Evidence of purpose `enrol-key`, and what allows the key where no other key does.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    evidence: Base64Url,
    ticket: Option<String>,
    name: Option<String>,
}

/// A key as its owner sees it.
#[derive(Serialize)]
pub struct Authenticator {
    credential_id: Base64Url,
    name: String,
    kind: &'static str,
    aaguid: String,
    attestation: &'static str,
    uv_capable: &'static str,
    touch_only: bool,
    /// The model by its metadata; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// `ok`, or what metadata reports of the model: then the key is refused.
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
    enrolled_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used: Option<i64>,
    revoked: bool,
}

/// All keys of an operator.
#[derive(Serialize)]
pub struct Authenticators {
    authenticators: Vec<Authenticator>,
}

/// Enrols a key of the machine's operator, or of the ticket's.
///
/// # Errors
/// A problem with the exact code.
pub async fn enrol(
    State(authority): State<Arc<Authority>>,
    peer: Peer,
    caller: Caller,
    StrictJson(request): StrictJson<EnrolRequest>,
) -> Result<Json<Authenticator>, Problem> {
    let EnrolledMachine { certificate, device } =
        require_machine(&authority, peer, Event::KeyEnrol).await?;
    let name = name(request.name.as_deref())?;
    let now = authority.now();
    let mut entry = AuditEntry::new(now, Event::KeyEnrol, Decision::Allowed);
    entry.device = Some(device.id.clone());
    if request.ticket.is_some() {
        entry.tallies = vec![limits::guesses(&authority, &caller)];
        limits::refuse_if_reached(&authority, &entry.tallies).await?;
    }
    let judged = judge(&authority, &request, certificate.der(), &device, &mut entry, now).await;
    let (result, authorisation) = match judged {
        Ok(judged) => judged,
        Err(AppraiseError::Rejected(rejection)) => {
            return Err(decision::refuse(&authority, entry, &rejection, Audience::Enrolled).await);
        }
        Err(AppraiseError::Store(error)) => return Err(decision::failed(&authority, error)),
    };
    let policy = authority.judging.policy(authority.store.as_ref()).await;
    let policy = policy.map_err(|error| decision::failed(&authority, error))?.registration.clone();
    let credential = credential_row(&authority, &policy, &result, name, now)?;
    entry.detail = format!(
        "{} attestation of {}, authorised by {}",
        credential.attestation.as_str(),
        described(&credential),
        match &authorisation {
            Authorisation::Grant => "the enrolment of this machine",
            Authorisation::Ticket(_) => "a ticket",
            Authorisation::Credential { .. } => "an enrolled key",
        }
    );
    let answer = authenticator(&policy, &credential);
    let enrolment = CredentialEnrolment {
        credential,
        device: device.id,
        clock: result.machine().clock(),
        authorisation,
        challenge: result.machine().challenge(),
    };
    let outcome = authority.store.enrol_credential(&enrolment, &entry).await;
    decision::committed(&authority, entry, outcome, Audience::Enrolled).await?;
    Ok(Json(answer))
}

async fn judge(
    authority: &Authority,
    request: &EnrolRequest,
    peer: &[u8],
    device: &DeviceRow,
    entry: &mut AuditEntry,
    now: UnixTime,
) -> Result<(RegistrationResult, Authorisation), AppraiseError> {
    let policy = authority.judging.policy(authority.store.as_ref()).await?;
    let appraiser = authority.appraiser(&policy, now);
    let (result, _) = appraiser.appraise_registration(&request.evidence.0, peer, entry).await?;
    let authorisation =
        authorise(authority, &result, request.ticket.as_deref(), device, now).await?;
    Ok((result, authorisation))
}

/// What allows this operator to add a key: another of their keys, a ticket, or the machine's
/// enrolment a moment ago. The transaction that uses it up checks again.
async fn authorise(
    authority: &Authority,
    result: &RegistrationResult,
    ticket: Option<&str>,
    device: &DeviceRow,
    now: UnixTime,
) -> Result<Authorisation, AppraiseError> {
    let denied = RejectionCode::RegistrationNotAuthorised;
    let subject = result.machine().subject().ok_or(denied)?;
    if let (true, Some((id, sign_count))) =
        (result.authorised_by_key(), result.machine().credential())
    {
        return Ok(Authorisation::Credential { id: id.to_vec(), sign_count });
    }
    if let Some(ticket) = ticket {
        let digest = tickets::digest(ticket);
        let found = authority.store.ticket(&digest).await?;
        let good = found.filter(|ticket| {
            ticket.opens(TicketKind::Authenticator, now) && ticket.operator == subject
        });
        return good
            .map(|_| Authorisation::Ticket(digest))
            .ok_or(RejectionCode::TicketInvalid.into());
    }
    match authority.store.grant_is_open(&device.id, subject, now).await? {
        Grant::Open => Ok(Authorisation::Grant),
        Grant::Closed => Err(denied.into()),
    }
}

/// Lists the keys of the machine's operator.
///
/// # Errors
/// A problem: the machine is not enrolled.
pub async fn list(
    State(authority): State<Arc<Authority>>,
    peer: Peer,
) -> Result<Json<Authenticators>, Problem> {
    let machine = require_machine(&authority, peer, Event::KeyEnrol).await?;
    let rows = authority.store.credentials_of(&machine.device.operator).await;
    let rows = rows.map_err(|error| decision::failed(&authority, error))?;
    let policy = authority.judging.policy(authority.store.as_ref()).await;
    let policy = policy.map_err(|error| decision::failed(&authority, error))?;
    let authenticators = rows.iter().map(|row| authenticator(&policy.registration, row)).collect();
    Ok(Json(Authenticators { authenticators }))
}

/// Revokes one key of the machine's operator, and the sessions that were proved with it. Needs no
/// touch: it can only reduce rights, and a lost key cannot be touched.
///
/// # Errors
/// 404 when there is no such live key.
pub async fn remove(
    State(authority): State<Arc<Authority>>,
    peer: Peer,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let machine = require_machine(&authority, peer, Event::Revoke).await?;
    let id = URL_SAFE_NO_PAD.decode(&id).map_err(|_| Problem::not_found())?;
    let row = authority.store.credential(&id).await;
    let row = row.map_err(|error| decision::failed(&authority, error))?;
    let operator = &machine.device.operator;
    if row.is_none_or(|row| row.subject != *operator || row.revoked) {
        return Err(Problem::not_found());
    }
    let now = authority.now();
    let mut entry = AuditEntry::new(now, Event::Revoke, Decision::Allowed);
    entry.subject = Some(operator.clone());
    entry.device = Some(machine.device.id);
    entry.credential = Some(id.clone());
    entry.detail = "credential, by its owner".into();
    authority.revoke(&RevocationTarget::Credential(id), entry).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn credential_row(
    authority: &Authority,
    policy: &RegistrationPolicy,
    result: &RegistrationResult,
    name: Option<String>,
    now: UnixTime,
) -> Result<CredentialRow, Problem> {
    // Evidence of this purpose always names a subject; without one nothing was authorised.
    let subject = result.machine().subject().ok_or_else(Problem::not_found)?.to_owned();
    let (row, default_name) = match result.key() {
        NewKey::SecurityKey { registration, touch_only } => (
            security_key(registration, *touch_only, subject, now),
            model_name(authority, policy, registration),
        ),
        NewKey::Platform(key) => {
            let default_name = match key.method() {
                PlatformMethod::Pin => "PIN of this machine",
                PlatformMethod::Fingerprint(_) => "fingerprint of this machine",
            };
            (platform_key(key, subject, result, now), default_name.to_owned())
        }
    };
    Ok(CredentialRow { name: name.unwrap_or(default_name), ..row })
}

/// What the settings call the model, or metadata.
fn model_name(
    authority: &Authority,
    policy: &RegistrationPolicy,
    registration: &VerifiedRegistration,
) -> String {
    let mut models = authority.config.settings.authenticators.iter();
    let aaguid = registration.aaguid();
    let model = models.find(|model| model.aaguids.iter().any(|found| found.0 == aaguid.0));
    let described = description(policy, aaguid, registration.attestation_key());
    let described = described.as_deref().unwrap_or("security key");
    let name = model.map_or(described, |model| model.name.as_str());
    name.chars().take(MAX_NAME).collect()
}

fn security_key(
    registration: &VerifiedRegistration,
    touch_only: bool,
    subject: String,
    now: UnixTime,
) -> CredentialRow {
    // U2F alone has a use for it; what else attests has a model of its own.
    let attestation_key = registration.attestation_key();
    let attestation_key =
        attestation_key.filter(|_| registration.kind() == AttestationKind::FidoU2f);
    CredentialRow {
        id: registration.credential_id().to_vec(),
        subject,
        name: String::new(),
        public_key: registration.public_key().clone(),
        aaguid: registration.aaguid(),
        attestation: registration.kind(),
        attestation_key,
        touch_only,
        reported: None,
        platform: None,
        sign_count: registration.sign_count(),
        enrolled_at: now,
        last_used: None,
        revoked: false,
    }
}

fn platform_key(
    key: &VerifiedPlatformKey,
    subject: String,
    result: &RegistrationResult,
    now: UnixTime,
) -> CredentialRow {
    let device = result.machine().device().clone();
    CredentialRow {
        id: key.id().as_bytes().to_vec(),
        subject,
        name: String::new(),
        public_key: CoseKey::from_uncompressed_point(key.public_key().uncompressed_point()),
        aaguid: Aaguid([0; 16]),
        attestation: AttestationKind::TpmCertify,
        attestation_key: None,
        touch_only: false,
        reported: None,
        platform: Some(PlatformKeyRow { device, method: key.method().clone() }),
        sign_count: 0,
        enrolled_at: now,
        last_used: None,
        revoked: false,
    }
}

/// The key in an audit record: a model, or a method with the reader and the fingers behind it.
fn described(row: &CredentialRow) -> String {
    match row.platform.as_ref().map(|key| &key.method) {
        None => AaguidText(row.aaguid.0).to_string(),
        Some(PlatformMethod::Pin) => "a PIN in the TPM".to_owned(),
        Some(PlatformMethod::Fingerprint(facts)) => {
            let fingers = signet_evidence::thumbprint::hex(&facts.fingers);
            format!("a fingerprint by {:?} with finger set {fingers}", facts.driver)
        }
    }
}

/// What metadata calls the model.
fn description(
    policy: &RegistrationPolicy,
    aaguid: Aaguid,
    key: Option<AttestationKeyId>,
) -> Option<String> {
    let model = policy.metadata()?.describing(aaguid, key).next()?;
    (!model.description.is_empty()).then(|| model.description.clone())
}

fn authenticator(policy: &RegistrationPolicy, row: &CredentialRow) -> Authenticator {
    Authenticator {
        credential_id: Base64Url(row.id.clone()),
        name: row.name.clone(),
        aaguid: AaguidText(row.aaguid.0).to_string(),
        attestation: row.attestation.as_str(),
        uv_capable: uv_capable(policy, row),
        touch_only: row.touch_only,
        model: description(policy, row.aaguid, row.attestation_key),
        status: row.reported.clone().unwrap_or_else(|| "ok".to_owned()),
        kind: platform_method(row).map_or("security-key", UserKeyMethod::as_str),
        device: row.platform.as_ref().map(|key| key.device.to_string()),
        driver: row.platform.as_ref().and_then(|key| match &key.method {
            PlatformMethod::Pin => None,
            PlatformMethod::Fingerprint(facts) => Some(facts.driver.clone()),
        }),
        enrolled_at: row.enrolled_at.0,
        last_used: row.last_used.map(|at| at.0),
        revoked: row.revoked,
    }
}

fn platform_method(row: &CredentialRow) -> Option<UserKeyMethod> {
    row.platform.as_ref().map(|key| key.method.kind())
}

fn uv_capable(policy: &RegistrationPolicy, row: &CredentialRow) -> &'static str {
    match platform_method(row) {
        Some(UserKeyMethod::Pin) => return "pin",
        Some(UserKeyMethod::Fingerprint) => return "host",
        None => {}
    }
    match policy.model(row.aaguid, row.attestation_key) {
        _ if row.touch_only => ModelVerification::TouchOnly.as_str(),
        Some(verification) => verification.as_str(),
        None => "unknown",
    }
}

/// A name that is safe to print.
fn name(name: Option<&str>) -> Result<Option<String>, Problem> {
    match name.map(str::trim) {
        None | Some("") => Ok(None),
        Some(name) if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) => {
            Err(Problem::malformed_request("a key's name has at most 64 printable characters"))
        }
        Some(name) => Ok(Some(name.to_owned())),
    }
}
