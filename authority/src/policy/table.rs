//! Table tests that lie beside a set of policies: facts and what must come out.

use std::net::IpAddr;

use serde::Deserialize;
use signet_verifier::AssuranceLevel;
use toml::Spanned;

use super::actions::line_of;
use super::load::ActionPolicySet;
use super::problem::{PolicyFault, PolicyProblem, problem};
use super::recorded::{RecordedRequest, Verdict};

/// The table's file name.
pub const TESTS: &str = "tests.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    test: Vec<Spanned<Case>>,
}

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
    gateway: Option<String>,
    #[serde(default)]
    source: Option<IpAddr>,
    #[serde(default)]
    uvm: Option<String>,
    #[serde(default)]
    uvm_source: Option<String>,
    #[serde(default)]
    key_attestation: Option<String>,
    #[serde(default)]
    boot: Option<String>,
    #[serde(default)]
    device_identity: Option<String>,
    #[serde(default)]
    now: i64,
    expect: Verdict,
}

#[derive(Deserialize, Clone)]
#[serde(try_from = "String")]
struct Level(String);

impl TryFrom<String> for Level {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        AssuranceLevel::from_name(&name).map(|_| Self(name)).ok_or("not an assurance level")
    }
}

/// One row: facts, and what must come out.
#[derive(Clone, Debug)]
pub struct TableRow {
    /// Its name.
    pub name: String,
    /// Its line in the table.
    pub line: usize,
    /// The facts; the path with its query.
    pub request: RecordedRequest,
    /// What must come out.
    pub expect: Verdict,
}

/// How one row came out.
#[derive(Debug)]
pub struct TableOutcome {
    /// The row's name.
    pub name: String,
    /// Its line in the table.
    pub line: usize,
    /// What came out, where that is not what the row expects.
    pub difference: Option<Difference>,
}

/// What a row expected, and what came out.
#[derive(Debug)]
pub struct Difference {
    /// As written.
    pub expected: Verdict,
    /// As decided.
    pub found: Verdict,
}

/// The rows of a table of tests.
///
/// # Errors
/// A problem with the table, with its line.
pub fn parse_table(text: &str) -> Result<Vec<TableRow>, PolicyProblem> {
    let table: Table = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| line_of(text, span.start));
        problem(TESTS, line, PolicyFault::Tests(Box::new(error)))
    })?;
    let row = |spanned: Spanned<Case>| {
        let line = line_of(text, spanned.span().start);
        row(spanned.into_inner(), line)
    };
    Ok(table.test.into_iter().map(row).collect())
}

fn row(case: Case, line: usize) -> TableRow {
    let (method, url) = case.request.split_once(' ').unwrap_or((&case.request, ""));
    let (host, target) = url.find('/').map_or((url, "/"), |slash| url.split_at(slash));
    let named = |name: Option<String>, default: &str| name.unwrap_or_else(|| default.to_owned());
    let request = RecordedRequest {
        acr: case.acr.0,
        age: case.age,
        approved: case.approved.map(|action| vec![action]),
        boot: named(case.boot, "approved"),
        device: named(case.device, "spiffe://mesh.example/device/test"),
        device_identity: named(case.device_identity, "proven"),
        gateway: named(case.gateway, "spiffe://mesh.example/gateway/test"),
        host: host.to_owned(),
        key_attestation: case.key_attestation,
        method: method.to_owned(),
        now: case.now,
        path: target.to_owned(),
        query: false,
        scope: case.scope,
        source: case.source,
        subject: case.subject,
        uvm_source: case.uvm_source.or_else(|| case.uvm.as_ref().map(|_| "model".to_owned())),
        uvm: case.uvm,
        verdict: None,
    };
    TableRow { name: case.name, line, request, expect: case.expect }
}

impl ActionPolicySet {
    /// Runs a table of tests against this set.
    ///
    /// # Errors
    /// A problem with the table itself; rows that come out differently are no error here.
    pub fn run_table(&self, text: &str) -> Result<Vec<TableOutcome>, PolicyProblem> {
        let run = |row: TableRow| {
            let found = self.decide_again(&row.request);
            let difference = match found {
                Some(found) if found == row.expect => None,
                found => {
                    let found = found.unwrap_or_else(|| Verdict::Deny("failed".to_owned()));
                    Some(Difference { expected: row.expect, found })
                }
            };
            TableOutcome { name: row.name, line: row.line, difference }
        };
        Ok(parse_table(text)?.into_iter().map(run).collect())
    }

    /// What this set says of a request that another decided; `None` when the request names an
    /// assurance level that this version does not know.
    #[must_use]
    pub fn decide_again(&self, request: &RecordedRequest) -> Option<Verdict> {
        Some(Verdict::from(&self.decide(&request.facts()?).outcome))
    }
}
