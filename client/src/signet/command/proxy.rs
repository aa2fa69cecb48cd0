//! `signet proxy`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::json;
use signet_client::inspection::rfc3339;
use signet_client::proxy::{
    CaFolder, HostCa, Listen, LocalCaError, Opened, Proxy, Settings, Target, open, secret_file,
};
use signet_client::renewal::unix_now;
use signet_client::tokens::TokenCache;

use super::{Context, files, runtime_directory};
use crate::cli;
use crate::failure::Failure;

pub(super) async fn run(context: Context, options: &cli::Proxy) -> Result<(), Failure> {
    match &options.part {
        None => serve(context, options).await,
        Some(cli::ProxyPart::Ca(options)) => show_cas(&context, options),
    }
}

async fn serve(context: Context, options: &cli::Proxy) -> Result<(), Failure> {
    let targets = targets(&context, &options.to)?;
    let ca = options.cacert.as_ref().or(context.settings.gateway_ca.as_ref());
    let settings = Settings {
        bus: context.bus.clone(),
        targets,
        anchors: ca.map(|path| files::anchors(path)).transpose()?,
        as_operator: options.as_operator || context.settings.proxy_as_operator.unwrap_or(false),
        step_up: !options.no_step_up,
        means: context.means(options.by),
        ca_folder: ca_folder(),
        reason: context.reason.clone(),
    };
    let as_operator = settings.as_operator;
    let names: Vec<String> = settings.targets.iter().map(Target::origin).collect();
    let cache = TokenCache::open(runtime_directory().as_deref())?;
    let secret = options.secret_file.clone().unwrap_or_else(|| secret_file(&cache));
    let wanted = match options.listen.as_slice() {
        [] => vec![Listen::Socket(None)],
        given => given.to_vec(),
    };
    let (output, interrupt) = (context.output, context.interrupt.clone());
    let proxy = Proxy::new(settings, cache.clone(), context.terminal).await?;
    let mut places = Vec::new();
    for listen in &wanted {
        places.push(open(listen, &cache, &secret).await?);
    }
    let said: Vec<String> = places.iter().map(place).collect();
    if output.is_json() {
        let port = |place: &&Opened| place.address().is_some();
        output.json_line(&json!({
            "ready": true,
            "listen": said,
            "secret_file": places.iter().find(port).map(|_| &secret),
            "targets": names,
            "as_operator": as_operator,
        }))?;
    } else {
        let shown = if as_operator { " as operator" } else { "" };
        output.line(&format!("ready: {} to {}{shown}", said.join(", "), names.join(", ")))?;
        for place in &places {
            if let Some(address) = place.address() {
                let file = secret.display();
                output.line(&format!("the secret for http://{address} is in {file}"))?;
            }
        }
    }
    proxy.serve(places, interrupt.asked()).await;
    Ok(())
}

/// Prints each CA once, however many gateways its host has.
fn show_cas(context: &Context, options: &cli::ProxyCa) -> Result<(), Failure> {
    let targets = targets(context, &options.to)?;
    let hosts: BTreeSet<&str> = targets.iter().map(Target::bare_host).collect();
    let folder = ca_folder().ok_or(LocalCaError::NoFolder)?;
    let cas = hosts.iter().map(|host| folder.open(host, unix_now()));
    let cas: Vec<HostCa> = cas.collect::<Result<_, _>>()?;
    let (mut told, mut text) = (Vec::new(), String::new());
    for ca in &cas {
        let (host, file, sha256, until) =
            (ca.host(), ca.file(), ca.sha256(), rfc3339(ca.not_after()));
        told.push(json!({ "host": host, "file": file, "sha256": sha256, "not_after": until }));
        // Whoever reads PEM skips what stands between the blocks (RFC 7468 §2).
        let file = file.display();
        text += &format!("{host}, until {until}, SHA-256 {sha256}\n{file}\n{}", ca.pem());
    }
    context.output.result(&json!({ "cas": told }), &text)
}

fn ca_folder() -> Option<CaFolder> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    CaFolder::find(variable("XDG_STATE_HOME"), variable("HOME"))
}

/// As `--listen` takes it.
fn place(opened: &Opened) -> String {
    match (opened.socket(), opened.address()) {
        (Some(path), _) => format!("unix:{}", path.display()),
        (None, Some(address)) => address.to_string(),
        (None, None) => "-".to_owned(),
    }
}

fn targets(context: &Context, given: &[Target]) -> Result<Vec<Target>, Failure> {
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    let named = context.settings.proxy_to.iter().flatten();
    let targets: Vec<_> = named.map(|url| Target::parse(url)).collect::<Result<_, _>>()?;
    let missing = Failure::NotGiven { what: "the gateway", option: "--to" };
    if targets.is_empty() { Err(missing) } else { Ok(targets) }
}
