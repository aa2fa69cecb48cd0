//! Security keys: finding them, and asking the person who holds one.

use std::path::PathBuf;

use futures_util::future::join_all;
use signet_ctap::commands::{CredentialProtection, RelyingParty, UserEntity};
use signet_ctap::operation::{
    AssertRequest, Event, OperationError, PinRequest, Prompt, RegisterRequest, UserVerification,
    UvMethod, assert_any, choose,
};
use signet_ctap::{ChannelError, CommandError, Key, OpenError, Timing};
use signet_evidence::ObservedVerification;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::ceremony::{Stage, Waited};
use crate::config::Authenticators;
use crate::failure::Failure;

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

/// A plugged key and where it is.
struct Plugged {
    path: PathBuf,
    name: Option<String>,
}

/// Facts about a plugged key, for listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// Device node.
    pub path: PathBuf,
    /// Maker's name of it; empty when unknown.
    pub product: String,
    /// Model.
    pub aaguid: [u8; 16],
    /// CTAP versions.
    pub versions: Vec<String>,
    /// Whether a PIN is set.
    pub pin_set: bool,
    /// `none`, `not-enrolled` or `enrolled`.
    pub built_in_uv: &'static str,
    /// Shortest PIN, characters.
    pub min_pin_length: u32,
}

/// An assertion by a key, and where in the list of keys it was.
pub struct Asserted {
    /// The key's answer.
    pub assertion: signet_ctap::operation::Assertion,
    place: usize,
}

/// The keys that are plugged in, opened for one request.
pub struct Keys(Vec<Key>);

impl Authenticators {
    fn plugged(&self) -> Vec<Plugged> {
        match self {
            Self::Discover => {
                let found = signet_ctap::discover().unwrap_or_else(|error| {
                    tracing::warn!(%error, "cannot list the security keys");
                    Vec::new()
                });
                found.into_iter().map(|key| Plugged { path: key.path, name: key.name }).collect()
            }
            Self::Paths(paths) => paths
                .iter()
                .filter(|path| path.exists())
                .map(|path| Plugged { path: path.clone(), name: None })
                .collect(),
        }
    }

    /// Opens every plugged key.
    ///
    /// # Errors
    /// [`Failure::NoAuthenticator`] when there is none; why the last one could not be opened when
    /// none could.
    pub async fn open(&self) -> Result<Keys, Failure> {
        let opened = join_all(self.plugged().into_iter().map(open)).await;
        let mut keys = Vec::new();
        let mut failure = Failure::NoAuthenticator;
        for key in opened {
            match key {
                Ok((_, key)) => keys.push(key),
                Err(error) => failure = error,
            }
        }
        if keys.is_empty() { Err(failure) } else { Ok(Keys(keys)) }
    }

    /// Facts about every plugged key that answers.
    pub async fn list(&self) -> Vec<KeyFacts> {
        let opened = join_all(self.plugged().into_iter().map(open)).await;
        opened.into_iter().flatten().map(|(plugged, key)| facts(plugged, &key)).collect()
    }
}

async fn open(plugged: Plugged) -> Result<(Plugged, Key), Failure> {
    let opened = Key::open_path(&plugged.path, Timing::default()).await;
    match opened {
        Ok(key) => Ok((plugged, key)),
        Err(error) => {
            tracing::warn!(path = %plugged.path.display(), %error, "cannot open a security key");
            Err(open_failure(&error))
        }
    }
}

fn open_failure(error: &OpenError) -> Failure {
    match error {
        // A node whose device is gone.
        OpenError::Device(_) => Failure::NoAuthenticator,
        OpenError::Command(CommandError::Channel(ChannelError::Removed(_))) => {
            Failure::AuthenticatorRemoved
        }
        OpenError::Command(CommandError::Channel(ChannelError::Busy)) => Failure::AuthenticatorBusy,
        OpenError::Command(CommandError::Channel(_)) => Failure::AuthenticatorSilent,
        OpenError::NotCtap2 | OpenError::Command(_) => Failure::AuthenticatorUnsuitable,
    }
}

fn facts(plugged: Plugged, key: &Key) -> KeyFacts {
    let info = key.info();
    KeyFacts {
        path: plugged.path,
        product: plugged.name.unwrap_or_default(),
        aaguid: info.aaguid,
        versions: info.versions.clone(),
        pin_set: info.options.client_pin == Some(true),
        built_in_uv: match info.options.user_verification {
            Some(true) => "enrolled",
            Some(false) => "not-enrolled",
            None => "none",
        },
        min_pin_length: info.min_pin_length,
    }
}

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
        let (place, assertion) = converse(operation, events, line).await?;
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
        converse(operation, events, line).await
    }
}

/// Runs an operation while its events go to the person and the person's PINs to it.
async fn converse<T>(
    operation: impl Future<Output = Result<T, OperationError>>,
    mut events: signet_ctap::operation::Events,
    line: &mut Line<'_>,
) -> Result<T, Failure> {
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
            result = &mut operation => return result.map_err(|error| operation_failure(&error)),
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
        E::NoCredentials => Failure::NoCredential,
        E::AlreadyRegistered => Failure::CredentialExcluded,
        E::WrongPin { tries_left } => Failure::PinInvalid { tries_left: *tries_left },
        E::PinAuthBlocked => Failure::PinAuthBlocked,
        E::PinBlocked => Failure::PinBlocked,
        E::PinNotSet => Failure::PinNotSet,
        E::PinChangeRequired => Failure::PinChangeRequired,
        E::UvBlocked => Failure::UvBlocked,
        E::Full => Failure::AuthenticatorFull,
        _ => Failure::AuthenticatorUnsuitable,
    }
}
