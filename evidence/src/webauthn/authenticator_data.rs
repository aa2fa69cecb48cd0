//! Authenticator data (L3 §6.1): what the authenticator signs about itself.

use std::fmt;

use ciborium::Value;
use thiserror::Error;

use super::cose_key::{CoseKey, CoseKeyError};
use crate::cbor::{self, CborError};

/// Longest credential id (L3 §5.8.3; §7.1 step 25).
pub const LONGEST_CREDENTIAL_ID: usize = 1023;

/// Deepest nesting read while looking for the end of an item; [`cbor::decode`] judges it again.
const MAX_DEPTH: usize = 16;

/// Model of an authenticator (L3 §6.5.1); all zero when it does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Aaguid(pub [u8; 16]);

impl Aaguid {
    /// Of authenticators without a model: U2F, and those that hide it.
    pub const ZERO: Self = Self([0; 16]);

    /// Reads the text form of a UUID, in lower case (RFC 9562 §4).
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let groups: Vec<usize> = text.split('-').map(str::len).collect();
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if groups != [8, 4, 4, 4, 12] || !digits.bytes().all(hex) {
            return None;
        }
        let number = u128::from_str_radix(&digits, 16).ok()?;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for Aaguid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = crate::thumbprint::hex(&self.0);
        let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        write!(f, "{a}-{b}-{c}-{d}-{e}")
    }
}

/// Flags of authenticator data (L3 §6.1). Bits 1 and 5 are reserved for future use and ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// The flags in this byte.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The byte.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// UP: a human touched the authenticator.
    #[must_use]
    pub fn user_present(self) -> bool {
        self.0 & 0x01 != 0
    }

    /// UV: the authenticator knows which human, by PIN or biometric (it does not say which).
    #[must_use]
    pub fn user_verified(self) -> bool {
        self.0 & 0x04 != 0
    }

    /// BE: the credential may be copied to other devices.
    #[must_use]
    pub fn backup_eligible(self) -> bool {
        self.0 & 0x08 != 0
    }

    /// BS: the credential is copied now.
    #[must_use]
    pub fn backup_state(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// AT: attested credential data follows.
    #[must_use]
    pub fn attested_data_included(self) -> bool {
        self.0 & 0x40 != 0
    }

    /// ED: extensions follow.
    #[must_use]
    pub fn extension_data_included(self) -> bool {
        self.0 & 0x80 != 0
    }
}

/// How well the authenticator guards a credential (CTAP 2.1 §12.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CredProtect {
    /// 1: `userVerificationOptional`.
    UserVerificationOptional,
    /// 2: `userVerificationOptionalWithCredentialIDList`.
    UserVerificationOptionalWithCredentialIdList,
    /// 3: `userVerificationRequired`.
    UserVerificationRequired,
}

/// Authenticator extension outputs (L3 §9.5).
#[derive(Clone, Debug, PartialEq)]
pub struct Extensions {
    /// The outputs as they travel: one canonical CBOR map.
    pub raw: Vec<u8>,
    /// `credProtect`, if the authenticator answered it.
    pub cred_protect: Option<CredProtect>,
}

/// Attested credential data (L3 §6.5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestedCredentialData {
    /// Model.
    pub aaguid: Aaguid,
    /// 1 to 1023 bytes.
    pub credential_id: Vec<u8>,
    /// ES256 public key.
    pub public_key: CoseKey,
}

/// Authenticator data (L3 §6.1).
#[derive(Clone, Debug, PartialEq)]
pub struct AuthenticatorData {
    /// SHA-256 of the RP ID.
    pub rp_id_hash: [u8; 32],
    /// Flags.
    pub flags: Flags,
    /// Signature counter; many authenticators always say 0.
    pub sign_count: u32,
    /// Present exactly when AT is set.
    pub attested_credential: Option<AttestedCredentialData>,
    /// Present exactly when ED is set.
    pub extensions: Option<Extensions>,
}

