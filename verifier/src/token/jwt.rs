//! Compact JWS (RFC 7515 §3.1) with ES256 and `typ` `at+jwt` (RFC 9068 §2.1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::claims::TokenClaims;
use super::signer::{SigningUnavailable, TokenSigner};

const ALGORITHM: &str = "ES256";
const TYPE: &str = "at+jwt";

/// Exactly these members: a header that names a key of its own (`jwk`, `jku`, `x5u`) is refused.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

/// A JWS taken apart; nothing is verified yet.
pub(super) struct ParsedJwt<'a> {
    pub(super) key_id: String,
    pub(super) signed: &'a [u8],
    pub(super) signature: [u8; 64],
    payload: Vec<u8>,
}

pub(super) fn encode(
    claims: &TokenClaims,
    signer: &dyn TokenSigner,
) -> Result<Zeroizing<String>, SigningUnavailable> {
    let header = Header { alg: ALGORITHM.into(), typ: TYPE.into(), kid: signer.key_id().into() };
    let json =
        |value: Result<Vec<u8>, serde_json::Error>| value.map_err(|_| SigningUnavailable::Failed);
    let mut token = Zeroizing::new(URL_SAFE_NO_PAD.encode(json(serde_json::to_vec(&header))?));
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(json(serde_json::to_vec(claims))?));
    let signature = signer.sign(token.as_bytes())?;
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(token)
}

pub(super) fn parse(token: &str) -> Option<ParsedJwt<'_>> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    if header.alg != ALGORITHM || header.typ != TYPE {
        return None;
    }
    Some(ParsedJwt {
        key_id: header.kid,
        signed: signed.as_bytes(),
        signature: URL_SAFE_NO_PAD.decode(signature).ok()?.try_into().ok()?,
        payload: URL_SAFE_NO_PAD.decode(payload).ok()?,
    })
}

impl ParsedJwt<'_> {
    /// The claims; call it only once the signature was found good.
    pub(super) fn claims(&self) -> Option<TokenClaims> {
        serde_json::from_slice(&self.payload).ok()
    }
}
