//! `audit witness`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use signet_authority::{keys, tls};
use signet_verifier::certificate::Certificate;
use signet_verifier::log::NoteKey;
use signet_witness::{Witness, WitnessState};
use tokio::sync::Notify;

use super::super::output::{Output, to_stderr};

#[derive(Debug, Args)]
pub(crate) struct WitnessArguments {
    /// The authority's listener for gateways, such as https://authority.example:9443.
    #[arg(long)]
    authority: String,
    /// Its CA: authority-ca.pem of `signet-authority gateway`.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Certificate of this witness, of `signet-authority gateway`.
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// Its key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The log's key: authority-log.vkey of `signet-authority gateway`.
    #[arg(long, value_name = "FILE")]
    log: PathBuf,
    /// Directory for what is remembered.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Look once and end.
    #[arg(long)]
    once: bool,
}

pub(super) async fn run(arguments: WitnessArguments, output: Output) -> anyhow::Result<()> {
    let WitnessArguments { authority, ca, cert, key, log, state, once } = arguments;
    let authority = authority.trim_end_matches('/');
    let (http, spiffe_id) = client(&ca, &cert, &key)?;
    let log_key = std::fs::read_to_string(&log)
        .with_context(|| format!("cannot read {}", log.display()))?
        .parse::<NoteKey>()
        .with_context(|| format!("{} is not a log's key", log.display()))?;
    let witness = Witness::open(&state, &spiffe_id, log_key)?;
    let looked = witness.look(&http, authority).await;
    match (looked, once) {
        (Ok(size), _) => {
            let text = format!("sound: {size} records; remembered in {}", state.display());
            output.line(&text, &json!({"ok": true, "records": size}))?;
        }
        (Err(error), true) => return Err(error.into()),
        // It is told below, and looked at again.
        (Err(error), false) => to_stderr(&format!("{:#}\n", anyhow::Error::from(error))),
    }
    if once {
        return Ok(());
    }
    let (news, mut states) = (Notify::new(), witness.state());
    tokio::select! {
        () = witness.follow(&http, authority, &news) => Ok(()),
        alarm = alarmed(&mut states) => bail!("{alarm}; {} has the proof", state.join("alarm").display()),
        stopped = tokio::signal::ctrl_c() => Ok(stopped?),
    }
}

/// Returns when the log contradicts itself.
async fn alarmed(states: &mut tokio::sync::watch::Receiver<WitnessState>) -> String {
    let alarm = |state: &WitnessState| matches!(state, WitnessState::Alarm(_));
    match states.wait_for(alarm).await.as_deref() {
        Ok(WitnessState::Alarm(what)) => what.clone(),
        _ => std::future::pending().await,
    }
}

/// A client with this certificate, and the SPIFFE ID in it.
fn client(ca: &Path, cert: &Path, key: &Path) -> anyhow::Result<(reqwest::Client, String)> {
    let mut roots = RootCertStore::empty();
    for certificate in keys::read_certificates(ca)? {
        roots.add(certificate)?;
    }
    let chain = keys::read_certificates(cert)?;
    let leaf = chain.first().context("no certificate")?;
    let spiffe_id = Certificate::parse(leaf)?.spiffe_id()?.to_owned();
    let secret = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("{} holds no key", key.display()))?;
    let tls = ClientConfig::builder_with_provider(Arc::new(tls::provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, secret)?;
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(30))
        .build()?;
    Ok((http, spiffe_id))
}
