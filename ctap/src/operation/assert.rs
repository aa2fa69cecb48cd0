//! Assertions: someone is here, and agrees.

use super::error::OperationError;
use super::prompt::{Event, Prompt};
use super::u2f::hash;
use super::verify::{UserVerification, UvMethod, Verified};
use crate::authenticator_data::AuthenticatorData;
use crate::commands::{GetAssertion, GetAssertionAnswer, Permissions};
use crate::key::{CommandError, Key};
use crate::pin_protocol::Token;
use crate::status::Status;

/// What is to be signed, by which credentials.
#[derive(Debug, Clone)]
pub struct AssertRequest {
    /// RP ID.
    pub rp_id: String,
    /// SHA-256 of the client data.
    pub client_data_hash: [u8; 32],
    /// Acceptable credential ids; empty: any discoverable credential of the relying party.
    pub allow_list: Vec<Vec<u8>>,
    /// Whether the key must verify its user.
    pub user_verification: UserVerification,
}

/// A signature by a key. The flags were checked against the request, the signature was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// Which credential signed.
    pub credential_id: Vec<u8>,
    /// Authenticator data as signed.
    pub auth_data: Vec<u8>,
    /// Signature over authenticator data and client data hash.
    pub signature: Vec<u8>,
    /// User handle of a discoverable credential.
    pub user_handle: Option<Vec<u8>>,
    /// How the host saw the user verified.
    pub uv_method: Option<UvMethod>,
}

/// Whether a key holds an acceptable credential, as far as it says without its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Yes,
    No,
    /// It may hold one that it hides until its user is verified (credProtect).
    Unsaid,
}

impl Key {
    /// Gets an assertion, verifying the user as the request wants. Cancel by dropping the future.
    pub async fn assert(
        &mut self,
        request: &AssertRequest,
        prompt: &Prompt,
    ) -> Result<Assertion, OperationError> {
        if self.info().u2f_only {
            return self.assert_by_u2f(request, prompt).await;
        }
        let allow_list = self.shortened(request).await?;
        let insists = self.info().always_uv();
        let (policy, rp_id) = (request.user_verification, request.rp_id.as_str());
        let permissions = Permissions::GET_ASSERTION;
        let mut verified = self.verify_user(policy, insists, permissions, rp_id, prompt).await?;
        let answer = loop {
            let parameters = GetAssertion {
                rp_id,
                client_data_hash: &request.client_data_hash,
                allow_list: &allow_list,
                user_presence: true,
                built_in_uv: verified.during_command(),
            };
            let answer =
                self.get_assertion(&parameters, verified.token(), &mut prompt.watch()).await;
            match answer.map_err(|error| missing_uv(error, &verified)) {
                Err(error) if verified.gave_out(&error) && self.pin_stands_in(policy) => {
                    prompt.send(Event::FingerBlocked);
                    verified = self.verify_by_pin(permissions, Some(rp_id), prompt).await?;
                }
                answer => break answer?,
            }
        };
        checked(answer, request, &allow_list, &verified)
    }

    /// Whether the key holds a credential of the allow list; nothing blinks.
    pub(super) async fn holds(&mut self, request: &AssertRequest) -> Result<Holds, OperationError> {
        if self.info().u2f_only {
            let known = self.known(&hash(&request.rp_id), &request.allow_list).await?;
            return Ok(if known.is_some() { Holds::Yes } else { Holds::No });
        }
        match self.find_silently(&request.rp_id, &request.allow_list, None).await? {
            Some(_) => Ok(Holds::Yes),
            // Keys that always want their user need not answer silently.
            None if self.info().always_uv() => Ok(Holds::Unsaid),
            None if self.info().has_extension("credProtect")
                && request.user_verification.is_required() =>
            {
                Ok(Holds::Unsaid)
            }
            None => Ok(Holds::No),
        }
    }

