//! `keys`: list, rotate, protect, request, import.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use serde_json::json;
use signet_authority::config::{Config, Span, ValueError};
use signet_authority::keys::{
    self, AHEAD, AnyKey, CERTIFICATE_AUTHORITIES, CaTimes, Due, KeyState, Place, RotatedCa,
    RotatedLog, Urgency,
};
use signet_authority::log::log_name;
use signet_authority::state::system_clock;
use signet_authority::store::{AuditEntry, Decision, Event, Store};
use signet_evidence::UnixTime;

use super::audit::shown;
use super::output::{Output, to_stdout};
use super::ticket::open_store;
use super::who::who;

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Print all keys: what each is for, where it lies, since when, until when, and what is due.
    List,
    /// Make a new key: for tokens, it takes over in ten minutes, and tokens of the one before it stay good;
    /// for the audit log, it signs from now on, and the one before it signs too for thirty days; for a CA, it is
    /// trusted from now on, issues later, and what the one before it issued counts for a while.
    #[command(after_help = "\
Examples:
  signet-authority keys rotate
  signet-authority keys rotate device-ca
  signet-authority keys rotate gateway-ca --overlap 365d   # gateways have certificates of a year")]
    Rotate {
        /// Which key.
        #[arg(value_enum, default_value = "token")]
        key: Rotated,
        /// The key was stolen: the new one counts at once, and no other any more. People renew their tokens
        /// without a touch; witnesses of the log must be given its new key; machines must enrol anew for that of
        /// device-ca or ak-ca, gateways be given new certificates for that of gateway-ca.
        #[arg(long)]
        emergency: bool,
        /// Of a CA: how long its new key is trusted before it issues, such as 14d. Unsaid: 14d, and no less than a
        /// machine's certificate lives, for device-ca and server-ca; 10m for the others.
        #[arg(long, value_parser = span, conflicts_with = "emergency")]
        ahead: Option<Span>,
        /// Of a CA: from then on, how long what the key before it issued counts. Unsaid: as long as a machine's
        /// certificate lives and a day for device-ca and ak-ca; 91d for gateway-ca; 1d for server-ca.
        #[arg(long, value_parser = span, conflicts_with = "emergency")]
        overlap: Option<Span>,
    },
    /// Put the secrets in the directory under a passphrase: asked for here and at each start, or provided as
    /// the credential `passphrase`.
    Protect {
        /// Take them out again.
        #[arg(long)]
        remove: bool,
    },
    /// Write the public token keys in PEM, for gateways that check signatures by themselves.
    #[command(after_help = "\
Example, for HAProxy (every minute, say by a systemd timer):
  signet-authority keys public --out /etc/haproxy/signet --then 'systemctl reload haproxy'

A new key is written ten minutes before it signs.")]
    Public {
        /// The folder: gets token-key.pem and token-key-other.pem.
        #[arg(long)]
        out: PathBuf,
        /// A command to run when a key changed.
        #[arg(long)]
        then: Option<String>,
    },
    /// Print a certificate request for the key of one of the CAs, for a CA of your organisation.
    Request {
        /// Which.
        #[arg(value_enum)]
        ca: Ca,
    },
    /// Take the certificate that came of a request.
    Import {
        /// Which CA it is for.
        #[arg(value_enum)]
        ca: Ca,
        /// The certificate, PEM or DER.
        certificate: PathBuf,
    },
}

/// A key that can be rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rotated {
    /// It signs tokens.
    Token,
    /// It signs the audit log's checkpoints.
    Log,
    /// It issues certificates of machines.
    DeviceCa,
    /// It issues certificates of attestation keys.
    AkCa,
    /// It issues certificates of gateways.
    GatewayCa,
    /// It issues the authority's own certificate.
    ServerCa,
}

impl Rotated {
    /// The CA whose key it is.
    fn ca(self) -> Option<Ca> {
        match self {
            Self::Token | Self::Log => None,
            Self::DeviceCa => Some(Ca::Device),
            Self::AkCa => Some(Ca::Ak),
            Self::GatewayCa => Some(Ca::Gateway),
            Self::ServerCa => Some(Ca::Server),
        }
    }
}

fn span(text: &str) -> Result<Span, ValueError> {
    Span::try_from(text.to_owned())
}

