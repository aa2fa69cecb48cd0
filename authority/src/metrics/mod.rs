//! What is counted, in Prometheus text form.

mod cost;
mod pressure;

use std::fmt;
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use signet_evidence::{Purpose, RejectionCode, UnixTime};
use signet_verifier::boot::BootReport;

use crate::store::{Decision, Event, PolicySlot};

pub use cost::StoreTimes;
pub use pressure::Pressure;

use cost::{ceremonies, evaluations, latencies};

/// The authority's metrics.
pub struct Metrics {
    registry: Registry,
    decisions: Family<DecisionLabels, Counter>,
    requests: Family<RouteLabels, Histogram>,
    live_sessions: Gauge,
    journal_waiting: Gauge,
    store_failures: Counter,
    alerts: Family<AlertLabels, Counter>,
    metadata_looks: Family<LookLabels, Counter>,
    metadata_stale: Gauge,
    boots: Family<BootLabels, Counter>,
    boot_findings: Family<FindingLabels, Counter>,
    policy_decisions: Family<SlotLabels, Histogram>,
    policy_shadow: Family<ShadowLabels, Counter>,
    policy_activations: Family<LookLabels, Counter>,
    revocation_latency: Histogram,
    connected_verifiers: Gauge,
    log_unsound: Gauge,
    rejections: Family<AlertLabels, Counter>,
    ceremonies: Family<PurposeLabels, Histogram>,
    tokens_expired: Counter,
    certificates: Family<CertificateLabels, Gauge>,
    spans: Family<LookLabels, Counter>,
    /// Limits, load and slow clients.
    pub pressure: Pressure,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    event: &'static str,
    decision: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AlertLabels {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PurposeLabels {
    purpose: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    certificate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LookLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BootLabels {
    state: &'static str,
    log: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FindingLabels {
    policy: String,
    rule: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SlotLabels {
    set: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShadowLabels {
    live: &'static str,
    shadow: &'static str,
    differs: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
    status: u16,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::of(&StoreTimes::default())
    }
}

impl Metrics {
    /// Over a store that measures itself.
    #[must_use]
    pub fn of(store: &StoreTimes) -> Self {
        let mut registry = Registry::with_prefix("signet");
        let decisions = Family::default();
        let requests: Family<_, _> = Family::new_with_constructor(latencies as fn() -> Histogram);
        let (live_sessions, store_failures) = (Gauge::default(), Counter::default());
        let journal_waiting = Gauge::default();
        registry.register("decisions", "Decisions by event, answer and code", decisions.clone());
        registry.register_with_unit(
            "request_duration",
            "Time to answer a request",
            Unit::Seconds,
            requests.clone(),
        );
        registry.register("live_sessions", "Sessions that can be renewed", live_sessions.clone());
        let waiting = "Decisions in this node's journal that the log does not have yet";
        registry.register("journal_waiting", waiting, journal_waiting.clone());
        registry.register(
            "store_failures",
            "Requests refused because the store failed",
            store_failures.clone(),
        );
        let (alerts, metadata_looks) = (Family::default(), Family::default());
        let metadata_stale = Gauge::default();
        registry.register("alerts", "What a person should look at now, by code", alerts.clone());
        registry.register(
            "metadata_looks",
            "Looks for new FIDO metadata, by outcome",
            metadata_looks.clone(),
        );
        registry.register(
            "metadata_stale",
            "Whether the next FIDO metadata is overdue",
            metadata_stale.clone(),
        );
        let (boots, boot_findings) = (Family::default(), Family::default());
        registry.register(
            "machine_boots",
            "New states of machines, by what followed and what became of the event log",
            boots.clone(),
        );
        registry.register(
            "machine_findings",
            "What machine policies minded in new states of machines, by policy and rule",
            boot_findings.clone(),
        );
        let policy_decisions: Family<_, _> =
            Family::new_with_constructor(evaluations as fn() -> Histogram);
        let (policy_shadow, policy_activations) = (Family::default(), Family::default());
        registry.register_with_unit(
            "policy_decision_duration",
            "Time to evaluate the policy for one request, by set",
            Unit::Seconds,
            policy_decisions.clone(),
        );
        registry.register(
            "policy_shadow_decisions",
            "Answers of the live and the shadow policy to the same request",
            policy_shadow.clone(),
        );
        registry.register(
            "policy_activations",
            "Policies taken over from the store, by outcome",
            policy_activations.clone(),
        );
        let (revocation_latency, connected_verifiers) = (latencies(), Gauge::default());
        registry.register_with_unit(
            "revocation_latency",
            "From the commit of a revocation to a verifier's acknowledgement",
            Unit::Seconds,
            revocation_latency.clone(),
        );
        registry.register(
            "connected_verifiers",
            "Services and gateways that follow the events of this node",
            connected_verifiers.clone(),
        );
        let log_unsound = Gauge::default();
        registry.register(
            "audit_log_unsound",
            "Whether the audit log contradicts what was signed of it, so that it is signed no more",
            log_unsound.clone(),
        );
        let rejections: Family<AlertLabels, Counter> = Family::default();
        registry.register("rejections", "Refusals by exact code", rejections.clone());
        let ceremony: Family<_, _> = Family::new_with_constructor(ceremonies as fn() -> Histogram);
        registry.register_with_unit(
            "ceremony_duration",
            "From a challenge to the token for its answer, by purpose",
            Unit::Seconds,
            ceremony.clone(),
        );
        let (tokens_expired, certificates) = (Counter::default(), Family::default());
        registry.register(
            "tokens_expired",
            "Tokens that ran out and were forgotten by this node",
            tokens_expired.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When a CA's certificate runs out, since the Unix epoch",
            Unit::Seconds,
            certificates.clone(),
        );
        registry.register_with_unit(
            "store_duration",
            "Time of a read or a write transaction, its wait for a connection included",
            Unit::Seconds,
            store.0.clone(),
        );
        let spans = Family::default();
        registry.register(
            "spans",
            "Spans for the OpenTelemetry collector, by outcome",
            spans.clone(),
        );
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program's version", version);
        let pressure = Pressure::registered(&mut registry);
        let metrics = Self {
            rejections,
            ceremonies: ceremony,
            tokens_expired,
            certificates,
            spans,
            pressure,
            registry,
            policy_decisions,
            policy_shadow,
            policy_activations,
            revocation_latency,
            connected_verifiers,
            decisions,
            requests,
            live_sessions,
            journal_waiting,
            store_failures,
            alerts,
            metadata_looks,
            metadata_stale,
            boots,
            boot_findings,
            log_unsound,
        };
        metrics.begin_at_zero();
        metrics
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// What has not happened yet is told as zero: rules compare with what was before, and a scrape shows
    /// every name.
    fn begin_at_zero(&self) {
        for code in RejectionCode::ALL {
            let _ = self.rejections.get_or_create(&AlertLabels { code: code.as_str() });
        }
        let code = RejectionCode::CounterRegressed.as_str();
        let _ = self.alerts.get_or_create(&AlertLabels { code });
        for outcome in ["ok", "failed"] {
            let _ = self.metadata_looks.get_or_create(&LookLabels { outcome });
            let _ = self.policy_activations.get_or_create(&LookLabels { outcome });
        }
        for outcome in ["exported", "failed", "dropped"] {
            let _ = self.spans.get_or_create(&LookLabels { outcome });
        }
        for slot in [PolicySlot::Live, PolicySlot::Shadow] {
            let _ = self.policy_decisions.get_or_create(&SlotLabels { set: slot.as_str() });
        }
        let (live, shadow) = ("permit", "permit");
        let _ = self.policy_shadow.get_or_create(&ShadowLabels { live, shadow, differs: "no" });
        for purpose in [Purpose::Session, Purpose::Renew, Purpose::Action, Purpose::Workload] {
            let purpose = purpose.as_str();
            let _ = self.ceremonies.get_or_create(&PurposeLabels { purpose });
        }
    }

    /// Counts a decision; called where it is made.
    pub fn decided(&self, event: Event, decision: Decision) {
        let labels = DecisionLabels {
            event: event.as_str(),
            decision: decision.as_str(),
            code: decision.code().map_or("", RejectionCode::as_str),
        };
        self.decisions.get_or_create(&labels).inc();
        if let Some(code) = decision.code() {
            self.rejections.get_or_create(&AlertLabels { code: code.as_str() }).inc();
        }
    }

    /// Records how long it took from a challenge to the token.
    pub fn ceremony(&self, purpose: Purpose, took: Duration) {
        let labels = PurposeLabels { purpose: purpose.as_str() };
        self.ceremonies.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts tokens that ran out.
    pub fn expired(&self, tokens: u64) {
        self.tokens_expired.inc_by(tokens);
    }

    /// Says when a CA's certificate runs out.
    pub fn certificate_expires(&self, certificate: &'static str, at: UnixTime) {
        self.certificates.get_or_create(&CertificateLabels { certificate }).set(at.0);
    }

    /// Counts spans that were exported, dropped, or not taken by the collector.
    pub fn spans(&self, outcome: &'static str, count: u64) {
        self.spans.get_or_create(&LookLabels { outcome }).inc_by(count);
    }

    /// Measures an evaluation of the policy.
    pub fn timed<T>(&self, slot: PolicySlot, evaluate: impl FnOnce() -> T) -> T {
        let _span = tracing::debug_span!("policy", set = slot.as_str()).entered();
        let began = Instant::now();
        let answer = evaluate();
        let labels = SlotLabels { set: slot.as_str() };
        self.policy_decisions.get_or_create(&labels).observe(began.elapsed().as_secs_f64());
        answer
    }

    /// Counts what the shadow policy would have said.
    pub fn shadowed(&self, live: &'static str, shadow: &'static str, differs: bool) {
        let differs = if differs { "yes" } else { "no" };
        self.policy_shadow.get_or_create(&ShadowLabels { live, shadow, differs }).inc();
    }

    /// Counts a policy that was, or could not be, taken over from the store.
    pub fn policy_activated(&self, worked: bool) {
        let outcome = if worked { "ok" } else { "failed" };
        self.policy_activations.get_or_create(&LookLabels { outcome }).inc();
    }

    /// Records how long a verifier took to apply a revocation.
    pub fn revocation_applied(&self, took: Duration) {
        self.revocation_latency.observe(took.as_secs_f64());
    }

    /// How many verifiers are connected now.
    pub fn verifiers_connected(&self, count: usize) {
        self.connected_verifiers.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts a request that the store's failure refused.
    pub fn store_failed(&self) {
        self.store_failures.inc();
    }

    /// Counts something that a person should look at now.
    pub fn alerted(&self, code: RejectionCode) {
        self.alerts.get_or_create(&AlertLabels { code: code.as_str() }).inc();
    }

    /// Whether the audit log continues what was signed of it.
    pub fn log_is_sound(&self, sound: bool) {
        self.log_unsound.set(i64::from(!sound));
    }

    /// Counts a look for new metadata.
    pub fn metadata_looked(&self, worked: bool) {
        let outcome = if worked { "ok" } else { "failed" };
        self.metadata_looks.get_or_create(&LookLabels { outcome }).inc();
    }

    /// Whether the next metadata is overdue.
    pub fn metadata_is_stale(&self, stale: bool) {
        self.metadata_stale.set(i64::from(stale));
    }

    /// Counts a state that a machine did not show before.
    pub fn booted(&self, report: &BootReport) {
        let labels = BootLabels { state: report.state.as_str(), log: report.log.as_str() };
        self.boots.get_or_create(&labels).inc();
        for judgement in &report.judgements {
            for finding in judgement.findings() {
                let policy = judgement.policy().to_owned();
                let labels = FindingLabels { policy, rule: finding.rule() };
                self.boot_findings.get_or_create(&labels).inc();
            }
        }
    }

    /// Records how long an answer took. `route` is the route's pattern, so that no caller makes
    /// label values.
    pub fn answered(&self, route: &str, status: u16, took: Duration) {
        let labels = RouteLabels { route: route.to_owned(), status };
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Prometheus text.
    #[must_use]
    pub fn render(&self, live_sessions: u64, journal_waiting: usize) -> String {
        self.live_sessions.set(i64::try_from(live_sessions).unwrap_or(i64::MAX));
        self.journal_waiting.set(i64::try_from(journal_waiting).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing to a `String` does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
