//! Security keys: finding them, and asking the person who holds one.

mod broker;
mod plugged;
mod ring;
mod upkeep;

use std::path::PathBuf;

use signet_ctap::Key;
use signet_ctap::commands::{CredentialProtection, Info, RelyingParty, UserEntity};
use signet_ctap::operation::{
    AssertRequest, Event, Feature, OperationError, PinRequest, Prompt, RegisterRequest,
    UserVerification, UvMethod, assert_each, choose,
};
use signet_evidence::ObservedVerification;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::ceremony::{Stage, Waited};
use crate::failure::{ArgumentError, Failure};

pub use broker::handed_socket;
pub use plugged::{NoKeySocket, PluggedKeys, Source};
pub use ring::{KeyFacts, KeyRing, Taken};
pub use upkeep::{Finding, MAX_PIN, Task, Upkeep};

/// COSE algorithm ES256, the only one in this version.
const ES256: i64 = -7;

/// A PIN on its way to the key.
pub type Pin = Zeroizing<String>;

/// The line to the person during one request: stages go out, PINs come in.
pub struct Line<'a> {
    /// Told of each stage.
    pub notice: &'a mut (dyn FnMut(Stage) + Send),
    /// PINs that the caller provides.
    pub pins: &'a mut mpsc::Receiver<Pin>,
}

/// An assertion by a key, and where in the list of keys it was.
pub struct Asserted {
    /// The key's answer.
    pub assertion: signet_ctap::operation::Assertion,
    /// The key's device node.
    pub path: Option<PathBuf>,
    place: usize,
}

/// The keys that are plugged in, opened for one request, and their device nodes.
pub struct Keys(Vec<Key>, Vec<PathBuf>);

/// What is to be asserted, and by which credentials.
#[derive(Clone, Copy, Debug)]
pub struct AssertionQuestion<'a> {
    /// RP ID.
    pub rp_id: &'a str,
    /// SHA-256 of the client data.
    pub client_data_hash: [u8; 32],
    /// Credentials of keys that can verify their user.
    pub allow_list: &'a [Vec<u8>],
    /// Credentials of keys that can only be touched.
    pub touch_list: &'a [Vec<u8>],
    /// Whether keys that can verify their user must.
    pub required: bool,
}

impl AssertionQuestion<'_> {
    fn ask(&self, lists: &[&[Vec<u8>]], user_verification: UserVerification) -> AssertRequest {
        AssertRequest {
            rp_id: self.rp_id.to_owned(),
            client_data_hash: self.client_data_hash,
            allow_list: lists.concat(),
            user_verification,
        }
    }
}

impl Keys {
    /// An assertion from whichever key the person touches.
    ///
    /// # Errors
    /// What the person or the key did.
    pub async fn assert(
        &mut self,
        question: &AssertionQuestion<'_>,
        line: &mut Line<'_>,
    ) -> Result<Asserted, Failure> {
        let AssertionQuestion { allow_list, touch_list, required, .. } = *question;
        let (able, unable) = if required {
            let verified = UserVerification::Required { pin_fallback: true };
            let touched = UserVerification::Discouraged;
            (question.ask(&[allow_list], verified), question.ask(&[touch_list], touched))
        } else {
            let both = question.ask(&[allow_list, touch_list], UserVerification::Discouraged);
            (both.clone(), both)
        };
        let keys = self.0.iter_mut().enumerate();
        let asked = keys.map(|(place, key)| match can_verify(key.info()) {
            true => (place, key, &able),
            false => (place, key, &unable),
        });
        // An empty list would mean any credential.
        let asked: Vec<(usize, &mut Key, &AssertRequest)> =
            asked.filter(|(_, _, request)| !request.allow_list.is_empty()).collect();
        if asked.is_empty() {
            return Err(match allow_list {
                [] => Failure::NoCredential,
                _ => Failure::NotSupported { lacks: Feature::UserVerification },
            });
        }
        let (prompt, events) = Prompt::new();
        let asserted = converse(assert_each(asked, &prompt), events, line).await;
        let (place, assertion) = asserted.map_err(|error| operation_failure(&error))?;
        Ok(Asserted { assertion, path: self.1.get(place).cloned(), place })
    }

    /// A new credential on whichever key the person touches; not on the one that just authorised
    /// it, when there is another. Keys that can verify their user do.
    ///
    /// # Errors
    /// What the person or the key did.
    pub async fn register(
        &mut self,
        rp_id: &str,
        subject: &str,
        client_data_hash: [u8; 32],
        exclude_list: &[Vec<u8>],
        authorised_by: Option<&Asserted>,
        line: &mut Line<'_>,
    ) -> Result<signet_ctap::operation::Registration, Failure> {
        let user = UserEntity {
            // Not the name itself: a key must not give it away to who finds it (WebAuthn §14.6.1).
            id: signet_evidence::binding::sha256(subject.as_bytes()).to_vec(),
            name: subject.to_owned(),
            display_name: subject.to_owned(),
        };
        let (prompt, events) = Prompt::new();
        let spare = authorised_by.map(|asserted| asserted.place).filter(|_| self.0.len() > 1);
        let keys = self.0.iter_mut().enumerate();
        let candidates: Vec<(usize, &mut Key)> =
            keys.filter(|(place, _)| Some(*place) != spare).collect();
        let operation = async {
            let (_, key) = choose(candidates, &prompt).await?;
            let verifies = can_verify(key.info());
            let request = RegisterRequest {
                rp: RelyingParty { id: rp_id.to_owned(), name: rp_id.to_owned() },
                user,
                client_data_hash,
                algorithms: vec![ES256],
                exclude_list: exclude_list.to_vec(),
                resident_key: false,
                min_pin_length: false,
                enterprise_attestation: None,
                protection: (verifies && key.info().has_extension("credProtect"))
                    .then_some(CredentialProtection::UserVerificationRequired),
                user_verification: match verifies {
                    true => UserVerification::Required { pin_fallback: true },
                    false => UserVerification::Discouraged,
                },
            };
            key.register(&request, &prompt).await
        };
        converse(operation, events, line).await.map_err(|error| operation_failure(&error))
    }
}

