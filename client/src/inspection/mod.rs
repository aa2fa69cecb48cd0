//! Showing what evidence and tokens say. **Nothing is verified**: whoever made the bytes chose what
//! they say.

mod certificate;
mod evidence;
mod outline;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signet_evidence::presence::{EvidenceError, MAX_EVIDENCE};
use signet_evidence::{Evidence, UnixTime};
use thiserror::Error;

pub use outline::Outline;
use outline::Section;

/// Largest input: evidence of the largest size, as base64url, with a line end.
pub const MAX_INPUT: usize = MAX_EVIDENCE / 3 * 4 + 64;

/// Said with everything that is shown.
pub const NOT_VERIFIED: &str =
    "NOT VERIFIED: no signature was checked; whoever made these bytes chose what they say";

/// Unix time as a person reads it: RFC 3339, UTC, to the second.
#[must_use]
pub fn rfc3339(unix: i64) -> String {
    UnixTime(unix).rfc3339()
}

/// What an input is.
#[derive(Debug)]
pub enum Document {
    /// Presence Evidence.
    Evidence {
        /// Its parts.
        evidence: Box<Evidence>,
        /// Its size in bytes.
        size: usize,
    },
    /// A JSON Web Token.
    Token(UnverifiedJwt),
}

/// A JWT's header and claims, as they are (RFC 7519 §7.2, without step 7).
#[derive(Clone, Debug, PartialEq)]
pub struct UnverifiedJwt {
    /// JOSE header.
    pub header: serde_json::Map<String, serde_json::Value>,
    /// Claims.
    pub claims: serde_json::Map<String, serde_json::Value>,
}

/// Why an input cannot be shown.
#[derive(Debug, Error)]
pub enum InspectError {
    /// Nothing there.
    #[error("there is nothing to inspect: the input is empty")]
    Empty,
    /// Larger than evidence may be.
    #[error("the input is larger than any evidence ({MAX_INPUT} bytes)")]
    TooLarge,
    /// Neither evidence nor token.
    #[error("this is neither evidence (CBOR or base64url) nor a token (JWT)")]
    Unknown,
    /// CBOR, but not evidence.
    #[error("this is not valid evidence")]
    Evidence(#[from] EvidenceError),
    /// Three parts, but not a JWT.
    #[error("this is not a valid JWT: its {0} is not base64url of a JSON object")]
    Jwt(JwtPart),
}

/// A part of a JWT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwtPart {
    /// The first.
    Header,
    /// The second.
    Claims,
    /// The third.
    Signature,
}

impl std::fmt::Display for JwtPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Claims => "payload",
            Self::Signature => "signature",
        })
    }
}

impl UnverifiedJwt {
    /// Takes a JWT apart.
    ///
    /// # Errors
    /// [`InspectError::Unknown`] unless there are three parts, [`InspectError::Jwt`] when one is bad.
    pub fn parse(text: &str) -> Result<Self, InspectError> {
        let parts: Vec<&str> = text.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else {
            return Err(InspectError::Unknown);
        };
        let object = |part: &str, which| {
            let bytes = URL_SAFE_NO_PAD.decode(part).ok();
            bytes
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                .ok_or(InspectError::Jwt(which))
        };
        if signature.is_empty() || URL_SAFE_NO_PAD.decode(signature).is_err() {
            return Err(InspectError::Jwt(JwtPart::Signature));
        }
        Ok(Self {
            header: object(header, JwtPart::Header)?,
            claims: object(claims, JwtPart::Claims)?,
        })
    }

    /// Whether `aud` names `audience` (RFC 7519 §4.1.3: one string, or several).
    #[must_use]
    pub fn is_for(&self, audience: &str) -> bool {
        match self.claims.get("aud") {
            Some(serde_json::Value::String(found)) => found == audience,
            Some(serde_json::Value::Array(found)) => {
                found.iter().any(|found| found.as_str() == Some(audience))
            }
            _ => false,
        }
    }

