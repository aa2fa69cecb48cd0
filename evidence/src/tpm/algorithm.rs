//! Algorithm identifiers (TCG Algorithm Registry; Part 2 §6.3 and §11).

use aws_lc_rs::digest;

use super::wire::{Reader, WireError, put_u16};

pub(super) const TPM_ALG_RSA: u16 = 0x0001;
const TPM_ALG_SHA1: u16 = 0x0004;
const TPM_ALG_AES: u16 = 0x0006;
const TPM_ALG_SHA256: u16 = 0x000b;
const TPM_ALG_SHA384: u16 = 0x000c;
const TPM_ALG_SHA512: u16 = 0x000d;
pub(super) const TPM_ALG_NULL: u16 = 0x0010;
pub(super) const TPM_ALG_RSASSA: u16 = 0x0014;
const TPM_ALG_RSAPSS: u16 = 0x0016;
pub(super) const TPM_ALG_ECDSA: u16 = 0x0018;
pub(super) const TPM_ALG_ECC: u16 = 0x0023;
const TPM_ALG_CFB: u16 = 0x0043;

/// A hash algorithm (`TPMI_ALG_HASH`, Part 2 §9.27).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// SHA-1. Parsed so that an old bank can be refused by name; never enough for a signature.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    /// The algorithm with this `TPM_ALG_ID`.
    ///
    /// # Errors
    /// [`WireError::HashAlgorithm`] for any other hash.
    pub fn from_id(id: u16) -> Result<Self, WireError> {
        match id {
            TPM_ALG_SHA1 => Ok(Self::Sha1),
            TPM_ALG_SHA256 => Ok(Self::Sha256),
            TPM_ALG_SHA384 => Ok(Self::Sha384),
            TPM_ALG_SHA512 => Ok(Self::Sha512),
            other => Err(WireError::HashAlgorithm(other)),
        }
    }

    /// Its `TPM_ALG_ID`.
    #[must_use]
    pub fn id(self) -> u16 {
        match self {
            Self::Sha1 => TPM_ALG_SHA1,
            Self::Sha256 => TPM_ALG_SHA256,
            Self::Sha384 => TPM_ALG_SHA384,
            Self::Sha512 => TPM_ALG_SHA512,
        }
    }

    /// Length of its digest in bytes.
    #[must_use]
    pub fn digest_length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Digest of the concatenation of `parts`.
    #[must_use]
    pub fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, &parts.concat()).as_ref().to_vec()
    }
}

/// A curve (`TPM_ECC_CURVE`, Part 2 §6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EccCurve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
}

impl EccCurve {
    pub(super) fn from_id(id: u16) -> Result<Self, WireError> {
        match id {
            0x0003 => Ok(Self::P256),
            0x0004 => Ok(Self::P384),
            other => Err(WireError::Curve(other)),
        }
    }

    pub(super) fn id(self) -> u16 {
        match self {
            Self::P256 => 0x0003,
            Self::P384 => 0x0004,
        }
    }

    /// Length of one coordinate in bytes.
    #[must_use]
    pub fn coordinate_length(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

/// What a key signs with (`TPMT_RSA_SCHEME` and `TPMT_ECC_SCHEME`, Part 2 §11.2.4.2, §11.2.5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Not fixed by the key.
    Null,
    /// ECDSA with this hash.
    Ecdsa(HashAlgorithm),
    /// RSASSA-PKCS1-v1_5 with this hash.
    Rsassa(HashAlgorithm),
    /// RSASSA-PSS with this hash.
    Rsapss(HashAlgorithm),
}

impl Scheme {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let id = reader.u16()?;
        let with_hash = match id {
            TPM_ALG_NULL => return Ok(Self::Null),
            TPM_ALG_ECDSA => Self::Ecdsa,
            TPM_ALG_RSASSA => Self::Rsassa,
            TPM_ALG_RSAPSS => Self::Rsapss,
            other => return Err(WireError::Scheme(other)),
        };
        HashAlgorithm::from_id(reader.u16()?).map(with_hash)
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        let (id, hash) = match self {
            Self::Null => return put_u16(out, TPM_ALG_NULL),
            Self::Ecdsa(hash) => (TPM_ALG_ECDSA, hash),
            Self::Rsassa(hash) => (TPM_ALG_RSASSA, hash),
            Self::Rsapss(hash) => (TPM_ALG_RSAPSS, hash),
        };
        put_u16(out, id);
        put_u16(out, hash.id());
    }
}

/// How a storage key protects its children (`TPMT_SYM_DEF_OBJECT`, Part 2 §11.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symmetric {
    /// Not a storage key.
    Null,
    /// AES in CFB mode.
    AesCfb {
        /// Key size in bits: 128, 192 or 256.
        key_bits: u16,
    },
}

impl Symmetric {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        match reader.u16()? {
            TPM_ALG_NULL => return Ok(Self::Null),
            TPM_ALG_AES => {}
            other => return Err(WireError::SymmetricAlgorithm(other)),
        }
        let key_bits = reader.u16()?;
        if !matches!(key_bits, 128 | 192 | 256) {
            return Err(WireError::SymmetricKeyBits(key_bits));
        }
        match reader.u16()? {
            TPM_ALG_CFB => Ok(Self::AesCfb { key_bits }),
            other => Err(WireError::SymmetricMode(other)),
        }
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Null => put_u16(out, TPM_ALG_NULL),
            Self::AesCfb { key_bits } => {
                put_u16(out, TPM_ALG_AES);
                put_u16(out, key_bits);
                put_u16(out, TPM_ALG_CFB);
            }
        }
    }
}
