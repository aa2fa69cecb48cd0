//! `signet key pin`, `credentials`, `configure` and `reset`: what is done to a key itself.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use signet_client::Daemon;
use signet_client::authority::printable;
use signet_client::daemon::{
    Authenticator, Configuration, Plugged, StoredCredential, StoredCredentials, Upkeep,
};
use signet_evidence::thumbprint::hex;

use super::Context;
use crate::cli::{Configure, CredentialRemove, OnOff, PinChange, Reset, WhichKey};
use crate::confirm;
use crate::failure::Failure;
use crate::output::Style;

/// How long a person may take to plug a key in again.
const REPLUG: Duration = Duration::from_secs(120);

/// The one key that is meant, where a command makes several requests to it. `None` when no key fits:
/// `signetd` says then what is missing.
pub(super) async fn choose(
    daemon: &Daemon,
    which: &WhichKey,
    fits: impl Fn(&Authenticator) -> bool,
) -> Result<Option<String>, Failure> {
    if let Some(path) = &which.key {
        return Ok(Some(path.clone()));
    }
    let keys = daemon.authenticators().await?;
    let mut fitting: Vec<String> =
        keys.into_iter().filter(|key| fits(key)).map(|key| key.path).collect();
    match fitting.len() {
        0 | 1 => Ok(fitting.pop()),
        _ => Err(Failure::SeveralKeys { paths: fitting.join(", ") }),
    }
}

pub(super) async fn set_pin(context: &Context, which: &WhichKey) -> Result<(), Failure> {
    let daemon = context.daemon().await?;
    context.keep_up(&daemon, Upkeep::SetPin, which.key.as_deref()).await?;
    context.output.result(&json!({ "pin": "set" }), "PIN set")
}

pub(super) async fn change_pin(context: &Context, options: &PinChange) -> Result<(), Failure> {
    let daemon = context.daemon().await?;
    let upkeep = if options.platform { Upkeep::ChangeTpmPin } else { Upkeep::ChangePin };
    context.keep_up(&daemon, upkeep, options.which.key.as_deref()).await?;
    context.output.result(&json!({ "pin": "changed" }), "PIN changed")
}

pub(super) async fn configure(context: &Context, options: &Configure) -> Result<(), Failure> {
    let daemon = context.daemon().await?;
    let path = choose(&daemon, &options.which, |key| !key.u2f_only).await?;
    context.terminal.remember_pin();
    let always_uv = options.always_uv.map(|value| value == OnOff::On);
    // One setting a request: a key takes one at a time, and says which one it cannot do.
    let mut settings = Vec::new();
    if always_uv.is_some() {
        settings.push(Configuration { always_uv, ..Configuration::default() });
    }
    if options.enterprise_attestation {
        let enterprise_attestation = true;
        settings.push(Configuration { enterprise_attestation, ..Configuration::default() });
    }
    // Last, because a key that wants another PIN takes nothing else.
    if options.min_pin_length.is_some() || options.force_pin_change {
        settings.push(Configuration {
            min_pin_length: options.min_pin_length,
            force_pin_change: options.force_pin_change,
            ..Configuration::default()
        });
    }
    for setting in &settings {
        context.keep_up(&daemon, Upkeep::Configure(setting), path.as_deref()).await?;
    }
    let result = json!({
        "always_uv": always_uv,
        "min_pin_length": options.min_pin_length,
        "force_pin_change": options.force_pin_change.then_some(true),
        "enterprise_attestation": options.enterprise_attestation.then_some(true),
    });
    let mut text = "configured".to_owned();
    if options.force_pin_change {
        text.push_str("\nNext: signet key pin change");
    }
    context.output.result(&result, &text)
}

