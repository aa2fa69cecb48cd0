//! `metadata`: import, show, status.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use signet_authority::config::{AaguidText, Config};
use signet_authority::metadata::{Trusted, take};
use signet_authority::state::system_clock;
use signet_authority::store::{Store, StoredMetadata};
use signet_evidence::UnixTime;
use signet_evidence::thumbprint::hex;
use signet_verifier::ModelVerification;
use signet_verifier::metadata::{ModelCondition, ModelEntry, ModelIdentity};

use super::output::Output;
use super::ticket::open_store;

#[derive(Debug, Subcommand)]
pub(crate) enum MetadataCommand {
    /// Believe a BLOB, store it, and refuse enrolled keys of the models that it reports.
    ///
    /// All nodes go by it from then on. An older BLOB than the one that counts is refused.
    Import {
        /// The BLOB as it was downloaded: a compact JWS.
        file: PathBuf,
    },
    /// Print what is known of a model, or one line for each.
    Show {
        /// For example 2fc0579f-8113-47ea-b116-bb5a8db9202a.
        aaguid: Option<String>,
    },
    /// Print which BLOB counts, and when the next is due.
    Status,
}

pub(super) async fn run(
    file: &Path,
    command: MetadataCommand,
    output: Output,
) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    match command {
        MetadataCommand::Import { file } => import(&config, &file, output).await,
        MetadataCommand::Show { aaguid } => show(&config, aaguid, output).await,
        MetadataCommand::Status => status(&config, output).await,
    }
}

async fn import(config: &Config, file: &Path, output: Output) -> anyhow::Result<()> {
    let trusted = Trusted::load(config)?;
    let blob = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let store = open_store(config).await?;
    let from = file.display().to_string();
    let taken = take(&store, &trusted, &blob, &from, system_clock()()).await;
    store.close().await;
    let (stored, imported) = taken?;
    let metadata = &stored.metadata;
    let (refused, lifted): (Vec<_>, Vec<_>) =
        imported.marked.iter().partition(|mark| mark.reported.is_some());
    let text = format!(
        "number {} with {} models, next due {}; {} enrolled key(s) refused from now on, {} no longer",
        metadata.number(),
        metadata.models().len(),
        date(metadata.next_update()),
        refused.len(),
        lifted.len(),
    );
    let marked: Vec<Value> = imported
        .marked
        .iter()
        .map(|mark| {
            json!({
                "credential": hex(&mark.credential), "subject": mark.subject, "status": mark.reported,
            })
        })
        .collect();
    let value = json!({
        "number": metadata.number(),
        "models": metadata.models().len(),
        "next_update": metadata.next_update().0,
        "marked": marked,
    });
    output.line(&text, &value)
}

async fn stored(config: &Config) -> anyhow::Result<StoredMetadata> {
    let store = open_store(config).await?;
    let stored = store.metadata().await;
    store.close().await;
    let Some(stored) = stored? else {
        bail!("there is no metadata yet; import some with `signet-authority metadata import FILE`");
    };
    Ok(stored)
}

async fn show(config: &Config, aaguid: Option<String>, output: Output) -> anyhow::Result<()> {
    let now = system_clock()();
    let stored = stored(config).await?;
    let Some(text) = aaguid else {
        for model in stored.metadata.models() {
            output.line(&line(model, now), &value(model, now))?;
        }
        return Ok(());
    };
    let wanted = AaguidText::try_from(text.to_ascii_lowercase())?;
    let is_wanted = |model: &&ModelEntry| model.identity == ModelIdentity::Aaguid(wanted.0);
    let Some(model) = stored.metadata.models().iter().find(is_wanted) else {
        bail!("metadata number {} does not know {wanted}", stored.metadata.number());
    };
    output.line(&in_full(model, now), &value(model, now))
}

