//! `POST /v1/enrol/device/renew`: new certificates for the keys of an enrolled machine (protocol
//! §4.1), and how the certificates of a machine are issued.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use signet_evidence::{Purpose, UnixTime};

use crate::appraise::AppraiseError;
use crate::ca::IssueError;
use crate::caller::{EnrolledMachine, Peer, require_machine};
use crate::decision;
use crate::extract::{Base64Url, StrictJson};
use crate::keys::Keys;
use crate::problem::{Audience, Problem};
use crate::state::Authority;
use crate::store::{AuditEntry, Decision, DeviceRenewal, DeviceRow, Event};

/// Evidence of purpose `enrol-device`: the machine is what it was at its enrolment.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    evidence: Base64Url,
}

/// New certificates for the same keys and the same device.
#[derive(Serialize)]
pub struct RenewAnswer {
    device_chain: Vec<Base64Url>,
    ak_chain: Vec<Base64Url>,
    successors: Vec<Base64Url>,
    certificate_expires: i64,
}

/// Judges the machine as for a token (TPM, boot state, certified TLS key) and issues certificates
/// for the keys that are on record, never for keys that the request brings along.
///
/// # Errors
/// A problem with the exact code.
pub async fn renew(
    State(authority): State<Arc<Authority>>,
    peer: Peer,
    StrictJson(request): StrictJson<RenewRequest>,
) -> Result<Json<RenewAnswer>, Problem> {
    let event = Event::DeviceRenew;
    let EnrolledMachine { certificate, device } = require_machine(&authority, peer, event).await?;
    let now = authority.now();
    let mut entry = AuditEntry::new(now, event, Decision::Allowed);
    entry.device = Some(device.id.clone());
    let (evidence, purpose) = (&request.evidence.0, [Purpose::EnrolDevice]);
    // No key is judged here, so no metadata is asked for.
    let policy = authority.judging.without_keys();
    let appraiser = authority.appraiser(&policy, now);
    let judged = appraiser.appraise(evidence, certificate.der(), &purpose, &mut entry).await;
    let result = match judged {
        Ok((result, _)) => result,
        Err(AppraiseError::Rejected(rejection)) => {
            return Err(decision::refuse(&authority, entry, &rejection, Audience::Enrolled).await);
        }
        Err(AppraiseError::Store(error)) => return Err(decision::failed(&authority, error)),
    };
    entry.subject = Some(device.operator.clone());
    let issued = certificates(&authority, &device, now).map_err(|error| {
        tracing::error!(%error, "cannot issue a machine's certificates");
        Problem::unavailable()
    })?;
    entry.detail = format!("certificates until {}", issued.expires.0);
    let renewal =
        DeviceRenewal { challenge: result.challenge(), device: device.id, clock: result.clock() };
    let outcome = authority.store.renew_device(&renewal, &entry).await;
    decision::committed(&authority, entry, outcome, Audience::Enrolled).await?;
    Ok(Json(RenewAnswer {
        device_chain: vec![issued.device.as_ref().into()],
        ak_chain: vec![issued.ak.as_ref().into()],
        successors: successors(&authority, now),
        certificate_expires: issued.expires.0,
    }))
}

/// Each later CA, certified by the one before it: who knows the CAs of an enrolment gets to know the next.
fn successors(authority: &Authority, now: UnixTime) -> Vec<Base64Url> {
    let Keys { device_ca, ak_ca, server_ca, .. } = &authority.keys;
    let links = [device_ca, ak_ca, server_ca].into_iter().flat_map(|ca| ca.links(now));
    links.map(|link| link.as_ref().into()).collect()
}

/// The certificates of one machine.
pub(super) struct IssuedCertificates {
    pub(super) device: CertificateDer<'static>,
    pub(super) ak: CertificateDer<'static>,
    pub(super) expires: UnixTime,
}

/// Certificates for the keys of this row.
pub(super) fn certificates(
    authority: &Authority,
    device: &DeviceRow,
    now: UnixTime,
) -> Result<IssuedCertificates, IssueError> {
    let id = authority.config.device_spiffe_id(&device.id);
    let lifetime = authority.config.settings.lifetimes.device_certificate.get_ref().duration();
    let (tls_key, ak) = (device.tls_key.uncompressed_point(), device.ak.uncompressed_point());
    Ok(IssuedCertificates {
        device: authority.keys.device_ca.issuer(now).issue_device(tls_key, &id, now, lifetime)?,
        ak: authority.keys.ak_ca.issuer(now).issue_attestation_key(ak, &id, now, lifetime)?,
        expires: now.plus(lifetime),
    })
}