/// One of the authority's CAs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
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
        KeysCommand::Rotate { key, emergency, ahead, overlap } => {
            let urgency = if emergency { Urgency::Emergency } else { Urgency::Scheduled };
            match (key, key.ca()) {
                (_, Some(ca)) => {
                    let times = times(&config, ca, ahead, overlap);
                    rotate_ca(&config, ca, times, urgency, output).await
                }
                _ if ahead.or(overlap).is_some() => {
                    bail!("--ahead and --overlap are for the keys of CAs")
                }
                (Rotated::Log, _) => rotate_log(&config, emergency, output).await,
                _ => rotate_token(&config, emergency, output).await,
            }
        }
        KeysCommand::Protect { remove } => protect(&config, remove, output).await,
        KeysCommand::Public { out, then } => public(&config, &out, then.as_deref(), output),
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
    for key in keys::list(config, now)? {
        output.line(&line(&key, now), &json!(key))?;
    }
    Ok(())
}

/// One key in a line.
fn line(key: &AnyKey, now: UnixTime) -> String {
    let state = match (key.state, key.ends) {
        (Some(KeyState::Next), _) if key.usage == "ca" => "will issue".to_owned(),
        (Some(KeyState::Next), _) => "will sign".to_owned(),
        (Some(KeyState::Signing), _) => "signs".to_owned(),
        (Some(KeyState::Leaving), Some(ends)) => format!("counts until {}", shown(ends)),
        (Some(KeyState::Ended), Some(ends)) => format!("ended {}", shown(ends)),
        (None, Some(ends)) => format!("until {}", shown(ends)),
        _ => String::new(),
    };
    let place = match key.place {
        Some(Place::File) => "file",
        Some(Place::Passphrase) => "file under the passphrase",
        Some(Place::Credential) => "credential",
        Some(Place::Token) => "PKCS#11 token",
        None => "gone",
    };
    let age = key.since.map(|since| match (now.0 - since) / 86400 {
        before if before < 0 => "not yet".to_owned(),
        0 => "today".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    });
    let due = match key.due {
        Some(Due::Rotation) => "DUE: rotate it",
        Some(Due::Certificate) => "DUE: another certificate",
        None => "",
    };
    let name = key.kid.as_ref().or(key.key.as_ref()).or(key.name.as_ref());
    let name = name.cloned().unwrap_or_default();
    let parts = [
        format!("{:<9}", key.usage),
        name,
        state,
        age.map(|age| format!("age {age}")).unwrap_or_default(),
        format!("{} ({place})", key.file),
        due.to_owned(),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
}

/// Puts a change of keys on record.
async fn on_record(config: &Config, detail: String, now: UnixTime) -> anyhow::Result<()> {
    let store = open_store(config).await?;
    let mut entry = AuditEntry::new(now, Event::Keys, Decision::Allowed);
    entry.detail = format!("{detail}, by {}", who());
    store.append_audit(&entry).await?;
    store.close().await;
    Ok(())
}

async fn rotate_log(config: &Config, emergency: bool, output: Output) -> anyhow::Result<()> {
    let now = system_clock()();
    // The database first: a key that changed without a record is what nobody should find.
    open_store(config).await?.close().await;
    let urgency = if emergency { Urgency::Emergency } else { Urgency::Scheduled };
    let name = log_name(config.settings.issuer.as_str());
    let Some(rotated) = keys::rotate_log(&config.keys(), &name, now, urgency)? else {
        bail!("two keys sign the log already; see `signet-authority keys list`");
    };
    let RotatedLog { file, key, overlap_ends } = rotated;
    on_record(config, format!("{key} signs the log, {file}"), now).await?;
    let others = match overlap_ends {
        Some(ends) => format!(
            "The key before it signs too until {}. Witnesses take the new one by themselves.",
            shown(ends.0)
        ),
        None => "No other signs any more. Give it to every witness: `audit key`.".to_owned(),
    };
    let text = format!("{key}\nsigns the log from now on, {file}. {others}");
    let ends = overlap_ends.map(|ends| ends.0);
    let value = json!({
        "file": file, "key": key.to_string(), "overlap_ends": ends, "emergency": emergency,
    });
    output.line(&text, &value)
}

/// How long a new key of this CA waits, and the one before it stays.
fn times(config: &Config, ca: Ca, ahead: Option<Span>, overlap: Option<Span>) -> CaTimes {
    const DAY: Duration = Duration::from_secs(86400);
    let machine = config.settings.lifetimes.device_certificate.get_ref().duration();
    // Gateways read anew whom to trust once a week, machines when they renew.
    let known = machine.max(14 * DAY);
    let (usual_ahead, usual_overlap) = match ca {
        Ca::Device => (known, machine + DAY),
        Ca::Ak => (AHEAD, machine + DAY),
        Ca::Gateway => (AHEAD, 91 * DAY),
        Ca::Server => (known, DAY),
    };
    CaTimes {
        ahead: ahead.map_or(usual_ahead, Span::duration),
        overlap: overlap.map_or(usual_overlap, Span::duration),
    }
}

async fn rotate_ca(
    config: &Config,
    ca: Ca,
    times: CaTimes,
    urgency: Urgency,
    output: Output,
) -> anyhow::Result<()> {
    let now = system_clock()();
    open_store(config).await?.close().await;
    let (file, name) = ca.files();
    let Some(rotated) = keys::rotate_ca(&config.keys(), (file, name), times, urgency, now)? else {
        bail!("a rotation of the {name} is under way; see `signet-authority keys list`");
    };
    let RotatedCa { file: key, issues_from, ends } = rotated;
    let (from, until) = (shown(issues_from.0), shown(ends.0));
    let text = match urgency {
        Urgency::Emergency => {
            on_record(
                config,
                format!("{key}: the {name} issues with it now; no other counts"),
                now,
            )
            .await?;
            format!(
                "{key}: the {name} issues with it now, and nothing that it issued before counts."
            )
        }
        Urgency::Scheduled => {
            on_record(config, format!("{key}: the {name} issues with it from {from} on"), now)
                .await?;
            format!(
                "{key}: trusted now; the {name} issues with it from {from} on. What it issued before counts \
                 until {until}."
            )
        }
    };
    let text = format!(
        "{text} {file}.pem holds what others must trust. Authorities that have this directory go by it \
         within a second; take it to those that have a copy."
    );
    let value = json!({
        "ca": file, "file": key, "issues_from": issues_from.0, "ends": ends.0,
        "emergency": urgency == Urgency::Emergency,
    });
    output.line(&text, &value)
}

async fn protect(config: &Config, remove: bool, output: Output) -> anyhow::Result<()> {
    let directory = config.keys();
    let files = if remove { keys::unprotect(&directory)? } else { keys::protect(&directory)? };
    let what = if remove { "lie open" } else { "are under the passphrase" };
    if !files.is_empty() {
        on_record(config, format!("{} {what}", files.join(", ")), system_clock()()).await?;
    }
    let text = match files.is_empty() {
        true => format!("nothing to do: all secrets {what}"),
        false => format!("{what} now: {}", files.join(", ")),
    };
    output.line(&text, &json!({"files": files, "protected": !remove}))
}

fn public(config: &Config, out: &Path, then: Option<&str>, output: Output) -> anyhow::Result<()> {
    let loaded = keys::load(&config.keys())?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let changed = keys::write_token_keys(out, &loaded.token, system_clock()())?;
    if let (true, Some(command)) = (changed, then) {
        let status = std::process::Command::new("/bin/sh").arg("-c").arg(command).status();
        let status = status.with_context(|| format!("cannot run {command}"))?;
        if !status.success() {
            bail!("{command}: {status}; the keys are written, run it again");
        }
    }
    let text = if changed { "written" } else { "unchanged" };
    output.line(&format!("{text}: {}", out.display()), &json!({"changed": changed, "out": out}))
}

async fn rotate_token(config: &Config, emergency: bool, output: Output) -> anyhow::Result<()> {
    let now = system_clock()();
    open_store(config).await?.close().await;
    let urgency = if emergency { Urgency::Emergency } else { Urgency::Scheduled };
    let Some(file) = keys::rotate(&config.keys(), now, urgency)? else {
        bail!("a new key is about to take over already; see `signet-authority keys list`");
    };
    let when = if emergency { "at once; all others ended" } else { "in ten minutes" };
    on_record(config, format!("{file} signs tokens {when}"), now).await?;
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
    let now = system_clock()();
    open_store(config).await?.close().await;
    keys::import_certificate(&config.keys(), file, first, now)?;
    on_record(config, format!("another certificate for {name}"), now).await?;
    let text = format!(
        "{name} has the certificate of {}. What it issued stays good; the authority shows it from now on",
        certificate.display()
    );
    output.line(&text, &json!({"ca": file, "certificate": certificate}))
}
