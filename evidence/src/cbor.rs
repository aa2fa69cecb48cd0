//! Deterministic CBOR (RFC 8949 §4.2.1), strict in both directions.
//!
//! Senders encode deterministically. Receivers decode, encode again and compare, so that one value
//! has one encoding: no trailing bytes, no duplicate or unsorted keys, no indefinite lengths, no
//! integer longer than it need be.

use std::io;

pub use ciborium::Value;
use thiserror::Error;

/// Deepest nesting that is decoded. Evidence needs four levels; host facts may use a few more.
const MAX_DEPTH: usize = 16;

/// Bytes that are not the deterministic encoding of one CBOR value.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum CborError {
    /// Not well-formed CBOR, or nested deeper than is ever needed.
    #[error("not well-formed CBOR")]
    Syntax,
    /// Well formed, but not the one deterministic encoding of its value (RFC 8949 §4.2.1).
    #[error("CBOR is not in deterministic encoding")]
    NotDeterministic,
    /// A map holds the same key twice.
    #[error("CBOR map holds a key twice")]
    DuplicateKey,
}

/// Decodes exactly one deterministically encoded value.
///
/// # Errors
/// See [`CborError`].
pub fn decode(bytes: &[u8]) -> Result<Value, CborError> {
    let value: Value = ciborium::de::from_reader_with_recursion_limit(bytes, MAX_DEPTH)
        .map_err(|_| CborError::Syntax)?;
    if is_in_order(&value) && is_written_as(&value, bytes) {
        return Ok(value);
    }
    reject_duplicates(&value)?;
    Err(CborError::NotDeterministic)
}

/// Encodes `value` deterministically: map keys sorted bytewise by their encoding, shortest lengths.
#[must_use]
pub fn encode(value: &Value) -> Vec<u8> {
    if is_in_order(value) { written(value) } else { written(&sorted(value)) }
}

/// The encoding with maps in the order that they have.
fn written(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to a `Vec` cannot fail, and `Value` has no type that cannot be encoded.
    let _ = ciborium::into_writer(value, &mut bytes);
    bytes
}

/// Whether [`written`] would give these bytes.
fn is_written_as(value: &Value, bytes: &[u8]) -> bool {
    let mut expected = Expected(bytes);
    ciborium::into_writer(value, &mut expected).is_ok() && expected.0.is_empty()
}

/// What is still to be written; anything else is refused.
struct Expected<'a>(&'a [u8]);

impl io::Write for Expected<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether the keys of every map ascend by their encoding, none twice.
fn is_in_order(value: &Value) -> bool {
    match value {
        Value::Map(entries) => {
            entries.iter().all(|(key, value)| is_in_order(key) && is_in_order(value))
                && entries.iter().zip(entries.iter().skip(1)).all(|((a, _), (b, _))| ascend(a, b))
        }
        Value::Array(items) => items.iter().all(is_in_order),
        Value::Tag(_, inner) => is_in_order(inner),
        _ => true,
    }
}

/// Whether `after` has the later encoding; keys as all maps here have them are compared without encoding
/// them.
fn ascend(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Text(before), Value::Text(after)) => (before.len(), before) < (after.len(), after),
        (Value::Integer(before), Value::Integer(after)) => {
            // Numbers below zero have another type, after the others, and ascend away from zero.
            let place = |key: i128| (key < 0, key.abs());
            place((*before).into()) < place((*after).into())
        }
        _ => written(before) < written(after),
    }
}

/// A map from `entries`; [`encode`] sorts it.
#[must_use]
pub fn map(entries: Vec<(i64, Value)>) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (Value::from(key), value)).collect())
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Map(entries) => {
            let mut encoded: Vec<(Vec<u8>, Value, Value)> = entries
                .iter()
                .map(|(key, value)| (encode(key), sorted(key), sorted(value)))
                .collect();
            encoded.sort_by(|left, right| left.0.cmp(&right.0));
            Value::Map(encoded.into_iter().map(|(_, key, value)| (key, value)).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Tag(tag, inner) => Value::Tag(*tag, Box::new(sorted(inner))),
        other => other.clone(),
    }
}

