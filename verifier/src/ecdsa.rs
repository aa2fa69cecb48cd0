//! ECDSA on P-256 with SHA-256: the one signature algorithm of the protocol.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, EcdsaVerificationAlgorithm, ParsedPublicKey,
    UnparsedPublicKey,
};
use signet_evidence::KeyThumbprint;
use thiserror::Error;

/// A P-256 public key whose point is on the curve.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct P256PublicKey([u8; 65]);

/// The bytes are not an uncompressed point on P-256 (SEC 1 §2.3.4, §3.2.2.1).
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("not an uncompressed point on P-256")]
pub struct NotAPoint;

/// The key did not make this signature over this message.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("signature does not verify")]
pub struct SignatureInvalid;

impl P256PublicKey {
    /// Takes `0x04 ‖ x ‖ y` after checking that the point is on the curve.
    ///
    /// # Errors
    /// [`NotAPoint`] for any other form.
    pub fn from_uncompressed_point(point: &[u8]) -> Result<Self, NotAPoint> {
        let point: [u8; 65] = point.try_into().map_err(|_| NotAPoint)?;
        if point[0] != 0x04 {
            return Err(NotAPoint);
        }
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| NotAPoint)?;
        Ok(Self(point))
    }

    /// `0x04 ‖ x ‖ y`.
    #[must_use]
    pub fn uncompressed_point(&self) -> &[u8; 65] {
        &self.0
    }

    /// COSE Key Thumbprint (RFC 9679): `cnf.ckt`.
    #[must_use]
    pub fn thumbprint(&self) -> KeyThumbprint {
        let (x, y) = self.0[1..].split_at(32);
        let (mut left, mut right) = ([0; 32], [0; 32]);
        left.copy_from_slice(x);
        right.copy_from_slice(y);
        KeyThumbprint::of_p256(&left, &right)
    }

    /// Checks a 64-byte `r ‖ s` signature (COSE, JOSE, and TPMs once unwrapped).
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify_fixed(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        self.verify(&ECDSA_P256_SHA256_FIXED, message, signature)
    }

    /// Checks an ASN.1 DER signature (WebAuthn, X.509).
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify_der(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        self.verify(&ECDSA_P256_SHA256_ASN1, message, signature)
    }

    fn verify(
        &self,
        algorithm: &'static EcdsaVerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureInvalid> {
        #[cfg(fuzzing)]
        if fuzzing::accepts_every_signature() {
            return Ok(());
        }
        UnparsedPublicKey::new(algorithm, &self.0)
            .verify(message, signature)
            .map_err(|_| SignatureInvalid)
    }
}

impl fmt::Debug for P256PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P256PublicKey({})", signet_evidence::thumbprint::hex(&self.0))
    }
}

/// What lies behind the signatures, for fuzzing. Only a compiler that is told `--cfg fuzzing` reads this, which
/// no feature of a dependency and no manifest can do.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    use std::sync::atomic::{AtomicBool, Ordering};

    static EVERY: AtomicBool = AtomicBool::new(false);

    /// From now on each signature of this process verifies. Chains of certificates and MACs still do not.
    pub fn danger_accept_every_signature() {
        EVERY.store(true, Ordering::Relaxed);
    }

    pub(super) fn accepts_every_signature() -> bool {
        EVERY.load(Ordering::Relaxed)
    }
}
