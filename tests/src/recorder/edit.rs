//! Edits of encoded parts.

use signet_evidence::cbor::{self, Value};
use signet_evidence::tpm::{PublicParameters, TpmtPublic};

use crate::attester::Fault;

pub(super) fn message(bytes: &[u8]) -> Result<Vec<Value>, Fault> {
    match cbor::decode(bytes)? {
        Value::Tag(18, inner) => match *inner {
            Value::Array(items) if items.len() == 4 => Ok(items),
            _ => Err("not a COSE_Sign1".into()),
        },
        _ => Err("not tagged".into()),
    }
}

pub(super) fn edit_message(
    bytes: &[u8],
    edit: impl FnOnce(&mut Vec<Value>),
) -> Result<Vec<u8>, Fault> {
    let mut items = message(bytes)?;
    edit(&mut items);
    Ok(cbor::encode(&Value::Tag(18, Box::new(Value::Array(items)))))
}

pub(super) fn edit_protected(
    bytes: &[u8],
    edit: impl FnOnce(&mut Vec<(Value, Value)>),
) -> Result<Vec<u8>, Fault> {
    let items = message(bytes)?;
    let Value::Map(mut map) = cbor::decode(items[0].as_bytes().ok_or("protected")?)? else {
        return Err("not a map".into());
    };
    edit(&mut map);
    edit_message(bytes, |items| items[0] = Value::Bytes(cbor::encode(&Value::Map(map))))
}

pub(super) fn edit_statement(statement: &[u8], claim: i64, value: Value) -> Result<Vec<u8>, Fault> {
    edit_map(statement, claim, value)
}

/// The map in `bytes` with `key` set to `value`.
pub(super) fn edit_map(bytes: &[u8], key: i64, value: Value) -> Result<Vec<u8>, Fault> {
    let Value::Map(mut map) = cbor::decode(bytes)? else { return Err("not a map".into()) };
    map.retain(|(found, _)| *found != Value::from(key));
    map.push((key.into(), value));
    Ok(cbor::encode(&Value::Map(map)))
}

pub(super) fn bytes_at(bytes: &[u8], key: i64) -> Result<Vec<u8>, Fault> {
    let Value::Map(map) = cbor::decode(bytes)? else { return Err("not a map".into()) };
    let found = map.into_iter().find(|(found, _)| *found == Value::from(key));
    found.and_then(|(_, value)| value.into_bytes().ok()).ok_or_else(|| "no such member".into())
}

pub(super) fn set(map: &mut Vec<(Value, Value)>, name: &str, value: Value) {
    map.retain(|(found, _)| found.as_text() != Some(name));
    map.push((name.into(), value));
}

pub(super) fn edit_bytes(map: &mut [(Value, Value)], name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
    let found = map.iter_mut().find(|(found, _)| found.as_text() == Some(name));
    if let Some((_, Value::Bytes(bytes))) = found {
        edit(bytes);
    }
}

/// A `TPMT_PUBLIC` of the same template for another key.
pub(super) fn edit_public(public: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut public = TpmtPublic::parse(public)?;
    if let PublicParameters::Ecc(ecc) = &mut public.parameters {
        ecc.x[0] ^= 1;
    }
    Ok(public.to_bytes())
}
