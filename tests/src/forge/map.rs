//! Edits of maps and bytes, short enough to read in a table of cases.

use signet_evidence::cbor::{self, Value};

use super::Map;
use crate::attester::Fault;

/// The map in `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Result<Map, Fault> {
    match cbor::decode(bytes)? {
        Value::Map(map) => Ok(map),
        _ => Err("not a map".into()),
    }
}

pub(super) fn encode(map: Map) -> Vec<u8> {
    cbor::encode(&Value::Map(map))
}

/// Sets the member; it stands once afterwards.
pub(super) fn set(map: &mut Map, key: impl Into<Value>, value: impl Into<Value>) {
    let key = key.into();
    map.retain(|(found, _)| *found != key);
    map.push((key, value.into()));
}

pub(super) fn remove(map: &mut Map, key: impl Into<Value>) {
    let key = key.into();
    map.retain(|(found, _)| *found != key);
}

/// A byte string as a value.
pub(super) fn bytes(bytes: impl Into<Vec<u8>>) -> Value {
    Value::Bytes(bytes.into())
}

/// Edits the byte string under `key`.
pub(super) fn edit(map: &mut Map, key: impl Into<Value>, edit: impl FnOnce(&mut Vec<u8>)) {
    let key = key.into();
    let found = map.iter_mut().find(|(found, _)| *found == key);
    if let Some((_, Value::Bytes(bytes))) = found {
        edit(bytes);
    }
}

/// Edits item `at` of the array under `key`.
pub(super) fn item(map: &mut Map, key: i64, at: usize, edit: impl FnOnce(&mut Vec<u8>)) {
    let found = map.iter_mut().find(|(found, _)| *found == Value::from(key));
    if let Some((_, Value::Array(items))) = found
        && let Some(Value::Bytes(bytes)) = items.get_mut(at)
    {
        edit(bytes);
    }
}

/// Edits the map under `key`.
pub(super) fn inner(map: &mut Map, key: impl Into<Value>, edit: impl FnOnce(&mut Map)) {
    let key = key.into();
    let found = map.iter_mut().find(|(found, _)| *found == key);
    if let Some((_, Value::Map(map))) = found {
        edit(map);
    }
}

/// Replaces text in bytes that are text.
pub(super) fn replace(bytes: &mut Vec<u8>, from: &str, to: &str) {
    *bytes = String::from_utf8_lossy(bytes).replace(from, to).into_bytes();
}

/// Turns one bit of the last byte.
pub(super) fn flip_last(bytes: &mut [u8]) {
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
}

/// Replaces `from` by as many bytes wherever it stands.
pub(super) fn swap(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    for at in 0..bytes.len().saturating_sub(from.len()) {
        if bytes[at..].starts_with(from) {
            bytes[at..at + from.len()].copy_from_slice(to);
        }
    }
}

/// Takes the last byte away.
pub(super) fn cut(bytes: &mut Vec<u8>) {
    bytes.pop();
}

/// Takes the first byte away.
pub(super) fn behead(bytes: &mut Vec<u8>) {
    bytes.remove(0);
}