async fn status(config: &Config, output: Output) -> anyhow::Result<()> {
    let now = system_clock()();
    let stored = stored(config).await?;
    let metadata = &stored.metadata;
    let reported: Vec<&ModelEntry> = metadata
        .models()
        .iter()
        .filter(|model| model.condition(now) != ModelCondition::Good)
        .collect();
    let stale = metadata.is_stale(now);
    let text = format!(
        "number {} with {} models, {} of them refused; imported {}, next due {}{}",
        metadata.number(),
        metadata.models().len(),
        reported.len(),
        date(stored.imported_at),
        date(metadata.next_update()),
        if stale { ": overdue" } else { "" },
    );
    let value = json!({
        "number": metadata.number(),
        "models": metadata.models().len(),
        "imported_at": stored.imported_at.0,
        "next_update": metadata.next_update().0,
        "stale": stale,
        "digest": hex(&stored.digest),
        "refused": reported.iter().map(|model| value(model, now)).collect::<Vec<_>>(),
    });
    output.line(&text, &value)
}

fn identity(model: &ModelEntry) -> String {
    match &model.identity {
        ModelIdentity::Aaguid(aaguid) => AaguidText(*aaguid).to_string(),
        ModelIdentity::AttestationKeys(keys) => {
            let first = keys.first().map(|key| hex(&key.0)).unwrap_or_default();
            let first: String = first.chars().take(32).collect();
            format!("u2f {first}")
        }
    }
}

fn condition(model: &ModelEntry, now: UnixTime) -> &str {
    match model.condition(now) {
        ModelCondition::Good => "ok",
        ModelCondition::Bad(status) => status.as_str(),
    }
}

fn verification(model: &ModelEntry) -> &'static str {
    model.verification.map_or("unknown", ModelVerification::as_str)
}

fn line(model: &ModelEntry, now: UnixTime) -> String {
    let (identity, condition) = (identity(model), condition(model, now));
    format!("{identity:<36}  {:<15}  {condition:<8}  {}", verification(model), model.description)
}

fn in_full(model: &ModelEntry, now: UnixTime) -> String {
    let reports: Vec<String> = model
        .reports
        .iter()
        .map(|report| {
            let since = report.effective.map(|at| date(UnixTime(at))).unwrap_or_default();
            format!("\n  {since:<10} {}", report.status.as_str())
        })
        .collect();
    format!(
        "{}  {}\nfirmware           {}\nuser verification  {}\nkey protection     {}\nmatcher            {}\nattestation        {}\nroots              {}\nstatus             {}\nreports{}",
        identity(model),
        model.description,
        model.firmware.map_or_else(|| "unknown".to_owned(), |firmware| firmware.to_string()),
        verification(model),
        model.key_protection.join(" "),
        model.matcher_protection.join(" "),
        model.attestation_types.join(" "),
        model.roots.len(),
        condition(model, now),
        reports.concat(),
    )
}

fn value(model: &ModelEntry, now: UnixTime) -> Value {
    let (aaguid, keys) = match &model.identity {
        ModelIdentity::Aaguid(aaguid) => (Some(AaguidText(*aaguid).to_string()), Vec::new()),
        ModelIdentity::AttestationKeys(keys) => {
            (None, keys.iter().map(|key| hex(&key.0)).collect())
        }
    };
    let reports: Vec<Value> = model
        .reports
        .iter()
        .map(|report| json!({ "status": report.status.as_str(), "effective": report.effective }))
        .collect();
    json!({
        "aaguid": aaguid,
        "attestation_keys": keys,
        "description": model.description,
        "firmware": model.firmware,
        "user_verification": verification(model),
        "key_protection": model.key_protection,
        "matcher_protection": model.matcher_protection,
        "attestation_types": model.attestation_types,
        "cred_protect": model.cred_protect,
        "roots": model.roots.len(),
        "status": condition(model, now),
        "reports": reports,
    })
}

/// `YYYY-MM-DD`.
fn date(time: UnixTime) -> String {
    signet_authority::policy::iso_8601(time).chars().take(10).collect()
}
