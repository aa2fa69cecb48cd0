//! `audit list`, `audit show`.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use signet_authority::config::Config;
use signet_authority::log;
use signet_authority::store::{AuditFilter, AuditRecord, Store};
use signet_evidence::thumbprint::hex;

use super::super::output::{Output, to_stdout};
use super::super::records;
use super::Which;
use super::when::shown;

pub(super) async fn list(config: &Config, which: Which, output: Output) -> anyhow::Result<()> {
    each(config, which, |record| output.line(&text(record), &serde_json::to_value(record)?)).await
}

/// Hands over the records that are asked for.
pub(super) async fn each(
    config: &Config,
    which: Which,
    take: impl FnMut(&AuditRecord) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let store = super::open_log(config).await?;
    let after = which.after;
    records::each(&store, &which.filter(), after, take).await?;
    store.close().await;
    to_stdout(b"")
}

pub(super) async fn show(
    config: &Config,
    number: u64,
    proof_only: bool,
    output: Output,
) -> anyhow::Result<()> {
    let store = super::open_log(config).await?;
    let after = number.checked_sub(1).context("records are counted from 1")?;
    let found = store
        .audit_matching(&AuditFilter::default(), i64::try_from(after)?, 1)
        .await?
        .into_iter()
        .find(|record| u64::try_from(record.sequence) == Ok(number));
    let Some(record) = found else {
        bail!("there is no record {number}; `signet-authority audit list` shows what there is");
    };
    let receipt = log::receipt(&store, after).await?;
    store.close().await;
    let keys = super::log(config)?.keys();
    let checked = match &receipt {
        Some(receipt) => {
            // The newest checkpoint may be one of a key that signs no more.
            let entry = record.entry();
            let mut verified = keys.iter().rev().map(|key| receipt.verify(&entry, key));
            let checked = verified.find(Result::is_ok).and_then(Result::ok);
            Some(checked.context(
                "the log does not hold this record; run `signet-authority audit verify`",
            )?)
        }
        None => None,
    };
    if proof_only {
        let Some(receipt) = receipt else {
            bail!("record {number} is not in a checkpoint yet; it is while the authority serves")
        };
        return to_stdout(receipt.to_string().as_bytes());
    }
    let leaf = hex(&record.leaf());
    let mut lines = members(&record);
    lines.push(format!("leaf        {leaf}"));
    match (&checked, &receipt) {
        (Some(checkpoint), Some(receipt)) => {
            let size = checkpoint.head.size;
            lines.push(format!("in the log  yes: proved to be record {number} of {size}"));
            lines.push(format!("\n{receipt}"));
        }
        _ => lines.push("in the log  not in a checkpoint yet".to_owned()),
    }
    let value = json!({
        "record": record,
        "leaf": leaf,
        "size": checked.map(|checkpoint| checkpoint.head.size),
        "proof": receipt.map(|receipt| receipt.to_string()),
    });
    output.line(lines.join("\n").trim_end(), &value)
}

fn members(record: &AuditRecord) -> Vec<String> {
    let Ok(Value::Object(members)) = serde_json::to_value(record) else { return Vec::new() };
    let line = |(name, value): (String, Value)| {
        let text = match value {
            Value::Null => return None,
            Value::String(text) if text.is_empty() => return None,
            Value::Number(time) if name == "at" => shown(time.as_i64().unwrap_or(0)),
            Value::String(text) => text,
            other => other.to_string(),
        };
        Some(format!("{name:<11} {text}"))
    };
    members.into_iter().filter_map(line).collect()
}

fn text(record: &AuditRecord) -> String {
    let short = |text: &Option<String>| {
        text.clone().unwrap_or_default().chars().take(12).collect::<String>()
    };
    let decision = match &record.code {
        Some(code) => format!("refused {code}"),
        None => record.decision.clone(),
    };
    format!(
        "{:>5} {} {:<18} {:<34} {:<12} device={} session={} {}{}",
        record.sequence,
        shown(record.at),
        record.event,
        decision,
        record.subject.as_deref().unwrap_or("-"),
        short(&record.device),
        short(&record.session),
        record.gateway.as_deref().map(|gateway| format!("{gateway} ")).unwrap_or_default(),
        record.detail,
    )
}
