//! authenticatorCredentialManagement (CTAP 2.1 §6.8) and its dialect before CTAP 2.1.

use ciborium::Value;

use super::client_pin::encoded;
use super::{UserEntity, descriptor, id_of};
use crate::cbor::{self, DecodeError, Fields};
use crate::key::{CommandError, Key};
use crate::pin_protocol::Token;
use crate::status::Status;

const CREDENTIAL_MANAGEMENT: u8 = 0x0A;
const CREDENTIAL_MANAGEMENT_PREVIEW: u8 = 0x41;

/// More relying parties or credentials than any key holds.
const MAX_LISTED: u32 = 10_000;

/// Sub-commands of credentialManagement.
#[derive(Debug, Clone, Copy)]
enum Sub {
    Metadata = 0x01,
    RelyingPartiesBegin = 0x02,
    RelyingPartiesNext = 0x03,
    CredentialsBegin = 0x04,
    CredentialsNext = 0x05,
    Delete = 0x06,
    UpdateUser = 0x07,
}

/// Room on the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Discoverable credentials it holds.
    pub existing: u32,
    /// Discoverable credentials it has room for.
    pub room: u32,
}

/// A relying party with discoverable credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRelyingParty {
    /// SHA-256 of the RP ID.
    pub id_hash: [u8; 32],
    /// RP ID; keys may cut it to 32 bytes or leave it out.
    pub id: Option<String>,
}

/// A discoverable credential.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCredential {
    /// Credential id.
    pub id: Vec<u8>,
    /// User handle.
    pub user_id: Vec<u8>,
    /// Account name.
    pub user_name: Option<String>,
    /// COSE_Key.
    pub public_key: Value,
    /// Protection level, 1 to 3.
    pub protection: Option<u32>,
}

impl Key {
    /// Room on the key.
    pub async fn credentials_metadata(&mut self, token: &Token) -> Result<Metadata, CommandError> {
        let answer = self.credential_management(Sub::Metadata, None, Some(token)).await?;
        Ok(Metadata::from_fields(answer)?)
    }

    /// Relying parties with discoverable credentials.
    pub async fn stored_relying_parties(
        &mut self,
        token: &Token,
    ) -> Result<Vec<StoredRelyingParty>, CommandError> {
        let first = self.credential_management(Sub::RelyingPartiesBegin, None, Some(token)).await;
        let Some(mut answer) = none_if_empty(first)? else { return Ok(Vec::new()) };
        let total = total(&mut answer, 0x05)?;
        let mut parties = Vec::new();
        if total > 0 {
            parties.push(relying_party(answer)?);
        }
        for _ in 1..total {
            let answer = self.credential_management(Sub::RelyingPartiesNext, None, None).await?;
            parties.push(relying_party(answer)?);
        }
        Ok(parties)
    }

    /// Discoverable credentials of one relying party.
    pub async fn stored_credentials(
        &mut self,
        token: &Token,
        rp_id_hash: &[u8; 32],
    ) -> Result<Vec<StoredCredential>, CommandError> {
        let parameters = cbor::map([(0x01, Some(cbor::bytes(rp_id_hash)))]);
        let first =
            self.credential_management(Sub::CredentialsBegin, Some(parameters), Some(token)).await;
        let Some(mut answer) = none_if_empty(first)? else { return Ok(Vec::new()) };
        let total = total(&mut answer, 0x09)?;
        let mut credentials = Vec::new();
        if total > 0 {
            credentials.push(credential(answer)?);
        }
        for _ in 1..total {
            let answer = self.credential_management(Sub::CredentialsNext, None, None).await?;
            credentials.push(credential(answer)?);
        }
        Ok(credentials)
    }

    /// Deletes a discoverable credential.
    pub async fn delete_credential(
        &mut self,
        token: &Token,
        id: &[u8],
    ) -> Result<(), CommandError> {
        let parameters = cbor::map([(0x02, Some(descriptor(id)))]);
        self.credential_management(Sub::Delete, Some(parameters), Some(token)).await.map(drop)
    }

    /// Replaces the account names of a discoverable credential; its user handle must stay the same.
    pub async fn update_user(
        &mut self,
        token: &Token,
        id: &[u8],
        user: &UserEntity,
    ) -> Result<(), CommandError> {
        let parameters = cbor::map([(0x02, Some(descriptor(id))), (0x03, Some(user.to_cbor()))]);
        self.credential_management(Sub::UpdateUser, Some(parameters), Some(token)).await.map(drop)
    }

    async fn credential_management(
        &mut self,
        sub: Sub,
        parameters: Option<Value>,
        token: Option<&Token>,
    ) -> Result<Fields, CommandError> {
        let sub = sub as u8;
        let signed = [&[sub][..], &encoded(parameters.as_ref())].concat();
        let request = cbor::map([
            (0x01, Some(sub.into())),
            (0x02, parameters),
            (0x03, token.map(|token| token.protocol().value())),
            (0x04, token.map(|token| token.authenticate(&signed))),
        ]);
        let command = match self.info().options.credential_management {
            Some(true) => CREDENTIAL_MANAGEMENT,
            _ => CREDENTIAL_MANAGEMENT_PREVIEW,
        };
        self.call(command, Some(&request), &mut |_| {}).await
    }
}

impl Metadata {
    pub(crate) fn from_fields(mut answer: Fields) -> Result<Self, DecodeError> {
        Ok(Self {
            existing: answer.unsigned(0x01)?.ok_or(DecodeError::Missing(0x01))?,
            room: answer.unsigned(0x02)?.ok_or(DecodeError::Missing(0x02))?,
        })
    }
}

fn none_if_empty(answer: Result<Fields, CommandError>) -> Result<Option<Fields>, CommandError> {
    match answer {
        Err(CommandError::Status(Status::NO_CREDENTIALS)) => Ok(None),
        answer => answer.map(Some),
    }
}

fn total(answer: &mut Fields, member: i64) -> Result<u32, DecodeError> {
    match answer.unsigned(member)?.ok_or(DecodeError::Missing(member))? {
        total if total > MAX_LISTED => Err(DecodeError::WrongType(member)),
        total => Ok(total),
    }
}

pub(crate) fn relying_party(mut answer: Fields) -> Result<StoredRelyingParty, DecodeError> {
    let id_hash = answer.bytes(0x04)?.ok_or(DecodeError::Missing(0x04))?;
    let id = answer.named(0x03)?.and_then(|mut rp| rp.remove("id"));
    Ok(StoredRelyingParty {
        id_hash: id_hash.try_into().map_err(|_| DecodeError::WrongType(0x04))?,
        id: id.and_then(|id| id.into_text().ok()),
    })
}

pub(crate) fn credential(mut answer: Fields) -> Result<StoredCredential, DecodeError> {
    let mut user = answer.named(0x06)?.ok_or(DecodeError::Missing(0x06))?;
    let user_id = user.remove("id").and_then(|id| id.into_bytes().ok());
    Ok(StoredCredential {
        id: id_of(answer.required(0x07)?, 0x07)?,
        user_id: user_id.ok_or(DecodeError::WrongType(0x06))?,
        user_name: user.remove("name").and_then(|name| name.into_text().ok()),
        public_key: answer.required(0x08)?,
        protection: answer.unsigned(0x0A)?,
    })
}
