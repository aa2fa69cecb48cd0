//! Security keys: finding them, and asking the person who holds one.

mod ring;
mod upkeep;

use signet_ctap::Key;
use signet_ctap::commands::{CredentialProtection, RelyingParty, UserEntity};
use signet_ctap::operation::{
    AssertRequest, Event, OperationError, PinRequest, Prompt, RegisterRequest, UserVerification,
    UvMethod, assert_any, choose,
};
use signet_evidence::ObservedVerification;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::ceremony::{Stage, Waited};
use crate::failure::Failure;

pub use ring::{KeyFacts, KeyRing, Taken};
pub use upkeep::{Finding, MAX_PIN, Setting, Task, Upkeep};

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
    /// How many keys blinked for the person to choose one; 0 while there was no choice.
    blinked: usize,
}

impl<'a> Line<'a> {
    /// A line over these ends.
    pub fn new(
        notice: &'a mut (dyn FnMut(Stage) + Send),
        pins: &'a mut mpsc::Receiver<Pin>,
    ) -> Self {
        Self { notice, pins, blinked: 0 }
    }
}

/// An assertion by a key, and where in the list of keys it was.
pub struct Asserted {
    /// The key's answer.
    pub assertion: signet_ctap::operation::Assertion,
    place: usize,
}

/// The keys that are plugged in, opened for one request.
pub struct Keys(Vec<Key>);

impl Keys {
    /// An assertion from whichever key the person touches; `required`: the key verifies its user.
    ///
    /// # Errors
    /// What the person or the key did.
    pub async fn assert(
        &mut self,
        rp_id: &str,
        client_data_hash: [u8; 32],
        allow_list: &[Vec<u8>],
        required: bool,
        line: &mut Line<'_>,
    ) -> Result<Asserted, Failure> {
        if allow_list.is_empty() {
            return Err(Failure::NoCredential);
        }
        let request = AssertRequest {
            rp_id: rp_id.to_owned(),
            client_data_hash,
            allow_list: allow_list.to_vec(),
            user_verification: if required {
                UserVerification::Required { pin_fallback: true }
            } else {
                UserVerification::Discouraged
            },
        };
        let (prompt, events) = Prompt::new();
        let operation = assert_any(&mut self.0, &request, &prompt);
        let asserted = converse(operation, events, line).await;
        let (place, assertion) = asserted.map_err(|error| match error {
            // Hidden credentials show only after the PIN (credProtect): another key may have it.
            OperationError::NoCredentials if line.blinked > 1 => Failure::WrongAuthenticator,
            error => operation_failure(&error),
        })?;
        Ok(Asserted { assertion, place })
    }

    /// A new credential on whichever key the person touches; not on the one that just authorised
    /// it, when there is another.
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
        let request = RegisterRequest {
            rp: RelyingParty { id: rp_id.to_owned(), name: rp_id.to_owned() },
            user: UserEntity {
                // Not the name itself: a key must not give it away to who finds it (WebAuthn §14.6.1).
                id: signet_evidence::binding::sha256(subject.as_bytes()).to_vec(),
                name: subject.to_owned(),
                display_name: subject.to_owned(),
            },
            client_data_hash,
            algorithms: vec![ES256],
            exclude_list: exclude_list.to_vec(),
            resident_key: false,
            protection: Some(CredentialProtection::UserVerificationRequired),
            min_pin_length: false,
            enterprise_attestation: None,
            user_verification: UserVerification::Required { pin_fallback: true },
        };
        let (prompt, events) = Prompt::new();
        let spare = authorised_by.map(|asserted| asserted.place).filter(|_| self.0.len() > 1);
        let keys = self.0.iter_mut().enumerate();
        let candidates: Vec<(usize, &mut Key)> =
            keys.filter(|(place, _)| Some(*place) != spare).collect();
        let operation = async {
            let (_, key) = choose(candidates, &prompt).await?;
            key.register(&request, &prompt).await
        };
        converse(operation, events, line).await.map_err(|error| operation_failure(&error))
    }
}

/// Runs an operation while its events go to the person and the person's PINs to it.
async fn converse<T>(
    operation: impl Future<Output = Result<T, OperationError>>,
    mut events: signet_ctap::operation::Events,
    line: &mut Line<'_>,
) -> Result<T, OperationError> {
    line.blinked = 0;
    let mut operation = std::pin::pin!(operation);
    let mut asked: Option<PinRequest> = None;
    loop {
        tokio::select! {
            biased;
            Some(event) = events.next() => {
                if let Some(stage) = stage(&event) {
                    (line.notice)(stage);
                }
                match event {
                    Event::PinNeeded(request) => asked = Some(request),
                    Event::ChoiceNeeded { keys } => line.blinked = keys,
                    _ => {}
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

fn operation_failure(error: &OperationError) -> Failure {
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
        E::NoCredentials | E::WrongKey => Failure::NoCredential,
        E::AlreadyRegistered => Failure::CredentialExcluded,
        E::WrongPin { tries_left } => Failure::PinInvalid { tries_left: *tries_left },
        E::PinAuthBlocked => Failure::PinAuthBlocked,
        E::PinBlocked => Failure::PinBlocked,
        E::PinNotSet => Failure::PinNotSet,
        E::PinChangeRequired => Failure::PinChangeRequired,
        E::PinAlreadySet => Failure::PinAlreadySet,
        E::PinTooShort { min_length } => Failure::PinTooShort { min_length: *min_length },
        E::PinTooLong => Failure::PinTooLong,
        E::PinPolicy => Failure::PinPolicy,
        E::UvBlocked => Failure::UvBlocked,
        E::WrongFinger => Failure::UvInvalid,
        E::Full => Failure::AuthenticatorFull,
        E::Unsupported(_) => Failure::NotSupported,
        E::NotAllowed => Failure::NotJustPlugged,
        _ => Failure::AuthenticatorUnsuitable,
    }
}
