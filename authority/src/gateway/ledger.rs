//! What the decision asks of the store.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use signet_evidence::binding::Sha256;
use signet_evidence::{RejectionCode, SessionId, UnixTime};
use signet_verifier::recent::Recent;
use signet_verifier::token::TokenClaims;

use crate::state::Authority;
use crate::store::{Appended, AuditEntry, CommitError, StoreError, TokenStanding};

/// What the store says of a token that was found good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenState {
    /// Why it counts no more; `None` while it does.
    pub refused: Option<RejectionCode>,
    /// SHA-256 of the approved action's bytes, for a single-use token.
    pub action: Option<Sha256>,
    /// The last revocation that this takes into account: a yes on its word counts only if there was none
    /// since.
    pub as_of: i64,
    /// It was looked up before, and this node has heard of no revocation since.
    pub heard: bool,
}

/// Where to look for what a token is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Into memory first.
    Remembered,
    /// Into the store.
    Stored,
}

/// Tokens, their sessions, and the record of decisions.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Whether a token still counts: itself, its session and all above it.
    async fn token_state(
        &self,
        claims: &TokenClaims,
        look: Look,
        now: UnixTime,
    ) -> Result<TokenState, StoreError>;

    /// Uses up a single-use token and writes the decision, or neither.
    async fn redeem(
        &self,
        token: &[u8; 16],
        now: UnixTime,
        entry: &AuditEntry,
    ) -> Result<(), CommitError>;

    /// Puts a yes on record that changes nothing, on this node first; false where only [`Self::record`] can.
    fn note(&self, entry: &AuditEntry) -> bool;

    /// Writes a decision; one that counts as of a revocation, only if there was none since.
    async fn record(&self, entry: &AuditEntry, as_of: Option<i64>) -> Result<Appended, StoreError>;
}

/// The 16 bytes of a `jti`.
pub(super) fn token_id(claims: &TokenClaims) -> Option<[u8; 16]> {
    SessionId::from_hex(&claims.jti).map(|id| id.0)
}

#[async_trait]
impl Ledger for Authority {
    /// Not by the view of revocations, which another node's reach a moment later: by the store, or by
    /// what the store said before, which [`Self::record`] then holds against the store.
    async fn token_state(
        &self,
        claims: &TokenClaims,
        look: Look,
        now: UnixTime,
    ) -> Result<TokenState, StoreError> {
        let gone =
            |code| Ok(TokenState { refused: Some(code), action: None, as_of: 0, heard: false });
        let (Some(id), Some(session)) = (token_id(claims), claims.session()) else {
            return gone(RejectionCode::TokenMalformed);
        };
        let remembered = (look == Look::Remembered).then(|| self.standings.get(&id)).flatten();
        let token = match remembered {
            Some(token) => Some(token),
            None => self.store.token_standing(&id).await?,
        };
        // A token that the store does not know was never given, or is long forgotten.
        let Some(token) = token.filter(|token| !token.revoked && token.session == session) else {
            self.standings.forget(&id);
            return gone(RejectionCode::TokenRevoked);
        };
        if token.session_expires.is_none_or(|expires| expires <= now) {
            return gone(RejectionCode::SessionEnded);
        }
        if remembered.is_none() {
            self.standings.remember(id, token);
        }
        let refused = token.redeemed.then_some(RejectionCode::TokenRedeemed);
        let as_of = token.revocations;
        let heard = remembered.is_some() && self.revocations.nothing_since(as_of);
        Ok(TokenState { refused, action: token.action, as_of, heard })
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

    fn note(&self, entry: &AuditEntry) -> bool {
        let noted = self.journal.note(entry);
        if noted {
            self.metrics.decided(entry.event, entry.decision);
        }
        noted
    }

    async fn record(&self, entry: &AuditEntry, as_of: Option<i64>) -> Result<Appended, StoreError> {
        let appended = match as_of {
            None => self.store.append_audit(entry).await.map(|()| Appended::Written)?,
            Some(as_of) => self.store.append_as_of(entry, as_of).await?,
        };
        if appended == Appended::Written {
            self.metrics.decided(entry.event, entry.decision);
        }
        Ok(appended)
    }
}

/// What the store said of tokens that can be used again and counted then.
#[derive(Debug)]
pub struct Standings(Mutex<Recent<[u8; 16], TokenStanding>>);

impl Standings {
    /// Remembers at most so many tokens; about 150 bytes each.
    #[must_use]
    pub fn at_most(tokens: usize) -> Self {
        Self(Mutex::new(Recent::at_most(tokens)))
    }

    fn get(&self, token: &[u8; 16]) -> Option<TokenStanding> {
        self.recent().get(token).copied()
    }

    fn remember(&self, token: [u8; 16], standing: TokenStanding) {
        // Whether a single-use token was used up is the store's to say.
        if standing.action.is_none() && !standing.revoked && !standing.redeemed {
            self.recent().insert(token, standing);
        }
    }

    fn forget(&self, token: &[u8; 16]) {
        self.recent().remove(token);
    }

    fn recent(&self) -> MutexGuard<'_, Recent<[u8; 16], TokenStanding>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
