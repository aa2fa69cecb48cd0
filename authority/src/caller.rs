//! Who is calling: the enrolled machine of the connection's certificate.

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use signet_evidence::{DeviceId, RejectionCode};
use signet_verifier::Rejection;
use signet_verifier::certificate::Certificate;

use crate::decision;
use crate::problem::{Audience, Problem};
use crate::state::Authority;
use crate::store::{AuditEntry, Decision, DeviceRow, Event};
use crate::tls::PeerCertificate;

/// The connection's certificate, or none: each endpoint says whether it needs one.
#[derive(Clone, Debug)]
pub struct Peer(pub Option<PeerCertificate>);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<PeerCertificate>().cloned()))
    }
}

/// Marks `request` as having come over a connection with this certificate, as the accept loop does;
/// for those who call the router without a connection.
pub fn over_connection(mut request: Request, peer: PeerCertificate) -> Request {
    request.extensions_mut().insert(peer);
    request
}

/// A machine that is enrolled, not revoked, and holds the key of this connection.
#[derive(Clone, Debug)]
pub struct EnrolledMachine {
    /// The connection's certificate.
    pub certificate: PeerCertificate,
    /// Its row.
    pub device: DeviceRow,
}

/// The device that a certificate of this trust domain names.
#[must_use]
pub fn device_of(authority: &Authority, peer: &PeerCertificate) -> Option<DeviceId> {
    let name = peer.spiffe_id()?;
    let prefix = format!("spiffe://{}/device/", authority.config.settings.trust_domain);
    let id = DeviceId::from_hex(name.strip_prefix(&prefix)?)?;
    // One id, one text form: the verifier compares texts.
    (authority.config.device_spiffe_id(&id) == name).then_some(id)
}

/// The connection's certificate.
///
/// # Errors
/// `certificate-missing`, written to the audit table.
pub async fn require_certificate(
    authority: &Authority,
    peer: Peer,
    event: Event,
) -> Result<PeerCertificate, Problem> {
    match peer.0 {
        Some(certificate) => Ok(certificate),
        None => {
            let code = RejectionCode::CertificateMissing;
            let entry = AuditEntry::new(authority.now(), event, Decision::Refused(code));
            Err(decision::refuse(authority, entry, &code.into(), Audience::Anyone).await)
        }
    }
}

/// The enrolled machine that is calling.
///
/// # Errors
/// `certificate-missing`, `device-unknown` or `device-revoked`, written to the audit table.
pub async fn require_machine(
    authority: &Authority,
    peer: Peer,
    event: Event,
) -> Result<EnrolledMachine, Problem> {
    let certificate = require_certificate(authority, peer, event).await?;
    let id = device_of(authority, &certificate);
    let device = match &id {
        Some(id) => {
            authority.store.device(id).await.map_err(|error| decision::failed(authority, error))?
        }
        None => None,
    };
    let code = match device {
        // A certificate of an earlier TLS key opens nothing.
        Some(device) if !holds_key(&device, &certificate) => {
            RejectionCode::DeviceCertificateUntrusted
        }
        Some(device) if device.revoked => RejectionCode::DeviceRevoked,
        Some(device) => return Ok(EnrolledMachine { certificate, device }),
        None => RejectionCode::DeviceUnknown,
    };
    let mut entry = AuditEntry::new(authority.now(), event, Decision::Refused(code));
    entry.device = id;
    Err(decision::refuse(authority, entry, &Rejection::new(code), Audience::Enrolled).await)
}

fn holds_key(device: &DeviceRow, certificate: &PeerCertificate) -> bool {
    let certificate = Certificate::parse(certificate.der());
    certificate.is_ok_and(|certificate| certificate.p256_key() == Ok(&device.tls_key))
}
