//! `audit verify`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use signet_authority::config::Config;
use signet_authority::log::verify as whole;
use signet_verifier::log::Note;

use super::super::output::{Output, to_stderr};

/// How often a person hears how far it is.
const PROGRESS: Duration = Duration::from_secs(1);

pub(super) async fn verify(
    config: &Config,
    against: &[PathBuf],
    output: Output,
) -> anyhow::Result<()> {
    let log = super::log(config)?;
    let kept = against
        .iter()
        .map(|file| {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            Note::parse(&text).with_context(|| format!("{} holds no checkpoint", file.display()))
        })
        .collect::<anyhow::Result<Vec<Note>>>()?;
    let store = super::open_log(config).await?;
    let report = whole::verify(&store, &log.keys(), &kept, progress()).await?;
    store.close().await;
    let ok = report.findings.is_empty();
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    let (records, signed, pruned) = (report.records, report.signed, report.pruned);
    let mut text = match ok {
        true => format!("sound: {records} records, {signed} of them signed"),
        false => format!("NOT SOUND: {records} records\n{}", findings.join("\n")),
    };
    if pruned > 0 {
        text.push_str(&format!("; {pruned} were deleted for their age"));
    }
    if ok {
        let (checkpoints, cosignatures) = (report.checkpoints, report.cosignatures);
        text.push_str(&format!("; {checkpoints} checkpoints, {cosignatures} cosignatures"));
    }
    let mut value = serde_json::to_value(&report)?;
    value["ok"] = ok.into();
    value["text"] = findings.into();
    output.line(&text, &value)?;
    if !ok {
        bail!("the log is not sound: {} findings", report.findings.len());
    }
    Ok(())
}

fn progress() -> impl FnMut(u64, u64) {
    let mut told = Instant::now();
    let to_person = std::io::stderr().is_terminal();
    move |done, all| {
        if to_person && told.elapsed() >= PROGRESS {
            told = Instant::now();
            to_stderr(&format!("\r{done} of {all} records"));
        }
        if to_person && done == all {
            to_stderr("\r\x1b[K");
        }
    }
}
