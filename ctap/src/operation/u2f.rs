//! Keys of the U2F generation: a touch and nothing else, in the shapes of WebAuthn.
//!
//! Such a key answers at once that it was not touched, so it is asked again and again. What it signs
//! is what a CTAP2 key would sign: the RP ID's hash stands for the application, the client data's for
//! the challenge (CTAP 2.1 §7.2, §7.3). A touch counts for ten seconds on some keys, whichever
//! program asks next.

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::{Instant, sleep};

use super::assert::{AssertRequest, Assertion};
use super::error::{Feature, OperationError};
use super::prompt::{Event, Prompt};
use super::register::{RegisterRequest, Registration};
use super::verify::UserVerification;
use crate::cbor;
use crate::channel::Keepalive;
use crate::commands::u2f::MAX_KEY_HANDLE;
use crate::commands::{U2fAssertion, U2fRegistration};
use crate::key::{CommandError, Key};
use crate::status::StatusWord;

const ES256: i64 = -7;
const USER_PRESENT: u8 = 0x01;
const ATTESTED_CREDENTIAL: u8 = 0x40;
/// U2F keys have no model identifier.
const NO_AAGUID: [u8; 16] = [0; 16];

impl Key {
    pub(super) async fn register_by_u2f(
        &mut self,
        request: &RegisterRequest,
        prompt: &Prompt,
    ) -> Result<Registration, OperationError> {
        let lacking = match request {
            r if r.user_verification != UserVerification::Discouraged => Feature::UserVerification,
            r if r.resident_key => Feature::CredentialManagement,
            r if r.protection.is_some() => Feature::CredentialProtection,
            r if r.enterprise_attestation.is_some() => Feature::EnterpriseAttestation,
            r if !r.algorithms.contains(&ES256) => Feature::Algorithm,
            request => return self.register_touched(request, prompt).await,
        };
        Err(OperationError::Unsupported(lacking))
    }

    async fn register_touched(
        &mut self,
        request: &RegisterRequest,
        prompt: &Prompt,
    ) -> Result<Registration, OperationError> {
        let application = hash(&request.rp.id);
        if self.known(&application, &request.exclude_list).await?.is_some() {
            return Err(OperationError::AlreadyRegistered);
        }
        let mut touch = Touch::new(self, prompt);
        let made = loop {
            let answer = self
                .u2f_register(&request.client_data_hash, &application, &mut touch.watch())
                .await;
            match touch.given(answer).await? {
                Some(made) => break made,
                None => continue,
            }
        };
        Ok(registration(&application, made))
    }

    pub(super) async fn assert_by_u2f(
        &mut self,
        request: &AssertRequest,
        prompt: &Prompt,
    ) -> Result<Assertion, OperationError> {
        if request.user_verification != UserVerification::Discouraged {
            return Err(OperationError::Unsupported(Feature::UserVerification));
        }
        let application = hash(&request.rp_id);
        let known = self.known(&application, &request.allow_list).await?;
        let id = known.ok_or(OperationError::NoCredentials)?;
        let mut touch = Touch::new(self, prompt);
        let signed = loop {
            let challenge = &request.client_data_hash;
            let answer =
                self.u2f_authenticate(challenge, &application, id, &mut touch.watch()).await;
            match touch.given(answer).await? {
                Some(signed) => break signed,
                None => continue,
            }
        };
        assertion(&application, id, signed)
    }

    /// Blinks until touched, by a registration that nobody keeps.
    pub(super) async fn blink_by_u2f(&mut self) -> Result<(), OperationError> {
        let mut touch = Touch::new(self, &Prompt::nobody());
        loop {
            let answer = self.u2f_register(&[0; 32], &hash(".dummy"), &mut |_| {}).await;
            if touch.given(answer).await?.is_some() {
                return Ok(());
            }
        }
    }

    /// The first credential of the list that the key made. Nothing blinks.
    pub(super) async fn known<'a>(
        &mut self,
        application: &[u8; 32],
        list: &'a [Vec<u8>],
    ) -> Result<Option<&'a [u8]>, OperationError> {
        for id in list.iter().filter(|id| (1..=MAX_KEY_HANDLE).contains(&id.len())) {
            if self.u2f_knows(application, id).await? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}

