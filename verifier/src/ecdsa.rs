//! ECDSA on P-256 with SHA-256: the one signature algorithm of the protocol.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use signet_evidence::KeyThumbprint;
use thiserror::Error;

/// A P-256 public key whose point is on the curve. Clones share it.
#[derive(Clone)]
pub struct P256PublicKey(Arc<OnCurve>);

struct OnCurve {
    point: [u8; 65],
    /// Putting a point on the curve costs a sixtieth of a verification: once is enough.
    parsed: ParsedPublicKey,
}

impl PartialEq for P256PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.point == other.0.point
    }
}

impl Eq for P256PublicKey {}

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
        let mut info = [0; 91];
        info[..26].copy_from_slice(&INFO);
        info[26..].copy_from_slice(&point);
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, info).map_err(|_| NotAPoint)?;
        Ok(Self(Arc::new(OnCurve { point, parsed })))
    }

    /// The key of this point: this key, if the point is its own, which is on the curve already.
    pub(crate) fn or_of_point(&self, point: &[u8]) -> Result<Self, NotAPoint> {
        if point == self.uncompressed_point() {
            return Ok(self.clone());
        }
        Self::from_uncompressed_point(point)
    }

    /// `0x04 ‖ x ‖ y`.
    #[must_use]
    pub fn uncompressed_point(&self) -> &[u8; 65] {
        &self.0.point
    }

    /// COSE Key Thumbprint (RFC 9679): `cnf.ckt`.
    #[must_use]
    pub fn thumbprint(&self) -> KeyThumbprint {
        let (x, y) = self.0.point[1..].split_at(32);
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
        let r_s: &[u8; 64] = signature.try_into().map_err(|_| SignatureInvalid)?;
        let (der, length) = der_of(r_s);
        self.verify_der(message, der.get(..length).ok_or(SignatureInvalid)?)
    }

    /// Checks an ASN.1 DER signature (WebAuthn, X.509).
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify_der(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureInvalid> {
        #[cfg(fuzzing)]
        if fuzzing::accepts_every_signature() {
            return Ok(());
        }
        self.verify_certificate(message, signature)
    }

    /// The same, of a certificate that this key issued: no fuzzing lets others through.
    pub(crate) fn verify_certificate(
        &self,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureInvalid> {
        // For a message AWS-LC would make, copy and destroy one context more than for its digest.
        let digest = digest(&SHA256, message);
        self.0.parsed.verify_digest_sig(&digest, signature).map_err(|_| SignatureInvalid)
    }
}

/// `SubjectPublicKeyInfo` of a key on P-256, as far as its point (RFC 5480 §2). AWS-LC looks at a point in
/// it twice, and at a bare one three times.
const INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Longest `Ecdsa-Sig-Value` on P-256: two integers of 33 bytes, each with a head of two, after another head.
const MOST_DER: usize = 72;

/// `r ‖ s` as an `Ecdsa-Sig-Value` (RFC 3279 §2.2.3), at the front of the bytes, and its length. On the
/// stack: AWS-LC's own way there takes a hundredth of a verification.
fn der_of(r_s: &[u8; 64]) -> ([u8; MOST_DER], usize) {
    let (mut der, mut length) = ([0; MOST_DER], 2);
    for number in r_s.chunks_exact(32) {
        let zeros = number.iter().take(31).take_while(|byte| **byte == 0).count();
        let digits = &number[zeros..];
        // An integer whose first bit is set would be negative: a zero stays before it.
        let sign = usize::from(digits[0] >= 0x80);
        der[length..length + 2].copy_from_slice(&[2, (sign + digits.len()) as u8]);
        length += 2 + sign;
        der[length..length + digits.len()].copy_from_slice(digits);
        length += digits.len();
    }
    (der[0], der[1]) = (0x30, (length - 2) as u8);
    (der, length)
}

impl fmt::Debug for P256PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P256PublicKey({})", signet_evidence::thumbprint::hex(&self.0.point))
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
