//! Statements of the authority's own, signed with its token key: compact JWS (RFC 7515 §3.1) with ES256.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use signet_verifier::token::{SigningUnavailable, TokenSigner};

/// `claims`, signed. `kind` is the header's `typ`, which keeps one kind of statement from being read as
/// another.
///
/// # Errors
/// [`SigningUnavailable`].
pub fn signed(
    kind: &str,
    claims: &Value,
    signer: &dyn TokenSigner,
) -> Result<String, SigningUnavailable> {
    let header = json!({"alg": "ES256", "kid": signer.key_id(), "typ": kind});
    let mut statement = URL_SAFE_NO_PAD.encode(header.to_string());
    statement.push('.');
    statement.push_str(&URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = signer.sign(statement.as_bytes())?;
    statement.push('.');
    statement.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(statement)
}
