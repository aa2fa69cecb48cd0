//! Limits, load and slow clients.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::limits::{Limit, Listener, Load};

/// What callers ask too much of, and what is refused for it.
#[derive(Debug, Default)]
pub struct Pressure {
    limited: Family<LimitLabels, Counter>,
    shed: Family<ReasonLabels, Counter>,
    slow: Family<SlowLabels, Counter>,
    under_way: Family<ListenerLabels, Gauge>,
    waiting: Family<ListenerLabels, Gauge>,
    connections: Family<ListenerLabels, Gauge>,
    connections_refused: Family<ListenerLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    listener: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SlowLabels {
    listener: &'static str,
    at: &'static str,
}

impl Pressure {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let all = Self::default();
        let limited = "Requests refused because their caller asked too much, by limit";
        registry.register("limited", limited, all.limited.clone());
        let shed = "Requests refused because this node had too much to do";
        registry.register("shed", shed, all.shed.clone());
        let slow = "Connections and requests ended because the client was too slow, and at what";
        registry.register("slow_clients", slow, all.slow.clone());
        let under_way = "Requests under way";
        registry.register("requests_under_way", under_way, all.under_way.clone());
        let waiting = "Requests that wait for their turn";
        registry.register("requests_waiting", waiting, all.waiting.clone());
        registry.register("connections", "Open connections", all.connections.clone());
        let refused = "Connections closed because their address had as many as it may";
        registry.register("connections_refused", refused, all.connections_refused.clone());
        // What never happened is told as zero, so that rules have something to compare with.
        for limit in Limit::ALL {
            let _ = all.limited.get_or_create(&LimitLabels { limit: limit.as_str() });
        }
        for listener in [Listener::Clients, Listener::Gateways] {
            for reason in ["queue-full", "waited"] {
                let listener = listener.as_str();
                let _ = all.shed.get_or_create(&ReasonLabels { listener, reason });
            }
            for at in ["handshake", "head", "body", "idle"] {
                let _ = all.slow.get_or_create(&SlowLabels { listener: listener.as_str(), at });
            }
            let _ = all.connections_refused.get_or_create(&labels(listener));
            let _ = all.connections.get_or_create(&labels(listener));
        }
        all
    }

    /// Counts a refusal by a limit.
    pub fn limited(&self, limit: Limit) {
        self.limited.get_or_create(&LimitLabels { limit: limit.as_str() }).inc();
    }

    /// Counts a request that there was no room for.
    pub fn shed(&self, listener: Listener, reason: &'static str) {
        self.shed.get_or_create(&ReasonLabels { listener: listener.as_str(), reason }).inc();
    }

    /// Counts a client that was too slow at its handshake, a head or a body, or that asked nothing.
    pub fn slow(&self, listener: Listener, at: &'static str) {
        self.slow.get_or_create(&SlowLabels { listener: listener.as_str(), at }).inc();
    }

    /// What a listener's gate counts.
    #[must_use]
    pub fn load(&self, listener: Listener) -> Load {
        let labels = labels(listener);
        Load {
            under_way: self.under_way.get_or_create_owned(&labels),
            waiting: self.waiting.get_or_create_owned(&labels),
        }
    }

    /// Counts a connection that was opened.
    pub fn connection_opened(&self, listener: Listener) {
        self.connections.get_or_create(&labels(listener)).inc();
    }

    /// Counts a connection that is no more.
    pub fn connection_closed(&self, listener: Listener) {
        self.connections.get_or_create(&labels(listener)).dec();
    }

    /// Counts a connection that was closed at once.
    pub fn connection_refused(&self, listener: Listener) {
        self.connections_refused.get_or_create(&labels(listener)).inc();
    }
}

fn labels(listener: Listener) -> ListenerLabels {
    ListenerLabels { listener: listener.as_str() }
}
