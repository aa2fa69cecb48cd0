//! Tokens whose signature was found good, so that it is looked at once and not with every request.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use signet_evidence::binding::{Sha256, sha256};
use signet_evidence::{CertificateThumbprint, UnixTime};

use super::check::{CheckedToken, TokenChecker, VerifyingKey};
use super::claims::TokenClaims;
use crate::recent::Recent;
use crate::rejection::Rejection;

/// Remembers of a token, by the SHA-256 of its bytes, what it says and which key signed it; the token
/// itself is not kept. Issuer, audience, time, binding and whether that key still counts are looked at
/// every time, as [`TokenChecker::check_jwt`] does. Only good signatures get in, so a stranger cannot
/// fill it.
pub struct SeenTokens(Mutex<Recent<Sha256, Seen>>);

#[derive(Clone)]
struct Seen {
    claims: Arc<TokenClaims>,
    key: VerifyingKey,
}

impl SeenTokens {
    /// Remembers at most so many tokens; about 2 KiB each.
    #[must_use]
    pub fn at_most(tokens: usize) -> Self {
        Self(Mutex::new(Recent::at_most(tokens)))
    }

    /// [`TokenChecker::check_jwt`], without the signature's cost for a token that was seen before. For one
    /// that is young nothing is allocated.
    ///
    /// # Errors
    /// As there.
    pub fn check_jwt(
        &self,
        checker: &TokenChecker,
        token: &str,
        peer: CertificateThumbprint,
        now: UnixTime,
    ) -> Result<CheckedToken, Rejection> {
        let name = sha256(token.as_bytes());
        let seen =
            self.recent().get(&name).cloned().filter(|seen| checker.keys.contains(&seen.key));
        let claims = match seen {
            Some(seen) => seen.claims,
            None => {
                let (claims, key) = checker.read_jwt(token)?;
                let claims = Arc::new(claims);
                self.recent().insert(name, Seen { claims: claims.clone(), key: key.clone() });
                claims
            }
        };
        checker.check_bound(claims, peer, now)
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent<Sha256, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SeenTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeenTokens").finish_non_exhaustive()
    }
}
