//! Step 8 of the appraisal: what a machine showed of its boot, and what its policies make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use signet_evidence::RejectionCode;
use signet_evidence::binding::{Sha256, sha256};
use signet_evidence::eventlog::{Limits, PcrComparison};
use signet_evidence::header::{SentLog, WithheldLog};
use signet_evidence::tpm::PcrValues;
use thiserror::Error;

use super::finding::Finding;
use super::judge::{BootJudgement, Verdict, judge};
use super::policy::{Allowed, MachinePolicy, Mode};
use super::proven::{LogError, ProvenLog, strong_bank};
use crate::policy::{AppraisalPolicy, BootPolicy};
use crate::records::{EnrolledDevice, TpmClock};
use crate::rejection::Rejection;

/// What became of a machine's event log: four facts and their kin, each of which a person mends in
/// another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogFact {
    /// It leads to every quoted PCR of the firmware's that it has events of.
    Matching,
    /// It does not lead to a quoted PCR.
    NotMatching,
    /// There is none, or none was sent.
    Missing,
    /// It ends too early.
    Truncated,
    /// It is longer than allowed.
    TooLong,
    /// It is no event log.
    Malformed,
    /// The machine cannot read it.
    Unreadable,
    /// It has no digests of the quoted bank, or none of a bank that proves something was quoted.
    OtherBank,
}

impl LogFact {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Matching, "matching"),
        (Self::NotMatching, "not-matching"),
        (Self::Missing, "missing"),
        (Self::Truncated, "truncated"),
        (Self::TooLong, "too-long"),
        (Self::Malformed, "malformed"),
        (Self::Unreadable, "unreadable"),
        (Self::OtherBank, "other-bank"),
    ];

    /// What is to be said of this log and these quoted values.
    #[must_use]
    pub fn of(log: Result<&[u8], LogError>, quoted: &PcrValues) -> Self {
        match log.and_then(|log| ProvenLog::verify(Some(log), quoted, &Limits::default())) {
            Ok(log) if log.compared().values().any(contradicts) => Self::NotMatching,
            Ok(_) => Self::Matching,
            Err(error) => Self::of_error(error),
        }
    }

    fn of_error(error: LogError) -> Self {
        match error {
            LogError::Missing => Self::Missing,
            LogError::Unreadable => Self::Unreadable,
            LogError::Truncated(_) => Self::Truncated,
            LogError::TooLong(_) | LogError::Withheld => Self::TooLong,
            LogError::Malformed(_) => Self::Malformed,
            LogError::WeakBank | LogError::OtherBank(_) => Self::OtherBank,
        }
    }

    /// Its name in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(fact, _)| *fact == self).map_or("", |(_, name)| name)
    }

    /// The fact of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == name).map(|(fact, _)| fact)
    }
}

fn contradicts(comparison: &PcrComparison) -> bool {
    matches!(comparison, PcrComparison::Mismatch(_))
}

/// What follows from a machine's boot for the request at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BootState {
    /// Nothing judges this machine's boot.
    Unjudged,
    /// Nothing is minded.
    Approved,
    /// Something is minded, and an administrator accepted this very state.
    Accepted,
    /// Something is minded, and recorded.
    Recorded,
    /// Something is minded, and people are warned.
    Warned,
    /// Refused.
    Refused,
}

impl BootState {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Unjudged, "unjudged"),
        (Self::Approved, "approved"),
        (Self::Accepted, "accepted"),
        (Self::Recorded, "recorded"),
        (Self::Warned, "warned"),
        (Self::Refused, "refused"),
    ];

    /// Its name in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }

    /// The state of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == name).map(|(state, _)| state)
    }

    /// The fact `boot` of tokens: what somebody answers for.
    #[must_use]
    pub fn claim(self) -> &'static str {
        match self {
            Self::Approved | Self::Accepted => "approved",
            Self::Warned => "warned",
            // A policy that only records answers for nothing; a refused machine gets no token.
            Self::Unjudged | Self::Recorded | Self::Refused => "unjudged",
        }
    }
}

