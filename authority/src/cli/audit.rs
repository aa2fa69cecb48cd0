//! `audit list`.

use std::path::Path;

use anyhow::bail;
use signet_authority::config::Config;
use signet_authority::store::{AuditRecord, Store};

use super::output::{Output, to_stdout};
use super::ticket::open_store;

const PAGE: u32 = 500;

pub(super) async fn list(file: &Path, after: i64, output: Output) -> anyhow::Result<()> {
    let store = open_store(&Config::load(file)?).await?;
    let mut after = after;
    let mut last: Option<AuditRecord> = None;
    loop {
        let page = store.audit_after(after, PAGE).await?;
        for record in &page {
            if last.as_ref().is_some_and(|last| last.digest != record.previous) {
                bail!(
                    "record {} does not follow the one before it: the table was changed",
                    record.sequence
                );
            }
            output.line(&text(record), &serde_json::to_value(record)?)?;
            last = Some(record.clone());
        }
        match page.last() {
            Some(record) => after = record.sequence,
            None => break,
        }
    }
    store.close().await;
    to_stdout(b"")
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
        record.at,
        record.event,
        decision,
        record.subject.as_deref().unwrap_or("-"),
        short(&record.device),
        short(&record.session),
        record.gateway.as_deref().map(|gateway| format!("{gateway} ")).unwrap_or_default(),
        record.detail,
    )
}
