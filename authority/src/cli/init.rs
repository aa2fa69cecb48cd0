//! `init`: everything in a new directory, whole or not at all.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;
use signet_authority::config::{Config, HttpsUrl, RpId, TrustDomain, render_template};
use signet_authority::keys;
use signet_authority::policy::EXAMPLE;
use signet_authority::state::system_clock;
use signet_authority::store::{SqlStore, TicketKind, TicketMachine};
use signet_authority::tickets;

use super::InitArguments;
use super::output::Output;

pub(super) async fn run(arguments: InitArguments, output: Output) -> anyhow::Result<()> {
    let directory = &arguments.dir;
    if directory.exists() {
        bail!("{} exists already; choose another --dir", directory.display());
    }
    let partial = partial_of(directory)?;
    if partial.exists() {
        // Left by an init that was interrupted: it never had its final name, so nobody uses it.
        fs::remove_dir_all(&partial)
            .with_context(|| format!("cannot remove the unfinished {}", partial.display()))?;
    }
    let made = make(&partial, &arguments).await;
    let made = made.and_then(|ticket| {
        fs::rename(&partial, directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        Ok(ticket)
    });
    let ticket = match made {
        Ok(ticket) => ticket,
        Err(error) => {
            // Best effort: the next init removes what is left.
            let _ = fs::remove_dir_all(&partial);
            return Err(error);
        }
    };
    let file = directory.join("authority.toml");
    let text = format!(
        "Made {}.\n\nFirst ticket (one use, for {}): {}\nServe:   signet-authority serve --config {}\n\
         Clients trust: {}\nNext:    put TPM makers' roots into {}",
        directory.display(),
        arguments.operator,
        ticket.text.as_str(),
        file.display(),
        directory.join("keys/server-ca.pem").display(),
        directory.join("ek-roots").display(),
    );
    let value = json!({
        "directory": directory,
        "config": file,
        "ca": directory.join("keys/server-ca.pem"),
        "ticket": ticket.text.as_str(),
        "operator": arguments.operator,
        "ticket_expires": ticket.expires.0,
    });
    output.line(&text, &value)
}

/// The directory's name until it is whole.
fn partial_of(directory: &Path) -> anyhow::Result<PathBuf> {
    let name = directory.file_name().context("--dir has no name; write a directory to make")?;
    Ok(directory.with_file_name(format!(".{}.partial", name.to_string_lossy())))
}

async fn make(directory: &Path, arguments: &InitArguments) -> anyhow::Result<tickets::MadeTicket> {
    let clock = system_clock();
    let now = clock();
    private_directory(directory)?;
    for folder in ["ek-roots", "attestation-roots", "policies", "machine-policies"] {
        private_directory(&directory.join(folder))?;
    }
    for (name, text) in EXAMPLE {
        keys::write_public(&directory.join("policies").join(name), text.as_bytes())?;
    }
    let file = directory.join("authority.toml");
    keys::write_public(&file, settings(arguments)?.as_bytes())?;
    keys::create(&directory.join("keys"), now)?;
    let config = Config::load(&file)?;
    let integrity = keys::load_integrity(&config.keys())?;
    let store = SqlStore::create(config.database(), integrity).await?;
    let ticket = tickets::make(
        &store,
        tickets::Request {
            kind: TicketKind::Device,
            operator: arguments.operator.clone(),
            asset: arguments.asset.clone(),
            machine: TicketMachine::default(),
        },
        now,
        config.settings.lifetimes.ticket.get_ref().duration(),
    )
    .await?;
    store.close().await;
    Ok(ticket)
}

fn settings(arguments: &InitArguments) -> anyhow::Result<String> {
    let issuer = arguments
        .issuer
        .clone()
        .unwrap_or_else(|| format!("https://localhost:{}", arguments.listen.port()));
    let rp_id =
        arguments.rp_id.clone().unwrap_or_else(|| format!("presence.{}", arguments.trust_domain));
    let issuer = HttpsUrl::try_from(issuer).context("--issuer")?;
    let trust_domain =
        TrustDomain::try_from(arguments.trust_domain.clone()).context("--trust-domain")?;
    let rp_id = RpId::try_from(rp_id).context("--rp-id")?;
    let text =
        render_template(arguments.listen, arguments.gateway_listen, &issuer, &trust_domain, &rp_id);
    let Some(database) = &arguments.database else { return Ok(text) };
    Ok(text.replace("database = \"authority.db\"", &format!("database = {}", json!(database))))
}

fn private_directory(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot create {}", path.display()))
}
