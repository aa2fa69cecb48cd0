//! Table tests that lie beside a set of policies: facts and what must come out.

use std::time::Duration;

use serde::Deserialize;
use signet_evidence::UnixTime;
use signet_verifier::AssuranceLevel;
use toml::Spanned;

use super::actions::line_of;
use super::decision::{Decision, Denial, Outcome, StepUp};
use super::facts::{PresenceFacts, RequestFacts};
use super::load::ActionPolicySet;
use super::problem::{PolicyFault, PolicyProblem};

/// The table's file name.
pub const TESTS: &str = "tests.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    test: Vec<Spanned<Case>>,
}

/// One row: facts, and exactly one of `permit`, `deny` and `step_up`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    subject: String,
    request: String,
    acr: Level,
    #[serde(default)]
    age: Option<u64>,
    #[serde(default)]
    approved: Option<String>,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    device: Option<String>,
    #[serde(default)]
    uvm: Option<String>,
    #[serde(default)]
    key_attestation: Option<String>,
    #[serde(default)]
    boot: Option<String>,
    #[serde(default)]
    now: i64,
    expect: Expectation,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(try_from = "String")]
struct Level(AssuranceLevel);

impl TryFrom<String> for Level {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        AssuranceLevel::from_name(&name).map(Self).ok_or("not an assurance level")
    }
}

#[derive(Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Expectation {
    /// Names of the rules.
    Permit(Vec<String>),
    /// `unmapped`, `no-rule`, `forbidden`, `scope`, `approved-other` or `failed`.
    Deny(String),
    /// What is asked for.
    StepUp { acr_values: Vec<String>, max_age: u64 },
}

/// How one row came out.
#[derive(Debug)]
pub struct TableOutcome {
    /// The row's name.
    pub name: String,
    /// Its line in the table.
    pub line: usize,
    /// `None` when it came out as expected, else expected and found.
    pub difference: Option<Difference>,
}

/// What a row expected, and what came out.
#[derive(Debug)]
pub struct Difference {
    /// As written.
    pub expected: String,
    /// As decided.
    pub found: String,
}

impl ActionPolicySet {
    /// Runs a table of tests against this set.
    ///
    /// # Errors
    /// A problem with the table itself; rows that come out differently are no error here.
    pub fn run_table(&self, text: &str) -> Result<Vec<TableOutcome>, PolicyProblem> {
        let table: Table = toml::from_str(text).map_err(|error| PolicyProblem {
            file: TESTS.to_owned(),
            line: error.span().map(|span| line_of(text, span.start)),
            fault: PolicyFault::Tests(Box::new(error)),
        })?;
        let run = |spanned: &Spanned<Case>| {
            let case = spanned.get_ref();
            let found = as_expectation(&self.decide(&facts(case)));
            let differs = found != case.expect;
            TableOutcome {
                name: case.name.clone(),
                line: line_of(text, spanned.span().start),
                difference: differs.then(|| Difference {
                    expected: format!("{:?}", case.expect),
                    found: format!("{found:?}"),
                }),
            }
        };
        Ok(table.test.iter().map(run).collect())
    }
}

fn facts(case: &Case) -> RequestFacts<'_> {
    let (method, url) = case.request.split_once(' ').unwrap_or((&case.request, ""));
    let (host, target) = url.find('/').map_or((url, "/"), |slash| url.split_at(slash));
    RequestFacts {
        subject: &case.subject,
        device: case.device.as_deref().unwrap_or("spiffe://mesh.example/device/test"),
        gateway: "spiffe://mesh.example/gateway/test",
        method,
        host,
        target,
        presence: PresenceFacts {
            level: case.acr.0,
            human: case.age.is_some(),
            age: case.age.map(Duration::from_secs),
            uvm: case.uvm.as_deref(),
            uvm_source: case.uvm.as_ref().map(|_| "model"),
            key_attestation: case.key_attestation.as_deref(),
            boot: case.boot.as_deref().unwrap_or("approved"),
            device_identity: "proven",
        },
        scope: case.scope.as_deref(),
        approved: case.approved.as_ref().map(std::slice::from_ref),
        now: UnixTime(case.now),
    }
}

fn as_expectation(decision: &Decision) -> Expectation {
    match &decision.outcome {
        Outcome::Permit { rules } => Expectation::Permit(rules.clone()),
        Outcome::Deny(denial) => Expectation::Deny(Denial::as_str(denial).to_owned()),
        Outcome::StepUp(StepUp { levels, max_age, .. }) => Expectation::StepUp {
            acr_values: levels.iter().map(ToString::to_string).collect(),
            max_age: max_age.as_secs(),
        },
    }
}
