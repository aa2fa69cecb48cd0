//! What is stored of machines' boots, as types.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use signet_evidence::binding::Sha256;
use signet_evidence::thumbprint::{hex, unhex};
use signet_evidence::tpm::{HashAlgorithm, PcrValues};
use signet_evidence::{DeviceId, UnixTime};
use signet_verifier::boot::{BootReport, BootState, LogFact};

use super::DeviceRow;

/// What is known of one machine beyond its enrolment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineRow {
    /// The groups that it is in.
    pub groups: BTreeSet<String>,
    /// The states that an administrator accepted and that still count, oldest first.
    pub accepted: Vec<AcceptedBoot>,
    /// Whether the values of the enrolment count no longer.
    pub enrolment_replaced: bool,
    /// What it showed last.
    pub now: Option<BootRow>,
    /// What it showed before that and was not minded.
    pub before: Option<BootRow>,
}

impl MachineRow {
    /// The event log that its next evidence can name in place of sending it.
    #[must_use]
    pub fn kept_log(&self) -> Option<Sha256> {
        [&self.now, &self.before].into_iter().flatten().find_map(|boot| boot.log_digest)
    }

    /// Whether a log of this digest is kept for this machine.
    #[must_use]
    pub fn keeps(&self, digest: &Sha256) -> bool {
        [&self.now, &self.before].into_iter().flatten().any(|boot| boot.log_digest == Some(*digest))
    }
}

/// An enrolled machine with what it booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedMachine {
    /// Its enrolment.
    pub device: DeviceRow,
    /// What is known beyond.
    pub machine: MachineRow,
}

/// A state that a machine showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootRow {
    /// When it was seen first.
    pub since: UnixTime,
    /// Quoted values, all of one bank.
    pub pcrs: BTreeMap<u8, Vec<u8>>,
    /// What became of the event log.
    pub log: LogFact,
    /// SHA-256 of the event log.
    pub log_digest: Option<Sha256>,
    /// TPM Resets when it was seen first.
    pub reset_count: u32,
    /// The TPM's firmware version.
    pub firmware: u64,
    /// What followed.
    pub state: BootState,
    /// What was minded.
    pub findings: Vec<Minded>,
}

/// Something that a policy minded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minded {
    /// Name of the policy.
    pub policy: String,
    /// Its mode for this machine.
    pub mode: String,
    /// The rule in it.
    pub rule: String,
    /// What was found.
    pub what: String,
    /// What a person can do.
    pub advice: String,
}

/// The columns' JSON.
#[derive(Serialize, Deserialize)]
struct Content {
    pcrs: BTreeMap<u8, String>,
    log: String,
    reset_count: u32,
    firmware: u64,
    state: String,
    findings: Vec<Minded>,
}

impl BootRow {
    /// What this report says, seen at `since`.
    #[must_use]
    pub fn of(report: &BootReport, since: UnixTime) -> Self {
        let minded = report.judgements.iter().flat_map(|judgement| {
            judgement.findings().iter().map(|finding| Minded {
                policy: judgement.policy().to_owned(),
                mode: judgement.mode().as_str().to_owned(),
                rule: finding.rule().to_owned(),
                what: finding.to_string(),
                advice: finding.advice().to_owned(),
            })
        });
        Self {
            since,
            pcrs: report.pcrs.iter().map(|(_, pcr, value)| (pcr, value.to_vec())).collect(),
            log: report.log,
            log_digest: report.log_digest,
            reset_count: report.clock.reset_count,
            firmware: report.firmware,
            state: report.state,
            findings: minded.collect(),
        }
    }

    /// Whether both are the same state, whenever it was seen and however often it was booted.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let timeless = |row: &Self| Self { since: UnixTime(0), reset_count: 0, ..row.clone() };
        timeless(self) == timeless(other)
    }

    /// Whether it stands for what the machine should be, where a later one is compared with it.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self.state, BootState::Unjudged | BootState::Approved | BootState::Accepted)
    }

    /// The quoted values, of the bank that their length tells.
    #[must_use]
    pub fn values(&self) -> PcrValues {
        let bank = match self.pcrs.values().next().map(Vec::len) {
            Some(48) => HashAlgorithm::Sha384,
            _ => HashAlgorithm::Sha256,
        };
        PcrValues::of_bank(bank, self.pcrs.clone()).unwrap_or_default()
    }

    /// A short name of the quoted values, by which an administrator says which state they mean.
    #[must_use]
    pub fn name(&self) -> String {
        let digest = signet_evidence::binding::sha256(self.pcrs_text().as_bytes());
        hex(&digest[..6])
    }

    fn pcrs_text(&self) -> String {
        let values = self.pcrs.iter().map(|(pcr, value)| (*pcr, hex(value)));
        let values: BTreeMap<u8, String> = values.collect();
        // Numbers and hex: this cannot fail, and an empty text would be refused as corrupt.
        serde_json::to_string(&values).unwrap_or_default()
    }

    pub(super) fn content(&self) -> String {
        let content = Content {
            pcrs: self.pcrs.iter().map(|(pcr, value)| (*pcr, hex(value))).collect(),
            log: self.log.as_str().to_owned(),
            reset_count: self.reset_count,
            firmware: self.firmware,
            state: self.state.as_str().to_owned(),
            findings: self.findings.clone(),
        };
        serde_json::to_string(&content).unwrap_or_default()
    }

    pub(super) fn from_content(
        text: &str,
        since: UnixTime,
        log_digest: Option<Sha256>,
    ) -> Option<Self> {
        let content: Content = serde_json::from_str(text).ok()?;
        let pcrs = content.pcrs.into_iter().map(|(pcr, value)| Some((pcr, unhex(&value)?)));
        Some(Self {
            since,
            pcrs: pcrs.collect::<Option<_>>()?,
            log: LogFact::from_name(&content.log)?,
            log_digest,
            reset_count: content.reset_count,
            firmware: content.firmware,
            state: BootState::from_name(&content.state)?,
            findings: content.findings,
        })
    }
}

/// A state that a machine shows and did not show before.
#[derive(Clone, Debug)]
pub struct NewBoot {
    /// The machine.
    pub device: DeviceId,
    /// The state.
    pub boot: BootRow,
    /// Its event log, where it came just now.
    pub log: Option<Vec<u8>>,
}

/// An endorsement key that no certificate vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EkPin {
    /// SHA-256 of its `TPMT_PUBLIC`.
    pub digest: Sha256,
    /// Whose ticket it came with.
    pub operator: String,
    /// The ticket's inventory tag.
    pub asset: Option<String>,
    /// When it was seen first.
    pub seen_at: UnixTime,
    /// Who answers for it; `None` while nobody does.
    pub approved: Option<EkApproval>,
}

/// An administrator's word for a TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EkApproval {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: UnixTime,
}

/// A state that an administrator accepted for one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedBoot {
    /// The values that count.
    pub pcrs: BTreeMap<u8, Vec<u8>>,
    /// Who accepted it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: UnixTime,
    /// Whether what counted before counts no longer.
    pub replaces: bool,
}
