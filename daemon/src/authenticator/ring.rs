//! Which keys are plugged in, and who may talk to them now.
//!
//! Some keys drop what they are doing when another channel is opened on them, so the keys belong to
//! one prompt, or to one listing, at a time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use signet_ctap::commands::Info;
use signet_ctap::{ChannelError, CommandError, Key, OpenError, Timing};
use tokio::sync::{OwnedMutexGuard, watch};

use super::Keys;
use crate::config::Authenticators;
use crate::failure::Failure;

/// How long a listing waits for a key; a prompt waits longer.
const LISTING: Duration = Duration::from_secs(3);

/// A plugged key and where it is.
struct Plugged {
    path: PathBuf,
    name: Option<String>,
}

/// Facts about a plugged key, for listing.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyFacts {
    /// Device node.
    pub path: PathBuf,
    /// Maker's name of it; empty when unknown.
    pub product: String,
    /// What it says of itself.
    pub info: Info,
}

/// All security keys of the machine. Clones share them.
#[derive(Clone, Debug)]
pub struct KeyRing {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    source: Authenticators,
    /// Whoever holds it talks to the keys.
    turn: Arc<tokio::sync::Mutex<()>>,
    prompting: watch::Sender<bool>,
    /// What was found when keys were opened last.
    known: Mutex<Vec<KeyFacts>>,
}

/// The keys, taken for a prompt; given back when dropped.
#[derive(Debug)]
pub struct Taken {
    ring: KeyRing,
    _turn: OwnedMutexGuard<()>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.ring.shared.prompting.send_replace(false);
    }
}

impl KeyRing {
    /// The keys that are found there.
    pub fn new(source: Authenticators) -> Self {
        let (prompting, _) = watch::channel(false);
        let shared = Shared { source, turn: Arc::default(), prompting, known: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Takes and opens every plugged key, or `only` the one at this path, for a prompt. Drop the keys
    /// before [`Taken`].
    ///
    /// # Errors
    /// [`Failure::NoAuthenticator`] when there is none; why the last one could not be opened when
    /// none could.
    pub async fn take(&self, only: Option<&Path>) -> Result<(Taken, Keys), Failure> {
        let turn = Arc::clone(&self.shared.turn).lock_owned().await;
        self.shared.prompting.send_replace(true);
        let taken = Taken { ring: self.clone(), _turn: turn };
        let mut plugged = self.plugged();
        plugged.retain(|key| only.is_none_or(|only| key.path == only));
        let opened = join_all(plugged.into_iter().map(open)).await;
        let (mut keys, mut known) = (Vec::new(), Vec::new());
        let mut failure = Failure::NoAuthenticator;
        for key in opened {
            match key {
                Ok((plugged, key)) => {
                    known.push(facts(plugged, &key));
                    keys.push(key);
                }
                Err(error) => failure = error,
            }
        }
        if only.is_none() {
            self.remember(known);
        }
        if keys.is_empty() { Err(failure) } else { Ok((taken, Keys(keys))) }
    }

    /// Facts about every plugged key that answers. While a prompt has the keys: about those it has.
    pub async fn list(&self) -> Vec<KeyFacts> {
        let mut prompting = self.shared.prompting.subscribe();
        let turn = tokio::select! {
            biased;
            _ = prompting.wait_for(|prompting| *prompting) => None,
            turn = self.shared.turn.lock() => Some(turn),
        };
        if turn.is_none() {
            return self.shared.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        }
        let opening =
            self.plugged().into_iter().map(|key| tokio::time::timeout(LISTING, open(key)));
        let opened = join_all(opening).await.into_iter().flatten().flatten();
        let known: Vec<KeyFacts> = opened.map(|(plugged, key)| facts(plugged, &key)).collect();
        self.remember(known.clone());
        known
    }

    /// Whether there is any, as far as can be seen without opening it.
    pub fn any_plugged(&self) -> bool {
        !self.plugged().is_empty()
    }

    fn remember(&self, known: Vec<KeyFacts>) {
        *self.shared.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    fn plugged(&self) -> Vec<Plugged> {
        match &self.shared.source {
            Authenticators::Discover => {
                let found = signet_ctap::discover().unwrap_or_else(|error| {
                    tracing::warn!(%error, "cannot list the security keys");
                    Vec::new()
                });
                found.into_iter().map(|key| Plugged { path: key.path, name: key.name }).collect()
            }
            Authenticators::Paths(paths) => paths
                .iter()
                .filter(|path| path.exists())
                .map(|path| Plugged { path: path.clone(), name: None })
                .collect(),
        }
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
        OpenError::NotFido | OpenError::Command(_) => Failure::AuthenticatorUnsuitable,
    }
}

fn facts(plugged: Plugged, key: &Key) -> KeyFacts {
    KeyFacts {
        path: plugged.path,
        product: plugged.name.unwrap_or_default(),
        info: key.info().clone(),
    }
}
