//! The token signing key: it signs, and never shows itself.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use signet_evidence::binding::sha256;
use thiserror::Error;
use zeroize::Zeroizing;

/// The signing key cannot be used.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum SigningUnavailable {
    /// Not a P-256 private key in PKCS#8.
    #[error(
        "the token signing key is not a P-256 key in PKCS#8: make one with signet-authority init"
    )]
    KeyFormat,
    /// Not an Ed25519 private key in PKCS#8.
    #[error("the log's key is not an Ed25519 key in PKCS#8, or has no usable name")]
    LogKeyFormat,
    /// The key did not sign.
    #[error("the signing key did not sign")]
    Failed,
}

/// Signs with ES256 and returns r ‖ s; the key itself stays where it is.
pub trait TokenSigner: Send + Sync {
    /// RFC 7638 thumbprint of the public key, base64url: the `kid`.
    fn key_id(&self) -> &str;

    /// The public key, an uncompressed SEC 1 point.
    fn public_point(&self) -> &[u8; 65];

    /// ECDSA P-256 over SHA-256 of `message`, 64 bytes.
    ///
    /// # Errors
    /// [`SigningUnavailable`] when the key cannot be used.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SigningUnavailable>;
}

/// A signing key in memory, from a PKCS#8 file.
pub struct FileSigner {
    pair: EcdsaKeyPair,
    point: [u8; 65],
    key_id: String,
}

impl FileSigner {
    /// The key in `pkcs8` (DER).
    ///
    /// # Errors
    /// [`SigningUnavailable::KeyFormat`].
    pub fn from_pkcs8(pkcs8: &Zeroizing<Vec<u8>>) -> Result<Self, SigningUnavailable> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
            .map_err(|_| SigningUnavailable::KeyFormat)?;
        let point: [u8; 65] =
            pair.public_key().as_ref().try_into().map_err(|_| SigningUnavailable::KeyFormat)?;
        Ok(Self { pair, point, key_id: Jwk::of_point(&point).kid })
    }
}

impl TokenSigner for FileSigner {
    fn key_id(&self) -> &str {
        &self.key_id
    }

    fn public_point(&self) -> &[u8; 65] {
        &self.point
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SigningUnavailable> {
        let signature = self
            .pair
            .sign(&SystemRandom::new(), message)
            .map_err(|_| SigningUnavailable::Failed)?;
        signature.as_ref().try_into().map_err(|_| SigningUnavailable::Failed)
    }
}

/// A public key as published in the JWK set (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// `EC`.
    pub kty: String,
    /// `P-256`.
    pub crv: String,
    /// x, base64url.
    pub x: String,
    /// y, base64url.
    pub y: String,
    /// RFC 7638 thumbprint, base64url.
    pub kid: String,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: String,
    /// `ES256`.
    pub alg: String,
}

impl Jwk {
    /// The JWK of an uncompressed P-256 point.
    #[must_use]
    pub fn of_point(point: &[u8; 65]) -> Self {
        let x = URL_SAFE_NO_PAD.encode(&point[1..33]);
        let y = URL_SAFE_NO_PAD.encode(&point[33..]);
        // Members in lexicographic order, no white space (RFC 7638 §3).
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Self {
            kty: "EC".into(),
            crv: "P-256".into(),
            kid: URL_SAFE_NO_PAD.encode(sha256(canonical.as_bytes())),
            x,
            y,
            usage: "sig".into(),
            alg: "ES256".into(),
        }
    }

    /// The uncompressed point; `None` when this is not a P-256 signing key.
    #[must_use]
    pub fn point(&self) -> Option<[u8; 65]> {
        if self.kty != "EC" || self.crv != "P-256" || self.alg != "ES256" || self.usage != "sig" {
            return None;
        }
        let mut point = vec![4];
        for coordinate in [&self.x, &self.y] {
            point.extend_from_slice(&URL_SAFE_NO_PAD.decode(coordinate).ok()?);
        }
        point.try_into().ok()
    }
}
