//! `policy explain`.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use signet_authority::config::Config;
use signet_authority::policy::{
    ActionPolicySet, Explanation, Outcome, RecordedRequest, Rule, Verdict,
};
use signet_authority::state::system_clock;
use signet_authority::store::Store;
use signet_verifier::AssuranceLevel;

use super::super::output::Output;
use super::check::shown;
use super::{Choice, open_store};

/// A recorded decision, or a request by its options.
#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// Audit record of a decision: its sequence number. By the set that decided it, unless --set says
    /// another.
    #[arg(long, conflicts_with_all = ["subject", "request"])]
    record: Option<i64>,
    /// Folder, version, `live` or `shadow`; a request of options is put to the live one.
    #[arg(long)]
    set: Option<Choice>,
    /// Who asks: an operator's name or a workload's SPIFFE ID.
    #[arg(long, required_unless_present = "record")]
    subject: Option<String>,
    /// What is asked: method, host and target, such as "PUT ctl.mesh.example/v1/x".
    #[arg(long, required_unless_present = "record")]
    request: Option<String>,
    /// What the token proves.
    #[arg(long, default_value = "signet.uv")]
    acr: String,
    /// Seconds since the last touch; none when nobody ever touched.
    #[arg(long)]
    age: Option<u64>,
    /// The token was approved for this very request, as this action.
    #[arg(long, value_name = "ACTION")]
    approved: Option<String>,
    /// The token's scope.
    #[arg(long)]
    scope: Option<String>,
    /// SPIFFE ID of the machine.
    #[arg(long, default_value = "")]
    device: String,
    /// SPIFFE ID of the gateway.
    #[arg(long, default_value = "")]
    gateway: String,
    /// The client's address.
    #[arg(long)]
    source: Option<IpAddr>,
    /// How the key was attested.
    #[arg(long)]
    key_attestation: Option<String>,
    /// How the user was verified.
    #[arg(long)]
    uvm: Option<String>,
    /// Who says so: model, tpm or host.
    #[arg(long)]
    uvm_source: Option<String>,
    /// State of the machine at boot.
    #[arg(long, default_value = "approved")]
    boot: String,
    /// Whether the TPM proved its maker's certificate.
    #[arg(long, default_value = "proven")]
    device_identity: String,
}

pub(super) async fn run(
    file: &Path,
    arguments: ExplainArguments,
    output: Output,
) -> anyhow::Result<()> {
    let store = open_store(&Config::load(file)?).await?;
    let (request, decided_by) = match arguments.record {
        Some(sequence) => recorded(&store, sequence).await?,
        None => (asked(&arguments)?, None),
    };
    let choice = arguments.set.or_else(|| decided_by.map(Choice::Version));
    let choice = choice.unwrap_or(Choice::Slot(signet_authority::in_force::Slot::Live));
    let set = choice.load(&store).await?;
    store.close().await;
    let facts = request.facts().context("no such assurance level")?;
    let explanation = set.explain(&facts);
    let text = describe(&set, &request, &explanation);
    output.line(text.trim_end(), &value(&set, &request, &explanation))
}

async fn recorded(
    store: &dyn Store,
    sequence: i64,
) -> anyhow::Result<(RecordedRequest, Option<String>)> {
    let found = store.audit_after(sequence.saturating_sub(1), 1).await?.pop();
    let found = found.filter(|record| record.sequence == sequence);
    let record = found.with_context(|| format!("there is no audit record {sequence}"))?;
    let Some(text) = &record.request else {
        let code = record.code.as_deref().unwrap_or("nothing to decide");
        bail!(
            "record {sequence} is no decision of policy: {} ended with {code}: {}",
            record.event,
            record.detail
        );
    };
    let request = serde_json::from_str(text)
        .with_context(|| format!("record {sequence} is of another version of this program"))?;
    Ok((request, record.policy))
}

