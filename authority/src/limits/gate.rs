//! Requests under way: so many at once, some more that wait for their turn, and a refusal for the rest.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Lets so many in.
#[derive(Debug)]
pub(super) struct Gate {
    slots: Semaphore,
    all: usize,
    waiting: AtomicUsize,
    may_wait: usize,
    turn: Duration,
}

/// Why a request was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shed {
    /// As many wait as may.
    QueueFull,
    /// Its turn did not come.
    Waited,
}

impl Shed {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::Waited => "waited",
        }
    }
}

impl Gate {
    /// `turn` is how long a request waits at most.
    pub(super) fn new(at_once: usize, may_wait: usize, turn: Duration) -> Self {
        let all = at_once.min(Semaphore::MAX_PERMITS);
        Self { slots: Semaphore::new(all), all, waiting: AtomicUsize::new(0), may_wait, turn }
    }

    /// A place; given back when it is dropped.
    pub(super) async fn enter(&self) -> Result<SemaphorePermit<'_>, Shed> {
        if let Ok(slot) = self.slots.try_acquire() {
            return Ok(slot);
        }
        let _place = Waiting::begin(self)?;
        match tokio::time::timeout(self.turn, self.slots.acquire()).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(Shed::Waited),
        }
    }

    pub(super) fn under_way(&self) -> usize {
        self.all.saturating_sub(self.slots.available_permits())
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// A place in the queue, also of somebody who hangs up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(gate: &'a Gate) -> Result<Self, Shed> {
        let more = |waiting: usize| (waiting < gate.may_wait).then_some(waiting + 1);
        let begun = gate.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        begun.map(|_| Self(&gate.waiting)).map_err(|_| Shed::QueueFull)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn some_go_in_some_wait_and_the_rest_is_refused_at_once() {
        let gate = Gate::new(2, 1, Duration::from_millis(20));
        let (first, second) = (gate.enter().await.unwrap(), gate.enter().await.unwrap());
        assert_eq!((gate.under_way(), gate.waiting()), (2, 0));
        // One waits, and the next is not kept.
        let mut third = Box::pin(gate.enter());
        assert!(tokio::time::timeout(Duration::ZERO, &mut third).await.is_err());
        assert_eq!(gate.enter().await.unwrap_err(), Shed::QueueFull);
        drop(first);
        let third = third.await.unwrap();
        assert_eq!((gate.under_way(), gate.waiting()), (2, 0));
        assert_eq!(gate.enter().await.unwrap_err(), Shed::Waited);
        drop((second, third));
        assert_eq!((gate.under_way(), gate.waiting()), (0, 0));
    }
}
