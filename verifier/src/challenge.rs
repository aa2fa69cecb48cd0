//! Challenges that need no store until they are consumed (protocol §2.3).
//!
//! `version(1) ‖ expiry(6) ‖ random(16) ‖ HMAC-SHA-256/128(16)`, 39 bytes. The HMAC covers what
//! precedes it and the context: peer certificate, purpose, action and session. So a challenge that
//! one machine asked for is worth nothing to another, or for another request.

use aws_lc_rs::{constant_time, hmac};
use signet_evidence::binding::sha256;
use signet_evidence::{CertificateThumbprint, Purpose, SessionId, UnixTime};
use thiserror::Error;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const EXPIRY: usize = 6;
const RANDOM: usize = 16;
const MAC: usize = 16;
/// Length of a challenge in bytes.
pub const CHALLENGE_LENGTH: usize = 1 + EXPIRY + RANDOM + MAC;

/// The authority's challenge key, shared by all its nodes.
pub struct ChallengeKey(hmac::Key);

/// What a challenge was issued for.
#[derive(Clone, Copy, Debug)]
pub struct ChallengeContext<'a> {
    /// The mTLS client certificate of the caller.
    pub peer: CertificateThumbprint,
    /// What the evidence will be for.
    pub purpose: Purpose,
    /// The exact action bytes; purpose `action` only.
    pub action: Option<&'a [u8]>,
    /// The session, when one is continued.
    pub session: Option<SessionId>,
}

/// A challenge that is ours, for this context, and has not run out. It can still have been answered
/// before: only the store knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreshChallenge {
    random: [u8; RANDOM],
    expires: UnixTime,
}

impl FreshChallenge {
    /// The random part: what the store consumes, once.
    #[must_use]
    pub fn random(&self) -> [u8; RANDOM] {
        self.random
    }

    /// Until when the store must remember that it was consumed.
    #[must_use]
    pub fn expires(&self) -> UnixTime {
        self.expires
    }
}

/// A challenge that is not good.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeError {
    /// Not made by this authority, or for another peer, purpose, action or session.
    #[error("the challenge was not issued for this")]
    Invalid,
    /// It has run out.
    #[error("the challenge expired at {expired}, and it is {now}")]
    Expired {
        /// When it ran out.
        expired: UnixTime,
        /// The verifier's time.
        now: UnixTime,
    },
}

impl ChallengeKey {
    /// A key from 32 secret random bytes.
    #[must_use]
    pub fn new(secret: &Zeroizing<[u8; 32]>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_slice()))
    }

    /// A challenge for `context`; `random` must be fresh from a secure source.
    #[must_use]
    pub fn issue(
        &self,
        context: &ChallengeContext<'_>,
        expires: UnixTime,
        random: [u8; RANDOM],
    ) -> Vec<u8> {
        let expiry = u64::try_from(expires.0).unwrap_or(0).to_be_bytes();
        let mut challenge = Vec::with_capacity(CHALLENGE_LENGTH);
        challenge.push(VERSION);
        challenge.extend_from_slice(&expiry[8 - EXPIRY..]);
        challenge.extend_from_slice(&random);
        let mac = self.mac(&challenge, context);
        challenge.extend_from_slice(&mac);
        challenge
    }

    /// Checks a challenge without any store.
    ///
    /// # Errors
    /// See [`ChallengeError`].
    pub fn check(
        &self,
        challenge: &[u8],
        context: &ChallengeContext<'_>,
        now: UnixTime,
    ) -> Result<FreshChallenge, ChallengeError> {
        let challenge: &[u8; CHALLENGE_LENGTH] =
            challenge.try_into().map_err(|_| ChallengeError::Invalid)?;
        let (body, mac) = challenge.split_at(CHALLENGE_LENGTH - MAC);
        let expected = self.mac(body, context);
        if body[0] != VERSION || constant_time::verify_slices_are_equal(mac, &expected).is_err() {
            return Err(ChallengeError::Invalid);
        }
        let expiry =
            body[1..=EXPIRY].iter().fold(0i64, |value, byte| value << 8 | i64::from(*byte));
        let expires = UnixTime(expiry);
        if now >= expires {
            return Err(ChallengeError::Expired { expired: expires, now });
        }
        let mut random = [0; RANDOM];
        random.copy_from_slice(&body[1 + EXPIRY..]);
        Ok(FreshChallenge { random, expires })
    }

    fn mac(&self, body: &[u8], context: &ChallengeContext<'_>) -> [u8; MAC] {
        let mut hmac = hmac::Context::with_key(&self.0);
        hmac.update(body);
        hmac.update(&context.peer.0);
        hmac.update(&[context.purpose.number()]);
        // Absent and empty are told apart by a length of their own.
        for part in [context.action, context.session.as_ref().map(|session| session.0.as_slice())] {
            hmac.update(&[u8::from(part.is_some())]);
            hmac.update(&sha256(part.unwrap_or_default()));
        }
        let mut mac = [0; MAC];
        mac.copy_from_slice(&hmac.sign().as_ref()[..MAC]);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_good_for_its_context_only_and_until_it_expires() {
        let key = ChallengeKey::new(&Zeroizing::new([1; 32]));
        let context = ChallengeContext {
            peer: CertificateThumbprint([2; 32]),
            purpose: Purpose::Action,
            action: Some(b"a"),
            session: None,
        };
        let expires = UnixTime(1000);
        let challenge = key.issue(&context, expires, [3; 16]);
        assert_eq!((challenge.len(), CHALLENGE_LENGTH), (39, 39));
        let fresh = key.check(&challenge, &context, UnixTime(999)).unwrap();
        assert_eq!((fresh.random(), fresh.expires()), ([3; 16], expires));
        assert_eq!(
            key.check(&challenge, &context, expires),
            Err(ChallengeError::Expired { expired: expires, now: expires })
        );
        let others = [
            ChallengeContext { peer: CertificateThumbprint([9; 32]), ..context },
            ChallengeContext { purpose: Purpose::Session, ..context },
            ChallengeContext { action: Some(b"b"), ..context },
            ChallengeContext { action: None, ..context },
            ChallengeContext { session: Some(SessionId([0; 16])), ..context },
        ];
        for other in others {
            let checked = key.check(&challenge, &other, UnixTime(0));
            assert_eq!(checked, Err(ChallengeError::Invalid));
        }
        for at in 0..CHALLENGE_LENGTH {
            let mut edited = challenge.clone();
            edited[at] ^= 1;
            assert_eq!(key.check(&edited, &context, UnixTime(0)), Err(ChallengeError::Invalid));
        }
    }
}
