//! What this node refuses because it was revoked: in memory, fed by the store.
//!
//! A revocation made here counts at once; one made by another process (`signet-authority revoke`, or
//! another node) when the store tells ([`Store::news`]), and within [`POLL`] at the latest. When the feed cannot be read for [`STALE_AFTER`], the view says so
//! and nothing is allowed on its word.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use signet_evidence::{DeviceId, SessionId};
use tokio::sync::watch;

use crate::status_list::{LIST_LENGTH, StatusList};
use crate::store::{Revocation, RevocationKind, Store, StoreError};

/// How often the feed is read without news.
pub const POLL: Duration = Duration::from_secs(1);
/// After how long without an answer the view is too old to allow anything.
pub const STALE_AFTER: Duration = Duration::from_secs(5);

/// The view. Clones share it.
#[derive(Clone, Default)]
pub struct RevocationView(Arc<RwLock<View>>);

#[derive(Default)]
struct View {
    last: i64,
    read_at: Option<Instant>,
    sessions: HashSet<[u8; 16]>,
    tokens: HashSet<[u8; 16]>,
    devices: HashSet<Vec<u8>>,
    lists: HashMap<u64, StatusList>,
}

/// What the view says of a token's session and machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing against it.
    Good,
    /// Token, session or machine was revoked.
    Revoked,
    /// The feed was not readable: unknown, so no.
    Stale,
}

impl RevocationView {
    /// Reads what is new in the store.
    ///
    /// # Errors
    /// [`StoreError`]; the view stays as it was.
    pub async fn refresh(&self, store: &dyn Store) -> Result<(), StoreError> {
        let last = self.read(|view| view.last);
        let new = store.revocations_after(last).await?;
        self.write(|view| {
            for revocation in &new {
                view.add(revocation);
            }
            view.read_at = Some(Instant::now());
        });
        Ok(())
    }

    /// Takes in revocations that this process made.
    pub fn add(&self, revocations: &[Revocation]) {
        self.write(|view| revocations.iter().for_each(|revocation| view.add(revocation)));
    }

    /// What is known of a token.
    #[must_use]
    pub fn standing(&self, token: &[u8; 16], session: SessionId, device: &DeviceId) -> Standing {
        self.read(|view| {
            let fresh = view.read_at.is_some_and(|read_at| read_at.elapsed() < STALE_AFTER);
            let revoked = view.tokens.contains(token)
                || view.sessions.contains(&session.0)
                || view.devices.contains(device.as_bytes());
            match (revoked, fresh) {
                (true, _) => Standing::Revoked,
                (false, true) => Standing::Good,
                (false, false) => Standing::Stale,
            }
        })
    }

    /// Status list number `list`.
    #[must_use]
    pub fn list(&self, list: u64) -> StatusList {
        self.read(|view| view.lists.get(&list).cloned())
            .unwrap_or_else(|| StatusList::new(LIST_LENGTH))
    }

    /// Follows the feed until `stop` becomes true.
    pub async fn follow(self, store: Arc<dyn Store>, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut news = store.news();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(()) = news.changed() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            if let Err(error) = self.refresh(store.as_ref()).await {
                tracing::warn!(%error, "cannot read the revocations");
            }
        }
    }

    fn read<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl View {
    fn add(&mut self, revocation: &Revocation) {
        let id: Result<[u8; 16], _> = revocation.target.as_slice().try_into();
        match (revocation.kind, id) {
            (RevocationKind::Session, Ok(id)) => {
                self.sessions.insert(id);
            }
            (RevocationKind::Token, Ok(id)) => {
                self.tokens.insert(id);
            }
            (RevocationKind::Device, _) => {
                self.devices.insert(revocation.target.clone());
            }
            (_, Err(_)) => {}
        }
        if let Some(index) = revocation.status_index {
            let list = self.lists.entry(index / LIST_LENGTH);
            list.or_insert_with(|| StatusList::new(LIST_LENGTH)).set(index % LIST_LENGTH);
        }
        self.last = self.last.max(revocation.sequence);
    }
}
