//! `POST /v1/introspect` (RFC 7662): what a token says now, for gateways that judge by themselves.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};
use signet_evidence::{CertificateThumbprint, DeviceId, RejectionCode, SessionId, UnixTime};
use signet_verifier::Rejection;
use signet_verifier::token::{CheckedToken, TokenClaims};

use crate::decision;
use crate::documents;
use crate::extract::OAuthForm;
use crate::gateway::{Asker, require_gateway};
use crate::problem::{Audience, Problem};
use crate::revocation::Standing;
use crate::state::Authority;
use crate::store::{AuditEntry, Decision, Event};

/// RFC 7662 §2.1, with whether to use up a single-use token, and whose connection it came over.
#[derive(Deserialize)]
pub struct IntrospectRequest {
    token: String,
    #[serde(default)]
    redeem: bool,
    /// Hex SHA-256 of the certificate of the connection that the token came over. Without it the
    /// gateway must compare `cnf` itself, and no token is used up.
    peer_sha256: Option<String>,
}

/// Says what a token is worth; a token that is not good is `{"active": false}` and nothing more.
///
/// # Errors
/// A problem: the gateway is not known, or the store failed.
pub async fn introspect(
    State(authority): State<Arc<Authority>>,
    asker: Asker,
    OAuthForm(request): OAuthForm<IntrospectRequest>,
) -> Result<Json<Value>, Problem> {
    let now = authority.now();
    let event = if request.redeem { Event::Redeem } else { Event::Introspect };
    let gateway = require_gateway(&authority, asker, event).await.map_err(Problem::oauth)?;
    let mut entry = AuditEntry::new(now, event, Decision::Allowed);
    entry.gateway = Some(gateway.spiffe_id.get_ref().to_string());
    let checked = check(&authority, &request, now, &mut entry);
    let token = match checked {
        Ok(token) => token,
        Err(rejection) => return inactive(&authority, entry, &rejection).await,
    };
    let claims = token.claims();
    entry.detail = "active".into();
    if request.redeem {
        let id = SessionId::from_hex(&claims.jti).map(|id| id.0).unwrap_or_default();
        let outcome = authority.store.redeem(&id, now, &entry).await;
        let audience = Audience::Enrolled;
        if let Err(problem) = decision::committed(&authority, entry, outcome, audience).await {
            let unavailable = problem.status == 503;
            return if unavailable {
                Err(problem.oauth())
            } else {
                Ok(Json(json!({"active": false})))
            };
        }
    } else {
        if let Err(rejection) = unspent(&authority, &token, &entry).await? {
            return inactive(&authority, entry, &rejection).await;
        }
        decision::record(&authority, &entry).await.map_err(Problem::oauth)?;
    }
    let mut answer = serde_json::to_value(claims).map_err(|_| Problem::unavailable())?;
    if let Some(members) = answer.as_object_mut() {
        members.insert("active".into(), true.into());
        members.insert("token_type".into(), "Bearer".into());
    }
    Ok(Json(answer))
}

fn check(
    authority: &Authority,
    request: &IntrospectRequest,
    now: UnixTime,
    entry: &mut AuditEntry,
) -> Result<CheckedToken, Rejection> {
    let peer = match &request.peer_sha256 {
        Some(hex) => {
            CertificateThumbprint::from_hex(hex).ok_or(RejectionCode::CertificateMissing)?
        }
        None if request.redeem => return Err(RejectionCode::CertificateMissing.into()),
        // RFC 8705 §3.2: the gateway reads `cnf` from the answer and compares.
        None => claimed_binding(&request.token).ok_or(RejectionCode::TokenMalformed)?,
    };
    let token = authority.checker().check_jwt(&request.token, peer, now)?;
    let claims = token.claims();
    entry.subject = Some(claims.sub.clone());
    entry.session = claims.session();
    entry.token = SessionId::from_hex(&claims.jti).map(|id| id.0);
    let device = claims.client_id.rsplit('/').next().and_then(DeviceId::from_hex);
    entry.device = device.clone();
    let (Some(id), Some(session), Some(device)) = (entry.token, entry.session, device) else {
        return Err(RejectionCode::TokenMalformed.into());
    };
    let index = documents::status_index(authority, &claims.status.status_list);
    match authority.revocations.standing(&id, session, &device, index) {
        Standing::Good => Ok(token),
        Standing::Revoked | Standing::Stale => Err(RejectionCode::TokenRevoked.into()),
    }
}

/// A single-use token that was used up is good for nothing, also for whoever only asks.
async fn unspent(
    authority: &Authority,
    token: &CheckedToken,
    entry: &AuditEntry,
) -> Result<Result<(), Rejection>, Problem> {
    let Some(id) = entry.token.filter(|_| token.claims().signet.once) else { return Ok(Ok(())) };
    let row = authority.store.token(&id).await.map_err(|error| Problem::from(error).oauth())?;
    Ok(match row {
        Some(row) if !row.redeemed => Ok(()),
        Some(_) => Err(RejectionCode::TokenRedeemed.into()),
        None => Err(RejectionCode::TokenRevoked.into()),
    })
}

/// The binding that a token claims; its signature is checked with the rest.
fn claimed_binding(token: &str) -> Option<CertificateThumbprint> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: TokenClaims = serde_json::from_slice(&payload).ok()?;
    CertificateThumbprint::from_hex(&claims.signet.x5t_hex)
}

async fn inactive(
    authority: &Authority,
    entry: AuditEntry,
    rejection: &Rejection,
) -> Result<Json<Value>, Problem> {
    let problem = decision::refuse(authority, entry, rejection, Audience::Enrolled).await;
    if problem.status == 503 {
        return Err(problem.oauth());
    }
    Ok(Json(json!({"active": false})))
}
