//! CTAP2 canonical CBOR out, strictly bounded CBOR in (CTAP 2.1 §8).

use std::collections::BTreeMap;

use ciborium::Value;

/// Nesting that CTAP allows is 4; attestation statements may carry one or two levels more.
const MAX_DEPTH: usize = 8;

/// Why an answer of the key could not be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not one well-formed CBOR item.
    #[error("answer is not well-formed cbor")]
    NotCbor,
    /// Bytes follow the item.
    #[error("bytes follow the cbor item")]
    TrailingBytes,
    /// The item is not a map.
    #[error("answer is not a cbor map")]
    NotAMap,
    /// A key occurs twice.
    #[error("a key occurs twice in a cbor map")]
    DuplicateKey,
    /// A member that the specification requires is absent.
    #[error("answer lacks member {0:#04x}")]
    Missing(i64),
    /// A member has another type or length than the specification says.
    #[error("member {0:#04x} has a wrong type or value")]
    WrongType(i64),
    /// Authenticator data is cut or has a wrong layout.
    #[error("authenticator data has a wrong layout")]
    AuthenticatorData,
    /// A U2F answer is cut or has a wrong layout.
    #[error("u2f answer has a wrong layout")]
    U2f,
    /// The answer has no status byte.
    #[error("answer is empty")]
    Empty,
}

/// Encodes a value canonically: definite lengths, shortest integers, map keys sorted.
///
/// Two keys sort by major type, then length, then bytes; that is the order of their encodings.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing to a Vec cannot fail, and nothing we build fails to serialize.
    let _ = ciborium::into_writer(&canonical(value.clone()), &mut out);
    out
}

fn canonical(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        Value::Map(entries) => {
            let mut sorted: Vec<(Vec<u8>, (Value, Value))> = entries
                .into_iter()
                .map(|(key, value)| {
                    let mut encoded = Vec::new();
                    let _ = ciborium::into_writer(&key, &mut encoded);
                    (encoded, (key, canonical(value)))
                })
                .collect();
            sorted.sort_by(|(a, _), (b, _)| order(a).cmp(&order(b)));
            Value::Map(sorted.into_iter().map(|(_, entry)| entry).collect())
        }
        other => other,
    }
}

fn order(encoded: &[u8]) -> (u8, usize, &[u8]) {
    (encoded.first().map_or(0, |first| first >> 5), encoded.len(), encoded)
}

/// Decodes exactly one item.
pub fn decode(bytes: &[u8]) -> Result<Value, DecodeError> {
    let (value, rest) = decode_prefix(bytes)?;
    if rest.is_empty() { Ok(value) } else { Err(DecodeError::TrailingBytes) }
}

/// Decodes one item and returns what follows it.
pub fn decode_prefix(bytes: &[u8]) -> Result<(Value, &[u8]), DecodeError> {
    let mut rest = bytes;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, MAX_DEPTH)
        .map_err(|_| DecodeError::NotCbor)?;
    Ok((value, rest))
}

/// A map with integer keys: the shape of every CTAP answer. Other keys are passed over.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields(BTreeMap<i64, Value>);

