//! `audit prune`.

use anyhow::bail;
use serde_json::json;
use signet_authority::config::Config;
use signet_authority::log::verify::KEPT_FROM;
use signet_authority::state::system_clock;
use signet_authority::store::{AuditEntry, AuditFilter, Decision, Event, Store};

use super::super::output::Output;
use super::super::who::who;
use super::when::{When, shown};

pub(super) async fn prune(
    config: &Config,
    before: When,
    dry_run: bool,
    output: Output,
) -> anyhow::Result<()> {
    let store = super::open_log(config).await?;
    let Some(newest) = store.newest_checkpoint().await? else {
        bail!("nothing was signed yet, and only records that were signed may go");
    };
    let filter = AuditFilter { since: Some(before.0), ..AuditFilter::default() };
    let first_kept = store.audit_matching(&filter, 0, 1).await?.first().map(|one| one.sequence);
    let signed = i64::try_from(newest.size)?.saturating_add(1);
    let kept_from = first_kept.unwrap_or(signed).min(signed);
    let first = store.audit_matching(&AuditFilter::default(), 0, 1).await?;
    let first = first.first().map_or(kept_from, |one| one.sequence);
    let count = kept_from.saturating_sub(first).max(0);
    if !dry_run && count > 0 {
        let mut entry = AuditEntry::new(system_clock()(), Event::AuditPrune, Decision::Allowed);
        entry.detail = format!("{KEPT_FROM}{kept_from} by {}", who());
        store.prune_audit(kept_from, &entry).await?;
    }
    store.close().await;
    let verb = if dry_run { "would go" } else { "deleted" };
    let last = kept_from - 1;
    let text = match count {
        0 => format!("no records from before {}", shown(before.0.0)),
        _ => format!("{count} records {verb}: {first} to {last}; their hashes stay"),
    };
    let value = json!({"deleted": count, "dry_run": dry_run, "kept_from": kept_from});
    output.line(&text, &value)
}
