//! Which set a command is about: a folder, or a version in the store.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use signet_authority::in_force::{self, Slot};
use signet_authority::policy::ActionPolicySet;
use signet_authority::store::Store;
use signet_evidence::thumbprint::hex;

/// A folder, a version, `live` or `shadow`.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    /// What is in force.
    Slot(Slot),
    /// A folder with files.
    Folder(PathBuf),
    /// A version that was in force: its first digits.
    Version(String),
}

impl FromStr for Choice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "live" => Self::Slot(Slot::Live),
            "shadow" => Self::Slot(Slot::Shadow),
            "" => return Err("write a folder, a version, `live` or `shadow`"),
            text if is_version(text) && !Path::new(text).is_dir() => Self::Version(text.to_owned()),
            text => Self::Folder(text.into()),
        })
    }
}

fn is_version(text: &str) -> bool {
    (8..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Choice {
    /// Loads the set.
    pub(super) async fn load(&self, store: &dyn Store) -> anyhow::Result<ActionPolicySet> {
        match self {
            Self::Folder(folder) => Ok(ActionPolicySet::load(folder)?),
            Self::Version(digits) => version(store, digits).await,
            Self::Slot(slot) => {
                let history = store.policy_history().await?;
                let version = in_force::newest(&history, *slot)
                    .with_context(|| format!("no {} set is in force", slot.as_str()))?;
                Ok(in_force::load_version(store, &version).await?)
            }
        }
    }
}

/// The one version that begins with these digits.
pub(super) async fn version(store: &dyn Store, digits: &str) -> anyhow::Result<ActionPolicySet> {
    let digits = digits.to_ascii_lowercase();
    let history = store.policy_history().await?;
    let mut found: Vec<_> = history.iter().filter_map(|one| one.version).collect();
    found.retain(|version| digits.len() >= 8 && hex(version).starts_with(&digits));
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [version] => Ok(in_force::load_version(store, version).await?),
        [] => bail!("no version {digits} was in force; see `signet-authority policy history`"),
        _ => bail!("several versions begin with {digits}; write more digits"),
    }
}
