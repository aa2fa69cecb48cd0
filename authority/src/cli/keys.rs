//! `keys`: list, rotate, request, import.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use serde_json::json;
use signet_authority::config::Config;
use signet_authority::keys::{self, CERTIFICATE_AUTHORITIES, KeyState, Urgency};
use signet_authority::state::system_clock;
use signet_authority::store::{AuditEntry, Decision, Event, Store};

use super::audit::shown;
use super::output::{Output, to_stdout};
use super::ticket::open_store;
use super::who::who;

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Print the keys that tokens are signed with, the audit log's key and the CAs.
    List,
    /// Make a new token key, which takes over in ten minutes; tokens of the one before it stay good.
    Rotate {
        /// The key was stolen: the new one signs at once, and no token of any other counts any more.
        /// People renew theirs without a touch.
        #[arg(long)]
        emergency: bool,
    },
    /// Print a certificate request for the key of one of the CAs, for a CA of your organisation.
    Request {
        /// Which.
        #[arg(value_enum)]
        ca: Ca,
    },
    /// Take the certificate that came of a request; the authority shows it from its next start on.
    Import {
        /// Which CA it is for.
        #[arg(value_enum)]
        ca: Ca,
        /// The certificate, PEM or DER.
        certificate: PathBuf,
    },
}

/// One of the authority's CAs.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Ca {
    /// Certificates of machines.
    Device,
    /// Certificates of attestation keys.
    Ak,
    /// Certificates of gateways.
    Gateway,
    /// The authority's own certificate.
    Server,
}

impl Ca {
    /// Its files and its name.
    fn files(self) -> (&'static str, &'static str) {
        CERTIFICATE_AUTHORITIES[self as usize]
    }
}

pub(super) async fn run(file: &Path, command: KeysCommand, output: Output) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    match command {
        KeysCommand::List => list(&config, output),
        KeysCommand::Rotate { emergency } => rotate(&config, emergency, output).await,
        KeysCommand::Request { ca } => {
            let (files, name) = ca.files();
            let request = keys::certificate_request(&config.keys(), files, name)?;
            to_stdout(request.as_bytes())
        }
        KeysCommand::Import { ca, certificate } => import(&config, ca, &certificate, output).await,
    }
}

fn list(config: &Config, output: Output) -> anyhow::Result<()> {
    let now = system_clock()();
    let loaded = keys::load(&config.keys())?;
    for key in loaded.token.list(now) {
        let state = match key.state {
            KeyState::Next => format!("signs from {}", shown(key.signs_from)),
            KeyState::Signing => "signs".to_owned(),
            KeyState::Leaving | KeyState::Ended => {
                format!("counts until {}", key.ends.map(shown).unwrap_or_default())
            }
        };
        let text = format!("token  {}  {state}  {}", key.kid, key.file);
        let mut value = json!(key);
        value["use"] = "token".into();
        output.line(&text, &value)?;
    }
    let log = super::audit::log(config)?.key().to_string();
    output.line(&format!("log    {log}"), &json!({"use": "log", "key": log}))?;
    for (file, name) in CERTIFICATE_AUTHORITIES {
        let path = config.keys().join(format!("{file}.pem"));
        let certificate = keys::read_certificates(&path)?.into_iter().next();
        let certificate = certificate.context("no certificate")?;
        let parsed = signet_verifier::certificate::Certificate::parse(&certificate)?;
        let ends = parsed.not_after().0;
        let text = format!("ca     {name}, until {}  {}", shown(ends), path.display());
        output.line(&text, &json!({"use": "ca", "name": name, "file": path, "ends": ends}))?;
    }
    Ok(())
}

async fn rotate(config: &Config, emergency: bool, output: Output) -> anyhow::Result<()> {
    let store = open_store(config).await?;
    let now = system_clock()();
    let urgency = if emergency { Urgency::Emergency } else { Urgency::Scheduled };
    let Some(file) = keys::rotate(&config.keys(), now, urgency)? else {
        bail!("a new key is about to take over already; see `signet-authority keys list`");
    };
    let when = if emergency { "at once; all others ended" } else { "in ten minutes" };
    let mut entry = AuditEntry::new(now, Event::Keys, Decision::Allowed);
    entry.detail = format!("{file} signs tokens {when}, by {}", who());
    store.append_audit(&entry).await?;
    store.close().await;
    let text = format!(
        "{file} signs tokens {when}. Authorities that have this directory go by it within a second; take \
         it to those that have a copy."
    );
    output.line(&text, &json!({"file": file, "emergency": emergency}))
}

async fn import(config: &Config, ca: Ca, certificate: &Path, output: Output) -> anyhow::Result<()> {
    let (file, name) = ca.files();
    let first = keys::read_certificates(certificate)?.into_iter().next();
    let first = first.with_context(|| format!("{} is empty", certificate.display()))?;
    let store = open_store(config).await?;
    let now = system_clock()();
    keys::import_certificate(&config.keys(), file, first, now)?;
    let mut entry = AuditEntry::new(now, Event::Keys, Decision::Allowed);
    entry.detail = format!("another certificate for {name}, by {}", who());
    store.append_audit(&entry).await?;
    store.close().await;
    let text =
        format!("{name} has the certificate of {}; restart the authority", certificate.display());
    output.line(&text, &json!({"ca": file, "certificate": certificate}))
}
