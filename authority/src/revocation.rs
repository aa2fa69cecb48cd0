//! What this node refuses because it was revoked: in memory, fed by the store, and pushed on to the
//! verifiers that are connected.
//!
//! A revocation made here counts at once; one made by another process (`signet-authority revoke`, or
//! another node) when the store tells ([`Store::news`]), and within [`POLL`] at the latest. When the feed
//! cannot be read for [`STALE_AFTER`], the view says so and nothing is allowed on its word.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use signet_evidence::{DeviceId, SessionId};
use tokio::sync::{Mutex, watch};

use crate::events::Hub;
use crate::rounds::Rounds;
use crate::status_list::{LIST_LENGTH, StatusList};
use crate::store::{Revocation, RevocationKind, Store, StoreError};

/// How often the feed is read without news.
pub const POLL: Duration = Duration::from_secs(1);
/// How old the view may be to answer for the store: one missed reading, and some time to read.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// After how long without an answer the view is too old to allow anything.
pub const STALE_AFTER: Duration = Duration::from_secs(5);

/// The view. Clones share it.
#[derive(Clone, Default)]
pub struct RevocationView(Arc<Shared>);

#[derive(Default)]
struct Shared {
    view: RwLock<View>,
    /// One reads at a time, so that what is new is pushed once and in order.
    reading: Mutex<()>,
    hub: Hub,
}

#[derive(Default)]
struct View {
    /// Everything up to here was read from the feed.
    last: i64,
    /// The newest that is known; above `last` what this process revoked itself since.
    newest: i64,
    read_at: Option<Instant>,
    sessions: HashSet<[u8; 16]>,
    tokens: HashSet<[u8; 16]>,
    devices: HashSet<Vec<u8>>,
    /// Every status index below this one is revoked.
    below: u64,
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
    /// A view that pushes what it hears to `hub`.
    #[must_use]
    pub fn pushing(hub: Hub) -> Self {
        Self(Arc::new(Shared { hub, ..Shared::default() }))
    }

    /// Reads what is new in the store, and pushes it.
    ///
    /// # Errors
    /// [`StoreError`]; the view stays as it was.
    pub async fn refresh(&self, store: &dyn Store) -> Result<(), StoreError> {
        let _reading = self.0.reading.lock().await;
        let last = self.position();
        let asked = Instant::now();
        let new = store.revocations_after(last).await?;
        self.add(&new);
        // First it counts here, then others hear of it, then we say that we know.
        self.0.hub.revoked(last, &new);
        self.write(|view| {
            view.last = new.last().map_or(last, |newest| newest.sequence);
            view.read_at = Some(asked);
        });
        Ok(())
    }

    /// Takes in revocations that this process made. What others made before is still to be read.
    pub fn add(&self, revocations: &[Revocation]) {
        self.write(|view| revocations.iter().for_each(|revocation| view.add(revocation)));
    }

