//! `audit evidence`, `audit reappraise`: what a decision was made on.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::json;
use signet_authority::appraise::{AppraiseError, Appraiser, Memory};
use signet_authority::config::Config;
use signet_authority::keys;
use signet_authority::metadata::Judging;
use signet_authority::store::{
    AuditEntry, AuditFilter, AuditRecord, Decision, Event, KeptEvidence, SqlStore, Store,
};
use signet_authority::trust;
use signet_evidence::binding::Sha256;
use signet_evidence::thumbprint::unhex;
use signet_evidence::{Evidence, Purpose, UnixTime};

use super::super::appraise::purposes;
use super::super::output::Output;

/// Says what is kept of the evidence with this hash, or of the record with this number, and writes it.
pub(super) async fn evidence(
    config: &Config,
    which: &str,
    out: Option<PathBuf>,
    output: Output,
) -> anyhow::Result<()> {
    let store = super::open_log(config).await?;
    let hash = match which.parse() {
        Ok(number) => record(&store, number)
            .await?
            .evidence
            .with_context(|| format!("record {which} was not made on evidence"))?,
        Err(_) => which.to_owned(),
    };
    let kept = kept(&store, &hash).await?;
    store.close().await;
    let statement = Evidence::parse(&kept.bytes).ok().map(|evidence| evidence.statement);
    let purpose = statement.map_or("unreadable", |statement| statement.purpose.as_str());
    let mut text = format!("{hash}  {purpose}, {} bytes", kept.bytes.len());
    let certificate = out.as_ref().map(|out| out.with_extension("pem"));
    if let (Some(out), Some(certificate)) = (&out, &certificate) {
        keys::write_secret(out, &kept.bytes)?;
        keys::write_public(certificate, keys::pem(&kept.peer.into()).as_bytes())?;
        text.push_str(&format!(
            "\nwritten to {}; it came over a connection of {}",
            out.display(),
            certificate.display()
        ));
    }
    let value = json!({
        "evidence": hash, "purpose": purpose, "bytes": kept.bytes.len(), "file": out,
        "peer_certificate": certificate,
    });
    output.line(&text, &value)
}

/// Judges again what a record was decided on: at the time of then, by the settings and rows of now.
pub(super) async fn reappraise(config: &Config, number: u64, output: Output) -> anyhow::Result<()> {
    let keys = keys::load(&config.keys())?;
    let store = super::open_log(config).await?;
    let record = record(&store, number).await?;
    let hash = record.evidence.as_deref();
    let hash = hash.with_context(|| format!("record {number} was not made on evidence"))?;
    let kept = kept(&store, hash).await?;
    let now = UnixTime(record.at);
    let policy = trust::appraisal(config, &keys, now)?;
    let policy = Judging::new(policy).policy(&store).await?;
    let (challenge_key, memory, metrics) = (&keys.challenge, Memory::Again, None);
    let appraiser =
        Appraiser { store: &store, challenge_key, policy: &policy, now, metrics, memory };
    let mut entry = AuditEntry::new(now, Event::Token, Decision::Allowed);
    let judged = match purposes(&kept.bytes, None)?.as_slice() {
        [Purpose::EnrolKey] => {
            let judged = appraiser.appraise_registration(&kept.bytes, &kept.peer, &mut entry).await;
            judged.map(|_| ())
        }
        purposes => {
            let judged = appraiser.appraise(&kept.bytes, &kept.peer, purposes, &mut entry).await;
            judged.map(|_| ())
        }
    };
    store.close().await;
    let (now, reason) = match &judged {
        Ok(()) => ("accepted", None),
        Err(AppraiseError::Rejected(rejection)) => {
            (rejection.code().as_str(), Some(rejection.chain()))
        }
        Err(AppraiseError::Store(_)) => return Ok(judged?),
    };
    // What was allowed by policy after the evidence was accepted shows in the record alone.
    let then = record.code.as_deref().unwrap_or("accepted");
    let mut text = format!("record {number}: {then} then, {now} now");
    if let Some(reason) = &reason {
        text.push_str(&format!("\n{reason}"));
    }
    let value = json!({
        "record": number, "evidence": hash, "then": then, "now": now, "reason": reason,
        "same": then == now,
    });
    output.line(&text, &value)
}

async fn record(store: &SqlStore, number: u64) -> anyhow::Result<AuditRecord> {
    let after = i64::try_from(number.saturating_sub(1))?;
    let found = store.audit_matching(&AuditFilter::default(), after, 1).await?;
    let found = found.into_iter().find(|one| u64::try_from(one.sequence) == Ok(number));
    found.with_context(|| format!("there is no record {number}"))
}

async fn kept(store: &SqlStore, hash: &str) -> anyhow::Result<KeptEvidence> {
    let digest: Option<Sha256> = unhex(hash).and_then(|bytes| bytes.try_into().ok());
    let Some(digest) = digest else {
        bail!("{hash:?} is neither the number of a record nor a SHA-256 in hex");
    };
    let found = store.evidence(&digest).await?;
    found.context(
        "that evidence is not kept: it is older than audit.evidence_for, or there was more than \
         audit.evidence_mebibytes of it, or audit.keep_evidence was off",
    )
}