    /// The allow list, cut to what the key takes in one message.
    async fn shortened(&mut self, request: &AssertRequest) -> Result<Vec<Vec<u8>>, OperationError> {
        let list = &request.allow_list;
        if self.batches(list).len() == 1 {
            return Ok(list.clone());
        }
        match self.find_silently(&request.rp_id, list, None).await? {
            Some(id) => Ok(vec![id]),
            // Hidden ones are looked for in the first batch only: an operator has a handful of keys.
            None => Ok(self.batches(list).into_iter().next().unwrap_or_default().to_vec()),
        }
    }

    /// Looks for a credential of the list without touch.
    async fn find_silently(
        &mut self,
        rp_id: &str,
        list: &[Vec<u8>],
        token: Option<&Token>,
    ) -> Result<Option<Vec<u8>>, OperationError> {
        let batches: Vec<Vec<Vec<u8>>> =
            self.batches(list).into_iter().map(<[_]>::to_vec).collect();
        for batch in batches {
            let parameters = GetAssertion {
                rp_id,
                client_data_hash: &[0; 32],
                allow_list: &batch,
                user_presence: false,
                built_in_uv: false,
            };
            match self.get_assertion(&parameters, token, &mut |_| {}).await {
                Ok(answer) => {
                    let only = batch.first().filter(|_| batch.len() == 1).cloned();
                    return Ok(answer.credential_id.or(only));
                }
                // Keys that always want their user do not answer silently.
                Err(CommandError::Status(
                    Status::NO_CREDENTIALS | Status::INVALID_CREDENTIAL | Status::PUAT_REQUIRED,
                )) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    fn batches<'a>(&self, list: &'a [Vec<u8>]) -> Vec<&'a [Vec<u8>]> {
        // Rp id, hash, token and the descriptors' own members.
        const OVERHEAD: usize = 400;
        const DESCRIPTOR: usize = 24;
        if list.is_empty() {
            // One request without a list: any discoverable credential.
            return vec![list];
        }
        let info = self.info();
        let longest = list.iter().map(Vec::len).max().unwrap_or(0) + DESCRIPTOR;
        let fit = (info.max_message_size as usize).saturating_sub(OVERHEAD) / longest;
        let count = info.max_credentials_in_list.map_or(fit, |count| fit.min(count as usize));
        list.chunks(count.max(1)).collect()
    }
}

/// A key that wants its user although the request did not, or does not know the one it saw.
pub(super) fn missing_uv(error: CommandError, verified: &Verified) -> OperationError {
    match (error, verified) {
        (CommandError::Status(Status::PUAT_REQUIRED), Verified::Not) => {
            OperationError::UvRequiredByKey
        }
        // What is left to such a key is the PIN (CTAP 2.1 §6.2.2 step 6).
        (CommandError::Status(Status::PUAT_REQUIRED), Verified::DuringCommand) => {
            OperationError::WrongFinger
        }
        (error, _) => error.into(),
    }
}

/// Flags and relying party that every signed answer must show.
pub(super) fn check_flags(
    data: &AuthenticatorData,
    rp_id: &str,
    policy: UserVerification,
) -> Result<(), OperationError> {
    if data.rp_id_hash != hash(rp_id) {
        return Err(OperationError::AnswerMismatch);
    }
    if !data.user_present {
        return Err(OperationError::UpFlagMissing);
    }
    match policy {
        policy if policy.is_required() && !data.user_verified => Err(OperationError::UvFlagMissing),
        _ => Ok(()),
    }
}

fn checked(
    answer: GetAssertionAnswer,
    request: &AssertRequest,
    allow_list: &[Vec<u8>],
    verified: &Verified,
) -> Result<Assertion, OperationError> {
    check_flags(&answer.parsed, &request.rp_id, request.user_verification)?;
    let credential_id = match (answer.credential_id, allow_list) {
        (Some(id), []) => id,
        (Some(id), list) if list.contains(&id) => id,
        (None, [only]) => only.clone(),
        _ => return Err(OperationError::AnswerMismatch),
    };
    Ok(Assertion {
        credential_id,
        auth_data: answer.auth_data,
        signature: answer.signature,
        user_handle: answer.user_handle,
        uv_method: verified.method(),
    })
}
