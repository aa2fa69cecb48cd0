//! The reader and writer under all TPM structures: big-endian integers and `TPM2B` buffers.

use thiserror::Error;

/// The part of a structure that a [`WireError`] speaks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    /// `TPM2B_DATA` extraData (Part 2 §10.4.3).
    ExtraData,
    /// `TPM2B_NAME` (Part 2 §10.5.3).
    Name,
    /// `TPM2B_DIGEST` (Part 2 §10.4.2).
    Digest,
    /// `TPML_PCR_SELECTION` (Part 2 §10.9.7), or the bitmap of one entry.
    PcrSelection,
    /// `TPM2B_ECC_PARAMETER` (Part 2 §11.2.5.1).
    EccParameter,
    /// `TPM2B_PUBLIC_KEY_RSA` (Part 2 §11.2.4.5) or an RSA signature.
    RsaParameter,
}

/// Why bytes are not the TPM structure they should be.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("structure ends after {left} of {needed} bytes of a field")]
    Truncated {
        /// Bytes the field needs.
        needed: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// Bytes follow the structure.
    #[error("{left} bytes follow the structure")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// A counted part is longer than Part 2 allows for the algorithms in use here.
    #[error("{structure:?} of {length} where at most {limit} is allowed")]
    TooLong {
        /// Which part.
        structure: Structure,
        /// Its claimed length.
        length: usize,
        /// The bound.
        limit: usize,
    },
    /// A fixed-length part has another length.
    #[error("{structure:?} of {length} bytes where {expected} are needed")]
    WrongLength {
        /// Which part.
        structure: Structure,
        /// Its length.
        length: usize,
        /// The length it must have.
        expected: usize,
    },
    /// `magic` is not `TPM_GENERATED_VALUE`: no TPM made this (Part 2 §6.2).
    #[error("magic is {found:#010x}, not 0xff544347: this was not made by a TPM")]
    Magic {
        /// The four bytes found.
        found: u32,
    },
    /// A `TPMI_ST_ATTEST` that is neither a quote nor a certification (Part 2 §10.12.10).
    #[error("attestation type {0:#06x} is neither quote nor certify")]
    AttestType(u16),
    /// A `TPMI_YES_NO` that is neither 0 nor 1 (Part 2 §9.2).
    #[error("yes/no field holds {0}")]
    YesNo(u8),
    /// A hash algorithm that is not SHA-1, SHA-256, SHA-384 or SHA-512.
    #[error("hash algorithm {0:#06x} is not supported")]
    HashAlgorithm(u16),
    /// A public area that is neither RSA nor ECC (Part 2 §12.2.2).
    #[error("object type {0:#06x} is neither RSA nor ECC")]
    ObjectType(u16),
    /// A curve that is not P-256 or P-384 (Part 2 §6.4).
    #[error("curve {0:#06x} is neither P-256 nor P-384")]
    Curve(u16),
    /// A key scheme that is not null, ECDSA, RSASSA or RSAPSS.
    #[error("scheme {0:#06x} is not supported")]
    Scheme(u16),
    /// A key-derivation scheme other than null on an ECC key.
    #[error("key-derivation scheme {0:#06x} is not supported")]
    Kdf(u16),
    /// A symmetric algorithm that is neither null nor AES.
    #[error("symmetric algorithm {0:#06x} is neither null nor AES")]
    SymmetricAlgorithm(u16),
    /// An AES key size other than 128, 192 or 256 bits.
    #[error("AES key of {0} bits")]
    SymmetricKeyBits(u16),
    /// An AES mode other than CFB.
    #[error("symmetric mode {0:#06x} is not CFB")]
    SymmetricMode(u16),
    /// Reserved object attribute bits are set (Part 2 §8.3.2).
    #[error("reserved object attribute bits {0:#010x} are set")]
    ReservedAttributes(u32),
    /// A signature algorithm that is neither ECDSA nor RSASSA (Part 2 §11.3.4).
    #[error("signature algorithm {0:#06x} is neither ECDSA nor RSASSA")]
    SignatureAlgorithm(u16),
}

/// Takes big-endian fields off the front of a buffer.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, needed: usize) -> Result<&'a [u8], WireError> {
        let left = self.0.len();
        let (head, tail) =
            self.0.split_at_checked(needed).ok_or(WireError::Truncated { needed, left })?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let left = self.0.len();
        let (head, tail) =
            self.0.split_first_chunk().ok_or(WireError::Truncated { needed: N, left })?;
        self.0 = tail;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A `TPMI_YES_NO`.
    pub(super) fn yes_no(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(WireError::YesNo(other)),
        }
    }

    /// A `TPM2B` of at most `limit` bytes.
    pub(super) fn sized(
        &mut self,
        structure: Structure,
        limit: usize,
    ) -> Result<&'a [u8], WireError> {
        let length = usize::from(self.u16()?);
        if length > limit {
            return Err(WireError::TooLong { structure, length, limit });
        }
        self.take(length)
    }

    pub(super) fn finish(self) -> Result<(), WireError> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(WireError::Trailing { left }),
        }
    }
}

/// Appends a `TPM2B`. Every buffer in this module is bounded far below 64 KiB when it is parsed;
/// one that a caller made longer is cut at the largest length the size field can state.
pub(super) fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&bytes[..usize::from(length)]);
}

pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}
