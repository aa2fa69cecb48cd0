//! `machine explain`: what was booted, what changed, what was minded, and what to do.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use signet_authority::store::{BootRow, ListedMachine, Store};
use signet_evidence::eventlog::PcrComparison;
use signet_evidence::thumbprint::hex;
use signet_verifier::boot::{
    BootJudgement, BootState, Finding, ProvenLog, Verdict, changed_values, differences,
};

use super::super::output::Output;
use super::ExplainArguments;
use super::shown::{Shown, find};

/// Lines for people, and the same for programs.
#[derive(Default)]
struct Explanation {
    lines: Vec<String>,
    value: serde_json::Map<String, Value>,
}

impl Explanation {
    fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    fn member(&mut self, name: &str, value: Value) {
        self.value.insert(name.to_owned(), value);
    }

    fn print(self, output: Output) -> anyhow::Result<()> {
        output.line(&self.lines.join("\n"), &Value::Object(self.value))
    }
}

/// From files.
pub(super) fn files(arguments: &ExplainArguments, output: Output) -> anyhow::Result<()> {
    let shown = Shown::read(&arguments.machine)?;
    let before = arguments.before.as_deref().map(Shown::read).transpose()?;
    let groups = arguments.group.iter().map(String::as_str);
    let judged = arguments.policy.as_deref().map(|path| shown.judged(path, groups)).transpose()?;
    let mut explanation = Explanation::default();
    booted(&shown, &mut explanation);
    if let Some(before) = &before {
        let changes = changed(before, &shown)?;
        explanation.line(format!("{} differences:", changes.len()));
        said_changes(changes, &mut explanation);
    }
    let refused = said_judgement(judged, &mut explanation);
    explanation.print(output)?;
    if refused { bail!("the policy refuses this machine") } else { Ok(()) }
}

/// From the store.
pub(super) async fn stored(
    store: &dyn Store,
    arguments: &ExplainArguments,
    output: Output,
) -> anyhow::Result<()> {
    let name = arguments.device.as_deref().context("write a device, or --machine LOG PCRS")?;
    let found = find(store.machines().await?, name)?;
    let Some(now) = &found.machine.now else {
        bail!(
            "{} has sent no evidence since it was enrolled: there is nothing to explain",
            found.device.id
        )
    };
    let shown = Shown::stored(store, now).await?;
    let mut explanation = Explanation::default();
    said_state(&found, now, &mut explanation);
    let refused = match &arguments.policy {
        Some(policy) => tried(&shown, policy, &found, &mut explanation)?,
        None => {
            said_minded(&found, now, &mut explanation);
            now.state == BootState::Refused
        }
    };
    if let Some(before) = &found.machine.before {
        let earlier = Shown::stored(store, before).await?;
        explanation.line(format!(
            "what changed since state {}, {} and seen since {}:",
            before.name(),
            before.state.as_str(),
            before.since
        ));
        if before.firmware != now.firmware {
            explanation.line(format!(
                "  the TPM's firmware was {:016x}, is {:016x}",
                before.firmware, now.firmware
            ));
        }
        match changed(&earlier, &shown) {
            Ok(changes) => said_changes(changes, &mut explanation),
            Err(error) => {
                explanation.line(format!("  {error:#}; this is what the quotes say:"));
                let changes = changed_values(earlier.pcrs(), shown.pcrs());
                said_changes(changes.iter().map(ToString::to_string).collect(), &mut explanation);
            }
        }
    }
    booted(&shown, &mut explanation);
    explanation.print(output)?;
    if refused { bail!("{} is refused", found.device.id) } else { Ok(()) }
}

fn said_state(found: &ListedMachine, now: &BootRow, explanation: &mut Explanation) {
    let ListedMachine { device, machine } = found;
    let groups: Vec<&str> = machine.groups.iter().map(String::as_str).collect();
    explanation.line(format!(
        "machine {} ({}) of {}, groups: {}",
        device.id,
        device.asset.as_deref().unwrap_or("no asset tag"),
        device.operator,
        if groups.is_empty() { "none".to_owned() } else { groups.join(", ") }
    ));
    explanation.line(format!(
        "state {}: {}, seen since {}, TPM reset {}, firmware {:016x}, event log {}",
        now.name(),
        now.state.as_str(),
        now.since,
        now.reset_count,
        now.firmware,
        now.log.as_str()
    ));
    explanation.member("device", json!(device.id.to_string()));
    explanation.member("asset", json!(device.asset));
    explanation.member("operator", json!(device.operator));
    explanation.member("groups", json!(machine.groups));
    explanation.member("state", json!(now.name()));
    explanation.member("verdict", json!(now.state.as_str()));
    explanation.member("since", json!(now.since.0));
    explanation.member("log", json!(now.log.as_str()));
}

