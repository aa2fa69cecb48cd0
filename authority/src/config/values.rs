//! Values of settings that have a form of their own.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use signet_evidence::webauthn::Aaguid;
use thiserror::Error;

use crate::store::{Server, ServerError};

/// A value of the wrong form; the message says what to write.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ValueError {
    /// Not a length of time.
    #[error("not a length of time; write a number and s, m, h or d, such as \"5m\"")]
    Span,
    /// Not a collector's address.
    #[error("not a collector's address; write \"http://127.0.0.1:4318\" or \"https://host:port\"")]
    Collector,
    /// A time in which nothing can happen.
    #[error("a time of zero refuses everything; write at least \"1s\"")]
    Zero,
    /// Not a rate.
    #[error("not a rate; write how often in what time, such as \"600/1m\", and at least \"1/1s\"")]
    Rate,
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
    /// Not an https URL.
    #[error("not an https URL; write \"https://host/path\"")]
    MetadataUrl,
    /// Not an AAGUID.
    #[error(
        "not an AAGUID; write it in the form \"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx\" (lower-case hex)"
    )]
    Aaguid,
}

/// Where the store is: the path of a SQLite file, or `postgres://user@host/database`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum DatabaseText {
    /// A path, relative to the settings file.
    File(PathBuf),
    /// A PostgreSQL database.
    Server(Server),
}

impl TryFrom<String> for DatabaseText {
    type Error = ServerError;

    fn try_from(text: String) -> Result<Self, ServerError> {
        match text.starts_with("postgres://") || text.starts_with("postgresql://") {
            true => Server::parse(&text).map(Self::Server),
            false => Ok(Self::File(text.into())),
        }
    }
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

/// A [`Span`] in which something must happen: at least a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Timeout(Span);

impl Timeout {
    pub(super) const fn seconds(seconds: u64) -> Self {
        Self(Span::seconds(seconds))
    }

    /// The length.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0.duration()
    }
}

impl TryFrom<String> for Timeout {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        let span = Span::try_from(text)?;
        if span.duration().is_zero() { Err(ValueError::Zero) } else { Ok(Self(span)) }
    }
}

/// How often in what time, written `"600/1m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate {
    count: u32,
    span: Span,
}

impl Rate {
    pub(super) const fn new(count: u32, seconds: u64) -> Self {
        Self { count, span: Span::seconds(seconds) }
    }

    /// How often; at least once.
    #[must_use]
    pub fn count(self) -> u32 {
        self.count
    }

    /// In what time; at least a second.
    #[must_use]
    pub fn span(self) -> Duration {
        self.span.duration()
    }
}

impl TryFrom<String> for Rate {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        let (count, span) = text.split_once('/').ok_or(ValueError::Rate)?;
        let digits = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
        let count = if digits { count.parse().ok() } else { None };
        let span = Span::try_from(span.to_owned()).map_err(|_| ValueError::Rate)?;
        match count {
            Some(count @ 1..) if !span.duration().is_zero() => Ok(Self { count, span }),
            _ => Err(ValueError::Rate),
        }
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
    /// `https://host[:port][/path]`.
    MetadataUrl, MetadataUrl, |text| text.strip_prefix("https://").is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
            && rest.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}#@".contains(&b))
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
    /// `http[s]://host[:port]`, where a collector takes OTLP over HTTP.
    CollectorUrl, Collector, |text| {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        rest.is_some_and(|host| {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]/_".contains(&b))
        })
    }
}

impl CollectorUrl {
    pub(crate) fn is_https(&self) -> bool {
        self.as_str().starts_with("https://")
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
        Aaguid::from_text(&text).map(|aaguid| Self(aaguid.0)).ok_or(ValueError::Aaguid)
    }
}

impl fmt::Display for AaguidText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Aaguid(self.0).fmt(f)
    }
}
