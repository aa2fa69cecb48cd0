//! Requests as the audit record keeps them, so that they can be decided again by another set.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use signet_evidence::UnixTime;
use signet_verifier::AssuranceLevel;

use super::decision::{Decision, Denial, Outcome, StepUp};
use super::facts::{PresenceFacts, RequestFacts};

/// Longest path that is kept, in bytes. A request with a longer one cannot be decided again.
const MAX_PATH: usize = 4096;

/// What was known of a request when policy was asked, and what policy said. The query is not kept: it
/// may hold secrets. Members are in the order of their names, so that equal requests have equal texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordedRequest {
    /// Assurance level, such as `signet.uv`.
    pub acr: String,
    /// Seconds since the last proved presence; none when nobody ever did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<u64>,
    /// For a token approved for this very request: the actions that the person was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved: Option<Vec<String>>,
    /// Boot state.
    pub boot: String,
    /// SPIFFE ID of the machine.
    pub device: String,
    /// Whether the TPM is known by its maker's certificate.
    pub device_identity: String,
    /// SPIFFE ID of the gateway.
    pub gateway: String,
    /// Host, with its port if it had one.
    pub host: String,
    /// How the authenticator attested itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_attestation: Option<String>,
    /// HTTP method.
    pub method: String,
    /// When, by the authority's clock.
    pub now: i64,
    /// Path without query.
    pub path: String,
    /// Whether there was a query, which is not kept.
    #[serde(skip_serializing_if = "is_false")]
    pub query: bool,
    /// The token's scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The token's subject.
    pub subject: String,
    /// How the user was verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uvm: Option<String>,
    /// Who says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uvm_source: Option<String>,
    /// What policy said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The form that serde asks for.
fn is_false(value: &bool) -> bool {
    !value
}

/// What policy says of a request, as tables of tests and records write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Verdict {
    /// Names of the rules.
    Permit(Vec<String>),
    /// `unmapped`, `no-rule`, `forbidden`, `scope`, `approved-other` or `failed`.
    Deny(String),
    /// What is asked for (RFC 9470).
    StepUp {
        /// Levels that would do.
        acr_values: Vec<String>,
        /// Longest age of presence, in seconds; zero asks for a touch for this very request.
        max_age: u64,
        /// Only a key on which no PIN can stand in for a finger would do.
        #[serde(default, skip_serializing_if = "is_false")]
        no_pin: bool,
    },
}

impl Verdict {
    /// `permit`, `deny` or `step-up`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Permit(_) => "permit",
            Self::Deny(_) => "deny",
            Self::StepUp { .. } => "step-up",
        }
    }

    /// Whether somebody who sends the request would notice the difference: another answer, or another
    /// presence that is asked for. Which rule said so is no difference.
    #[must_use]
    pub fn flips_to(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::StepUp { .. }, Self::StepUp { .. }) => self != other,
            _ => self.kind() != other.kind(),
        }
    }
}

impl From<&Outcome> for Verdict {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Permit { rules } => Self::Permit(rules.clone()),
            Outcome::Deny(denial) => Self::Deny(Denial::as_str(denial).to_owned()),
            Outcome::StepUp(StepUp { levels, max_age, no_pin, .. }) => Self::StepUp {
                acr_values: levels.iter().map(ToString::to_string).collect(),
                max_age: max_age.as_secs(),
                no_pin: *no_pin,
            },
        }
    }
}

impl RecordedRequest {
    /// What is kept of a request and its decision; `None` for one too long to keep.
    #[must_use]
    pub fn of(facts: &RequestFacts<'_>, decision: &Decision) -> Option<Self> {
        let presence = facts.presence;
        let (path, query) = match facts.target.split_once('?') {
            Some((path, _)) => (path, true),
            None => (facts.target, false),
        };
        (path.len() <= MAX_PATH).then(|| Self {
            acr: presence.level.to_string(),
            age: presence.human.then_some(presence.age).flatten().map(|age| age.as_secs()),
            approved: facts.approved.map(<[String]>::to_vec),
            boot: presence.boot.to_owned(),
            device: facts.device.to_owned(),
            device_identity: presence.device_identity.to_owned(),
            gateway: facts.gateway.to_owned(),
            host: facts.host.to_owned(),
            key_attestation: presence.key_attestation.map(str::to_owned),
            method: facts.method.to_owned(),
            now: facts.now.0,
            path: path.to_owned(),
            query,
            scope: facts.scope.map(str::to_owned),
            source: facts.source,
            subject: facts.subject.to_owned(),
            uvm: presence.uvm.map(str::to_owned),
            uvm_source: presence.uvm_source.map(str::to_owned),
            verdict: Some(Verdict::from(&decision.outcome)),
        })
    }

    /// The request, to be decided again; `None` when its level is none that this version knows.
    #[must_use]
    pub fn facts(&self) -> Option<RequestFacts<'_>> {
        Some(RequestFacts {
            subject: &self.subject,
            device: &self.device,
            gateway: &self.gateway,
            method: &self.method,
            host: &self.host,
            target: &self.path,
            source: self.source,
            presence: PresenceFacts {
                level: AssuranceLevel::from_name(&self.acr)?,
                human: self.age.is_some(),
                age: self.age.map(Duration::from_secs),
                uvm: self.uvm.as_deref(),
                uvm_source: self.uvm_source.as_deref(),
                key_attestation: self.key_attestation.as_deref(),
                boot: &self.boot,
                device_identity: &self.device_identity,
            },
            scope: self.scope.as_deref(),
            approved: self.approved.as_deref(),
            now: UnixTime(self.now),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_notices_is_a_flip() {
        let permit = |rule: &str| Verdict::Permit(vec![rule.into()]);
        let deny = |why: &str| Verdict::Deny(why.into());
        let step_up = |max_age| Verdict::StepUp {
            acr_values: vec!["signet.uv".into()],
            max_age,
            no_pin: false,
        };
        assert!(!permit("a").flips_to(&permit("b")));
        assert!(!deny("no-rule").flips_to(&deny("forbidden")));
        assert!(!step_up(1).flips_to(&step_up(1)));
        assert!(step_up(1).flips_to(&step_up(2)));
        assert!(permit("a").flips_to(&step_up(1)));
        assert!(permit("a").flips_to(&deny("no-rule")));
    }

    #[test]
    fn texts_are_canonical() {
        let text = serde_json::to_string(&RecordedRequest {
            age: Some(1),
            approved: Some(vec![]),
            key_attestation: Some(String::new()),
            query: true,
            scope: Some(String::new()),
            source: Some([127, 0, 0, 1].into()),
            uvm: Some(String::new()),
            uvm_source: Some(String::new()),
            verdict: Some(Verdict::Deny(String::new())),
            ..RecordedRequest::default()
        });
        let text = text.unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let names: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert!(names.is_sorted());
        let mut at = 0;
        for name in names {
            let found = text[at..].find(&format!("\"{name}\":")).unwrap();
            at += found;
        }
    }
}
