//! What is counted, in Prometheus text form.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::store::{Decision, Event};

/// The authority's metrics.
pub struct Metrics {
    registry: Registry,
    decisions: Family<DecisionLabels, Counter>,
    requests: Family<RouteLabels, Histogram>,
    live_sessions: Gauge,
    store_failures: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    event: &'static str,
    decision: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
    status: u16,
}

/// Half a millisecond to four seconds.
fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.0, 14))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("signet");
        let decisions = Family::default();
        let requests: Family<_, _> = Family::new_with_constructor(latencies as fn() -> Histogram);
        let (live_sessions, store_failures) = (Gauge::default(), Counter::default());
        registry.register("decisions", "Decisions by event, answer and code", decisions.clone());
        registry.register_with_unit(
            "request_duration",
            "Time to answer a request",
            Unit::Seconds,
            requests.clone(),
        );
        registry.register("live_sessions", "Sessions that can be renewed", live_sessions.clone());
        registry.register(
            "store_failures",
            "Requests refused because the store failed",
            store_failures.clone(),
        );
        Self { registry, decisions, requests, live_sessions, store_failures }
    }
}

impl Metrics {
    /// Counts a decision; called where it is made.
    pub fn decided(&self, event: Event, decision: Decision) {
        let labels = DecisionLabels {
            event: event.as_str(),
            decision: decision.as_str(),
            code: decision.code().map_or("", signet_evidence::RejectionCode::as_str),
        };
        self.decisions.get_or_create(&labels).inc();
    }

    /// Counts a request that the store's failure refused.
    pub fn store_failed(&self) {
        self.store_failures.inc();
    }

    /// Records how long an answer took. `route` is the route's pattern, so that no caller makes
    /// label values.
    pub fn answered(&self, route: &str, status: u16, took: Duration) {
        let labels = RouteLabels { route: route.to_owned(), status };
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Prometheus text.
    #[must_use]
    pub fn render(&self, live_sessions: u64) -> String {
        self.live_sessions.set(i64::try_from(live_sessions).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing to a `String` does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
