//! The strict decoder: one pass, which takes nothing that the sender should have written another way.

use super::{CborError, Value, written};

/// Entries for which room is made before any is there; a count is only a claim.
const ROOM: u64 = 16;

/// What is still to be read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next item, in which arrays, maps and tags stand in each other at most `depth` deep.
    pub(super) fn item(&mut self, depth: usize) -> Result<Value, CborError> {
        let start = self.0;
        let first = self.byte()?;
        let (major, minor) = (first >> 5, first & 0x1f);
        if major == 7 {
            return match first {
                0xf4 | 0xf5 => Ok(Value::Bool(first == 0xf5)),
                0xf6 => Ok(Value::Null),
                0xf9..=0xfb => self.float(start, 1 << (minor - 24)),
                _ => Err(CborError::Syntax),
            };
        }
        let argument = self.argument(minor)?;
        let depth = if major >= 4 { depth.checked_sub(1).ok_or(CborError::Syntax)? } else { depth };
        Ok(match major {
            0 => Value::from(argument),
            1 => Value::from(-1 - i128::from(argument)),
            2 => Value::Bytes(self.take(argument)?.to_vec()),
            3 => {
                let text = std::str::from_utf8(self.take(argument)?);
                Value::from(text.map_err(|_| CborError::Syntax)?)
            }
            4 => self.array(argument, depth)?,
            5 => self.map(argument, depth)?,
            _ => self.tagged(argument, depth)?,
        })
    }

    fn array(&mut self, count: u64, depth: usize) -> Result<Value, CborError> {
        let mut items = Vec::with_capacity(count.min(ROOM) as usize);
        for _ in 0..count {
            items.push(self.item(depth)?);
        }
        Ok(Value::Array(items))
    }

    /// A map whose keys ascend by their encodings.
    fn map(&mut self, count: u64, depth: usize) -> Result<Value, CborError> {
        let mut entries = Vec::with_capacity(count.min(ROOM) as usize);
        let mut before: &[u8] = &[];
        for _ in 0..count {
            let start = self.0;
            let key = self.item(depth)?;
            let encoded = start.get(..start.len() - self.0.len()).unwrap_or_default();
            if encoded == before {
                return Err(CborError::DuplicateKey);
            }
            if encoded < before {
                return Err(CborError::NotDeterministic);
            }
            before = encoded;
            entries.push((key, self.item(depth)?));
        }
        Ok(Value::Map(entries))
    }

    fn tagged(&mut self, tag: u64, depth: usize) -> Result<Value, CborError> {
        let inner = self.item(depth)?;
        // A bignum has no leading zeros, and is none where an integer has room (RFC 8949 §3.4.3).
        if let (2 | 3, Value::Bytes(number)) = (tag, &inner)
            && (number.len() <= 8 || number.first() == Some(&0))
        {
            return Err(CborError::NotDeterministic);
        }
        Ok(Value::Tag(tag, Box::new(inner)))
    }

    /// A float of so many bytes that has no shorter form. `start` begins with its head.
    fn float(&mut self, start: &[u8], length: u64) -> Result<Value, CborError> {
        self.take(length)?;
        let encoded = start.get(..start.len() - self.0.len()).unwrap_or_default();
        let value = ciborium::from_reader(encoded).map_err(|_| CborError::Syntax)?;
        if written(&value) == encoded { Ok(value) } else { Err(CborError::NotDeterministic) }
    }

    /// The number in a head, in its shortest form.
    fn argument(&mut self, minor: u8) -> Result<u64, CborError> {
        let (length, least) = match minor {
            0..=23 => return Ok(minor.into()),
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            // An indefinite length.
            31 => return Err(CborError::NotDeterministic),
            _ => return Err(CborError::Syntax),
        };
        let bytes = self.take(length)?;
        let argument = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        if argument < least { Err(CborError::NotDeterministic) } else { Ok(argument) }
    }

    fn byte(&mut self) -> Result<u8, CborError> {
        let (first, rest) = self.0.split_first().ok_or(CborError::Syntax)?;
        self.0 = rest;
        Ok(*first)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        let length = usize::try_from(length).map_err(|_| CborError::Syntax)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(CborError::Syntax)?;
        self.0 = rest;
        Ok(taken)
    }
}
