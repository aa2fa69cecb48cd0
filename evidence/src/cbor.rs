//! Deterministic CBOR (RFC 8949 §4.2.1), strict in both directions.
//!
//! Senders encode deterministically, and receivers take nothing else, so that one value has one
//! encoding: no trailing bytes, no duplicate or unsorted keys, no indefinite lengths, no integer
//! longer than it need be.

mod reader;

pub use ciborium::Value;
use thiserror::Error;

use reader::Reader;

/// Deepest nesting that is decoded. Evidence needs four levels; host facts may use a few more.
const MAX_DEPTH: usize = 16;

/// Bytes that are not the deterministic encoding of one CBOR value.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum CborError {
    /// Not well-formed CBOR, or nested deeper than is ever needed.
    #[error("not well-formed CBOR")]
    Syntax,
    /// Not the one deterministic encoding of its value (RFC 8949 §4.2.1).
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
    let mut reader = Reader(bytes);
    let value = reader.item(MAX_DEPTH)?;
    if reader.0.is_empty() { Ok(value) } else { Err(CborError::NotDeterministic) }
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

/// Appends a byte string's encoding.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = bytes.len() as u64;
    let (minor, skipped) = match length {
        0..24 => (length as u8, 8),
        24..0x100 => (24, 7),
        0x100..0x1_0000 => (25, 6),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 0),
    };
    out.push(0x40 | minor);
    out.extend_from_slice(&length.to_be_bytes()[skipped..]);
    out.extend_from_slice(bytes);
}

/// Integer keys of a decoded map, taken out one by one so that what is left over can be refused.
pub(crate) struct Fields(Vec<(Value, Value)>);

impl Fields {
    /// The map's integer-keyed entries. `None` when `value` is not a map or a key is no integer.
    pub(crate) fn new(value: Value) -> Option<Self> {
        let Value::Map(entries) = value else { return None };
        entries.iter().all(|(key, _)| number(key).is_some()).then_some(Self(entries))
    }

    pub(crate) fn take(&mut self, key: i64) -> Option<Value> {
        let index = self.0.iter().position(|(found, _)| number(found) == Some(key))?;
        Some(self.0.swap_remove(index).1)
    }

    /// What was never taken.
    pub(crate) fn into_rest(self) -> impl Iterator<Item = (i64, Value)> {
        self.0.into_iter().filter_map(|(key, value)| Some((number(&key)?, value)))
    }

    /// A key that was never taken, if any.
    pub(crate) fn left_over(&self) -> Option<i64> {
        self.0.first().and_then(|(key, _)| number(key))
    }
}

fn number(key: &Value) -> Option<i64> {
    i64::try_from(key.as_integer()?).ok()
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
        assert_eq!(decode(&[0xfa, 0, 0, 0, 0]), Err(CborError::NotDeterministic)); // a long zero
        assert_eq!(decode(&[0xc2, 0x41, 0x01]), Err(CborError::NotDeterministic)); // 1 as a bignum
        assert_eq!(decode(&[0x61, 0xff]), Err(CborError::Syntax)); // not UTF-8
        for reserved in [0x1c, 0x5d, 0x9e, 0xe0, 0xf8, 0xff] {
            assert_eq!(decode(&[reserved, 0, 0]), Err(CborError::Syntax), "{reserved:#x}");
        }
        let endless = [0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00];
        assert_eq!(decode(&endless), Err(CborError::Syntax)); // more items than bytes
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
    fn byte_strings_of_every_length_are_put_as_they_are_written() {
        for length in [0, 1, 23, 24, 255, 256, 65_535, 65_536] {
            let bytes = vec![0x5a; length];
            let mut put = vec![];
            put_bytes(&mut put, &bytes);
            assert_eq!(put, written(&bytes.into()), "{length}");
        }
    }

    #[test]
    fn sixteen_levels_are_read_and_no_more() {
        let nested = |levels: usize| [vec![0x81; levels], vec![0x00]].concat();
        assert_eq!(decode(&nested(MAX_DEPTH)).map(|value| written(&value)), Ok(nested(MAX_DEPTH)));
        assert_eq!(decode(&nested(MAX_DEPTH + 1)), Err(CborError::Syntax));
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

    fn value() -> impl Strategy<Value = Value> {
        let float = any::<f64>().prop_filter("has no one encoding", |number| !number.is_nan());
        let leaf = prop_oneof![
            key(),
            any::<u64>().prop_map(Value::from),
            Just(Value::from(i128::from(u64::MAX) ^ !0)),
            Just(Value::Null),
            prop_oneof![float, (-9_i16..9).prop_map(f64::from)].prop_map(Value::from),
            (2_u64..4, proptest::collection::vec(0_u8..4, 0..16))
                .prop_map(|(tag, bignum)| Value::Tag(tag, Box::new(bignum.into()))),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..30).prop_map(Value::Array),
                proptest::collection::vec((key(), inner.clone()), 0..4).prop_map(Value::Map),
                (any::<u64>(), inner).prop_map(|(tag, inner)| Value::Tag(tag, Box::new(inner))),
            ]
        })
    }

    /// Encodings, and what a mistake or two make of them.
    fn nearly_encoded() -> impl Strategy<Value = Vec<u8>> {
        let mistakes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
        (value(), any::<bool>(), mistakes).prop_map(|(value, sort, mistakes)| {
            let mut bytes = if sort { encode(&value) } else { written(&value) };
            for (at, byte) in mistakes {
                *at.get_mut(&mut bytes) = byte;
            }
            bytes
        })
    }

    /// What the library reads, if writing that gives the same bytes.
    fn by_the_library(bytes: &[u8]) -> Option<Value> {
        let value = ciborium::de::from_reader_with_recursion_limit(bytes, MAX_DEPTH).ok()?;
        (is_in_order(&value) && written(&value) == bytes).then_some(value)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        /// Compared by their encodings, because no NaN is equal to itself.
        #[test]
        fn the_library_agrees_on_what_is_deterministic(
            bytes in prop_oneof![nearly_encoded(), proptest::collection::vec(any::<u8>(), 0..12)]
        ) {
            let read = decode(&bytes).ok().as_ref().map(written);
            prop_assert_eq!(read, by_the_library(&bytes).as_ref().map(written));
        }

        #[test]
        fn keys_ascend_as_their_encodings_do(before in key(), after in key()) {
            prop_assert_eq!(ascend(&before, &after), written(&before) < written(&after));
            prop_assert!(!ascend(&before, &before));
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            if let Ok(value) = decode(&bytes) {
                prop_assert_eq!(encode(&value), bytes);
            }
        }
    }
}
