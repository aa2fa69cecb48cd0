//! Byte strings in JSON: base64url without padding (RFC 4648 §5).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes that travel as base64url text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base64Url(pub Vec<u8>);

impl Base64Url {
    /// The text form.
    #[must_use]
    pub fn encode(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The bytes of the text form; `None` when it is not canonical.
    #[must_use]
    pub fn decode(text: &str) -> Option<Vec<u8>> {
        URL_SAFE_NO_PAD.decode(text).ok()
    }
}

impl Serialize for Base64Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Self::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || de::Error::invalid_value(de::Unexpected::Str("text"), &"base64url");
        Self::decode(&text).map(Self).ok_or_else(wrong)
    }
}

/// The bytes of every item.
pub(crate) fn all(items: Vec<Base64Url>) -> Vec<Vec<u8>> {
    items.into_iter().map(|item| item.0).collect()
}

/// Every item as base64url.
pub(crate) fn encode_all(items: &[Vec<u8>]) -> Vec<Base64Url> {
    items.iter().cloned().map(Base64Url).collect()
}