pub(super) async fn credentials(context: &Context, which: &WhichKey) -> Result<(), Failure> {
    let daemon = context.daemon().await?;
    let answer = context.keep_up(&daemon, Upkeep::ListCredentials, which.key.as_deref()).await?;
    let StoredCredentials { credentials, used, left } = answer.credentials()?;
    let listed: Vec<Value> = credentials
        .iter()
        .map(|found| {
            json!({
                "id": hex(&found.id),
                "rp_id": found.rp_id,
                "user": found.user,
                "protection": found.protection,
            })
        })
        .collect();
    let mut text = String::new();
    for found in &credentials {
        let id = hex(&found.id);
        let short = id.get(..16).unwrap_or(&id);
        let line = format!("{short}…  {}  {}", printable(&found.rp_id), printable(&found.user));
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str(&format!("{used} in use, room for {left} more"));
    let result = json!({ "credentials": listed, "used": used, "left": left });
    context.output.result(&result, &text)
}

pub(super) async fn remove_credential(
    context: &Context,
    options: &CredentialRemove,
) -> Result<(), Failure> {
    let daemon = context.daemon().await?;
    let path = choose(&daemon, &options.which, |key| !key.u2f_only).await?;
    context.terminal.remember_pin();
    let answer = context.keep_up(&daemon, Upkeep::ListCredentials, path.as_deref()).await?;
    let stored = answer.credentials()?.credentials;
    let found = find(&stored, &options.id)?;
    let name = format!("{} of {}", printable(&found.user), printable(&found.rp_id));
    if !options.yes {
        let question = format!("The credential for {name} will be deleted from the key.");
        confirm::typed(question, "delete").await?;
    }
    let remove = Upkeep::RemoveCredential { id: &found.id };
    context.keep_up(&daemon, remove, path.as_deref()).await?;
    let result = json!({ "removed": hex(&found.id), "rp_id": found.rp_id, "user": found.user });
    context.output.result(&result, &format!("credential deleted: {name}"))
}

fn find<'a>(stored: &'a [StoredCredential], id: &str) -> Result<&'a StoredCredential, Failure> {
    let wanted = id.trim_end_matches('…').to_ascii_lowercase();
    let found: Vec<_> = stored.iter().filter(|one| hex(&one.id).starts_with(&wanted)).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Failure::NoSuchCredential { id: id.to_owned() }),
        _ => Err(Failure::AmbiguousCredential { id: id.to_owned() }),
    }
}

pub(super) async fn reset(context: &Context, options: &Reset) -> Result<(), Failure> {
    let daemon = context.daemon().await?;
    let plugged = daemon.plugged().await?;
    let keys = daemon.authenticators().await?;
    let key = keys
        .iter()
        .find(|key| key.path == options.path)
        .ok_or_else(|| Failure::NoSuchPath { path: options.path.clone() })?;
    let name = format!("{} at {}", printable(&key.product), key.path);
    if !options.yes {
        let question = format!(
            "{name} will be erased: its PIN, its fingers, and every credential on it, also those of \
             other services. Nothing of that comes back."
        );
        confirm::typed(question, "erase").await?;
    }
    context.output.say(Some(Style::Ask), "Unplug the key…");
    let path = tokio::time::timeout(REPLUG, replugged(context, plugged, &key.path))
        .await
        .map_err(|_| Failure::NotReplugged)??;
    let back = daemon.authenticators().await?.into_iter().find(|found| found.path == path);
    // The node may have got another number; another model is another key.
    if back.is_none_or(|back| (&back.aaguid, &back.product) != (&key.aaguid, &key.product)) {
        return Err(Failure::AnotherKey { path });
    }
    context.keep_up(&daemon, Upkeep::Reset, Some(&path)).await?;
    let text = format!("erased: {name}\nNext: signet key pin set, then signet key add");
    context.output.result(&json!({ "reset": path }), &text)
}

/// Waits until the key at `path` was gone and a key is there again; where that is.
async fn replugged(
    context: &Context,
    mut plugged: impl futures_util::Stream<Item = Plugged> + Unpin,
    path: &str,
) -> Result<String, Failure> {
    let mut gone = false;
    while let Some(event) = plugged.next().await {
        match event {
            Plugged::Removed { path: removed } if removed == path => {
                context.output.say(Some(Style::Ask), "Plug it in again…");
                gone = true;
            }
            Plugged::Added { path: added } if gone => return Ok(added),
            _ => {}
        }
    }
    Err(signet_client::DaemonError::Vanished.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_by_their_beginning() {
        let stored = [0x3f, 0x3e].map(|first| StoredCredential {
            id: vec![first, 0x9c],
            rp_id: "mesh.example".into(),
            user: "op".into(),
            protection: None,
        });
        assert_eq!(find(&stored, "3F9").unwrap().id, [0x3f, 0x9c]);
        assert_eq!(find(&stored, "3e9c…").unwrap().id, [0x3e, 0x9c]);
        assert!(matches!(find(&stored, "3"), Err(Failure::AmbiguousCredential { .. })));
        assert!(matches!(find(&stored, "77"), Err(Failure::NoSuchCredential { .. })));
    }
}
