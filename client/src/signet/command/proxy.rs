//! `signet proxy`.

use serde_json::json;
use signet_client::proxy::{Listen, Opened, Proxy, Settings, Target, open, secret_file};
use signet_client::tokens::TokenCache;

use super::{Context, files, runtime_directory};
use crate::cli;
use crate::failure::Failure;

pub(super) async fn run(context: Context, options: &cli::Proxy) -> Result<(), Failure> {
    let targets = targets(&context, options)?;
    let ca = options.cacert.as_ref().or(context.settings.gateway_ca.as_ref());
    let settings = Settings {
        bus: context.bus.clone(),
        targets,
        anchors: ca.map(|path| files::anchors(path)).transpose()?,
        step_up: !options.no_step_up,
        means: context.means(options.by),
        reason: context.reason.clone(),
    };
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
        }))?;
    } else {
        output.line(&format!("ready: {} to {}", said.join(", "), names.join(", ")))?;
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

/// As `--listen` takes it.
fn place(opened: &Opened) -> String {
    match (opened.socket(), opened.address()) {
        (Some(path), _) => format!("unix:{}", path.display()),
        (None, Some(address)) => address.to_string(),
        (None, None) => "-".to_owned(),
    }
}

fn targets(context: &Context, options: &cli::Proxy) -> Result<Vec<Target>, Failure> {
    if !options.to.is_empty() {
        return Ok(options.to.clone());
    }
    let named = context.settings.proxy_to.iter().flatten();
    let targets: Vec<_> = named.map(|url| Target::parse(url)).collect::<Result<_, _>>()?;
    let missing = Failure::NotGiven { what: "the gateway", option: "--to" };
    if targets.is_empty() { Err(missing) } else { Ok(targets) }
}
