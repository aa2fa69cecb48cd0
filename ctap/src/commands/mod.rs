//! CTAP2 and U2F commands, one file each: parameters and answers as types, no policy.

mod bio_enrollment;
pub(crate) mod client_pin;
mod config;
pub(crate) mod credential_management;
mod get_assertion;
mod get_info;
mod make_credential;
mod presence;
pub(crate) mod u2f;

pub use bio_enrollment::{Sample, SampleStatus, SensorInfo, Template};
pub use client_pin::{Permissions, PinRetries};
pub use config::MinPinLength;
pub use credential_management::{Metadata, StoredCredential, StoredRelyingParty};
pub use get_assertion::{GetAssertion, GetAssertionAnswer};
pub use get_info::{Info, Options};
pub use make_credential::{
    CredentialProtection, EnterpriseAttestation, MakeCredential, MakeCredentialAnswer,
    RelyingParty, UserEntity,
};
pub use u2f::{U2fAssertion, U2fRegistration};

use ciborium::Value;

use crate::cbor::{self, DecodeError};

/// A PublicKeyCredentialDescriptor.
fn descriptor(id: &[u8]) -> Value {
    cbor::named_map([("id", Some(cbor::bytes(id))), ("type", Some("public-key".into()))])
}

/// A list of descriptors; an empty list is left out, as the specification wants.
fn descriptors(ids: &[Vec<u8>]) -> Option<Value> {
    (!ids.is_empty()).then(|| Value::Array(ids.iter().map(|id| descriptor(id)).collect()))
}

/// Credential id of a descriptor found under `member`.
fn id_of(descriptor: Value, member: i64) -> Result<Vec<u8>, DecodeError> {
    let mut members = cbor::named(descriptor)?;
    let id = members.remove("id").and_then(|id| id.into_bytes().ok());
    id.ok_or(DecodeError::WrongType(member))
}