/// Why bytes are not authenticator data.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AuthenticatorDataError {
    /// The bytes end too early.
    #[error("authenticator data is truncated")]
    Truncated,
    /// Bytes follow that no flag announces.
    #[error("{left} bytes follow the authenticator data")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// A credential id that is empty or longer than 1023 bytes.
    #[error("credential id of {length} bytes")]
    CredentialIdLength {
        /// Its length.
        length: usize,
    },
    /// The credential public key is not taken.
    #[error("credential public key is not taken")]
    PublicKey(#[from] CoseKeyError),
    /// Extensions are not one canonical CBOR value (CTAP 2.1 §8).
    #[error("extension data is not canonical CBOR")]
    Extensions(#[source] CborError),
    /// Extensions are not a map with text keys.
    #[error("extension data is not a map of extension outputs")]
    ExtensionsNotAMap,
    /// `credProtect` is not 1, 2 or 3.
    #[error("credProtect output is not 1, 2 or 3")]
    CredProtect,
}

impl AuthenticatorData {
    /// Parses authenticator data that fills `bytes`.
    ///
    /// # Errors
    /// See [`AuthenticatorDataError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, AuthenticatorDataError> {
        let mut rest = bytes;
        let rp_id_hash = *chunk::<32>(&mut rest)?;
        let [bits] = *chunk::<1>(&mut rest)?;
        let flags = Flags::from_bits(bits);
        let sign_count = u32::from_be_bytes(*chunk::<4>(&mut rest)?);
        let attested_credential = if flags.attested_data_included() {
            Some(read_attested_credential(&mut rest)?)
        } else {
            None
        };
        let extensions =
            if flags.extension_data_included() { Some(read_extensions(&mut rest)?) } else { None };
        match rest.len() {
            0 => Ok(Self { rp_id_hash, flags, sign_count, attested_credential, extensions }),
            left => Err(AuthenticatorDataError::Trailing { left }),
        }
    }
}

fn chunk<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], AuthenticatorDataError> {
    let (head, tail) = rest.split_first_chunk().ok_or(AuthenticatorDataError::Truncated)?;
    *rest = tail;
    Ok(head)
}

fn read_attested_credential(
    rest: &mut &[u8],
) -> Result<AttestedCredentialData, AuthenticatorDataError> {
    let aaguid = Aaguid(*chunk(rest)?);
    let length = usize::from(u16::from_be_bytes(*chunk(rest)?));
    if length == 0 || length > LONGEST_CREDENTIAL_ID {
        return Err(AuthenticatorDataError::CredentialIdLength { length });
    }
    let (credential_id, tail) =
        rest.split_at_checked(length).ok_or(AuthenticatorDataError::Truncated)?;
    *rest = tail;
    let public_key = CoseKey::parse(first_item(rest).map_err(CoseKeyError::Cbor)?)?;
    Ok(AttestedCredentialData { aaguid, credential_id: credential_id.to_vec(), public_key })
}

fn read_extensions(rest: &mut &[u8]) -> Result<Extensions, AuthenticatorDataError> {
    let raw = first_item(rest).map_err(AuthenticatorDataError::Extensions)?;
    let value = cbor::decode(raw).map_err(AuthenticatorDataError::Extensions)?;
    let Value::Map(entries) = value else {
        return Err(AuthenticatorDataError::ExtensionsNotAMap);
    };
    let mut cred_protect = None;
    for (key, value) in entries {
        let Value::Text(key) = key else {
            return Err(AuthenticatorDataError::ExtensionsNotAMap);
        };
        if key == "credProtect" {
            let level = value.as_integer().and_then(|level| u8::try_from(level).ok());
            cred_protect = Some(match level {
                Some(1) => CredProtect::UserVerificationOptional,
                Some(2) => CredProtect::UserVerificationOptionalWithCredentialIdList,
                Some(3) => CredProtect::UserVerificationRequired,
                _ => return Err(AuthenticatorDataError::CredProtect),
            });
        }
    }
    Ok(Extensions { raw: raw.to_vec(), cred_protect })
}

/// Cuts the first CBOR item off `rest`: its length stands nowhere but in itself.
fn first_item<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], CborError> {
    let mut after = *rest;
    ciborium::de::from_reader_with_recursion_limit::<Value, _>(&mut after, MAX_DEPTH)
        .map_err(|_| CborError::Syntax)?;
    let (item, tail) = rest.split_at(rest.len() - after.len());
    *rest = tail;
    Ok(item)
}