/// What was minded when the state was seen, and how to accept it.
fn said_minded(found: &ListedMachine, now: &BootRow, explanation: &mut Explanation) {
    let mut policy = None;
    for minded in &now.findings {
        if policy != Some(&minded.policy) {
            explanation.line(format!("policy {}, mode {}, minds:", minded.policy, minded.mode));
            policy = Some(&minded.policy);
        }
        explanation.line(format!("  {}", minded.what));
        explanation.line(format!("    rule: {}; what to do: {}", minded.rule, minded.advice));
    }
    explanation.member("findings", json!(now.findings));
    let accepted = found.machine.accepted.last();
    match (now.state, accepted) {
        (BootState::Accepted, Some(accepted)) => explanation
            .line(format!("accepted by {} at {}: {}", accepted.by, accepted.at, accepted.reason)),
        (BootState::Recorded | BootState::Warned | BootState::Refused, _) => {
            let accept = format!(
                "signet-authority machine accept {} --state {} --reason WHY",
                found.device.id,
                now.name()
            );
            explanation.line(format!("if this is as it should be: {accept}"));
            explanation.member("accept", json!(accept));
        }
        _ => {}
    }
}

/// Tries a policy file on a stored state; whether it refuses.
fn tried(
    shown: &Shown,
    policy: &Path,
    found: &ListedMachine,
    explanation: &mut Explanation,
) -> anyhow::Result<bool> {
    let judged = shown.judged(policy, found.machine.groups.iter().map(String::as_str))?;
    Ok(said_judgement(Some(judged), explanation))
}

fn said_judgement(judged: Option<Option<BootJudgement>>, explanation: &mut Explanation) -> bool {
    let Some(judged) = judged else { return false };
    let Some(judgement) = judged else {
        explanation.line("the policy does not judge machines of these groups");
        return false;
    };
    let verdict = format!("{:?}", judgement.verdict()).to_lowercase();
    explanation.line(format!("policy, mode {}: {verdict}", judgement.mode().as_str()));
    for finding in judgement.findings() {
        explanation.line(format!("  {finding}"));
        explanation.line(format!("    rule: {}; what to do: {}", finding.rule(), finding.advice()));
    }
    let finding = |finding: &Finding| {
        json!({
            "what": finding.to_string(), "rule": finding.rule(), "advice": finding.advice(),
        })
    };
    explanation.member("verdict", json!(verdict));
    explanation.member("mode", json!(judgement.mode().as_str()));
    explanation.member("findings", judgement.findings().iter().map(finding).collect());
    judgement.verdict() == Verdict::Refused
}

fn changed(before: &Shown, now: &Shown) -> anyhow::Result<Vec<String>> {
    let before = before.proven().context("the earlier event log proves nothing")?;
    let now = now.proven().context("the event log proves nothing")?;
    Ok(differences(&before, &now).iter().map(ToString::to_string).collect())
}

fn said_changes(changes: Vec<String>, explanation: &mut Explanation) {
    for change in &changes {
        explanation.line(format!("  {change}"));
    }
    explanation.member("differences", json!(changes));
}

/// What the PCR values confirm of the log.
fn booted(shown: &Shown, explanation: &mut Explanation) {
    match shown.proven() {
        Ok(log) => booted_by(&log, explanation),
        Err(error) => {
            let error = format!("{:#}", anyhow::Error::from(error));
            explanation.line(error.clone());
            explanation.member("log", json!(error));
        }
    }
}

fn booted_by(log: &ProvenLog<'_>, explanation: &mut Explanation) {
    let facts = log.facts();
    explanation.line(format!("bank: {:?}", log.bank()));
    let mut pcrs = BTreeMap::new();
    for (pcr, comparison) in log.compared() {
        let said = match comparison {
            PcrComparison::Explained => "explained",
            PcrComparison::Untouched => "untouched",
            PcrComparison::NotInLog => "not-in-log",
            PcrComparison::Mismatch(_) => "not-matching",
        };
        pcrs.entry(said).or_insert_with(Vec::new).push(*pcr);
    }
    for (said, pcrs) in &pcrs {
        explanation.line(format!("PCRs {said}: {pcrs:?}"));
    }
    let secure_boot = Finding::SecureBoot(facts.secure_boot).to_string();
    explanation.line(secure_boot.clone());
    for authority in &facts.authorities {
        let certificate = authority.certificate.as_ref();
        let certificate = certificate
            .map_or_else(String::new, |found| format!(" {}", found.thumbprint().to_hex()));
        let name = &authority.variable.name;
        explanation.line(format!("verified by: {name:?}{certificate} (event {})", authority.event));
    }
    for string in facts.strings.iter().filter(|string| string.said_command_line) {
        explanation.line(format!("command line (by its label): {:?}", string.text));
    }
    let events: Vec<Value> = facts
        .measured
        .iter()
        .map(|event| {
            json!({
                "event": event.event, "pcr": event.pcr, "digest": hex(event.digest),
                "type": event.kind.to_string(), "hint": event.hint,
            })
        })
        .collect();
    explanation.member("pcrs", json!(pcrs));
    explanation.member("secure_boot", json!(secure_boot));
    explanation.member("events", json!(events));
}
