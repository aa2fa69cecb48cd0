//! Step 12 of protocol §2.4 for an action: no token is minted for a request that policy would let
//! pass at no gateway.

use signet_evidence::{ActionDetails, RejectionCode, UnixTime};
use signet_verifier::Rejection;
use signet_verifier::token::TokenClaims;

use super::decide::{Requested, grant, keep};
use crate::state::Authority;
use crate::store::AuditEntry;

/// The rules that let the approved request pass, with the presence that `claims` are about to carry.
///
/// Rules may look at the gateway, which is not known yet; so each configured one is tried. Nor is the
/// client's address there. The gateway's own question is still the one that decides.
///
/// # Errors
/// `policy-denied`, `action-mismatch` or `presence-required`: the answer of the last gateway.
pub fn approve(
    authority: &Authority,
    claims: &TokenClaims,
    now: UnixTime,
    entry: &mut AuditEntry,
) -> Result<String, Rejection> {
    let details = claims.authorization_details.as_deref().unwrap_or_default();
    let denied = RejectionCode::PolicyDenied;
    let [details] = details else { return Err(denied.into()) };
    let host = host_of(details).ok_or(denied)?;
    let mut refusal = denied.into();
    let mut gateways: Vec<String> = authority
        .config
        .settings
        .gateways
        .iter()
        .map(|gateway| gateway.spiffe_id.get_ref().to_string())
        .collect();
    if gateways.is_empty() {
        // Services may check tokens themselves: then no rule that names a gateway holds.
        gateways.push(String::new());
    }
    let sets = authority.in_force.sets();
    for gateway in &gateways {
        let request = Requested {
            gateway,
            method: &details.method,
            host,
            target: &details.path,
            source: None,
            approved: Some(&details.actions),
        };
        let facts = request.facts(claims, now);
        let decision = sets.decide(&facts, &authority.metrics);
        keep(&facts, &decision, entry);
        match grant(decision) {
            Ok(grant) => return Ok(grant.rules().join(", ")),
            Err(refused) => refusal = refused.rejection,
        }
    }
    Err(refusal)
}

/// Host and port of the one location, which [`signet_evidence::Action`] has checked.
fn host_of(details: &ActionDetails) -> Option<&str> {
    details.locations.first()?.strip_prefix("https://")
}
