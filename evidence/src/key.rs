//! A person's key in evidence: a security key or a platform key, never both.

use crate::header::{FidoAssertion, FidoRegistration};
use crate::platform::{PlatformAssertion, PlatformRegistration};

pub(crate) const ASSERTION: i64 = -70101;
pub(crate) const PLATFORM_ASSERTION: i64 = -70103;
pub(crate) const REGISTRATION: i64 = -70104;
pub(crate) const PLATFORM_REGISTRATION: i64 = -70105;

/// What a person's key says of the statement: one key, of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assertion {
    /// Of a security key (−70101).
    SecurityKey(FidoAssertion),
    /// Of a platform key (−70103).
    Platform(PlatformAssertion),
}

impl Assertion {
    /// The id that the key is enrolled under.
    #[must_use]
    pub fn credential_id(&self) -> &[u8] {
        match self {
            Self::SecurityKey(assertion) => &assertion.credential_id,
            Self::Platform(assertion) => assertion.key.as_bytes(),
        }
    }

    /// The assertion, if it is a security key's.
    #[must_use]
    pub fn security_key(&self) -> Option<&FidoAssertion> {
        match self {
            Self::SecurityKey(assertion) => Some(assertion),
            Self::Platform(_) => None,
        }
    }

    pub(crate) fn label(&self) -> i64 {
        match self {
            Self::SecurityKey(_) => ASSERTION,
            Self::Platform(_) => PLATFORM_ASSERTION,
        }
    }
}

/// A new key's registration, of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Of a security key (−70104).
    SecurityKey(FidoRegistration),
    /// Of a platform key (−70105).
    Platform(PlatformRegistration),
}

impl Registration {
    pub(crate) fn label(&self) -> i64 {
        match self {
            Self::SecurityKey(_) => REGISTRATION,
            Self::Platform(_) => PLATFORM_REGISTRATION,
        }
    }
}

/// The encoded assertion or registration of a key; its kind says under which label it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPart<'a> {
    /// −70101 or −70104.
    SecurityKey(&'a [u8]),
    /// −70103 or −70105.
    Platform(&'a [u8]),
}

impl<'a> KeyPart<'a> {
    /// The content of the byte string.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::SecurityKey(bytes) | Self::Platform(bytes) => bytes,
        }
    }

    /// The label and the content, where a security key's part has the first label.
    pub(crate) fn entry(self, security_key: i64, platform: i64) -> (i64, &'a [u8]) {
        match self {
            Self::SecurityKey(bytes) => (security_key, bytes),
            Self::Platform(bytes) => (platform, bytes),
        }
    }
}