fn asked(arguments: &ExplainArguments) -> anyhow::Result<RecordedRequest> {
    let request = arguments.request.as_deref().unwrap_or_default();
    let (method, url) = request.split_once(' ').unwrap_or((request, ""));
    let url = url.strip_prefix("https://").unwrap_or(url);
    let (host, target) = url.find('/').map_or((url, "/"), |slash| url.split_at(slash));
    if method.is_empty() || host.is_empty() {
        bail!("--request is a method, a host and a path: \"PUT ctl.mesh.example/v1/x\"");
    }
    if AssuranceLevel::from_name(&arguments.acr).is_none() {
        let levels: Vec<&str> = AssuranceLevel::ALL.iter().map(|level| level.as_str()).collect();
        bail!("--acr is one of {}", levels.join(", "));
    }
    Ok(RecordedRequest {
        acr: arguments.acr.clone(),
        age: arguments.age,
        approved: arguments.approved.clone().map(|action| vec![action]),
        boot: arguments.boot.clone(),
        device: arguments.device.clone(),
        device_identity: arguments.device_identity.clone(),
        gateway: arguments.gateway.clone(),
        host: host.to_ascii_lowercase(),
        key_attestation: arguments.key_attestation.clone(),
        method: method.to_owned(),
        now: system_clock()().0,
        path: target.to_owned(),
        query: false,
        scope: arguments.scope.clone(),
        source: arguments.source,
        subject: arguments.subject.clone().unwrap_or_default(),
        uvm: arguments.uvm.clone(),
        uvm_source: arguments.uvm_source.clone(),
        verdict: None,
    })
}

fn describe(set: &ActionPolicySet, request: &RecordedRequest, explanation: &Explanation) -> String {
    let decision = &explanation.decision;
    let mut text = String::new();
    let say = |text: &mut String, line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    say(
        &mut text,
        format!("{} {}{} by {}", request.method, request.host, request.path, request.subject),
    );
    match &decision.action {
        Some(action) => {
            let line = explanation
                .action_line
                .map_or_else(String::new, |line| format!(" (actions.toml:{line})"));
            say(&mut text, format!("is {} on {}{line}", action.name, action.resource));
        }
        None => say(&mut text, "is no action of actions.toml, so nothing can allow it".to_owned()),
    }
    let verdict = Verdict::from(&decision.outcome);
    say(&mut text, format!("policy {} says: {}", set.version(), shown(&verdict)));
    if let Some(recorded) = request.verdict.as_ref().filter(|recorded| recorded.flips_to(&verdict))
    {
        say(&mut text, format!("the record says: {}", shown(recorded)));
    }
    let would = matches!(decision.outcome, Outcome::StepUp(_));
    for (name, rule) in &explanation.rules {
        let does = if would { "would allow it then" } else { "decided" };
        say(&mut text, format!("  {}: {name} {does}{}", place(rule), described(rule)));
    }
    for near in &explanation.near {
        say(
            &mut text,
            format!(
                "  {}: {} does not allow it{}",
                place(&near.rule),
                near.name,
                described(&near.rule)
            ),
        );
        for lack in &near.lacks {
            say(&mut text, format!("      {lack}"));
        }
    }
    if verdict == Verdict::Deny("no-rule".to_owned()) && explanation.near.is_empty() {
        let _ = writeln!(text, "  no rule allows this action to anybody");
    }
    text
}

fn place(rule: &Rule) -> String {
    format!("{}:{}", rule.file, rule.line)
}

fn described(rule: &Rule) -> String {
    rule.description.as_ref().map(|text| format!(": {text}")).unwrap_or_default()
}

fn value(
    set: &ActionPolicySet,
    request: &RecordedRequest,
    explanation: &Explanation,
) -> serde_json::Value {
    let decision = &explanation.decision;
    let rule = |name: &str, rule: &Rule| json!({ "rule": name, "file": rule.file, "line": rule.line, "description": rule.description });
    let near = explanation.near.iter().map(|near| {
        let mut value = rule(&near.name, &near.rule);
        value["lacks"] = near.lacks.iter().map(ToString::to_string).collect();
        value
    });
    json!({
        "version": set.version().to_string(),
        "request": request,
        "action": decision.action.as_ref().map(|action| json!({
            "name": action.name, "access": action.access.as_str(), "resource": action.resource,
            "line": explanation.action_line,
        })),
        "verdict": Verdict::from(&decision.outcome),
        "rules": explanation.rules.iter().map(|(name, one)| rule(name, one)).collect::<Vec<_>>(),
        "near": near.collect::<Vec<_>>(),
    })
}