/// What a machine showed of its boot, and what was made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootReport {
    /// The TPM's clock and boot counters.
    pub clock: TpmClock,
    /// The TPM's firmware version.
    pub firmware: u64,
    /// The quoted values that were carried.
    pub pcrs: PcrValues,
    /// What became of the event log.
    pub log: LogFact,
    /// SHA-256 of the log that was looked at.
    pub log_digest: Option<Sha256>,
    /// The log, where it came with this evidence.
    pub sent_log: Option<Vec<u8>>,
    /// What each policy says that judges this machine.
    pub judgements: Vec<BootJudgement>,
    /// What follows.
    pub state: BootState,
}

impl BootReport {
    /// What is minded, by whichever policy, each once.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        let mut told = BTreeSet::new();
        let all = self.judgements.iter().flat_map(BootJudgement::findings);
        all.filter(move |finding| told.insert(finding.to_string()))
    }

    /// The refusal that follows, if one does. It carries this report.
    pub(crate) fn refusal(self) -> Result<Self, Rejection> {
        if self.state != BootState::Refused {
            return Ok(self);
        }
        let refusing = || self.judgements.iter().filter(|one| one.verdict() == Verdict::Refused);
        let code = refusing().flat_map(BootJudgement::findings).map(code).min_by_key(|code| {
            // A log that proves nothing, or PCRs that were not quoted, explain all other findings.
            match code {
                RejectionCode::PcrSelectionInsufficient => 1,
                RejectionCode::BootLogMismatch => 2,
                RejectionCode::BootPolicyRefused => 3,
                _ => 0,
            }
        });
        let minded = Minded(refusing().cloned().collect());
        let code = code.unwrap_or(RejectionCode::BootPolicyRefused);
        Err(Rejection::because(code, minded).with_boot(self))
    }
}

fn code(finding: &Finding) -> RejectionCode {
    match finding {
        Finding::Log(error) => match LogFact::of_error(*error) {
            LogFact::Missing | LogFact::Unreadable => RejectionCode::BootLogMissing,
            LogFact::Truncated => RejectionCode::BootLogTruncated,
            LogFact::TooLong => RejectionCode::BootLogTooLong,
            _ => RejectionCode::BootLogMalformed,
        },
        Finding::NotQuoted { .. } => RejectionCode::PcrSelectionInsufficient,
        Finding::NotMatching { .. }
        | Finding::NotInLog { .. }
        | Finding::NothingMeasured { .. } => RejectionCode::BootLogMismatch,
        _ => RejectionCode::BootPolicyRefused,
    }
}

/// The judgements that refuse, in one line.
#[derive(Debug, Error)]
struct Minded(Vec<BootJudgement>);

impl fmt::Display for Minded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, judgement) in self.0.iter().enumerate() {
            let between = if number > 0 { "; " } else { "" };
            write!(f, "{between}machine policy {:?} minds: ", judgement.policy())?;
            let findings: Vec<String> =
                judgement.findings().iter().map(ToString::to_string).collect();
            f.write_str(&findings.join("; "))?;
        }
        Ok(())
    }
}

/// What the host sent, as far as it is here.
fn log_of<'a>(sent: Option<&'a SentLog>, device: &'a EnrolledDevice) -> Result<&'a [u8], LogError> {
    match sent {
        Some(SentLog::Whole(log)) => Ok(log),
        Some(SentLog::Known(digest)) => match &device.event_log {
            Some(kept) if kept.digest == *digest => Ok(&kept.bytes),
            _ => Err(LogError::Missing),
        },
        Some(SentLog::Withheld(WithheldLog::TooLong)) => Err(LogError::Withheld),
        Some(SentLog::Withheld(WithheldLog::Unreadable)) => Err(LogError::Unreadable),
        Some(SentLog::Withheld(WithheldLog::Missing)) | None => Err(LogError::Missing),
    }
}

