//! `POST /v1/enrol/device/begin` and `/finish` (protocol §4.1). Callers have no certificate yet:
//! they hear coarse codes, and the audit table has the exact ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use signet_evidence::binding::sha256;
use signet_evidence::header::SignedAttest;
use signet_evidence::thumbprint::hex;
use signet_evidence::{RejectionCode, UnixTime};
use signet_verifier::Rejection;
use signet_verifier::certificate::without_padding;
use signet_verifier::enrolment::{
    EnrolmentProof, EnrolmentRandomness, EnrolmentRequest, PendingEnrolment, VerifiedDevice,
};

use super::pending::Waiting;
use super::renewal::certificates;
use crate::decision;
use crate::extract::{Base64Url, StrictJson};
use crate::keys::CaRing;
use crate::limits::{self, Caller};
use crate::problem::{Audience, Problem};
use crate::state::Authority;
use crate::store::{
    AuditEntry, Decision, DeviceEnrolment, DeviceRow, EkPin, Event, Ticket, TicketKind,
};
use crate::tickets;

/// Kinds of endorsement key (TCG EK Credential Profile, templates L-1, L-2 and H-1 to H-3).
#[derive(Debug, Deserialize)]
enum EndorsementKind {
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    #[serde(rename = "ecc-p256")]
    EccP256,
    #[serde(rename = "rsa-2048-high")]
    Rsa2048High,
    #[serde(rename = "ecc-p256-high")]
    EccP256High,
    #[serde(rename = "ecc-p384")]
    EccP384,
}

/// First message.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeginRequest {
    ticket: String,
    #[serde(rename = "ek_kind")]
    _ek_kind: EndorsementKind,
    ek_public: Base64Url,
    ek_certificate: Option<Base64Url>,
    #[serde(default)]
    ek_chain: Vec<Base64Url>,
    ak_public: Base64Url,
    tls_public: Base64Url,
}

/// Its answer: what the TPM must open and sign.
#[derive(Serialize)]
pub struct BeginAnswer {
    enrolment_id: String,
    credential_blob: Base64Url,
    encrypted_secret: Base64Url,
    nonce: Base64Url,
    device_id: Base64Url,
    spiffe_id: String,
    transcript: Base64Url,
    expires_in: u64,
}

/// Judges the public areas and the endorsement certificate, and wraps a secret for this TPM.
///
/// # Errors
/// A problem with a coarse code.
pub async fn begin(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    StrictJson(request): StrictJson<BeginRequest>,
) -> Result<Json<BeginAnswer>, Problem> {
    let now = authority.now();
    let mut entry = AuditEntry::new(now, Event::DeviceEnrolBegin, Decision::Allowed);
    entry.tallies = vec![limits::guesses(&authority, &caller)];
    limits::refuse_if_reached(&authority, &entry.tallies).await?;
    let digest = tickets::digest(&request.ticket);
    let ticket = open_ticket(&authority, &digest, &mut entry, now).await?;
    let ek_digest = sha256(&request.ek_public.0);
    let pin = authority.store.ek_pin(&ek_digest).await;
    let pin = pin.map_err(|error| decision::failed(&authority, error))?;
    if ticket.machine.ek_digest.is_some_and(|expected| expected != ek_digest) {
        let rejection = Rejection::because(RejectionCode::EkMismatch, OtherTpm);
        return Err(refuse(&authority, entry, &rejection).await);
    }
    let approved = ticket.machine.ek_digest.is_some()
        || pin.as_ref().is_some_and(|pin| pin.approved.is_some());
    let begun = PendingEnrolment::begin(
        &hex(&crate::random::bytes::<16>()),
        &enrolment_request(request, approved),
        &authority.enrolment,
        EnrolmentRandomness {
            secret: crate::random::secret(),
            seed: crate::random::secret(),
            nonce: crate::random::bytes(),
            device: crate::random::bytes(),
        },
        now,
    );
    let enrolment = match begun {
        Ok(enrolment) => enrolment,
        Err(rejection) => {
            if rejection.code() == RejectionCode::EkUnapproved && pin.is_none() {
                pin_ek(&authority, ek_digest, &ticket, &entry).await?;
            }
            return Err(refuse(&authority, entry, &rejection).await);
        }
    };
    entry.device = Some(enrolment.device.clone());
    entry.detail = "a secret was wrapped for its TPM".into();
    decision::record(&authority, &entry).await?;
    let lifetime = authority.config.settings.lifetimes.enrolment.get_ref().duration();
    let answer = BeginAnswer {
        enrolment_id: enrolment.id.clone(),
        credential_blob: Base64Url(enrolment.credential_blob.clone()),
        encrypted_secret: Base64Url(enrolment.encrypted_secret.clone()),
        nonce: Base64Url(enrolment.nonce.to_vec()),
        device_id: enrolment.device.as_bytes().into(),
        spiffe_id: authority.config.device_spiffe_id(&enrolment.device),
        transcript: Base64Url(enrolment.transcript.clone()),
        expires_in: lifetime.as_secs(),
    };
    let Ticket { operator, asset, .. } = ticket;
    let waiting = Waiting { enrolment, operator, asset, expires: now.plus(lifetime) };
    authority.enrolments.add(digest, waiting);
    Ok(Json(answer))
}

