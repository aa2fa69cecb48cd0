//! What a watch knows, and since when: read by every request, written by the one that follows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use signet_evidence::UnixTime;
use signet_verifier::events::{Heartbeat, Place, Revocations, Topic};
use signet_verifier::status_list::{LIST_LENGTH, StatusList};
use signet_verifier::token::{SeenTokens, TokenChecker, TokenClaims, VerifyingKey};
use thiserror::Error;
use tokio::sync::watch;

use crate::clock::{Moment, unix_now};
use crate::settings::{Bounds, Settings};
use crate::{Access, Health, Refused};

/// For how many tokens the signature is remembered: some 16 MiB at most.
const SEEN_TOKENS: usize = 8192;

type Latest = watch::Sender<Option<Arc<serde_json::Value>>>;

/// Everything that a check looks at.
#[derive(Debug)]
pub(crate) struct Knowledge {
    bounds: Bounds,
    checker: RwLock<Option<Arc<TokenChecker>>>,
    /// Tokens whose signature was found good.
    pub(crate) seen: SeenTokens,
    issuer: String,
    audience: String,
    revoked: RwLock<RevokedPlaces>,
    /// Milliseconds since boot, of the last proof that nothing was missed; 0 before the first.
    proved: AtomicU64,
    /// The authority's time, as last heard: it is never earlier than this.
    time: AtomicI64,
    /// A proof that counts as soon as what it speaks of is in force here.
    pending: Mutex<Option<(i64, Moment)>>,
    trouble: Mutex<Option<String>>,
    position: watch::Sender<i64>,
    ready: watch::Sender<bool>,
    latest: [(Topic, Latest); 3],
}

#[derive(Debug, Default)]
struct RevokedPlaces {
    position: i64,
    below: Place,
    lists: HashMap<u64, StatusList>,
}

/// Something was missed, or said twice in different words: all has to be read anew.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("events were missed: known up to {known}, and the next begins after {after}")]
pub(crate) struct Gap {
    known: i64,
    after: i64,
}

