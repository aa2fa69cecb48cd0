//! `ticket` and `gateway`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;
use signet_authority::config::{Config, is_name};
use signet_authority::keys;
use signet_authority::state::system_clock;
use signet_authority::store::{
    AuditEntry, Decision, Event, SqlStore, Store, TicketKind, TicketMachine,
};
use signet_authority::tickets;
use signet_evidence::UnixTime;
use signet_evidence::binding::Sha256;
use signet_evidence::thumbprint::unhex;

use super::output::Output;
use super::{GatewayArguments, TicketCommand};

/// The store that the settings name, for a command that runs beside the server.
pub(super) async fn open_store(config: &Config) -> anyhow::Result<SqlStore> {
    let integrity = keys::load_integrity(&config.keys())?;
    Ok(SqlStore::open(config.database(), integrity).await?)
}

pub(super) async fn run(file: &Path, command: TicketCommand, output: Output) -> anyhow::Result<()> {
    let (kind, arguments) = match command {
        TicketCommand::Device { ticket, rebind: false } => (TicketKind::Device, ticket),
        TicketCommand::Device { ticket, rebind: true } => (TicketKind::Rebinding, ticket),
        TicketCommand::Authenticator { ticket, lost: false } => (TicketKind::Authenticator, ticket),
        TicketCommand::Authenticator { ticket, lost: true } => (TicketKind::Recovery, ticket),
    };
    let config = Config::load(file)?;
    let store = open_store(&config).await?;
    let lifetime = config.settings.lifetimes.ticket.get_ref().duration();
    let ek_digest = arguments.ek.as_deref().map(ek_digest).transpose()?;
    let request = tickets::Request {
        kind,
        operator: arguments.operator.clone(),
        asset: arguments.asset,
        machine: TicketMachine { group: arguments.group, ek_digest },
    };
    tickets::check_alone(&store, &arguments.operator, &config.settings.recovery).await?;
    let ticket = tickets::make(&store, request, system_clock()(), lifetime).await?;
    store.close().await;
    let value = json!({
        "ticket": ticket.text.as_str(),
        "kind": kind.as_str(),
        "operator": arguments.operator,
        "expires": ticket.expires.0,
        "authority": config.settings.issuer.as_str(),
    });
    // The bare ticket, so that it can be piped.
    output.line(ticket.text.as_str(), &value)
}

/// What the authority's own certificate leads to, PEM.
fn trusted(config: &Config, keys: &keys::Keys, now: UnixTime) -> anyhow::Result<Vec<u8>> {
    let Some(tls) = &config.settings.tls else {
        let trusted = keys.server_ca.trusted(now);
        return Ok(trusted.iter().map(keys::pem).collect::<String>().into_bytes());
    };
    let path = config.resolve(&tls.ca);
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn ek_digest(text: &str) -> anyhow::Result<Sha256> {
    let digest = unhex(text).and_then(|bytes| bytes.try_into().ok());
    digest.context("--ek is the SHA-256 of the endorsement key's public area, 64 hex digits")
}

pub(super) async fn issue_gateway(
    file: &Path,
    arguments: GatewayArguments,
    output: Output,
) -> anyhow::Result<()> {
    let GatewayArguments { name, out, days } = arguments;
    if !is_name(&name) {
        bail!("{name:?} is not a gateway name; use letters, digits, '.', '-' and '_'");
    }
    if days == 0 {
        bail!("--days 0 makes a certificate that is of no use; write at least 1");
    }
    let config = Config::load(file)?;
    let keys = keys::load(&config.keys())?;
    keys.check(&config.keys())?;
    let store = open_store(&config).await?;
    let now = system_clock()();
    let spiffe_id = format!("spiffe://{}/gateway/{name}", config.settings.trust_domain);
    let lifetime = Duration::from_secs(u64::from(days) * 86400);
    let issued = keys.gateway_ca.issuer(now).issue_gateway(&spiffe_id, now, lifetime)?;
    std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let (key, certificate, ca, log) = (
        out.join(format!("{name}.key")),
        out.join(format!("{name}.pem")),
        out.join("authority-ca.pem"),
        out.join("authority-log.vkey"),
    );
    for path in [&key, &certificate] {
        if path.exists() {
            bail!("{} exists already; choose another --out", path.display());
        }
    }
    let mut entry = AuditEntry::new(now, Event::GatewayCertificate, Decision::Allowed);
    entry.gateway = Some(spiffe_id.clone());
    entry.detail = format!("certificate for {days} days");
    store.append_audit(&entry).await?;
    store.close().await;
    keys::write_secret(&key, issued.key_pem.as_bytes())?;
    keys::write_public(&certificate, keys::pem(&issued.certificate).as_bytes())?;
    if !ca.exists() {
        keys::write_public(&ca, &trusted(&config, &keys, now)?)?;
    }
    if !log.exists() {
        // Public, and all that a witness needs to know of the log.
        keys::write_public(&log, format!("{}\n", super::audit::log(&config)?.key()).as_bytes())?;
    }
    // For gateways that check signatures by themselves; `keys public` renews them.
    keys::write_token_keys(&out, &keys.token, now)?;
    let known =
        config.settings.gateways.iter().any(|g| g.spiffe_id.get_ref().as_str() == spiffe_id);
    let hint = if known {
        String::new()
    } else {
        format!(
            "\nAdd it to {}:\n  [[gateways]]\n  spiffe_id = \"{spiffe_id}\"\n  peer_certificate = \"sha256-header\"",
            file.display()
        )
    };
    let text = format!(
        "Certificate: {}\nKey:         {}\nTrusts:      {}{hint}",
        certificate.display(),
        key.display(),
        ca.display()
    );
    let value = json!({
        "spiffe_id": spiffe_id, "certificate": certificate, "key": key, "ca": ca, "log": log, "configured": known,
    });
    output.line(&text, &value)
}
