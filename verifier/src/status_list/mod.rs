//! Token Status List (draft-ietf-oauth-status-list-20): the statuses of many tokens in few bytes, and
//! the signed forms in which they travel, JWT and CWT.

mod token;

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use thiserror::Error;

pub use token::{Scope, StatusListToken, TokenFault};

/// Media type of the JWT form (§14.7).
pub const JWT_MEDIA_TYPE: &str = "application/statuslist+jwt";
/// Media type of the CWT form (§14.7).
pub const CWT_MEDIA_TYPE: &str = "application/statuslist+cwt";
/// Sessions in one list of a Signet authority (protocol §3.4): 8 KiB before compression.
pub const LIST_LENGTH: u64 = 65_536;
/// Most bytes that a list may have once inflated: a million statuses of eight bits, twice.
pub const MAX_BYTES: usize = 2 << 20;

/// Bits that one status takes (§4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Valid or not.
    One,
    /// Four statuses.
    Two,
    /// Sixteen.
    Four,
    /// 256.
    Eight,
}

impl Width {
    /// The width of so many bits; `None` for one that the format does not know.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        [Self::One, Self::Two, Self::Four, Self::Eight].into_iter().find(|one| one.bits() == bits)
    }

    /// How many bits.
    #[must_use]
    pub fn bits(self) -> u64 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}

/// Bytes that are not a status list.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ListFault {
    /// Neither 1, 2, 4 nor 8 bits.
    #[error("a status takes 1, 2, 4 or 8 bits, and not {0}")]
    Width(u64),
    /// Not zlib (RFC 1950).
    #[error("the list is not compressed as it should be")]
    Compression,
    /// More than [`MAX_BYTES`] once inflated.
    #[error("the list is longer than any that is read")]
    TooLong,
}

/// A list of statuses (§4.1): entry `i` is in the bits from `i * width` on, lowest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusList {
    width: Width,
    bytes: Vec<u8>,
}

impl StatusList {
    /// A list of `length` one-bit entries, all valid (0); rounded up to whole bytes.
    #[must_use]
    pub fn new(length: u64) -> Self {
        Self::of_width(Width::One, length)
    }

    /// A list of `length` entries of this width, all 0; rounded up to whole bytes.
    #[must_use]
    pub fn of_width(width: Width, length: u64) -> Self {
        let bytes = length.saturating_mul(width.bits()).div_ceil(8);
        let bytes = usize::try_from(bytes).unwrap_or(MAX_BYTES).min(MAX_BYTES);
        Self { width, bytes: vec![0; bytes] }
    }

    /// The list in `bytes`, as they are once inflated.
    #[must_use]
    pub fn from_bytes(width: Width, bytes: Vec<u8>) -> Self {
        Self { width, bytes }
    }

    /// Inflates the `lst` member (§4.1: zlib).
    ///
    /// # Errors
    /// See [`ListFault`]; a list that would grow beyond [`MAX_BYTES`] is given up there.
    pub fn inflate(bits: u64, compressed: &[u8]) -> Result<Self, ListFault> {
        let width = Width::from_bits(bits).ok_or(ListFault::Width(bits))?;
        let mut bytes = Vec::new();
        let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        ZlibDecoder::new(compressed)
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|_| ListFault::Compression)?;
        if bytes.len() > MAX_BYTES {
            return Err(ListFault::TooLong);
        }
        Ok(Self { width, bytes })
    }

    /// The `lst` member: zlib at the highest level (§4.1).
    #[must_use]
    pub fn deflate(&self) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        // Writing to a `Vec` does not fail.
        let compressed = encoder.write_all(&self.bytes).and_then(|()| encoder.finish());
        compressed.unwrap_or_default()
    }

    /// Bits that one status takes.
    #[must_use]
    pub fn width(&self) -> Width {
        self.width
    }

    /// The bytes before compression.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Marks entry `index` invalid (1, §7.1); beyond the list nothing happens.
    pub fn set(&mut self, index: u64) {
        self.set_to(index, 1);
    }

    /// Marks every entry below `index` invalid.
    pub fn set_below(&mut self, index: u64) {
        if self.width != Width::One {
            (0..index).for_each(|index| self.set(index));
            return;
        }
        let whole = usize::try_from(index / 8).unwrap_or(usize::MAX).min(self.bytes.len());
        self.bytes.iter_mut().take(whole).for_each(|byte| *byte = 0xff);
        (index / 8 * 8..index).for_each(|index| self.set(index));
    }

    /// Gives entry `index` this status, cut to the width; beyond the list nothing happens.
    pub fn set_to(&mut self, index: u64, status: u8) {
        let Some((byte, shift, mask)) = self.place(index) else { return };
        if let Some(byte) = self.bytes.get_mut(byte) {
            *byte = *byte & !(mask << shift) | (status & mask) << shift;
        }
    }

    /// The status of entry `index`; `None` beyond the list.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<u8> {
        let (byte, shift, mask) = self.place(index)?;
        Some(self.bytes.get(byte)? >> shift & mask)
    }

    /// Takes over every entry that `other` has set. Lists of one issuer only ever gain.
    pub fn merge(&mut self, other: &Self) {
        if self.width == other.width {
            if self.bytes.len() < other.bytes.len() {
                self.bytes.resize(other.bytes.len(), 0);
            }
            self.bytes.iter_mut().zip(&other.bytes).for_each(|(mine, theirs)| *mine |= theirs);
        }
    }

    fn place(&self, index: u64) -> Option<(usize, u64, u8)> {
        let width = self.width.bits();
        let bit = index.checked_mul(width)?;
        let mask = u8::MAX >> (8 - width);
        Some((usize::try_from(bit / 8).ok()?, bit % 8, mask))
    }
}

#[cfg(test)]
mod tests;
