//! Ways to prove that someone is here.

use super::proxy::Arguments;

/// What a person proves their presence with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// A FIDO2 or U2F security key.
    #[default]
    SecurityKey,
    /// This machine's key whose PIN its TPM checks.
    TpmPin,
    /// This machine's key that its fingerprint reader sets free.
    Fingerprint,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SecurityKey, Self::TpmPin, Self::Fingerprint];

    /// The name on the bus.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SecurityKey => "security-key",
            Self::TpmPin => "tpm-pin",
            Self::Fingerprint => "fingerprint",
        }
    }

    /// The method of this name; `None` for one that is not known here.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == name)
    }
}

/// What a person proves their presence with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Means {
    /// The method; `signetd` chooses where none is named.
    pub method: Option<Method>,
    /// Wait for a key where none is plugged in.
    pub wait: bool,
}

impl Means {
    /// Only what is asked for: a `signetd` that does not know a member refuses it.
    pub(super) fn insert(self, arguments: &mut Arguments<'_>) {
        if let Some(method) = self.method {
            arguments.insert("method", method.as_str().into());
        }
        if self.wait {
            arguments.insert("wait", true.into());
        }
    }
}
