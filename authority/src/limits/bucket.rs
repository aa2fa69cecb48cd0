//! Token buckets in bounded memory.

use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use signet_verifier::recent::Recent;

use crate::config::Rate;

/// Callers of one kind that are remembered at most. Those who asked least lately are forgotten first:
/// they begin anew with a full bucket, as everyone does who did not ask for a while.
const REMEMBERED: usize = 32 * 1024;
/// How often the log hears of one caller.
const TELL: Duration = Duration::from_secs(60);

/// A bucket for each caller, by one rate.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    rate: Rate,
    kept: Mutex<Recent<K, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
    told: Option<Instant>,
}

/// The bucket is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Empty {
    /// Until there is something in it again.
    pub(super) wait: Duration,
    /// The first time in a while.
    pub(super) first: bool,
}

impl<K: Clone + Eq + Hash> Buckets<K> {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, kept: Mutex::new(Recent::at_most(REMEMBERED)) }
    }

    pub(super) fn take(&self, caller: &K, now: Instant) -> Result<(), Empty> {
        let full = f64::from(self.rate.count());
        let per_second = full / self.rate.span().as_secs_f64();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = kept.get_or_insert(caller, Bucket { left: full, at: now, told: None });
        let rested = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + rested * per_second).min(full);
        bucket.at = now;
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            return Ok(());
        }
        let first = bucket.told.is_none_or(|told| now.saturating_duration_since(told) > TELL);
        if first {
            bucket.told = Some(now);
        }
        Err(Empty { wait: Duration::from_secs_f64((1.0 - bucket.left) / per_second), first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(rate: &str) -> Buckets<u32> {
        Buckets::new(Rate::try_from(rate.to_owned()).unwrap())
    }

    #[test]
    fn a_caller_waits_until_there_is_room_again_and_no_other_does() {
        let buckets = buckets("3/30s");
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(buckets.take(&1, start), Ok(()));
        }
        let wait = Duration::from_secs(10);
        assert_eq!(buckets.take(&1, start), Err(Empty { wait, first: true }));
        assert_eq!(buckets.take(&1, start), Err(Empty { wait, first: false }));
        assert_eq!(buckets.take(&2, start), Ok(()));
        assert_eq!(buckets.take(&1, start + wait), Ok(()));
        assert!(buckets.take(&1, start + wait).is_err_and(|empty| !empty.first));
        // A long rest fills it, and not more.
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..9).filter(|_| buckets.take(&1, later).is_ok()).count(), 3);
    }

    #[test]
    fn memory_is_bounded_and_whoever_goes_on_asking_is_not_forgotten() {
        let buckets = buckets("2/1h");
        let now = Instant::now();
        let asked = u32::try_from(REMEMBERED).unwrap() * 5;
        let mut passed = 0;
        for other in 1..asked {
            assert_eq!(buckets.take(&other, now), Ok(()));
            if other % 1000 == 0 {
                passed += usize::from(buckets.take(&0, now).is_ok());
            }
        }
        let kept = buckets.kept.lock().unwrap();
        assert!(kept.len() <= REMEMBERED);
        assert_eq!(passed, 2);
    }
}
