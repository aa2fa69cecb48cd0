//! The wire format of protocol buffers (protobuf.dev, "Encoding"): as much as Envoy's question and
//! its answer need.

use thiserror::Error;

/// Bytes that are no message, or one with two values where there is room for one.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the message is not well-formed")]
pub(super) struct Malformed;

/// A field's value: bytes, texts and messages look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A number of any width.
    Number,
    /// Anything with a length.
    Bytes(&'a [u8]),
}

/// The fields of a message, in their order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => self.varint().map(|_| Value::Number)?,
            1 => self.take(8).map(|_| Value::Number)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Number)?,
            // Groups are from before proto3, and the rest was never given out.
            _ => return Err(Malformed),
        };
        Ok((key >> 3, value))
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = *self.take(1)? else { return Err(Malformed) };
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    /// After the first error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// A field that is there at most once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Once<'a>(Option<&'a [u8]>);

impl<'a> Once<'a> {
    /// Takes the field's value.
    ///
    /// # Errors
    /// When it has one already, or a number: the format would let the last one count.
    pub(super) fn set(&mut self, value: Value<'a>) -> Result<(), Malformed> {
        match (value, self.0) {
            (Value::Bytes(bytes), None) => {
                self.0 = Some(bytes);
                Ok(())
            }
            _ => Err(Malformed),
        }
    }

    /// Its bytes; a field that is not there is empty.
    pub(super) fn bytes(self) -> &'a [u8] {
        self.0.unwrap_or_default()
    }

    /// Its text.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub(super) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()).map_err(|_| Malformed)
    }

    /// Its fields; none when it is not there.
    pub(super) fn fields(self) -> Fields<'a> {
        Fields::of(self.bytes())
    }

    /// Whether it is there.
    pub(super) fn is_there(self) -> bool {
        self.0.is_some()
    }
}

/// A message that is being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// Adds bytes, a text or a message.
    #[must_use]
    pub(super) fn with(mut self, number: u8, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.varint(u64::from(number) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// Adds a number.
    #[must_use]
    pub(super) fn with_number(mut self, number: u8, value: u64) -> Self {
        self.varint(u64::from(number) << 3);
        self.varint(value);
        self
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(message: &[u8]) -> Result<Vec<(u64, Value<'_>)>, Malformed> {
        Fields::of(message).collect()
    }

    #[test]
    fn fields_of_every_kind() {
        // The examples of "Encoding", with a fixed64 and a fixed32 between.
        let message = [
            0x08, 0x96, 0x01, 0x12, 0x07, b't', b'e', b's', b't', b'i', b'n', b'g', 0x19, 1, 2, 3,
            4, 5, 6, 7, 8, 0x25, 1, 2, 3, 4,
        ];
        let expected = [
            (1, Value::Number),
            (2, Value::Bytes(b"testing")),
            (3, Value::Number),
            (4, Value::Number),
        ];
        assert_eq!(read(&message), Ok(expected.to_vec()));
        let written = Message::default().with_number(1, 150).with(2, "testing");
        assert_eq!(written.as_ref(), &message[..12]);
    }

    #[test]
    fn what_is_cut_or_too_long_or_unknown_is_refused() {
        let wrong: [&[u8]; 7] = [
            &[0x08],
            &[0x12, 0x02, b'x'],
            &[0x19, 1, 2],
            &[0x0b],
            &[0x0e, 1],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ];
        for message in wrong {
            assert_eq!(read(message), Err(Malformed), "{message:02x?}");
        }
    }

    #[test]
    fn once_is_once() {
        let mut once = Once::default();
        assert_eq!((once.is_there(), once.bytes()), (false, &b""[..]));
        assert_eq!(once.set(Value::Number), Err(Malformed));
        assert_eq!(once.set(Value::Bytes(b"x")), Ok(()));
        assert_eq!(once.text(), Ok("x"));
        assert_eq!(once.set(Value::Bytes(b"x")), Err(Malformed));
        let mut once = Once::default();
        once.set(Value::Bytes(&[0xff])).unwrap();
        assert_eq!(once.text(), Err(Malformed));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            fields in prop::collection::vec((1u8..=31, prop::collection::vec(any::<u8>(), 0..300)), 0..8)
        ) {
            let write = |message: Message, (number, value): &(u8, Vec<u8>)| {
                message.with(*number, value).with_number(*number, u64::MAX)
            };
            let message = fields.iter().fold(Message::default(), write);
            let read = read(message.as_ref()).unwrap();
            let expected: Vec<_> = fields
                .iter()
                .flat_map(|(number, value)| {
                    let number = u64::from(*number);
                    [(number, Value::Bytes(value.as_slice())), (number, Value::Number)]
                })
                .collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
