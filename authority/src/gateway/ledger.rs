//! What the decision asks of the store.

use async_trait::async_trait;
use signet_evidence::binding::Sha256;
use signet_evidence::{RejectionCode, SessionId, UnixTime};
use signet_verifier::token::TokenClaims;

use crate::state::Authority;
use crate::store::{AuditEntry, CommitError, StoreError};

/// What the store says of a token that was found good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenState {
    /// Why it counts no more; `None` while it does.
    pub refused: Option<RejectionCode>,
    /// SHA-256 of the approved action's bytes, for a single-use token.
    pub action: Option<Sha256>,
}

/// Tokens, their sessions, and the record of decisions.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Whether a token still counts: itself, its session and all above it.
    async fn token_state(
        &self,
        claims: &TokenClaims,
        now: UnixTime,
    ) -> Result<TokenState, StoreError>;

    /// Uses up a single-use token and writes the decision, or neither.
    async fn redeem(
        &self,
        token: &[u8; 16],
        now: UnixTime,
        entry: &AuditEntry,
    ) -> Result<(), CommitError>;

    /// Writes a decision.
    async fn record(&self, entry: &AuditEntry) -> Result<(), StoreError>;
}

/// The 16 bytes of a `jti`.
pub(super) fn token_id(claims: &TokenClaims) -> Option<[u8; 16]> {
    SessionId::from_hex(&claims.jti).map(|id| id.0)
}

#[async_trait]
impl Ledger for Authority {
    /// Asks the store itself and not the view of revocations: what was revoked a moment ago on
    /// another node counts too.
    async fn token_state(
        &self,
        claims: &TokenClaims,
        now: UnixTime,
    ) -> Result<TokenState, StoreError> {
        let gone = |code| Ok(TokenState { refused: Some(code), action: None });
        let (Some(id), Some(session)) = (token_id(claims), claims.session()) else {
            return gone(RejectionCode::TokenMalformed);
        };
        // A token that the store does not know was never given, or is long forgotten.
        let token = self.store.token_standing(&id).await?;
        let Some(token) = token.filter(|token| !token.revoked && token.session == session) else {
            return gone(RejectionCode::TokenRevoked);
        };
        if token.session_expires.is_none_or(|expires| expires <= now) {
            return gone(RejectionCode::SessionEnded);
        }
        let refused = token.redeemed.then_some(RejectionCode::TokenRedeemed);
        Ok(TokenState { refused, action: token.action })
    }

    async fn redeem(
        &self,
        token: &[u8; 16],
        now: UnixTime,
        entry: &AuditEntry,
    ) -> Result<(), CommitError> {
        self.store.redeem(token, now, entry).await?;
        self.metrics.decided(entry.event, entry.decision);
        Ok(())
    }

    async fn record(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.store.append_audit(entry).await?;
        self.metrics.decided(entry.event, entry.decision);
        Ok(())
    }
}
