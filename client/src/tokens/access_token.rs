//! A token's text, kept out of logs and wiped from memory.

use std::fmt;

use hyper::header::{HeaderValue, InvalidHeaderValue};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

/// Longest token; what we mint has about 1.2 KB.
const MAX_TOKEN: usize = 16 * 1024;

/// An access token. Bound to this machine's certificate, so that it is worth nothing elsewhere;
/// still never shown unless asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(Zeroizing<String>);

impl AccessToken {
    /// A token of this text; `None` unless it is a `b64token` (RFC 6750 §2.1), which is safe to
    /// put into a header.
    #[must_use]
    pub fn new(text: Zeroizing<String>) -> Option<Self> {
        let bare = text.trim_end_matches('=');
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        let valid = !bare.is_empty() && text.len() <= MAX_TOKEN && bare.bytes().all(allowed);
        valid.then_some(Self(text))
    }

    /// The text itself.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// The `Authorization` header that carries it (RFC 6750 §2.1), kept out of logs.
    ///
    /// # Errors
    /// Never for a token that was made by [`Self::new`].
    pub fn authorization(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        let text = Zeroizing::new(format!("Bearer {}", self.secret()));
        let mut value = HeaderValue::from_str(&text)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(..)")
    }
}

impl Serialize for AccessToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AccessToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        // The text itself must not reach an error message.
        Self::new(text).ok_or_else(|| de::Error::custom("not an access token"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Option<AccessToken> {
        AccessToken::new(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn only_header_safe_text() {
        assert!(token("eyJ.a-b_c~/+==").is_some());
        for bad in ["", "==", "a b", "a\r\nx: y", "é", "a=b", &"a".repeat(MAX_TOKEN + 1)] {
            assert_eq!(token(bad), None);
        }
    }

    #[test]
    fn debug_and_errors_do_not_show_it() {
        assert_eq!(format!("{:?}", token("secret").unwrap()), "AccessToken(..)");
        let error = serde_json::from_str::<AccessToken>("\"se cret\"").unwrap_err();
        assert!(!error.to_string().contains("cret"));
    }
}
