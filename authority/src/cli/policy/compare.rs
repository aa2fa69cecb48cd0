//! `policy diff` and `policy replay`.

use std::fmt::Write;
use std::path::Path;

use anyhow::ensure;
use serde_json::json;
use signet_authority::config::Config;
use signet_authority::policy::{
    ActionPolicySet, Changes, RecordedRequest, Replay, TESTS, Verdict, parse_table,
};
use signet_authority::state::system_clock;
use signet_authority::store::{AuditFilter, AuditRecord, Store};

use super::super::output::Output;
use super::super::records;
use super::check::shown;
use super::{Choice, Window, open_store};

pub(super) async fn replay(
    file: &Path,
    set: &Choice,
    window: Window,
    strict: bool,
    output: Output,
) -> anyhow::Result<()> {
    let store = open_store(&Config::load(file)?).await?;
    let set = set.load(&store).await?;
    let mut replay = Replay::default();
    let put = |of: &str, request: &RecordedRequest, verdict: &Verdict| {
        replay.put(&set, of, request, verdict);
    };
    each_recorded(&store, window, put).await?;
    store.close().await;
    let replay = replay.finish();
    let mut text = format!("against version {}\n", set.version());
    describe(&mut text, &replay);
    let version = set.version().to_string();
    output.line(
        text.trim_end(),
        &json!({ "version": version, "days": window.days, "replay": replay }),
    )?;
    ensure!(!strict || replay.flipped == 0, "{} decision(s) flip", replay.flipped);
    Ok(())
}

pub(super) async fn diff(
    file: &Path,
    old: &Choice,
    new: &Choice,
    window: Window,
    output: Output,
) -> anyhow::Result<()> {
    let store = open_store(&Config::load(file)?).await?;
    let (old, new) = (old.load(&store).await?, new.load(&store).await?);
    let changes = old.changes(&new);
    let mut tables = Replay::default();
    for set in [&old, &new] {
        over_table(&mut tables, &old, &new, set)?;
    }
    let mut recorded = Replay::default();
    let put = |of: &str, request: &RecordedRequest, _: &Verdict| {
        // By what the old set says today: the record may be of a set before it.
        if let Some(before) = old.decide_again(request) {
            recorded.put(&new, of, request, &before);
        }
    };
    each_recorded(&store, window, put).await?;
    store.close().await;
    let (tables, recorded) = (tables.finish(), recorded.finish());
    let mut text = format!("from version {}\nto version   {}\n", old.version(), new.version());
    describe_changes(&mut text, &changes);
    text.push_str("tables of tests: ");
    describe(&mut text, &tables);
    text.push_str("recorded decisions: ");
    describe(&mut text, &recorded);
    let value = json!({
        "old": old.version().to_string(), "new": new.version().to_string(), "changes": changes,
        "tests": tables, "days": window.days, "recorded": recorded,
    });
    output.line(text.trim_end(), &value)
}

fn over_table(
    tables: &mut Replay,
    old: &ActionPolicySet,
    new: &ActionPolicySet,
    of: &ActionPolicySet,
) -> anyhow::Result<()> {
    let Some(table) = of.files().get(TESTS) else { return Ok(()) };
    for row in parse_table(table)? {
        if let Some(before) = old.decide_again(&row.request) {
            tables.put(new, &row.name, &row.request, &before);
        }
    }
    Ok(())
}

/// Goes through the decisions of the window that can be decided again.
async fn each_recorded(
    store: &dyn Store,
    window: Window,
    mut put: impl FnMut(&str, &RecordedRequest, &Verdict),
) -> anyhow::Result<()> {
    let since = system_clock()().0.saturating_sub(i64::from(window.days) * 86_400);
    let take = |record: &AuditRecord| {
        let text = record.request.as_ref().filter(|_| record.at >= since);
        let Some(text) = text else { return Ok(()) };
        let Ok(request) = serde_json::from_str::<RecordedRequest>(text) else { return Ok(()) };
        if let Some(verdict) = &request.verdict {
            put(&record.sequence.to_string(), &request, verdict);
        }
        Ok(())
    };
    records::each(store, &AuditFilter::default(), 0, take).await
}

fn describe_changes(text: &mut String, changes: &Changes) {
    let lists = [
        ("rules added", &changes.rules_added),
        ("rules removed", &changes.rules_removed),
        ("rules changed", &changes.rules_changed),
        ("files changed", &changes.files_changed),
    ];
    for (name, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
        let _ = writeln!(text, "{name}: {}", list.join(", "));
    }
}

fn describe(text: &mut String, replay: &Replay) {
    let _ = writeln!(text, "{} decided again, {} flip", replay.decided, replay.flipped);
    for flip in &replay.flips {
        let action = if flip.action.is_empty() { "(no action)" } else { &flip.action };
        let _ = writeln!(text, "  {:>6} {action}: {} -> {}", flip.count, flip.before, flip.after);
        for example in &flip.examples {
            let _ = writeln!(
                text,
                "         {} {} {}: {} -> {}",
                example.of,
                example.subject,
                example.request,
                shown(&example.before),
                shown(&example.after),
            );
        }
    }
    if replay.without_query > 0 {
        let _ = writeln!(
            text,
            "  {} had a query, which is not kept: a rule about it may decide otherwise",
            replay.without_query
        );
    }
    if replay.undecidable > 0 {
        let _ = writeln!(text, "  {} cannot be decided again", replay.undecidable);
    }
}
