//! Which keys are plugged in, and who may talk to them now.
//!
//! Some keys drop what they are doing when another channel is opened on them, so the keys belong to
//! one prompt, or to one listing, at a time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use signet_ctap::commands::Info;
use signet_ctap::{ChannelError, CommandError, Key, OpenError};
use tokio::sync::{OwnedMutexGuard, watch};

use super::plugged::{Node, Plugs};
use super::{Keys, Line, PluggedKeys, Source};
use crate::ceremony::Stage;
use crate::failure::Failure;

/// How long a listing waits for a key; a prompt waits longer.
const LISTING: Duration = Duration::from_secs(3);

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
    plugs: Plugs,
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
    /// The keys that come from there. Needs a tokio runtime.
    pub fn new(source: Source) -> Self {
        let (prompting, _) = watch::channel(false);
        let plugs = Plugs::watch(source);
        let (turn, known) = (Arc::default(), Mutex::default());
        let shared = Shared { plugs, turn, prompting, known };
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
        let mut plugged = self.shared.plugs.nodes();
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
        let paths = known.iter().map(|key| key.path.clone()).collect();
        if only.is_none() {
            self.remember(known);
        }
        if keys.is_empty() { Err(failure) } else { Ok((taken, Keys(keys, paths))) }
    }

    /// As [`Self::take`] for all keys, but while none is plugged in, the person is asked for one.
    ///
    /// # Errors
    /// As [`Self::take`], without [`Failure::NoAuthenticator`].
    pub async fn take_when_plugged(&self, line: &mut Line<'_>) -> Result<(Taken, Keys), Failure> {
        let mut plugs = self.changes();
        let mut asked = false;
        loop {
            plugs.mark_unchanged();
            match self.take(None).await {
                Err(Failure::NoAuthenticator) => {}
                taken => return taken,
            }
            if !std::mem::replace(&mut asked, true) {
                (line.notice)(Stage::KeyNeeded);
            }
            if plugs.changed().await.is_err() {
                // Nobody tells of new keys: the prompt's own time ends this.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The plugged keys, and every change of them.
    pub fn changes(&self) -> watch::Receiver<PluggedKeys> {
        self.shared.plugs.subscribe()
    }

    /// Whether the key was plugged in within the last ten seconds; one that was there when the
    /// daemon started was not.
    pub fn is_just_plugged(&self, path: &Path) -> bool {
        self.shared.plugs.is_just_plugged(path)
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
        let opening = self
            .shared
            .plugs
            .nodes()
            .into_iter()
            .map(|key| tokio::time::timeout(LISTING, open(key)));
        let opened = join_all(opening).await.into_iter().flatten().flatten();
        let known: Vec<KeyFacts> = opened.map(|(plugged, key)| facts(plugged, &key)).collect();
        self.remember(known.clone());
        known
    }

    /// Whether there is any, as far as can be seen without opening it.
    pub fn any_plugged(&self) -> bool {
        !self.shared.plugs.nodes().is_empty()
    }

    fn remember(&self, known: Vec<KeyFacts>) {
        *self.shared.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }
}

async fn open(plugged: Node) -> Result<(Node, Key), Failure> {
    let opened = plugged.open().await;
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

fn facts(plugged: Node, key: &Key) -> KeyFacts {
    KeyFacts {
        path: plugged.path,
        product: plugged.name.unwrap_or_default(),
        info: key.info().clone(),
    }
}
