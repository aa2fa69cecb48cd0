//! Registration: a new credential for a person.

use ciborium::Value;

use super::assert::{check_flags, missing_uv};
use super::error::{Feature, OperationError};
use super::prompt::{Event, Prompt};
use super::verify::{UserVerification, UvMethod};
use crate::cbor;
use crate::commands::{
    CredentialProtection, EnterpriseAttestation, MakeCredential, MakeCredentialAnswer, Permissions,
    RelyingParty, UserEntity,
};
use crate::key::Key;

/// What credential is to be made.
#[derive(Debug, Clone)]
pub struct RegisterRequest {
    /// Relying party.
    pub rp: RelyingParty,
    /// Account.
    pub user: UserEntity,
    /// SHA-256 of the client data.
    pub client_data_hash: [u8; 32],
    /// COSE algorithms, best first, such as -7 (ES256).
    pub algorithms: Vec<i64>,
    /// Credentials of which the key must hold none.
    pub exclude_list: Vec<Vec<u8>>,
    /// Store the credential on the key (discoverable).
    pub resident_key: bool,
    /// Enforced: a key that does not apply it is refused.
    pub protection: Option<CredentialProtection>,
    /// Ask for the minimum PIN length, which keys tell to the relying parties they were configured
    /// for ([`super::Config::MinPinLength`]).
    pub min_pin_length: bool,
    /// Enforced: an attestation that names this single key. It must have been enabled
    /// ([`super::Config::EnterpriseAttestation`]).
    pub enterprise_attestation: Option<EnterpriseAttestation>,
    /// Whether the key must verify its user.
    pub user_verification: UserVerification,
}

/// A new credential with its attestation. Flags were checked against the request; signature and chain
/// were not.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Credential id.
    pub credential_id: Vec<u8>,
    /// Model of the key.
    pub aaguid: [u8; 16],
    /// Authenticator data as signed.
    pub auth_data: Vec<u8>,
    /// Attestation object (WebAuthn L3 §6.5.4), CBOR.
    pub attestation_object: Vec<u8>,
    /// Attestation statement format, such as `packed`.
    pub format: String,
    /// The attestation names this single key.
    pub enterprise_attestation: bool,
    /// Shortest PIN the key takes, code points, where it was asked for and the key told.
    pub min_pin_length: Option<u32>,
    /// How the host saw the user verified.
    pub uv_method: Option<UvMethod>,
}

impl Key {
    /// Makes a credential, verifying the user as the request wants. Cancel by dropping the future.
    ///
    /// Keys attest on their own account; nothing is anonymised.
    pub async fn register(
        &mut self,
        request: &RegisterRequest,
        prompt: &Prompt,
    ) -> Result<Registration, OperationError> {
        if self.info().u2f_only {
            return self.register_by_u2f(request, prompt).await;
        }
        if request.protection.is_some() && !self.info().has_extension("credProtect") {
            return Err(OperationError::Unsupported(Feature::CredentialProtection));
        }
        if request.enterprise_attestation.is_some()
            && self.info().options.enterprise_attestation != Some(true)
        {
            return Err(OperationError::Unsupported(Feature::EnterpriseAttestation));
        }
        let insists = self.info().make_credential_needs_uv(request.resident_key);
        let (policy, rp_id) = (request.user_verification, request.rp.id.as_str());
        let permissions = Permissions::MAKE_CREDENTIAL;
        let mut verified = self.verify_user(policy, insists, permissions, rp_id, prompt).await?;
        let answer = loop {
            let parameters = MakeCredential {
                client_data_hash: &request.client_data_hash,
                rp: &request.rp,
                user: &request.user,
                algorithms: &request.algorithms,
                exclude_list: &request.exclude_list,
                resident_key: request.resident_key,
                protection: request.protection,
                min_pin_length: request.min_pin_length && self.info().has_extension("minPinLength"),
                enterprise_attestation: request.enterprise_attestation,
                built_in_uv: verified.during_command(),
            };
            let answer =
                self.make_credential(&parameters, verified.token(), &mut prompt.watch()).await;
            match answer.map_err(|error| missing_uv(error, &verified)) {
                Err(error) if verified.gave_out(&error) && self.pin_stands_in(policy) => {
                    prompt.send(Event::FingerBlocked);
                    verified = self.verify_by_pin(permissions, Some(rp_id), prompt).await?;
                }
                answer => break answer?,
            }
        };
        checked(answer, request, verified.method())
    }
}

fn checked(
    answer: MakeCredentialAnswer,
    request: &RegisterRequest,
    uv_method: Option<UvMethod>,
) -> Result<Registration, OperationError> {
    check_flags(&answer.parsed, &request.rp.id, request.user_verification)?;
    if let Some(level) = request.protection {
        let applied = answer.parsed.extension("credProtect").and_then(Value::as_integer);
        if applied != Some((level as u8).into()) {
            return Err(OperationError::ProtectionMissing);
        }
    }
    // Keys answer a request they do not allow with an ordinary attestation (§6.1.2 step 9).
    if request.enterprise_attestation.is_some() && !answer.enterprise {
        return Err(OperationError::NotEnterprise);
    }
    let min_pin_length = answer.parsed.extension("minPinLength").and_then(Value::as_integer);
    let credential = answer.parsed.credential.ok_or(OperationError::AnswerMismatch)?;
    let attestation_object = cbor::encode(&cbor::named_map([
        ("fmt", Some(answer.format.as_str().into())),
        ("attStmt", Some(answer.statement)),
        ("authData", Some(cbor::bytes(&answer.auth_data))),
    ]));
    Ok(Registration {
        credential_id: credential.id,
        aaguid: credential.aaguid,
        auth_data: answer.auth_data,
        attestation_object,
        format: answer.format,
        enterprise_attestation: answer.enterprise,
        min_pin_length: min_pin_length.and_then(|length| length.try_into().ok()),
        uv_method,
    })
}