impl Fields {
    /// Reads an answer; an empty one is an empty map (CTAP 2.1 §8.2).
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.is_empty() { Ok(Self::default()) } else { Self::from_value(decode(bytes)?) }
    }

    /// Takes a map apart.
    pub fn from_value(value: Value) -> Result<Self, DecodeError> {
        let Value::Map(entries) = value else { return Err(DecodeError::NotAMap) };
        let mut fields = BTreeMap::new();
        for (key, value) in entries {
            let Some(key) = key.as_integer().and_then(|key| i64::try_from(key).ok()) else {
                continue;
            };
            if fields.insert(key, value).is_some() {
                return Err(DecodeError::DuplicateKey);
            }
        }
        Ok(Self(fields))
    }

    /// Takes a member out.
    pub fn take(&mut self, key: i64) -> Option<Value> {
        self.0.remove(&key)
    }

    /// Takes a member that must be there.
    pub fn required(&mut self, key: i64) -> Result<Value, DecodeError> {
        self.take(key).ok_or(DecodeError::Missing(key))
    }

    /// Takes a byte string.
    pub fn bytes(&mut self, key: i64) -> Result<Option<Vec<u8>>, DecodeError> {
        self.typed(key, |value| value.into_bytes().ok())
    }

    /// Takes a text string.
    pub fn text(&mut self, key: i64) -> Result<Option<String>, DecodeError> {
        self.typed(key, |value| value.into_text().ok())
    }

    /// Takes an unsigned integer.
    pub fn unsigned(&mut self, key: i64) -> Result<Option<u32>, DecodeError> {
        self.typed(key, |value| value.as_integer().and_then(|number| number.try_into().ok()))
    }

    /// Takes a truth value.
    pub fn flag(&mut self, key: i64) -> Result<Option<bool>, DecodeError> {
        self.typed(key, |value| value.as_bool())
    }

    /// Takes an array.
    pub fn array(&mut self, key: i64) -> Result<Option<Vec<Value>>, DecodeError> {
        self.typed(key, |value| value.into_array().ok())
    }

    /// Takes a map with text keys; other keys are passed over.
    pub fn named(&mut self, key: i64) -> Result<Option<BTreeMap<String, Value>>, DecodeError> {
        self.take(key).map(named).transpose().map_err(|error| match error {
            DecodeError::NotAMap => DecodeError::WrongType(key),
            other => other,
        })
    }

    fn typed<T>(
        &mut self,
        key: i64,
        convert: impl FnOnce(Value) -> Option<T>,
    ) -> Result<Option<T>, DecodeError> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => convert(value).map(Some).ok_or(DecodeError::WrongType(key)),
        }
    }
}

/// Takes a map with text keys apart; other keys are passed over.
pub fn named(value: Value) -> Result<BTreeMap<String, Value>, DecodeError> {
    let Value::Map(entries) = value else { return Err(DecodeError::NotAMap) };
    let mut members = BTreeMap::new();
    for (key, value) in entries {
        if let Value::Text(key) = key
            && members.insert(key, value).is_some()
        {
            return Err(DecodeError::DuplicateKey);
        }
    }
    Ok(members)
}

/// A map with integer keys; absent values are left out.
pub(crate) fn map<const N: usize>(entries: [(i64, Option<Value>); N]) -> Value {
    Value::Map(
        entries.into_iter().filter_map(|(key, value)| Some((Value::from(key), value?))).collect(),
    )
}

/// A map with text keys.
pub(crate) fn named_map<const N: usize>(entries: [(&str, Option<Value>); N]) -> Value {
    Value::Map(
        entries.into_iter().filter_map(|(key, value)| Some((Value::from(key), value?))).collect(),
    )
}

/// A byte string.
pub(crate) fn bytes(value: &[u8]) -> Value {
    Value::Bytes(value.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_sort_by_type_length_and_bytes() {
        // The example of CTAP 2.1 §8: 10, 100, -1, "z", "aa".
        let keys = [Value::from("aa"), Value::from("z"), (-1).into(), 100.into(), 10.into()];
        let map = Value::Map(keys.into_iter().map(|key| (key, Value::Null)).collect());
        assert_eq!(encode(&map), b"\xa5\x0a\xf6\x18\x64\xf6\x20\xf6\x61z\xf6\x62aa\xf6");
    }

    #[test]
    fn duplicate_keys_trailing_bytes_and_depth_are_refused() {
        assert_eq!(Fields::decode(b"\xa2\x01\x00\x01\x00"), Err(DecodeError::DuplicateKey));
        assert_eq!(Fields::decode(b"\xa1\x01\x00\x00"), Err(DecodeError::TrailingBytes));
        assert_eq!(Fields::decode(b"\x80"), Err(DecodeError::NotAMap));
        assert_eq!(Fields::decode(&[0x81; 100]), Err(DecodeError::NotCbor));
        assert_eq!(Fields::decode(b"\xa1\x01"), Err(DecodeError::NotCbor));
        // A byte string that claims four gigabytes.
        assert_eq!(Fields::decode(b"\x5a\xff\xff\xff\xff"), Err(DecodeError::NotCbor));
    }

    #[test]
    fn members_have_types() {
        let mut fields = Fields::decode(b"\xa2\x01\x41x\x02\x20").unwrap();
        assert_eq!(fields.bytes(1), Ok(Some(b"x".to_vec())));
        assert_eq!(fields.unsigned(2), Err(DecodeError::WrongType(2)));
        assert_eq!(fields.required(3), Err(DecodeError::Missing(3)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            if let Ok(value) = decode(&bytes) {
                prop_assert_eq!(decode(&encode(&value)).is_ok(), true);
            }
            let _ = Fields::decode(&bytes);
        }
    }
}
