//! `POST /v1/revoke` (RFC 7009), and revocation as the endpoints do it: at once on this node.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use crate::caller::{EnrolledMachine, Peer, require_machine};
use crate::decision;
use crate::extract::OAuthForm;
use crate::problem::Problem;
use crate::state::Authority;
use crate::store::{AuditEntry, Decision, Event, RevocationTarget};

/// RFC 7009 §2.1.
#[derive(Deserialize)]
pub struct RevokeRequest {
    token: String,
}

/// Ends the session of a token that was given to the calling machine. A token that is not good
/// changes nothing and is no error (RFC 7009 §2.2).
///
/// # Errors
/// A problem: the machine is not enrolled, or the store failed.
pub async fn revoke(
    State(authority): State<Arc<Authority>>,
    peer: Peer,
    OAuthForm(request): OAuthForm<RevokeRequest>,
) -> Result<StatusCode, Problem> {
    let EnrolledMachine { certificate, device } =
        require_machine(&authority, peer, Event::Revoke).await.map_err(Problem::oauth)?;
    let now = authority.now();
    let mut entry = AuditEntry::new(now, Event::Revoke, Decision::Allowed);
    entry.device = Some(device.id);
    let checked = authority.checker().check_jwt(&request.token, certificate.thumbprint(), now);
    let token = match checked {
        Ok(token) => token,
        Err(rejection) => {
            let audience = crate::problem::Audience::Enrolled;
            let problem = decision::refuse(&authority, entry, &rejection, audience).await;
            return if problem.status == 503 { Err(problem.oauth()) } else { Ok(StatusCode::OK) };
        }
    };
    let claims = token.claims();
    entry.subject = Some(claims.sub.clone());
    entry.session = claims.session();
    entry.detail = "session, by its owner".into();
    if let Some(session) = claims.session() {
        let target = RevocationTarget::Session(session);
        authority.revoke(&target, entry).await.map_err(Problem::oauth)?;
    }
    Ok(StatusCode::OK)
}

impl Authority {
    /// Revokes `target` and everything under it; this node refuses it from now on.
    ///
    /// # Errors
    /// [`Problem::unavailable`] when the store failed.
    pub async fn revoke(
        &self,
        target: &RevocationTarget,
        entry: AuditEntry,
    ) -> Result<(), Problem> {
        let revoked = self.store.revoke(target, entry.at, &entry).await;
        let revoked = revoked.map_err(|error| decision::failed(self, error))?;
        self.revocations.add(&revoked.unwrap_or_default());
        // Pushes it. Should the store fail now, the next look at the feed does it.
        if let Err(error) = self.revocations.refresh(self.store.as_ref()).await {
            tracing::warn!(%error, "cannot read the revocations");
        }
        self.metrics.decided(entry.event, entry.decision);
        Ok(())
    }
}
