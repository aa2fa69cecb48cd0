//! The compact JWS around a BLOB (RFC 7515 §3.1; FIDO MDS v3.1 §3.1.7).

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use thiserror::Error;

use crate::certificate::{Certificate, CertificateKey};

/// Certificates in one header; the service sends two or three.
const LONGEST_CHAIN: usize = 6;
const LARGEST_HEADER: usize = 64 * 1024;

/// Why bytes are not a JWS that a BLOB may come in.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum JwsError {
    /// Not three parts of base64url between dots.
    #[error("not a compact JWS: three parts of base64url between dots")]
    Shape,
    /// The header is not a JSON object of the members known here.
    #[error("JWS header is not taken: it holds alg, x5c and at most typ")]
    Header,
    /// Another algorithm than the two that are pinned: `none` and shared secrets above all.
    #[error("JWS algorithm is {0:?} and not RS256 or ES256")]
    Algorithm(String),
    /// `x5c` is empty, or longer than any real chain.
    #[error("JWS certificate chain has {0} certificates")]
    ChainLength(usize),
    /// A certificate of `x5c` is not base64 of DER.
    #[error("a certificate of the JWS is malformed")]
    Certificate,
    /// The key of the first certificate does not fit the algorithm.
    #[error("the signing certificate's key does not fit the algorithm")]
    Key,
    /// The signature does not verify.
    #[error("JWS signature does not verify")]
    SignatureInvalid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Es256,
}

// A header may not say more: `crit`, `b64`, `jwk` and `x5u` would each change what is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    #[serde(rename = "alg")]
    _alg: String,
    #[serde(rename = "typ")]
    _typ: Option<String>,
    x5c: Vec<String>,
}

/// A JWS whose signature was not checked yet.
pub(super) struct Jws<'a> {
    algorithm: Algorithm,
    /// Leaf first.
    pub(super) chain: Vec<Vec<u8>>,
    payload: &'a str,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, JwsError> {
        use JwsError as E;
        let (signed, signature) = text.rsplit_once('.').ok_or(E::Shape)?;
        let (header, payload) = signed.split_once('.').ok_or(E::Shape)?;
        if payload.contains('.') || header.len() > LARGEST_HEADER {
            return Err(E::Shape);
        }
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| E::Shape)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| E::Shape)?;
        let algorithm = pinned(&header)?;
        let header: Header = serde_json::from_slice(&header).map_err(|_| E::Header)?;
        if header.x5c.is_empty() || header.x5c.len() > LONGEST_CHAIN {
            return Err(E::ChainLength(header.x5c.len()));
        }
        let chain: Option<_> = header.x5c.iter().map(|text| STANDARD.decode(text).ok()).collect();
        let chain = chain.ok_or(E::Certificate)?;
        Ok(Self { algorithm, chain, payload, signed, signature })
    }

    /// The payload, once `leaf` (whose path the caller checked) is found to have signed it.
    pub(super) fn payload(&self, leaf: &Certificate) -> Result<Vec<u8>, JwsError> {
        let signed = self.signed.as_bytes();
        match (self.algorithm, leaf.key()) {
            (Algorithm::Es256, CertificateKey::P256(key)) => {
                key.verify_fixed(signed, &self.signature).map_err(|_| JwsError::SignatureInvalid)?
            }
            (Algorithm::Rs256, CertificateKey::Rsa { modulus, exponent }) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, signed, &self.signature)
                    .map_err(|_| JwsError::SignatureInvalid)?;
            }
            _ => return Err(JwsError::Key),
        }
        URL_SAFE_NO_PAD.decode(self.payload).map_err(|_| JwsError::Shape)
    }
}

/// The algorithm, judged before any other member: `{"alg":"none"}` has no chain to complain of.
fn pinned(header: &[u8]) -> Result<Algorithm, JwsError> {
    #[derive(Deserialize)]
    struct Named {
        alg: String,
    }
    let named: Named = serde_json::from_slice(header).map_err(|_| JwsError::Header)?;
    match named.alg.as_str() {
        "RS256" => Ok(Algorithm::Rs256),
        "ES256" => Ok(Algorithm::Es256),
        _ => Err(JwsError::Algorithm(named.alg)),
    }
}

/// A certificate as metadata statements carry it: base64, and some makers wrap their lines.
pub(super) fn base64_certificate(text: &str) -> Option<Vec<u8>> {
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(text).ok()
}