/// Whether the key has any way to verify its user, set up or not. A touch is all that others prove.
pub(crate) fn can_verify(info: &Info) -> bool {
    !info.u2f_only && info.options.client_pin.or(info.options.user_verification).is_some()
}

/// Runs an operation while its events go to the person and the person's PINs to it.
async fn converse<T>(
    operation: impl Future<Output = Result<T, OperationError>>,
    mut events: signet_ctap::operation::Events,
    line: &mut Line<'_>,
) -> Result<T, OperationError> {
    let mut operation = std::pin::pin!(operation);
    let mut asked: Option<PinRequest> = None;
    loop {
        tokio::select! {
            biased;
            Some(event) = events.next() => {
                if let Some(stage) = stage(&event) {
                    (line.notice)(stage);
                }
                if let Event::PinNeeded(request) = event {
                    asked = Some(request);
                }
            }
            Some(pin) = line.pins.recv() => {
                // The ceremony lets a PIN in only when one was asked for.
                if let Some(request) = asked.take() {
                    request.answer(pin);
                }
            }
            result = &mut operation => return result,
        }
    }
}

fn stage(event: &Event) -> Option<Stage> {
    match event {
        Event::Processing => Some(Stage::Processing),
        Event::TouchNeeded | Event::ChoiceNeeded { .. } => Some(Stage::TouchNeeded),
        Event::FingerNeeded => Some(Stage::FingerNeeded),
        Event::WrongFinger { tries_left } => Some(Stage::WrongFinger { tries_left: *tries_left }),
        Event::PinNeeded(request) => Some(Stage::PinNeeded {
            tries_left: request.tries_left,
            min_length: request.min_length,
        }),
        Event::SampleTaken { status, remaining } => {
            Some(Stage::Sample { status: *status, remaining: *remaining })
        }
        // The question for the PIN follows.
        _ => None,
    }
}

/// How the host saw the user verified, as evidence words it.
pub fn observed(method: UvMethod) -> ObservedVerification {
    match method {
        UvMethod::BuiltIn => ObservedVerification::BuiltIn,
        UvMethod::Pin => ObservedVerification::Pin,
    }
}

/// What a caller is told of a key's answer.
pub fn operation_failure(error: &OperationError) -> Failure {
    use OperationError as E;
    tracing::info!(%error, "the security key gave no answer");
    match error {
        E::KeyRemoved(_) => Failure::AuthenticatorRemoved,
        E::NoAnswer => Failure::AuthenticatorSilent,
        E::Busy => Failure::AuthenticatorBusy,
        E::Timeout => Failure::TimedOut(Waited::Person),
        E::Cancelled | E::Refused | E::Declined => Failure::Declined,
        E::NobodyToAsk => Failure::CannotPrompt,
        E::NoKey => Failure::NoAuthenticator,
        E::NoCredentials => Failure::NoCredential,
        E::CredentialNotFound => Failure::CredentialNotFound,
        E::WrongKey => Failure::WrongAuthenticator,
        E::AlreadyRegistered => Failure::CredentialExcluded,
        E::WrongPin { tries_left } => Failure::PinInvalid { tries_left: *tries_left },
        E::PinAuthBlocked => Failure::PinAuthBlocked,
        E::PinBlocked => Failure::PinBlocked,
        E::PinNotSet => Failure::PinNotSet,
        E::PinChangeRequired => Failure::PinChangeRequired,
        E::PinAlreadySet => Failure::PinAlreadySet,
        E::PinTooShort { min_length } => Failure::PinTooShort { min_length: *min_length },
        E::PinTooLong => Failure::PinTooLong,
        E::PinUnchanged => Failure::PinUnchanged,
        E::PinPolicy => Failure::PinPolicy,
        E::MinPinLengthOutOfRange { from, to } => {
            ArgumentError::MinPinLength { from: *from, to: *to }.into()
        }
        E::UvBlocked => Failure::UvBlocked,
        E::WrongFinger => Failure::UvInvalid,
        E::NoFingerEnrolled => Failure::NoFingerEnrolled,
        E::UvRequiredByKey => Failure::UvRequiredByAuthenticator,
        E::FingersFull => Failure::FingerprintsFull,
        E::FingerNotFound => Failure::FingerNotFound,
        E::NameTooLong { limit } => ArgumentError::NameTooLong { limit: *limit }.into(),
        E::Full => Failure::AuthenticatorFull,
        E::Unsupported(lacks) => Failure::NotSupported { lacks: *lacks },
        E::NotApplied => Failure::SettingNotApplied,
        E::NotAllowed | E::NotJustPlugged => Failure::NotJustPlugged,
        _ => Failure::AuthenticatorUnsuitable,
    }
}
