//! Values of settings that have a form of their own.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

/// A value of the wrong form; the message says what to write.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ValueError {
    /// Not a length of time.
    #[error("not a length of time; write a number and s, m, h or d, such as \"5m\"")]
    Span,
    /// Not an https URL without path.
    #[error("not an https origin; write \"https://host\" or \"https://host:port\"")]
    HttpsUrl,
    /// Not a SPIFFE trust domain.
    #[error(
        "not a trust domain; write a lower-case name such as \"mesh.example\" without spiffe://"
    )]
    TrustDomain,
    /// Not a host name.
    #[error("not a relying party id; write a reserved host name such as \"presence.mesh.example\"")]
    RpId,
    /// Not a SPIFFE ID.
    #[error("not a SPIFFE ID; write \"spiffe://<trust_domain>/gateway/<name>\"")]
    SpiffeId,
    /// Not an AAGUID.
    #[error(
        "not an AAGUID; write it in the form \"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx\" (lower-case hex)"
    )]
    Aaguid,
}

/// A length of time, written `"90s"`, `"5m"`, `"10h"` or `"7d"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(Duration);

impl Span {
    /// A span of `seconds`.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The length.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl TryFrom<String> for Span {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        let unit = text.chars().last().ok_or(ValueError::Span)?;
        let seconds: u64 = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86400,
            _ => return Err(ValueError::Span),
        };
        let digits = &text[..text.len() - 1];
        if digits.is_empty() || digits.bytes().any(|byte| !byte.is_ascii_digit()) {
            return Err(ValueError::Span);
        }
        let count: u64 = digits.parse().map_err(|_| ValueError::Span)?;
        count.checked_mul(seconds).map(Self::seconds).ok_or(ValueError::Span)
    }
}

macro_rules! text_value {
    ($(#[doc = $doc:literal])* $name:ident, $error:ident, $valid:expr) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = ValueError;

            fn try_from(text: String) -> Result<Self, ValueError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) { Ok(Self(text)) } else { Err(ValueError::$error) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_value! {
    /// `https://host[:port]`, no path.
    HttpsUrl, HttpsUrl, |text| text.strip_prefix("https://").is_some_and(|host| {
        !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:[]".contains(&b))
    })
}
text_value! {
    /// A SPIFFE trust domain name (SPIFFE-ID §2.1).
    TrustDomain, TrustDomain, |text| {
        !text.is_empty()
            && text.len() <= 255
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b))
    }
}
text_value! {
    /// A relying party id: a domain name (WebAuthn §5.1.3).
    RpId, RpId, |text| {
        text.contains('.')
            && text.split('.').all(|label| {
                !label.is_empty()
                    && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            })
    }
}
text_value! {
    /// `spiffe://<trust domain>/gateway/<name>`.
    SpiffeText, SpiffeId, |text| text.strip_prefix("spiffe://").is_some_and(|rest| {
        rest.split_once("/gateway/").is_some_and(|(domain, name)| !domain.is_empty() && is_name(name))
    })
}

/// A name that is safe in a path segment, a SPIFFE ID and a file name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
}

/// An AAGUID in the text form of a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct AaguidText(pub [u8; 16]);

impl TryFrom<String> for AaguidText {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        let groups: Vec<usize> = text.split('-').map(str::len).collect();
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if groups != [8, 4, 4, 4, 12] || !digits.bytes().all(hex) {
            return Err(ValueError::Aaguid);
        }
        let number = u128::from_str_radix(&digits, 16).map_err(|_| ValueError::Aaguid)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for AaguidText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = signet_evidence::thumbprint::hex(&self.0);
        let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        write!(f, "{a}-{b}-{c}-{d}-{e}")
    }
}
