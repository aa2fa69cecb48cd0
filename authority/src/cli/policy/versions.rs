//! `policy activate | unshadow | history | rollback | export`.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::json;
use signet_authority::config::Config;
use signet_authority::in_force::{self, Order, Slot};
use signet_authority::policy::{ActionPolicySet, iso_8601};
use signet_authority::state::system_clock;
use signet_authority::store::{Event, Store};
use signet_evidence::thumbprint::hex;

use super::super::output::Output;
use super::super::who::who;
use super::sets;
use super::{Choice, open_store};

pub(super) async fn activate(
    file: &Path,
    folder: &Path,
    shadow: bool,
    reason: String,
    output: Output,
) -> anyhow::Result<()> {
    let store = open_store(&Config::load(file)?).await?;
    let set = ActionPolicySet::load(folder)?;
    let slot = if shadow { Slot::Shadow } else { Slot::Live };
    let order = Order { slot, event: Event::PolicyActivate, by: who(), reason };
    put(&store, Some(&set), order, output).await?;
    store.close().await;
    Ok(())
}

pub(super) async fn unshadow(file: &Path, reason: String, output: Output) -> anyhow::Result<()> {
    let store = open_store(&Config::load(file)?).await?;
    let order = Order { slot: Slot::Shadow, event: Event::PolicyActivate, by: who(), reason };
    put(&store, None, order, output).await?;
    store.close().await;
    Ok(())
}

pub(super) async fn rollback(
    file: &Path,
    digits: &str,
    reason: String,
    output: Output,
) -> anyhow::Result<()> {
    let store = open_store(&Config::load(file)?).await?;
    let set = sets::version(&store, digits).await?;
    let order = Order { slot: Slot::Live, event: Event::PolicyRollback, by: who(), reason };
    put(&store, Some(&set), order, output).await?;
    store.close().await;
    Ok(())
}

async fn put(
    store: &dyn Store,
    set: Option<&ActionPolicySet>,
    order: Order,
    output: Output,
) -> anyhow::Result<()> {
    let slot = order.slot.as_str();
    let number = in_force::put(store, set, order, system_clock()()).await?;
    let version = set.map(|set| set.version().to_string());
    let text = match &version {
        Some(version) => {
            format!("{version} is {slot} (activation {number}); every node has it within a second")
        }
        None => format!("nothing is {slot} any more (activation {number})"),
    };
    output.line(&text, &json!({ "version": version, "slot": slot, "activation": number }))
}

pub(super) async fn history(file: &Path, output: Output) -> anyhow::Result<()> {
    let store = open_store(&Config::load(file)?).await?;
    let mut seen = [false; 2];
    for one in store.policy_history().await? {
        let in_force = !std::mem::replace(&mut seen[usize::from(one.slot == Slot::Shadow)], true);
        let version = one.version.map(|version| hex(&version));
        let text = format!(
            "{}{:>5} {} {:<6} {} by {}{}",
            if in_force && version.is_some() { "*" } else { " " },
            one.number,
            iso_8601(one.at),
            one.slot.as_str(),
            version.as_deref().unwrap_or("none"),
            one.by,
            if one.reason.is_empty() { String::new() } else { format!(": {}", one.reason) },
        );
        let value = json!({
            "activation": one.number, "at": one.at.0, "slot": one.slot.as_str(),
            "version": version, "by": one.by, "reason": one.reason, "in_force": in_force,
        });
        output.line(&text, &value)?;
    }
    store.close().await;
    Ok(())
}

pub(super) async fn export(
    file: &Path,
    set: &Choice,
    folder: &Path,
    output: Output,
) -> anyhow::Result<()> {
    let store = open_store(&Config::load(file)?).await?;
    let set = set.load(&store).await?;
    store.close().await;
    fs::create_dir(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, text) in set.files() {
        // Names were file names when the set was read; a store cannot lead out of the folder.
        let plain = Path::new(name).file_name().is_some_and(|file| file == name.as_str());
        anyhow::ensure!(plain, "{name} is not the name of a file");
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let (version, files) = (set.version().to_string(), set.files().len());
    let text = format!("{}: {files} files of version {version}", folder.display());
    output.line(&text, &json!({ "version": version, "files": files, "folder": folder }))
}