    fn outline(&self) -> Outline {
        let object = |map: &serde_json::Map<_, _>| -> Outline {
            (&serde_json::Value::Object(map.clone())).into()
        };
        let mut times = Section::default();
        for (claim, label) in
            [("iat", "issued"), ("nbf", "not_before"), ("auth_time", "touched"), ("exp", "expires")]
        {
            let time = self.claims.get(claim).and_then(serde_json::Value::as_i64);
            times = times.maybe(label, time.map(rfc3339));
        }
        Section::default()
            .with("kind", "token")
            .with("verified", false)
            .with("header", object(&self.header))
            .with("times", times)
            .with("claims", object(&self.claims))
            .into()
    }
}

impl Document {
    /// Finds out what `input` is and takes it apart.
    ///
    /// # Errors
    /// See [`InspectError`].
    pub fn read(input: &[u8]) -> Result<Self, InspectError> {
        /// First byte of a tagged COSE_Sign1 (RFC 9052 §2): tag 18.
        const TAG: u8 = 0xd2;
        if input.len() > MAX_INPUT {
            return Err(InspectError::TooLarge);
        }
        if input.first() == Some(&TAG) {
            return Self::evidence(input);
        }
        let text = input.trim_ascii();
        if text.is_empty() {
            return Err(InspectError::Empty);
        }
        if text.contains(&b'.') {
            let text = std::str::from_utf8(text).map_err(|_| InspectError::Unknown)?;
            return UnverifiedJwt::parse(text).map(Self::Token);
        }
        Self::evidence(&URL_SAFE_NO_PAD.decode(text).map_err(|_| InspectError::Unknown)?)
    }

    fn evidence(bytes: &[u8]) -> Result<Self, InspectError> {
        let evidence = Box::new(Evidence::parse(bytes)?);
        Ok(Self::Evidence { evidence, size: bytes.len() })
    }

    /// What it says.
    #[must_use]
    pub fn outline(&self) -> Outline {
        match self {
            Self::Evidence { evidence, size } => evidence::outline(evidence, *size),
            Self::Token(token) => token.outline(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn jwt(header: &str, claims: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", encode(header), encode(claims), encode("signature"))
    }

    #[test]
    fn a_token_is_shown_with_its_times() {
        let text = jwt(r#"{"alg":"ES256"}"#, r#"{"aud":["a","b"],"iat":1700000000}"#);
        let Document::Token(token) = Document::read(text.as_bytes()).unwrap() else { panic!() };
        assert!(token.is_for("a") && token.is_for("b") && !token.is_for("c"));
        assert!(token.outline().to_string().contains("issued: 2023-11-14T22:13:20Z"));
        assert!(token.outline().to_string().contains("verified: no"));
    }

    #[test]
    fn malformed_input_is_named() {
        let read = |input: &[u8]| Document::read(input).unwrap_err();
        assert!(matches!(read(b" \n"), InspectError::Empty));
        assert!(matches!(read(&vec![0; MAX_INPUT + 1]), InspectError::TooLarge));
        assert!(matches!(read(b"\x7fELF\xff"), InspectError::Unknown));
        assert!(matches!(read(b"a.b"), InspectError::Unknown));
        let bad_claims = jwt("{}", "[]");
        let claims = InspectError::Jwt(JwtPart::Claims);
        assert_eq!(read(bad_claims.as_bytes()).to_string(), claims.to_string());
        assert!(matches!(read(b"e30.e30."), InspectError::Jwt(JwtPart::Signature)));
        assert!(matches!(read(b"x.e30.YQ"), InspectError::Jwt(JwtPart::Header)));
        assert!(matches!(read(&[0xd2]), InspectError::Evidence(EvidenceError::Cbor(_))));
        assert!(matches!(read(b"0oQ"), InspectError::Evidence(EvidenceError::Cbor(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_shown_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            if let Ok(document) = Document::read(&bytes) {
                let _ = document.outline().to_string();
            }
        }
    }
}