    /// The last revocation that was read from the store.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.read(|view| view.last)
    }

    /// How long ago the store was last read; `None` before the first time.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.read(|view| view.read_at.map(|read_at| read_at.elapsed()))
    }

    /// Whether nothing was revoked after number `as_of`, as far as was heard not long ago: where the store cannot be
    /// asked each time.
    #[must_use]
    pub fn nothing_since(&self, as_of: i64) -> bool {
        self.read(|view| {
            view.was_read_within(HEARD_WITHIN) && view.last == as_of && view.newest <= as_of
        })
    }

    /// What is known of a token. `index` is its session's in the status lists.
    #[must_use]
    pub fn standing(
        &self,
        token: &[u8; 16],
        session: SessionId,
        device: &DeviceId,
        index: Option<u64>,
    ) -> Standing {
        self.read(|view| {
            let revoked = view.tokens.contains(token)
                || view.sessions.contains(&session.0)
                || view.devices.contains(device.as_bytes())
                || index.is_some_and(|index| index < view.below);
            match (revoked, view.was_read_within(STALE_AFTER)) {
                (true, _) => Standing::Revoked,
                (false, true) => Standing::Good,
                (false, false) => Standing::Stale,
            }
        })
    }

    /// Status list number `list`.
    #[must_use]
    pub fn list(&self, list: u64) -> StatusList {
        self.read(|view| {
            let stored = view.lists.get(&list).cloned();
            let mut statuses = stored.unwrap_or_else(|| StatusList::new(LIST_LENGTH));
            let begins = list.saturating_mul(LIST_LENGTH);
            statuses.set_below(view.below.saturating_sub(begins).min(LIST_LENGTH));
            statuses
        })
    }

    /// The index below which all are revoked, and the numbers of the lists in which others are.
    #[must_use]
    pub fn lists(&self) -> (u64, Vec<u64>) {
        self.read(|view| {
            let from = view.below / LIST_LENGTH;
            let mut lists: Vec<u64> =
                view.lists.keys().copied().filter(|list| *list >= from).collect();
            lists.sort_unstable();
            (view.below, lists)
        })
    }

    /// Follows the feed until `stop` becomes true.
    pub async fn follow(self, store: Arc<dyn Store>, stop: watch::Receiver<bool>) {
        let mut rounds = Rounds::every(POLL, stop).and_at_news_of(store.as_ref());
        while rounds.next().await {
            if let Err(error) = self.refresh(store.as_ref()).await {
                tracing::warn!(%error, "cannot read the revocations");
            }
        }
    }

    fn read<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        look(&self.0.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.0.view.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl View {
    fn was_read_within(&self, time: Duration) -> bool {
        self.read_at.is_some_and(|read_at| read_at.elapsed() < time)
    }

    fn add(&mut self, revocation: &Revocation) {
        self.newest = self.newest.max(revocation.sequence);
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
            (RevocationKind::All, _) => {
                self.below = self.below.max(revocation.status_index.unwrap_or(0));
                return;
            }
            (_, Err(_)) => {}
        }
        if let Some(index) = revocation.status_index {
            let list = self.lists.entry(index / LIST_LENGTH);
            list.or_insert_with(|| StatusList::new(LIST_LENGTH)).set(index % LIST_LENGTH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revoked(sequence: i64, kind: RevocationKind, index: Option<u64>) -> Revocation {
        Revocation { sequence, kind, target: vec![3; 16], status_index: index, committed_ms: None }
    }

    #[test]
    fn what_this_process_revoked_does_not_hide_what_others_did_before() {
        let view = RevocationView::default();
        view.add(&[revoked(5, RevocationKind::Token, None)]);
        // The feed is still to be read from its beginning.
        assert_eq!(view.position(), 0);
        let device = DeviceId::from_bytes(&[1; 17]).unwrap();
        let standing = view.standing(&[3; 16], SessionId([0; 16]), &device, None);
        assert_eq!(standing, Standing::Revoked);
        let other = view.standing(&[4; 16], SessionId([0; 16]), &device, None);
        assert_eq!(other, Standing::Stale);
    }

    #[test]
    fn nothing_was_revoked_since_only_while_the_feed_says_so() {
        let view = RevocationView::default();
        assert!(!view.nothing_since(0), "the feed was not read");
        let read = |last| {
            view.write(|view| (view.last, view.read_at) = (last, Some(Instant::now())));
        };
        read(7);
        assert_eq!([6, 7, 8].map(|as_of| view.nothing_since(as_of)), [false, true, false]);
        // By this process: the feed does not say so yet.
        view.add(&[revoked(8, RevocationKind::Device, None)]);
        assert_eq!([7, 8].map(|as_of| view.nothing_since(as_of)), [false, false]);
        read(8);
        assert_eq!([7, 8].map(|as_of| view.nothing_since(as_of)), [false, true]);
        view.write(|view| view.read_at = Instant::now().checked_sub(HEARD_WITHIN));
        assert!(!view.nothing_since(8), "it was heard too long ago");
    }

    #[test]
    fn everything_covers_each_list_up_to_its_place() {
        let view = RevocationView::default();
        let index = 2 * LIST_LENGTH + 5;
        view.add(&[
            revoked(1, RevocationKind::Session, Some(3)),
            revoked(2, RevocationKind::Session, Some(index + 1)),
            revoked(3, RevocationKind::All, Some(index)),
        ]);
        assert_eq!(view.lists(), (index, vec![2]));
        let all = |list| (0..LIST_LENGTH).filter(|i| view.list(list).get(*i) == Some(1)).count();
        let whole = usize::try_from(LIST_LENGTH).unwrap();
        assert_eq!((all(0), view.list(1).get(LIST_LENGTH - 1)), (whole, Some(1)));
        assert_eq!((view.list(2).get(4), view.list(2).get(5)), (Some(1), Some(0)));
        assert_eq!((view.list(2).get(6), view.list(3).get(0)), (Some(1), Some(0)));
        let device = DeviceId::from_bytes(&[1; 17]).unwrap();
        let of = |place| view.standing(&[4; 16], SessionId([0; 16]), &device, Some(place));
        assert_eq!((of(index - 1), of(index)), (Standing::Revoked, Standing::Stale));
    }
}