async fn open_ticket(
    authority: &Authority,
    digest: &[u8; 32],
    entry: &mut AuditEntry,
    now: UnixTime,
) -> Result<Ticket, Problem> {
    let ticket = authority.store.ticket(digest).await;
    let ticket = ticket.map_err(|error| decision::failed(authority, error))?;
    entry.subject = ticket.as_ref().map(|ticket| ticket.operator.clone());
    match ticket.filter(|ticket| ticket.opens(TicketKind::Device, now)) {
        Some(ticket) => Ok(ticket),
        None => {
            let rejection = Rejection::new(RejectionCode::TicketInvalid);
            Err(refuse(authority, entry.clone(), &rejection).await)
        }
    }
}

/// A ticket for another TPM.
#[derive(Debug, thiserror::Error)]
#[error("the ticket names another endorsement key")]
struct OtherTpm;

/// Remembers a TPM that nothing vouches for, for an administrator to look at. Whoever gets here holds a
/// ticket, so that nobody fills the table.
async fn pin_ek(
    authority: &Authority,
    digest: [u8; 32],
    ticket: &Ticket,
    entry: &AuditEntry,
) -> Result<(), Problem> {
    let pin = EkPin {
        digest,
        operator: ticket.operator.clone(),
        asset: ticket.asset.clone(),
        seen_at: entry.at,
        approved: None,
    };
    let mut entry = AuditEntry::new(entry.at, Event::EkPin, Decision::Allowed);
    entry.subject = Some(ticket.operator.clone());
    entry.detail = format!("endorsement key {} without a certificate", hex(&digest));
    let pinned = authority.store.pin_ek(&pin, &entry).await;
    pinned.map_err(|error| decision::failed(authority, error))
}

fn enrolment_request(request: BeginRequest, ek_approved: bool) -> EnrolmentRequest {
    // TPM makers pad what they store in NV; what cannot be cut is refused where it is parsed.
    let cut = |Base64Url(bytes): Base64Url| match without_padding(&bytes) {
        Ok(certificate) => certificate.to_vec(),
        Err(_) => bytes,
    };
    EnrolmentRequest {
        ek_public: request.ek_public.0,
        ek_certificate: request.ek_certificate.map(cut),
        ek_chain: request.ek_chain.into_iter().map(cut).collect(),
        ak_public: request.ak_public.0,
        tls_public: request.tls_public.0,
        ek_approved,
    }
}

/// An attestation and its signature.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    attest: Base64Url,
    signature: Base64Url,
}

impl From<Signed> for SignedAttest {
    fn from(signed: Signed) -> Self {
        Self { attest: signed.attest.0, signature: signed.signature.0 }
    }
}

/// Second message.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinishRequest {
    enrolment_id: String,
    proof: Base64Url,
    certify: Signed,
    quote: Signed,
    pcrs: BTreeMap<u8, Base64Url>,
    csr: Base64Url,
}

/// Its answer: the machine is enrolled.
#[derive(Serialize)]
pub struct FinishAnswer {
    device_chain: Vec<Base64Url>,
    ak_chain: Vec<Base64Url>,
    device_id: Base64Url,
    spiffe_id: String,
    audience: String,
    rp_id: String,
    operator: String,
    ca: Vec<Base64Url>,
    /// The CAs that sign this machine's certificates, now and at renewals.
    issuers: Vec<Base64Url>,
    certificate_expires: i64,
}

