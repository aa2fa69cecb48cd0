//! What things cost: the store, a ceremony, an evaluation of policy.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// How long the store took, waiting for a turn included. Clones share it: a store measures itself, and
/// its authority's metrics tell.
#[derive(Clone, Debug)]
pub struct StoreTimes(pub(super) Family<OperationLabels, Histogram>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OperationLabels {
    operation: &'static str,
}

impl Default for StoreTimes {
    fn default() -> Self {
        Self(Family::new_with_constructor(latencies as fn() -> Histogram))
    }
}

impl StoreTimes {
    /// Records a read, or a transaction that writes.
    pub fn took(&self, writes: bool, time: Duration) {
        let operation = if writes { "write" } else { "read" };
        self.0.get_or_create(&OperationLabels { operation }).observe(time.as_secs_f64());
    }
}

/// Half a millisecond to four seconds.
pub(super) fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.0, 14))
}

/// Ten microseconds to eighty milliseconds: a yes takes one evaluation, a step-up some dozens.
pub(super) fn evaluations() -> Histogram {
    Histogram::new(exponential_buckets(0.000_01, 2.0, 14))
}

/// One second to four minutes: what a person takes to find the key and touch it. Challenges know whole
/// seconds.
pub(super) fn ceremonies() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 9))
}
