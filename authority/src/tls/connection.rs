//! One connection: whether anything is under way on it, and its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Ends the connection that a request came over, whatever is under way on it.
#[derive(Clone, Debug)]
pub struct Closer(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    end: Notify,
    use_of: Mutex<Use>,
}

#[derive(Debug)]
struct Use {
    under_way: usize,
    /// When the last request ended, or the connection began.
    rests_since: Instant,
    asked: bool,
}

impl Default for Closer {
    fn default() -> Self {
        let use_of = Use { under_way: 0, rests_since: Instant::now(), asked: false };
        Self(Arc::new(Connection { end: Notify::new(), use_of: Mutex::new(use_of) }))
    }
}

/// Something is under way as long as this is there.
#[derive(Debug)]
pub(crate) struct Busy(Closer);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.used(|using| {
            using.under_way = using.under_way.saturating_sub(1);
            using.rests_since = Instant::now();
        });
    }
}

impl Closer {
    /// Ends it.
    pub fn close(&self) {
        self.0.end.notify_one();
    }

    /// Something begins.
    pub(crate) fn busy(&self) -> Busy {
        self.used(|using| {
            using.under_way += 1;
            using.asked = true;
        });
        Busy(self.clone())
    }

    /// Returns when somebody wants the connection to end.
    pub(super) async fn closed(&self) {
        self.0.end.notified().await;
    }

    /// Returns when nothing has been under way for `after`, or nothing at all within `first` of its
    /// beginning; whether anything ever was.
    pub(super) async fn idle(&self, first: Duration, after: Duration) -> bool {
        loop {
            let now = Instant::now();
            let (until, asked) = self.used(|using| {
                let may = if using.asked { after } else { first };
                let from = if using.under_way > 0 { now } else { using.rests_since };
                (from + may, using.asked)
            });
            if until <= now {
                return asked;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    fn used<T>(&self, change: impl FnOnce(&mut Use) -> T) -> T {
        change(&mut self.0.use_of.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(5);
    const AFTER: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_connection_ends_that_nobody_asks_over() {
        let begun = Instant::now();
        assert!(!Closer::default().idle(FIRST, AFTER).await);
        assert!(begun.elapsed() >= FIRST);

        let closer = Closer::default();
        let busy = closer.busy();
        let waiting = tokio::time::timeout(AFTER * 10, closer.idle(FIRST, AFTER)).await;
        assert!(waiting.is_err(), "what is under way is not cut off");
        drop(busy);
        let rests = Instant::now();
        assert!(closer.idle(FIRST, AFTER).await);
        assert!(rests.elapsed() >= AFTER);
    }
}
