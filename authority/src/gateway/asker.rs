//! Which gateway asks: known by the certificate of its own connection, and by the settings.

use signet_evidence::RejectionCode;
use signet_verifier::certificate::Certificate;

use crate::caller::{Peer, require_certificate};
use crate::config::GatewaySettings;
use crate::decision;
use crate::problem::{Audience, Problem};
use crate::state::Authority;
use crate::store::{AuditEntry, Decision, Event};

/// The settings of the gateway that this connection belongs to.
///
/// # Errors
/// `policy-denied`, written to the audit table, when the settings do not name it.
pub async fn require_gateway(
    authority: &Authority,
    peer: Peer,
    event: Event,
) -> Result<&GatewaySettings, Problem> {
    let certificate = require_certificate(authority, peer, event).await?;
    let parsed = Certificate::parse(certificate.der()).ok();
    let name = parsed.and_then(|parsed| parsed.spiffe_id().ok().map(str::to_owned));
    let known = |gateway: &&GatewaySettings| {
        name.as_deref().is_some_and(|name| gateway.spiffe_id.get_ref().as_str() == name)
    };
    if let Some(gateway) = authority.config.settings.gateways.iter().find(known) {
        return Ok(gateway);
    }
    let code = RejectionCode::PolicyDenied;
    let mut entry = AuditEntry::new(authority.now(), event, Decision::Refused(code));
    entry.gateway = name;
    Err(decision::refuse(authority, entry, &code.into(), Audience::Enrolled).await)
}
