//! authenticatorMakeCredential (CTAP 2.1 §6.1).

use ciborium::Value;

use super::descriptors;
use crate::authenticator_data::AuthenticatorData;
use crate::cbor::{self, DecodeError, Fields};
use crate::channel::Watch;
use crate::key::{CommandError, Key};
use crate::pin_protocol::Token;

const MAKE_CREDENTIAL: u8 = 0x01;

/// The party that will check the credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelyingParty {
    /// RP ID, a domain name.
    pub id: String,
    /// Name for people.
    pub name: String,
}

/// The account the credential is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEntity {
    /// User handle, at most 64 bytes, not a name.
    pub id: Vec<u8>,
    /// Account name.
    pub name: String,
    /// Name for people.
    pub display_name: String,
}

/// Protection policy of a credential (CTAP 2.1 §12.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialProtection {
    /// Usable without user verification.
    UserVerificationOptional = 1,
    /// As above, but found without user verification only by its id.
    UserVerificationOptionalWithCredentialIdList = 2,
    /// Neither found nor used without user verification.
    UserVerificationRequired = 3,
}

/// Who decides which relying parties get an attestation that names the single key (CTAP 2.1 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnterpriseAttestation {
    /// The key's maker: a list of relying parties inside the key.
    VendorFacilitated = 1,
    /// The host.
    PlatformManaged = 2,
}

/// Parameters of makeCredential.
#[derive(Debug, Clone)]
pub struct MakeCredential<'a> {
    /// SHA-256 of the client data.
    pub client_data_hash: &'a [u8; 32],
    /// Relying party.
    pub rp: &'a RelyingParty,
    /// Account.
    pub user: &'a UserEntity,
    /// COSE algorithms, best first.
    pub algorithms: &'a [i64],
    /// Credentials of which the key must hold none.
    pub exclude_list: &'a [Vec<u8>],
    /// Store the credential on the key.
    pub resident_key: bool,
    /// Ask for this protection.
    pub protection: Option<CredentialProtection>,
    /// Ask for the minimum PIN length; keys tell it to the relying parties they were configured for.
    pub min_pin_length: bool,
    /// Ask for an attestation that names this single key.
    pub enterprise_attestation: Option<EnterpriseAttestation>,
    /// Let the key verify its user by itself without a token (CTAP 2.0).
    pub built_in_uv: bool,
}

/// Answer to makeCredential.
#[derive(Debug, Clone)]
pub struct MakeCredentialAnswer {
    /// Attestation statement format.
    pub format: String,
    /// Authenticator data as signed.
    pub auth_data: Vec<u8>,
    /// The same, taken apart.
    pub parsed: AuthenticatorData,
    /// Attestation statement.
    pub statement: Value,
    /// The attestation names this single key.
    pub enterprise: bool,
}

impl Key {
    /// Makes a credential.
    pub async fn make_credential(
        &mut self,
        parameters: &MakeCredential<'_>,
        token: Option<&Token>,
        watch: &mut Watch<'_>,
    ) -> Result<MakeCredentialAnswer, CommandError> {
        let request = parameters.to_cbor(token);
        let answer = self.call(MAKE_CREDENTIAL, Some(&request), watch).await?;
        Ok(MakeCredentialAnswer::from_fields(answer)?)
    }

    /// Makes the key blink until it is touched, by a request that must fail (CTAP 2.1 §6.1.2 step 1).
    ///
    /// The status of a touched key is `PIN_INVALID` or `PIN_NOT_SET`.
    pub(crate) async fn blink_by_credential(
        &mut self,
        watch: &mut Watch<'_>,
    ) -> Result<(), CommandError> {
        let rp = RelyingParty { id: ".dummy".into(), name: String::new() };
        let user = UserEntity { id: vec![1], name: "dummy".into(), display_name: String::new() };
        let parameters = MakeCredential {
            client_data_hash: &[0; 32],
            rp: &rp,
            user: &user,
            algorithms: &[-7],
            exclude_list: &[],
            resident_key: false,
            protection: None,
            min_pin_length: false,
            enterprise_attestation: None,
            built_in_uv: false,
        };
        let Value::Map(mut request) = parameters.to_cbor(None) else { return Ok(()) };
        request.push((0x08.into(), Value::Bytes(Vec::new())));
        request.push((0x09.into(), 1.into()));
        self.call(MAKE_CREDENTIAL, Some(&Value::Map(request)), watch).await.map(drop)
    }
}

impl UserEntity {
    pub(super) fn to_cbor(&self) -> Value {
        cbor::named_map([
            ("id", Some(cbor::bytes(&self.id))),
            ("name", Some(self.name.as_str().into())),
            ("displayName", Some(self.display_name.as_str().into())),
        ])
    }
}

impl MakeCredential<'_> {
    fn to_cbor(&self, token: Option<&Token>) -> Value {
        let rp = cbor::named_map([
            ("id", Some(self.rp.id.as_str().into())),
            ("name", Some(self.rp.name.as_str().into())),
        ]);
        let algorithms = self.algorithms.iter().map(|&algorithm| {
            cbor::named_map([("alg", Some(algorithm.into())), ("type", Some("public-key".into()))])
        });
        let extensions = (self.protection.is_some() || self.min_pin_length).then(|| {
            cbor::named_map([
                ("credProtect", self.protection.map(|level| (level as u8).into())),
                ("minPinLength", self.min_pin_length.then_some(true.into())),
            ])
        });
        let options = (self.resident_key || self.built_in_uv).then(|| {
            cbor::named_map([
                ("rk", self.resident_key.then_some(true.into())),
                ("uv", self.built_in_uv.then_some(true.into())),
            ])
        });
        cbor::map([
            (0x01, Some(cbor::bytes(self.client_data_hash))),
            (0x02, Some(rp)),
            (0x03, Some(self.user.to_cbor())),
            (0x04, Some(Value::Array(algorithms.collect()))),
            (0x05, descriptors(self.exclude_list)),
            (0x06, extensions),
            (0x07, options),
            (0x08, token.map(|token| token.authenticate(self.client_data_hash))),
            (0x09, token.map(|token| token.protocol().value())),
            (0x0A, self.enterprise_attestation.map(|kind| (kind as u8).into())),
        ])
    }
}

impl MakeCredentialAnswer {
    pub(crate) fn from_fields(mut fields: Fields) -> Result<Self, DecodeError> {
        let auth_data = fields.bytes(0x02)?.ok_or(DecodeError::Missing(0x02))?;
        Ok(Self {
            format: fields.text(0x01)?.ok_or(DecodeError::Missing(0x01))?,
            parsed: AuthenticatorData::parse(&auth_data)?,
            auth_data,
            statement: fields.required(0x03)?,
            enterprise: fields.flag(0x04)?.unwrap_or(false),
        })
    }
}
