//! `POST /v1/gateway/certificate`: another certificate for a gateway that shows the one it has. Only on the
//! gateways' listener, and never for a gateway that the settings do not name.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use signet_verifier::certificate::Certificate;

use super::asker::require_gateway;
use crate::ca::{BACKDATE, IssueError};
use crate::caller::{Peer, require_certificate};
use crate::decision;
use crate::keys::pem;
use crate::problem::Problem;
use crate::state::Authority;
use crate::store::{AuditEntry, Decision, Event};

/// The body is a certificate request (PKCS#10, PEM or DER) for a key that the gateway made; names in it are
/// not looked at. The answer is a certificate for that key (PEM), under the gateway's name, that lives as
/// long as the one shown did.
///
/// # Errors
/// A problem with the exact code.
pub(super) async fn renew(
    State(authority): State<Arc<Authority>>,
    peer: Peer,
    body: Bytes,
) -> Result<Response, Problem> {
    let event = Event::GatewayCertificate;
    let shown = require_certificate(&authority, peer.clone(), event).await?;
    let gateway = require_gateway(&authority, peer, event).await?;
    let spiffe_id = gateway.spiffe_id.get_ref().as_str();
    let shown = Certificate::parse(shown.der()).map_err(|_| Problem::gateway_unknown())?;
    let lived = shown.not_after().0.saturating_sub(shown.not_before().0);
    let lifetime = Duration::from_secs(u64::try_from(lived).unwrap_or(0)).saturating_sub(BACKDATE);
    let malformed = || {
        Problem::malformed_request(
            "send a certificate request (PKCS#10) for a P-256 key, signed by that key",
        )
    };
    let request = match body.first() {
        Some(0x30) => CertificateSigningRequestDer::from(body.as_ref()),
        _ => CertificateSigningRequestDer::from_pem_slice(&body).map_err(|_| malformed())?,
    };
    let now = authority.now();
    let issued =
        authority.keys.gateway_ca.issuer(now).certify_gateway(&request, spiffe_id, now, lifetime);
    let certificate = match issued {
        Ok(certificate) => certificate,
        Err(IssueError::Request(_)) => return Err(malformed()),
        Err(error) => {
            tracing::error!(%error, "cannot issue a gateway's certificate");
            return Err(Problem::unavailable());
        }
    };
    let mut entry = AuditEntry::new(now, event, Decision::Allowed);
    entry.gateway = Some(spiffe_id.to_owned());
    entry.detail = format!("renewed until {}", now.plus(lifetime).0);
    decision::record(&authority, &entry).await?;
    let headers =
        [(header::CONTENT_TYPE, "application/x-pem-file"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, pem(&certificate)).into_response())
}