/// Judges a machine's boot by every policy that is for it; where none is, by the values of its
/// enrolment if the settings say so.
pub(crate) fn report(
    clock: TpmClock,
    firmware: u64,
    pcrs: PcrValues,
    sent: Option<&SentLog>,
    device: &EnrolledDevice,
    policy: &AppraisalPolicy,
) -> BootReport {
    let log = log_of(sent, device);
    let judgements: Vec<BootJudgement> = match policies_for(&policy.machines, &device.groups) {
        policies if !policies.is_empty() => {
            let limits = Limits::default();
            let judged = policies.into_iter();
            judged.map(|(policy, mode)| judge(&pcrs, log, &limits, policy, mode)).collect()
        }
        _ if policy.boot == BootPolicy::Enforce => vec![baseline(&pcrs, device, policy)],
        _ => Vec::new(),
    };
    let worst = judgements.iter().map(BootJudgement::verdict).max();
    let state = match worst {
        None => BootState::Unjudged,
        Some(Verdict::Approved) => BootState::Approved,
        Some(_) if is_accepted(&pcrs, device, policy) => BootState::Accepted,
        Some(Verdict::Recorded) => BootState::Recorded,
        Some(Verdict::Warned) => BootState::Warned,
        Some(Verdict::Refused) => BootState::Refused,
    };
    BootReport {
        clock,
        firmware,
        log: LogFact::of(log, &pcrs),
        log_digest: log.ok().map(sha256),
        sent_log: match sent {
            Some(SentLog::Whole(log)) => Some(log.clone()),
            _ => None,
        },
        pcrs,
        judgements,
        state,
    }
}

/// The policies that judge a machine of these groups, with their modes.
#[must_use]
pub fn policies_for<'p>(
    policies: &'p [MachinePolicy],
    groups: &BTreeSet<String>,
) -> Vec<(&'p MachinePolicy, Mode)> {
    let names = || groups.iter().map(String::as_str);
    policies.iter().filter_map(|policy| Some((policy, policy.mode_for(names())?))).collect()
}

/// The PCRs that are judged of a machine of these groups.
#[must_use]
pub fn judged_pcrs(policy: &AppraisalPolicy, groups: &BTreeSet<String>) -> BTreeSet<u8> {
    match policies_for(&policy.machines, groups) {
        policies if !policies.is_empty() => {
            policies.into_iter().flat_map(|(policy, _)| policy.judged_pcrs()).collect()
        }
        _ => policy.required_pcrs.clone(),
    }
}

/// Whole values against those of the enrolment.
fn baseline(
    quoted: &PcrValues,
    device: &EnrolledDevice,
    policy: &AppraisalPolicy,
) -> BootJudgement {
    let value = |pcr| strong_bank(quoted).and_then(|bank| quoted.value(bank, pcr));
    let findings = policy.required_pcrs.iter().filter_map(|pcr| {
        let Some(found) = value(*pcr) else { return Some(Finding::NotQuoted { pcr: *pcr }) };
        let approved = device.approved_pcrs.get(pcr);
        (approved.map(Vec::as_slice) != Some(found)).then(|| Finding::PcrValue {
            pcr: *pcr,
            found: found.to_vec(),
            allowed: approved
                .map(|digest| Allowed { digest: digest.clone(), what: "at enrolment".into() })
                .into_iter()
                .collect(),
        })
    });
    BootJudgement::of_baseline(findings.collect())
}

/// Whether an administrator accepted a state with these very values in every PCR that is judged.
fn is_accepted(quoted: &PcrValues, device: &EnrolledDevice, policy: &AppraisalPolicy) -> bool {
    let judged = judged_pcrs(policy, &device.groups);
    let value = |pcr| strong_bank(quoted).and_then(|bank| quoted.value(bank, pcr));
    let same = |accepted: &BTreeMap<u8, Vec<u8>>| {
        judged.iter().all(|pcr| {
            let found = value(*pcr);
            found.is_some() && accepted.get(pcr).map(Vec::as_slice) == found
        })
    };
    device.accepted.iter().any(same)
}

#[cfg(test)]
mod tests;
