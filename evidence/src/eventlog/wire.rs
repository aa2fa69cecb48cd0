//! The reader under the event log: little-endian integers, and where in the log they stand.

use super::parse::EventLogError;

/// Takes little-endian fields off a log and knows how far it is.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn take(&mut self, needed: usize) -> Result<&'a [u8], EventLogError> {
        let (offset, left) = (self.offset, self.bytes.len());
        let (head, tail) = self.bytes.split_at_checked(needed).ok_or(EventLogError::Truncated {
            offset,
            needed,
            left,
        })?;
        self.bytes = tail;
        self.offset += needed;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EventLogError> {
        let (offset, left) = (self.offset, self.bytes.len());
        let (head, tail) = self.bytes.split_first_chunk().ok_or(EventLogError::Truncated {
            offset,
            needed: N,
            left,
        })?;
        self.bytes = tail;
        self.offset += N;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, EventLogError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, EventLogError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, EventLogError> {
        self.array().map(u32::from_le_bytes)
    }
}

/// A little-endian number of a structure inside an event's data.
pub(super) fn le_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A little-endian length of a structure inside an event's data; `None` also when it does not fit.
pub(super) fn le_length(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?)).ok()
}