fn reject_duplicates(value: &Value) -> Result<(), CborError> {
    match value {
        Value::Map(entries) => {
            let mut seen = std::collections::HashSet::new();
            for (key, value) in entries {
                if !seen.insert(encode(key)) {
                    return Err(CborError::DuplicateKey);
                }
                reject_duplicates(key)?;
                reject_duplicates(value)?;
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(reject_duplicates),
        Value::Tag(_, inner) => reject_duplicates(inner),
        _ => Ok(()),
    }
}

/// Integer keys of a decoded map, taken out one by one so that what is left over can be refused.
pub(crate) struct Fields(Vec<(i64, Value)>);

impl Fields {
    /// The map's integer-keyed entries. `None` when `value` is not a map or a key is no integer.
    pub(crate) fn new(value: Value) -> Option<Self> {
        let Value::Map(entries) = value else { return None };
        let mut fields = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            fields.push((i64::try_from(key.as_integer()?).ok()?, value));
        }
        Some(Self(fields))
    }

    pub(crate) fn take(&mut self, key: i64) -> Option<Value> {
        let index = self.0.iter().position(|(found, _)| *found == key)?;
        Some(self.0.swap_remove(index).1)
    }

    /// What was never taken.
    pub(crate) fn into_rest(self) -> impl Iterator<Item = (i64, Value)> {
        self.0.into_iter()
    }

    /// A key that was never taken, if any.
    pub(crate) fn left_over(&self) -> Option<i64> {
        self.0.first().map(|(key, _)| *key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_encodings_of_a_value_are_refused() {
        assert_eq!(decode(&[0x18, 0x01]), Err(CborError::NotDeterministic)); // 1 in two bytes
        assert_eq!(decode(&[0x9f, 0x01, 0xff]), Err(CborError::NotDeterministic)); // indefinite array
        assert_eq!(decode(&[0xa2, 0x02, 0x00, 0x01, 0x00]), Err(CborError::NotDeterministic)); // unsorted
        assert_eq!(decode(&[0xa2, 0x01, 0x00, 0x01, 0x00]), Err(CborError::DuplicateKey));
        assert_eq!(decode(&[0x01, 0x01]), Err(CborError::NotDeterministic)); // trailing byte
        assert_eq!(decode(&[0x82, 0x01]), Err(CborError::Syntax)); // truncated
        assert_eq!(decode(&[0x81; 64]), Err(CborError::Syntax)); // too deep
    }

    /// What is refused of a map is refused wherever the map stands.
    #[test]
    fn every_map_inside_is_held_to_its_order() {
        let (unsorted, twice) = ([0xa2, 0x02, 0x00, 0x01, 0x00], [0xa2, 0x01, 0x00, 0x01, 0x00]);
        let places: [(&str, &[u8]); 5] = [
            ("in an array", &[0x81]),
            ("in a tag", &[0xc1]),
            ("a value", &[0xa1, 0x00]),
            ("in a tag in an array in a value", &[0xa1, 0x00, 0x82, 0x00, 0xc1]),
            ("a key", &[0xa1]),
        ];
        for (place, before) in places {
            let after: &[u8] = if place == "a key" { &[0x00] } else { &[] };
            let at = |map: &[u8]| decode(&[before, map, after].concat()).map(|_| ());
            assert_eq!(at(&unsorted), Err(CborError::NotDeterministic), "{place}");
            assert_eq!(at(&twice), Err(CborError::DuplicateKey), "{place}");
            let sorted = [0xa2, 0x01, 0x00, 0x02, 0x00];
            assert_eq!(at(&sorted), Ok(()), "{place}");
            // And what is written is in order, wherever it stands.
            let lax: Value =
                ciborium::from_reader(&[before, &unsorted, after].concat()[..]).unwrap();
            assert_eq!(encode(&lax), [before, &sorted, after].concat(), "{place}");
        }
    }

    #[test]
    fn map_keys_sort_by_their_encoding() {
        let value = map(vec![(-1, 0.into()), (33, 0.into()), (-70101, 0.into()), (1, 0.into())]);
        let bytes = encode(&value);
        assert_eq!(
            bytes,
            [0xa4, 0x01, 0x00, 0x18, 33, 0x00, 0x20, 0x00, 0x3a, 0x00, 0x01, 0x11, 0xd4, 0x00]
        );
        assert!(decode(&bytes).is_ok());
    }

    /// Keys of all kinds, near each other.
    fn key() -> impl Strategy<Value = Value> {
        let number = prop_oneof![-300_i64..300, any::<i64>()];
        prop_oneof![
            number.prop_map(Value::from),
            "[a-b]{0,3}|[a-z]{20,26}".prop_map(Value::from),
            proptest::collection::vec(0_u8..3, 0..3).prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
        ]
    }

    proptest! {
        #[test]
        fn keys_ascend_as_their_encodings_do(before in key(), after in key()) {
            proptest::prop_assert_eq!(ascend(&before, &after), written(&before) < written(&after));
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            if let Ok(value) = decode(&bytes) {
                prop_assert_eq!(encode(&value), bytes);
            }
        }
    }
}
