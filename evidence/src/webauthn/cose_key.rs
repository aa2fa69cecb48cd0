//! Credential public keys (L3 §6.5.1.1, RFC 9053 §7.1).

use ciborium::Value;
use thiserror::Error;

use crate::cbor::{self, CborError};

/// COSE algorithm −7: ECDSA with SHA-256, in WebAuthn always on P-256 (L3 §5.8.5).
pub const COSE_ALG_ES256: i64 = -7;
/// COSE algorithm −257: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8812 §2). Of attestation keys only; no
/// credential uses it.
pub const COSE_ALG_RS256: i64 = -257;

const KEY_TYPE: i64 = 1;
const ALGORITHM: i64 = 3;
const CURVE: i64 = -1;
const X: i64 = -2;
const Y: i64 = -3;
const KEY_TYPE_EC2: i64 = 2;
const CURVE_P256: i64 = 1;

/// An ES256 credential public key. The point is not yet known to be on the curve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoseKey {
    point: [u8; 65],
}

/// Why a credential public key is not taken.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum CoseKeyError {
    /// Not the canonical encoding of one CBOR value (CTAP 2.1 §8).
    #[error("credential public key is not canonical CBOR")]
    Cbor(#[from] CborError),
    /// Not a map with integer keys and the members its algorithm needs.
    #[error("credential public key is not a COSE key")]
    Malformed,
    /// An algorithm other than ES256.
    #[error("credential algorithm {0} is not ES256 (-7): enrol a key that offers ES256")]
    UnsupportedAlgorithm(i64),
    /// A key type other than EC2.
    #[error("COSE key type {0} is not EC2")]
    UnsupportedKeyType(i64),
    /// A curve other than P-256.
    #[error("COSE curve {0} is not P-256")]
    UnsupportedCurve(i64),
    /// A compressed point (L3 §5.8.5 forbids it).
    #[error("credential public key is a compressed point")]
    CompressedPoint,
    /// A parameter that L3 §6.5.1.1 does not allow.
    #[error("credential public key has the extra parameter {0}")]
    UnexpectedParameter(i64),
}

impl CoseKey {
    /// Parses one COSE key that fills `bytes`.
    ///
    /// # Errors
    /// See [`CoseKeyError`]; the algorithm is judged before the rest.
    pub fn parse(bytes: &[u8]) -> Result<Self, CoseKeyError> {
        let mut fields = cbor::Fields::new(cbor::decode(bytes)?).ok_or(CoseKeyError::Malformed)?;
        let mut integer = |key| {
            let value = fields.take(key).and_then(|value| value.as_integer());
            value.and_then(|value| i64::try_from(value).ok()).ok_or(CoseKeyError::Malformed)
        };
        match integer(ALGORITHM)? {
            COSE_ALG_ES256 => {}
            other => return Err(CoseKeyError::UnsupportedAlgorithm(other)),
        }
        match integer(KEY_TYPE)? {
            KEY_TYPE_EC2 => {}
            other => return Err(CoseKeyError::UnsupportedKeyType(other)),
        }
        match integer(CURVE)? {
            CURVE_P256 => {}
            other => return Err(CoseKeyError::UnsupportedCurve(other)),
        }
        let x = coordinate(fields.take(X))?;
        let y = match fields.take(Y) {
            Some(Value::Bool(_)) => return Err(CoseKeyError::CompressedPoint),
            other => coordinate(other)?,
        };
        if let Some(key) = fields.left_over() {
            return Err(CoseKeyError::UnexpectedParameter(key));
        }
        Ok(Self::from_coordinates(&x, &y))
    }

    /// The key of this point, `0x04 ‖ x ‖ y`.
    #[must_use]
    pub fn from_uncompressed_point(point: &[u8; 65]) -> Self {
        Self { point: *point }
    }

    /// The key with these affine coordinates, big-endian.
    #[must_use]
    pub fn from_coordinates(x: &[u8; 32], y: &[u8; 32]) -> Self {
        let mut point = [0x04; 65];
        point[1..33].copy_from_slice(x);
        point[33..].copy_from_slice(y);
        Self { point }
    }

    /// SEC 1 uncompressed point: `0x04 ‖ x ‖ y`.
    #[must_use]
    pub fn uncompressed_point(&self) -> &[u8; 65] {
        &self.point
    }

    /// The canonical COSE encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(&cbor::map(vec![
            (KEY_TYPE, KEY_TYPE_EC2.into()),
            (ALGORITHM, COSE_ALG_ES256.into()),
            (CURVE, CURVE_P256.into()),
            (X, Value::Bytes(self.point[1..33].to_vec())),
            (Y, Value::Bytes(self.point[33..].to_vec())),
        ]))
    }
}

fn coordinate(value: Option<Value>) -> Result<[u8; 32], CoseKeyError> {
    match value {
        Some(Value::Bytes(bytes)) => bytes.try_into().map_err(|_| CoseKeyError::Malformed),
        _ => Err(CoseKeyError::Malformed),
    }
}