impl Knowledge {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            bounds: settings.bounds,
            checker: RwLock::default(),
            seen: SeenTokens::at_most(SEEN_TOKENS),
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            revoked: RwLock::default(),
            proved: AtomicU64::new(0),
            time: AtomicI64::new(0),
            pending: Mutex::default(),
            trouble: Mutex::default(),
            position: watch::Sender::new(-1),
            ready: watch::Sender::new(false),
            latest: Topic::ALL.map(|topic| (topic, watch::Sender::new(None))),
        }
    }

    /// Judges tokens; `None` until the keys are known.
    pub(crate) fn checker(&self) -> Option<Arc<TokenChecker>> {
        self.checker.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_keys(&self, keys: Vec<VerifyingKey>) {
        let (issuer, audience) = (self.issuer.clone(), self.audience.clone());
        let checker = TokenChecker { issuer, audience, keys };
        *self.checker.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(checker));
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The time: a wall clock that was turned back does not make old tokens good.
    pub(crate) fn now(&self) -> UnixTime {
        UnixTime(unix_now().0.max(self.time.load(Ordering::Relaxed)))
    }

    pub(crate) fn heard_time(&self, time: i64) {
        self.time.fetch_max(time, Ordering::Relaxed);
    }

    /// Whether a token's session was revoked, and whether that is known well enough.
    pub(crate) fn standing(&self, claims: &TokenClaims, access: Access) -> Result<(), Refused> {
        let entry = &claims.status.status_list;
        let place = entry.uri.strip_prefix(&self.issuer).and_then(|rest| {
            let list = rest.strip_prefix("/status/")?.parse().ok()?;
            Some(Place { list, idx: entry.idx })
        });
        // A place that cannot be looked up could be revoked.
        let place = place.filter(|place| place.idx < LIST_LENGTH).ok_or(Refused::Revoked)?;
        if self.read().contains(place) {
            return Err(Refused::Revoked);
        }
        let bound = match access {
            Access::Read => self.bounds.reads,
            Access::Write => self.bounds.writes,
        };
        match self.age() {
            Some(age) if age <= bound => Ok(()),
            _ => Err(Refused::Stale),
        }
    }

    /// How old what is known is at most.
    pub(crate) fn age(&self) -> Option<Duration> {
        match self.proved.load(Ordering::Acquire) {
            0 => None,
            proved => Some(Moment::now().since(Moment(proved))),
        }
    }

    /// Takes the lists as they stand, in the place of all that was known.
    pub(crate) fn reset(&self, position: i64, below: Place, lists: HashMap<u64, StatusList>) {
        // What was proved before was proved of another state.
        *self.lock_pending() = None;
        self.write(|places| *places = RevokedPlaces { position, below, lists });
        self.position.send_replace(position);
    }

    /// Refuses what was revoked, from now on. What is known already changes nothing.
    pub(crate) fn apply(&self, event: &Revocations) -> Result<(), Gap> {
        let known = self.position();
        if event.position <= known {
            return Ok(());
        }
        if event.after > known {
            return Err(Gap { known, after: event.after });
        }
        self.write(|places| {
            for one in &event.revoked {
                match (one.kind.as_str(), one.place) {
                    ("all", Some(below)) => places.below = places.below.max(below),
                    (_, Some(place)) => places.set(place),
                    (_, None) => {}
                }
            }
            places.position = event.position;
        });
        self.position.send_replace(event.position);
        self.settle(None);
        Ok(())
    }

    /// Nothing was missed, says the authority; if it speaks of more than is known, something was.
    pub(crate) fn beat(&self, heartbeat: Heartbeat) -> Result<(), Gap> {
        self.heard_time(heartbeat.time);
        let known = self.position();
        match heartbeat.position > known {
            true => Err(Gap { known, after: heartbeat.position }),
            false => Ok(()),
        }
    }

    /// At `moment` there was nothing beyond `position`.
    pub(crate) fn prove(&self, position: i64, moment: Moment) {
        self.settle(Some((position, moment)));
    }

    pub(crate) fn position(&self) -> i64 {
        self.read().position
    }

    /// Changes when more is in force.
    pub(crate) fn positions(&self) -> watch::Receiver<i64> {
        self.position.subscribe()
    }

    pub(crate) async fn ready(&self) {
        // The sender lives as long as `self`.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    pub(crate) fn health(&self) -> Health {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Health { position: self.position(), age: self.age(), trouble }
    }

    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    pub(crate) fn latest(&self, topic: Topic) -> watch::Receiver<Option<Arc<serde_json::Value>>> {
        let [(_, first), ..] = &self.latest;
        let found = self.latest.iter().find(|(one, _)| *one == topic);
        found.map_or(first, |(_, latest)| latest).subscribe()
    }

    pub(crate) fn hear(&self, topic: Topic, value: serde_json::Value) {
        if let Some((_, latest)) = self.latest.iter().find(|(one, _)| *one == topic) {
            latest.send_replace(Some(Arc::new(value)));
        }
    }

    fn settle(&self, newer: Option<(i64, Moment)>) {
        let mut pending = self.lock_pending();
        if newer.is_some() {
            *pending = newer;
        }
        let Some((position, moment)) = *pending else { return };
        if self.position() >= position {
            *pending = None;
            self.proved.fetch_max(moment.0.max(1), Ordering::AcqRel);
            self.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
        }
    }

    fn lock_pending(&self) -> MutexGuard<'_, Option<(i64, Moment)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, RevokedPlaces> {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, change: impl FnOnce(&mut RevokedPlaces)) {
        change(&mut self.revoked.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl RevokedPlaces {
    fn contains(&self, place: Place) -> bool {
        let listed = self.lists.get(&place.list).and_then(|list| list.get(place.idx));
        place < self.below || listed.is_some_and(|status| status != 0)
    }

    fn set(&mut self, place: Place) {
        let list = self.lists.entry(place.list);
        list.or_insert_with(|| StatusList::new(LIST_LENGTH)).set(place.idx);
    }
}

#[cfg(test)]
mod tests;
