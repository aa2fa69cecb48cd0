//! `appraise`: what the authority would say to this evidence. Consumes and writes nothing.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use signet_authority::appraise::{AppraiseError, Appraiser, Memory};
use signet_authority::config::Config;
use signet_authority::keys;
use signet_authority::metadata::Judging;
use signet_authority::state::system_clock;
use signet_authority::store::{AuditEntry, Decision, Event};
use signet_authority::trust;
use signet_evidence::{Evidence, Purpose, UnixTime};
use signet_verifier::Rejection;

use super::output::Output;
use super::ticket::open_store;

/// The purposes that the token endpoint takes.
const TOKEN: [Purpose; 4] = [Purpose::Session, Purpose::Renew, Purpose::Action, Purpose::Workload];

#[derive(Debug, Args)]
pub(crate) struct AppraiseArguments {
    /// Evidence, as bytes.
    file: PathBuf,
    /// Client certificate of the connection that it came over, PEM or DER.
    #[arg(long)]
    peer_certificate: PathBuf,
    /// When it came, in seconds since 1970; by default now.
    #[arg(long)]
    at: Option<i64>,
    /// Only for this purpose (session, renew, action, workload, enrol-key); by default its own.
    #[arg(long)]
    purpose: Option<String>,
}

pub(super) async fn run(
    file: &Path,
    arguments: AppraiseArguments,
    output: Output,
) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    let keys = keys::load(&config.keys())?;
    let evidence = std::fs::read(&arguments.file)
        .with_context(|| format!("cannot read {}", arguments.file.display()))?;
    let chain = keys::read_certificates(&arguments.peer_certificate)?;
    let peer = chain.first().context("--peer-certificate holds no certificate")?;
    let purposes = purposes(&evidence, arguments.purpose.as_deref())?;
    let now = arguments.at.map_or_else(|| system_clock()(), UnixTime);
    let policy = trust::appraisal(&config, &keys, now)?;
    let store = open_store(&config).await?;
    let policy = Judging::new(policy).policy(&store).await?;
    let challenge_key = &keys.challenge;
    let (memory, metrics) = (Memory::Pass, None);
    let appraiser =
        Appraiser { store: &store, challenge_key, policy: &policy, now, metrics, memory };
    let mut entry = AuditEntry::new(now, Event::Token, Decision::Allowed);
    let judged = if purposes == [Purpose::EnrolKey] {
        let judged = appraiser.appraise_registration(&evidence, peer, &mut entry).await;
        judged.map(|(result, _)| result.key().attestation().as_str().to_owned())
    } else {
        let judged = appraiser.appraise(&evidence, peer, &purposes, &mut entry).await;
        judged.map(|(result, _)| result.assurance().as_str().to_owned())
    };
    store.close().await;
    match judged {
        Ok(level) => {
            let subject = entry.subject.as_deref().unwrap_or("no person");
            let text = format!("accepted: {} of {subject}, {level}", entry.event);
            let value = json!({
                "accepted": true, "event": entry.event.as_str(), "subject": entry.subject, "level": level,
            });
            output.line(&text, &value)
        }
        Err(AppraiseError::Rejected(rejection)) => refused(&rejection, output),
        Err(AppraiseError::Store(error)) => Err(error.into()),
    }
}

pub(super) fn purposes(evidence: &[u8], wanted: Option<&str>) -> anyhow::Result<Vec<Purpose>> {
    if let Some(name) = wanted {
        let purpose = Purpose::from_name(name).context("--purpose is not a purpose")?;
        return Ok(vec![purpose]);
    }
    // What cannot be parsed is refused by the appraisal itself.
    let own = Evidence::parse(evidence).ok().map(|evidence| evidence.statement.purpose);
    Ok(match own {
        Some(Purpose::EnrolKey) => vec![Purpose::EnrolKey],
        _ => TOKEN.to_vec(),
    })
}

fn refused(rejection: &Rejection, output: Output) -> anyhow::Result<()> {
    let code = rejection.code();
    let step = code.step();
    let text = format!(
        "refused in step {}: {}\nwhat to do: {}",
        step.map_or_else(|| "-".to_owned(), |step| step.to_string()),
        rejection.chain(),
        code.advice()
    );
    let value = json!({
        "accepted": false,
        "code": code.as_str(),
        "step": step,
        "reason": rejection.chain(),
        "advice": code.advice(),
    });
    output.line(&text, &value)?;
    bail!("the evidence is refused ({code})")
}
