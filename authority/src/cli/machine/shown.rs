//! What a machine showed: from files, or from the authority's store.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;
use signet_authority::store::{BootRow, ListedMachine, Store};
use signet_evidence::eventlog::Limits;
use signet_evidence::thumbprint::unhex;
use signet_evidence::tpm::{HashAlgorithm, PcrValues};
use signet_verifier::boot::{BootJudgement, LogError, LogFact, MachinePolicy, ProvenLog, judge};

/// A log, or why there is none, and PCR values.
pub(super) struct Shown {
    log: Result<Vec<u8>, LogError>,
    pcrs: PcrValues,
}

impl Shown {
    /// From two files: event log and PCR values.
    pub(super) fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let [log, pcrs] = paths else { bail!("a machine is two files: LOG and PCRS") };
        let bytes = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
        let pcrs = if pcrs.is_dir() { pcr_directory(pcrs) } else { pcr_file(pcrs) }
            .with_context(|| format!("{} does not hold PCR values", pcrs.display()))?;
        Ok(Self { log: Ok(bytes), pcrs })
    }

    /// What the store has of a state.
    pub(super) async fn stored(store: &dyn Store, boot: &BootRow) -> anyhow::Result<Self> {
        let kept = match &boot.log_digest {
            Some(digest) => store.event_log(digest).await?,
            None => None,
        };
        let log = kept.ok_or(match boot.log {
            LogFact::TooLong => LogError::Withheld,
            LogFact::Unreadable => LogError::Unreadable,
            _ => LogError::Missing,
        });
        Ok(Self { log, pcrs: boot.values() })
    }

    /// The values that were quoted.
    pub(super) fn pcrs(&self) -> &PcrValues {
        &self.pcrs
    }

    /// The log as far as the values confirm it.
    pub(super) fn proven(&self) -> Result<ProvenLog<'_>, LogError> {
        let log = self.log.as_deref().map_err(|error| *error)?;
        ProvenLog::verify(Some(log), &self.pcrs, &Limits::default())
    }

    /// What a policy file says of it; `None` where it is for none of these groups.
    pub(super) fn judged<'g>(
        &self,
        policy: &Path,
        groups: impl IntoIterator<Item = &'g str>,
    ) -> anyhow::Result<Option<BootJudgement>> {
        let text = fs::read_to_string(policy)
            .with_context(|| format!("cannot read {}", policy.display()))?;
        let policy = MachinePolicy::from_toml(&text)
            .with_context(|| format!("{} is not usable", policy.display()))?;
        let log = || self.log.as_deref().map_err(|error| *error);
        let mode = policy.mode_for(groups);
        Ok(mode.map(|mode| judge(&self.pcrs, log(), &Limits::default(), &policy, mode)))
    }
}

/// What a file of PCR values holds.
#[derive(Deserialize)]
struct PcrFile {
    bank: String,
    pcrs: BTreeMap<u8, String>,
}

fn pcr_file(path: &Path) -> anyhow::Result<PcrValues> {
    let file: PcrFile = serde_json::from_slice(&fs::read(path)?)?;
    let bank = match file.bank.as_str() {
        "sha1" => HashAlgorithm::Sha1,
        "sha256" => HashAlgorithm::Sha256,
        "sha384" => HashAlgorithm::Sha384,
        other => bail!("bank {other:?} is none of sha1, sha256, sha384"),
    };
    let values = file.pcrs.iter().map(|(pcr, value)| {
        Ok((*pcr, unhex(value).with_context(|| format!("PCR {pcr} is not hex"))?))
    });
    let values = values.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(PcrValues::of_bank(bank, values)?)
}

/// `/sys/class/tpm/tpm0/pcr-sha256`: a file for each PCR, upper-case hex and a line end.
fn pcr_directory(path: &Path) -> anyhow::Result<PcrValues> {
    let mut values = Vec::new();
    for pcr in 0..24_u8 {
        let text = match fs::read_to_string(path.join(pcr.to_string())) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        let value = unhex(text.trim()).with_context(|| format!("PCR {pcr} is not hex"))?;
        values.push((pcr, value));
    }
    let bank = match values.first().map(|(_, value)| value.len()) {
        Some(32) => HashAlgorithm::Sha256,
        Some(48) => HashAlgorithm::Sha384,
        _ => bail!("no files 0 to 23 with values of SHA-256 or SHA-384"),
    };
    Ok(PcrValues::of_bank(bank, values)?)
}

/// The machine that an administrator means: by its id, the beginning of its id, or its asset tag.
/// Revoked ones are only meant by their whole id.
pub(super) fn find(machines: Vec<ListedMachine>, name: &str) -> anyhow::Result<ListedMachine> {
    let id = |machine: &ListedMachine| machine.device.id.to_string();
    let means = |machine: &ListedMachine| {
        let beginning = name.len() >= 6 && id(machine).starts_with(name);
        let tag = machine.device.asset.as_deref() == Some(name);
        id(machine) == name || (!machine.device.revoked && (beginning || tag))
    };
    let mut found: Vec<ListedMachine> = machines.into_iter().filter(means).collect();
    match (found.pop(), found.as_slice()) {
        (Some(machine), []) => Ok(machine),
        (Some(last), others) => {
            let ids: Vec<String> = others.iter().chain([&last]).map(id).collect();
            bail!("{name} means {} machines: {}; write more of the id", ids.len(), ids.join(", "))
        }
        (None, _) => bail!(
            "no enrolled machine has the id or asset tag {name}; see `signet-authority machine list`"
        ),
    }
}
