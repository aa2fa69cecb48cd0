//! authenticatorGetAssertion and authenticatorGetNextAssertion (CTAP 2.1 §6.2, §6.3).

use ciborium::Value;

use super::{descriptors, id_of};
use crate::authenticator_data::AuthenticatorData;
use crate::cbor::{self, DecodeError, Fields};
use crate::channel::Watch;
use crate::key::{CommandError, Key};
use crate::pin_protocol::Token;

const GET_ASSERTION: u8 = 0x02;
const GET_NEXT_ASSERTION: u8 = 0x08;

/// Parameters of getAssertion.
#[derive(Debug, Clone)]
pub struct GetAssertion<'a> {
    /// RP ID.
    pub rp_id: &'a str,
    /// SHA-256 of the client data.
    pub client_data_hash: &'a [u8; 32],
    /// Acceptable credentials; empty: any discoverable one.
    pub allow_list: &'a [Vec<u8>],
    /// Test for presence; without it the key answers silently.
    pub user_presence: bool,
    /// Let the key verify its user by itself without a token (CTAP 2.0).
    pub built_in_uv: bool,
}

/// Answer to getAssertion.
#[derive(Debug, Clone)]
pub struct GetAssertionAnswer {
    /// Which credential signed; may be absent when the allow list had one entry.
    pub credential_id: Option<Vec<u8>>,
    /// Authenticator data as signed.
    pub auth_data: Vec<u8>,
    /// The same, taken apart.
    pub parsed: AuthenticatorData,
    /// Signature over authenticator data and client data hash.
    pub signature: Vec<u8>,
    /// User handle of a discoverable credential.
    pub user_handle: Option<Vec<u8>>,
    /// How many credentials fit, for getNextAssertion.
    pub number_of_credentials: u32,
}

impl Key {
    /// Asks for an assertion.
    pub async fn get_assertion(
        &mut self,
        parameters: &GetAssertion<'_>,
        token: Option<&Token>,
        watch: &mut Watch<'_>,
    ) -> Result<GetAssertionAnswer, CommandError> {
        let request = parameters.to_cbor(token);
        let answer = self.call(GET_ASSERTION, Some(&request), watch).await?;
        Ok(GetAssertionAnswer::from_fields(answer)?)
    }

    /// Asks for the next of several assertions, directly after [`Self::get_assertion`].
    pub async fn get_next_assertion(&mut self) -> Result<GetAssertionAnswer, CommandError> {
        let answer = self.call(GET_NEXT_ASSERTION, None, &mut |_| {}).await?;
        Ok(GetAssertionAnswer::from_fields(answer)?)
    }
}

impl GetAssertion<'_> {
    fn to_cbor(&self, token: Option<&Token>) -> Value {
        // `up` and `uv` are sent only where they differ from the default.
        let options = (!self.user_presence || self.built_in_uv).then(|| {
            cbor::named_map([
                ("up", (!self.user_presence).then_some(false.into())),
                ("uv", self.built_in_uv.then_some(true.into())),
            ])
        });
        cbor::map([
            (0x01, Some(self.rp_id.into())),
            (0x02, Some(cbor::bytes(self.client_data_hash))),
            (0x03, descriptors(self.allow_list)),
            (0x05, options),
            (0x06, token.map(|token| token.authenticate(self.client_data_hash))),
            (0x07, token.map(|token| token.protocol().value())),
        ])
    }
}

impl GetAssertionAnswer {
    pub(crate) fn from_fields(mut fields: Fields) -> Result<Self, DecodeError> {
        let auth_data = fields.bytes(0x02)?.ok_or(DecodeError::Missing(0x02))?;
        let user = fields.named(0x04)?.and_then(|mut user| user.remove("id"));
        Ok(Self {
            credential_id: fields.take(0x01).map(|value| id_of(value, 0x01)).transpose()?,
            parsed: AuthenticatorData::parse(&auth_data)?,
            auth_data,
            signature: fields.bytes(0x03)?.ok_or(DecodeError::Missing(0x03))?,
            user_handle: user.and_then(|id| id.into_bytes().ok()),
            number_of_credentials: fields.unsigned(0x05)?.unwrap_or(1),
        })
    }
}