/// Waiting for a touch by asking again.
struct Touch {
    prompt: Prompt,
    told: bool,
    until: Instant,
    pause: std::time::Duration,
}

impl Touch {
    fn new(key: &mut Key, prompt: &Prompt) -> Self {
        let timing = key.channel().timing();
        let until = Instant::now() + timing.answer;
        Self { prompt: prompt.clone(), told: false, until, pause: timing.touch_poll }
    }

    /// Says once that a touch is needed; some keys wait a while before they answer that.
    fn needed(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            self.prompt.send(Event::TouchNeeded);
        }
    }

    fn watch(&mut self) -> impl FnMut(Keepalive) + Send {
        |keepalive| {
            if keepalive == Keepalive::UserNeeded {
                self.needed();
            }
        }
    }

    /// The answer of a touched key; `None`: ask again, a pause has passed.
    async fn given<T>(
        &mut self,
        answer: Result<T, CommandError>,
    ) -> Result<Option<T>, OperationError> {
        match answer {
            Err(CommandError::StatusWord(StatusWord::CONDITIONS_NOT_SATISFIED)) => {
                self.needed();
                if Instant::now() >= self.until {
                    return Err(OperationError::Timeout);
                }
                sleep(self.pause).await;
                Ok(None)
            }
            answer => Ok(answer.map(Some)?),
        }
    }
}

pub(super) fn hash(rp_id: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, rp_id.as_bytes()).as_ref());
    hash
}

/// The attestation object of format `fido-u2f` (WebAuthn L3 §8.6, CTAP 2.1 §7.2).
fn registration(rp_id_hash: &[u8; 32], made: U2fRegistration) -> Registration {
    let (x, y) = made.public_point[1..].split_at(32);
    let public_key = cbor::encode(&cbor::map([
        (1, Some(2.into())),
        (3, Some(ES256.into())),
        (-1, Some(1.into())),
        (-2, Some(cbor::bytes(x))),
        (-3, Some(cbor::bytes(y))),
    ]));
    let auth_data = [
        &rp_id_hash[..],
        &[USER_PRESENT | ATTESTED_CREDENTIAL],
        &0u32.to_be_bytes(),
        &NO_AAGUID,
        // A key handle has at most 255 bytes.
        &(made.key_handle.len() as u16).to_be_bytes(),
        &made.key_handle,
        &public_key,
    ]
    .concat();
    let statement = cbor::named_map([
        ("sig", Some(cbor::bytes(&made.signature))),
        ("x5c", Some(ciborium::Value::Array(vec![cbor::bytes(&made.certificate)]))),
    ]);
    let format = "fido-u2f".to_owned();
    let attestation_object = cbor::encode(&cbor::named_map([
        ("fmt", Some(format.as_str().into())),
        ("attStmt", Some(statement)),
        ("authData", Some(cbor::bytes(&auth_data))),
    ]));
    Registration {
        credential_id: made.key_handle,
        aaguid: NO_AAGUID,
        auth_data,
        attestation_object,
        format,
        enterprise_attestation: false,
        min_pin_length: None,
        uv_method: None,
    }
}

fn assertion(
    rp_id_hash: &[u8; 32],
    id: &[u8],
    signed: U2fAssertion,
) -> Result<Assertion, OperationError> {
    match signed.user_presence {
        USER_PRESENT => {}
        0 => return Err(OperationError::UpFlagMissing),
        // The byte is signed as the flags of CTAP2: it must claim nothing a U2F key cannot do.
        _ => return Err(OperationError::AnswerMismatch),
    }
    let auth_data =
        [&rp_id_hash[..], &[signed.user_presence], &signed.counter.to_be_bytes()].concat();
    Ok(Assertion {
        credential_id: id.to_vec(),
        auth_data,
        signature: signed.signature,
        user_handle: None,
        uv_method: None,
    })
}
