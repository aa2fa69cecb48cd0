//! How a TPM names a key.

use std::fmt;

use super::algorithm::HashAlgorithm;
use super::public::TpmtPublic;
use super::wire::{Reader, Structure, WireError, put_sized};

/// Algorithm identifier and the longest digest.
const LONGEST_NAME: usize = 2 + 64;

/// Name of an object: `nameAlg ‖ H_nameAlg(TPMT_PUBLIC)` (Part 1 §16, Part 2 §10.5).
///
/// A `TPM2B_NAME` may also be empty or hold a handle; those name no key and are refused.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Vec<u8>);

impl Name {
    /// The name of a public area.
    #[must_use]
    pub fn of(public: &TpmtPublic) -> Self {
        Self::of_marshalled(public.name_algorithm, &public.to_bytes())
    }

    fn of_marshalled(algorithm: HashAlgorithm, public: &[u8]) -> Self {
        Self([&algorithm.id().to_be_bytes()[..], &algorithm.digest(&[public])].concat())
    }

    /// Parses the content of a `TPM2B_NAME`.
    ///
    /// # Errors
    /// [`WireError::HashAlgorithm`], or [`WireError::WrongLength`] when the digest does not fit it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let expected = 2 + HashAlgorithm::from_id(reader.u16()?)?.digest_length();
        if bytes.len() != expected {
            let length = bytes.len();
            return Err(WireError::WrongLength { structure: Structure::Name, length, expected });
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes inside a `TPM2B_NAME`, without its size.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Self::from_bytes(reader.sized(Structure::Name, LONGEST_NAME)?)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_sized(out, &self.0);
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Name(")?;
        for byte in &self.0 {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}
