//! Requests under way: so many at once, some more that wait for their turn, and a refusal for the rest.

use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Lets so many in.
#[derive(Debug)]
pub(super) struct Gate {
    slots: Semaphore,
    may_wait: usize,
    turn: Duration,
    load: Load,
}

/// What a gate counts, and metrics show.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// Requests under way.
    pub under_way: Gauge,
    /// Requests that wait for their turn.
    pub waiting: Gauge,
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
    pub(super) fn new(at_once: usize, may_wait: usize, turn: Duration, load: Load) -> Self {
        let slots = Semaphore::new(at_once.min(Semaphore::MAX_PERMITS));
        Self { slots, may_wait, turn, load }
    }

    /// A place; given back when it is dropped.
    pub(super) async fn enter(&self) -> Result<Slot<'_>, Shed> {
        if let Ok(slot) = self.slots.try_acquire() {
            return Ok(self.taken(slot));
        }
        let _place = Waiting::begin(self)?;
        match tokio::time::timeout(self.turn, self.slots.acquire()).await {
            Ok(Ok(slot)) => Ok(self.taken(slot)),
            Ok(Err(_)) | Err(_) => Err(Shed::Waited),
        }
    }

    fn taken<'a>(&'a self, slot: SemaphorePermit<'a>) -> Slot<'a> {
        self.load.under_way.inc();
        Slot { under_way: &self.load.under_way, _slot: slot }
    }
}

/// A place among the requests under way.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    under_way: &'a Gauge,
    _slot: SemaphorePermit<'a>,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.under_way.dec();
    }
}

/// A place in the queue, also of somebody who hangs up.
struct Waiting<'a>(&'a Gauge);

impl<'a> Waiting<'a> {
    fn begin(gate: &'a Gate) -> Result<Self, Shed> {
        let waiting = &gate.load.waiting;
        let may_wait = i64::try_from(gate.may_wait).unwrap_or(i64::MAX);
        let more = |count: i64| (count < may_wait).then_some(count + 1);
        let begun = waiting.inner().fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        begun.map(|_| Self(waiting)).map_err(|_| Shed::QueueFull)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn some_go_in_some_wait_and_the_rest_is_refused_at_once() {
        let load = Load::default();
        let gate = Gate::new(2, 1, Duration::from_millis(20), load.clone());
        let counted = || (load.under_way.get(), load.waiting.get());
        let (first, second) = (gate.enter().await.unwrap(), gate.enter().await.unwrap());
        assert_eq!(counted(), (2, 0));
        // One waits, and the next is not kept.
        let mut third = Box::pin(gate.enter());
        assert!(tokio::time::timeout(Duration::ZERO, &mut third).await.is_err());
        assert_eq!(gate.enter().await.unwrap_err(), Shed::QueueFull);
        drop(first);
        let third = third.await.unwrap();
        assert_eq!(counted(), (2, 0));
        assert_eq!(gate.enter().await.unwrap_err(), Shed::Waited);
        drop((second, third));
        assert_eq!(counted(), (0, 0));
    }
}