/// Checks that AK and TLS key live in the TPM, and issues their certificates.
///
/// # Errors
/// A problem with a coarse code; the enrolment must then begin again.
pub async fn finish(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    StrictJson(request): StrictJson<FinishRequest>,
) -> Result<Json<FinishAnswer>, Problem> {
    let now = authority.now();
    let mut entry = AuditEntry::new(now, Event::DeviceEnrol, Decision::Allowed);
    entry.tallies = vec![limits::guesses(&authority, &caller)];
    limits::refuse_if_reached(&authority, &entry.tallies).await?;
    let Some((ticket, waiting)) = authority.enrolments.take(&request.enrolment_id, now) else {
        let rejection = Rejection::new(RejectionCode::EnrolmentUnknown);
        return Err(refuse(&authority, entry, &rejection).await);
    };
    let Waiting { enrolment, operator, asset, .. } = waiting;
    entry.subject = Some(operator.clone());
    entry.device = Some(enrolment.device.clone());
    let proof = EnrolmentProof {
        proof: request.proof.0,
        certification: request.certify.into(),
        quote: request.quote.into(),
        pcrs: request.pcrs.into_iter().map(|(index, value)| (index, value.0)).collect(),
        request: request.csr.0,
    };
    let verified = enrolment.finish(&proof).and_then(|device| {
        let covered = |index: &u8| device.pcrs().contains_key(index);
        if authority.appraisal.required_pcrs.iter().all(covered) {
            Ok(device)
        } else {
            Err(RejectionCode::PcrSelectionInsufficient.into())
        }
    });
    let verified = match verified {
        Ok(verified) => verified,
        Err(rejection) => return Err(refuse(&authority, entry, &rejection).await),
    };
    let row = device_row(&verified, operator.clone(), asset, now);
    let issued = certificates(&authority, &row, now).map_err(|error| {
        tracing::error!(%error, "cannot issue a machine's certificates");
        Problem::unavailable()
    })?;
    let lifetimes = &authority.config.settings.lifetimes;
    let grant_expires = now.plus(lifetimes.grant.get_ref().duration());
    entry.detail = match row.ek_proven {
        true => "its endorsement certificate leads to an accepted root".into(),
        false => format!("no certificate vouches for its endorsement key {}", hex(&row.ek_digest)),
    };
    let enrolment = DeviceEnrolment { ticket, device: row, grant_expires };
    let outcome = authority.store.enrol_device(&enrolment, &entry).await;
    decision::committed(&authority, entry, outcome, Audience::Anyone).await?;
    let of = |cas: &[&CaRing]| -> Vec<Base64Url> {
        let trusted = cas.iter().flat_map(|ca| ca.trusted(now));
        trusted.map(|certificate| certificate.as_ref().into()).collect()
    };
    Ok(Json(FinishAnswer {
        device_chain: vec![issued.device.as_ref().into()],
        ak_chain: vec![issued.ak.as_ref().into()],
        device_id: verified.device().as_bytes().into(),
        spiffe_id: authority.config.device_spiffe_id(verified.device()),
        audience: authority.appraisal.audience.clone(),
        rp_id: authority.appraisal.rp_id.clone(),
        operator,
        ca: of(&[&authority.keys.server_ca]),
        issuers: of(&[&authority.keys.device_ca, &authority.keys.ak_ca]),
        certificate_expires: issued.expires.0,
    }))
}

fn device_row(
    device: &VerifiedDevice,
    operator: String,
    asset: Option<String>,
    now: UnixTime,
) -> DeviceRow {
    DeviceRow {
        id: device.device().clone(),
        operator,
        asset,
        ek_digest: device.ek_digest(),
        ek_proven: device.endorsement_proven(),
        ak_name: device.ak_name().as_bytes().to_vec(),
        ak: device.ak().clone(),
        tls_key: device.tls_key().clone(),
        pcrs: device.pcrs().clone(),
        clock: device.clock(),
        enrolled_at: now,
        revoked: false,
    }
}

async fn refuse(authority: &Authority, entry: AuditEntry, rejection: &Rejection) -> Problem {
    decision::refuse(authority, entry, rejection, Audience::Anyone).await
}
