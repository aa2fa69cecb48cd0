//! What the PCRs must hold if the log is true.

use std::collections::BTreeMap;

use thiserror::Error;

use super::parse::{Event, EventLog};
use crate::tpm::{HashAlgorithm, PcrValues};

/// Why a log cannot be replayed in a bank.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ReplayError {
    /// The log has no digests of this bank: it says nothing about the PCRs in it.
    #[error("event log has no digests of bank {bank:?}")]
    NoSuchBank {
        /// The bank.
        bank: HashAlgorithm,
    },
}

/// PCR values that a log leads to, in one bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    bank: HashAlgorithm,
    values: BTreeMap<u8, Vec<u8>>,
}

/// What a log explains of one quoted PCR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PcrComparison {
    /// The log's events of this PCR lead to the quoted value: they are what was measured.
    Explained,
    /// The log has no event of this PCR, and the PCR holds what it holds after a reset.
    Untouched,
    /// The log has no event of this PCR, and yet it was extended: by the running system, after the
    /// firmware closed the log.
    NotInLog,
    /// The log's events of this PCR do not lead to the quoted value.
    Mismatch(Mismatch),
}

/// Events of a PCR that do not lead to its quoted value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The first event that cannot be explained.
    pub first_unexplained: usize,
    /// What is known of the cause.
    pub cause: MismatchCause,
    /// The value that the log leads to.
    pub replayed: Vec<u8>,
}

/// What is known of the cause of a mismatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MismatchCause {
    /// The events before it lead to the quoted value: the log claims more than was measured.
    LogGoesOn,
    /// The log would match had the TPM been started at this locality.
    OtherLocality(u8),
    /// No beginning of the log leads to the quoted value: an event was changed, removed or moved, or
    /// the PCR was extended again after the log was closed.
    Unknown,
}

impl EventLog<'_> {
    /// Replays the log in one bank (TCG Part 1 §17.3): each event that was extended, in order. PCR 0
    /// begins with the startup locality, all others with zeros.
    ///
    /// # Errors
    /// [`ReplayError::NoSuchBank`].
    pub fn replay(&self, bank: HashAlgorithm) -> Result<Replay, ReplayError> {
        if !self.banks().any(|declared| declared == bank) {
            return Err(ReplayError::NoSuchBank { bank });
        }
        let mut values = BTreeMap::new();
        for (pcr, digest) in self.events().iter().filter_map(|event| extension(event, bank)) {
            let value =
                values.entry(pcr).or_insert_with(|| initial(bank, pcr, self.startup_locality()));
            *value = bank.digest(&[value, digest]);
        }
        Ok(Replay { bank, values })
    }

    /// What the log explains of each quoted PCR of `bank`.
    ///
    /// # Errors
    /// [`ReplayError::NoSuchBank`].
    pub fn compare(
        &self,
        bank: HashAlgorithm,
        quoted: &PcrValues,
    ) -> Result<BTreeMap<u8, PcrComparison>, ReplayError> {
        let replay = self.replay(bank)?;
        let of_bank = quoted.iter().filter(|(found, _, _)| *found == bank);
        Ok(of_bank
            .map(|(_, pcr, value)| {
                let comparison = match replay.values.get(&pcr) {
                    Some(replayed) if replayed == value => PcrComparison::Explained,
                    Some(replayed) => {
                        PcrComparison::Mismatch(self.mismatch(bank, pcr, value, replayed))
                    }
                    None if is_reset_value(pcr, value, self.startup_locality()) => {
                        PcrComparison::Untouched
                    }
                    None => PcrComparison::NotInLog,
                };
                (pcr, comparison)
            })
            .collect())
    }

    fn mismatch(&self, bank: HashAlgorithm, pcr: u8, quoted: &[u8], replayed: &[u8]) -> Mismatch {
        let events: Vec<(usize, &[u8])> = self
            .events()
            .iter()
            .filter_map(|event| Some((event.index, extension(event, bank)?)))
            .filter_map(|(index, (of, digest))| (of == pcr).then_some((index, digest)))
            .collect();
        let found = |first_unexplained, cause| Mismatch {
            first_unexplained,
            cause,
            replayed: replayed.to_vec(),
        };
        let first = events.first().map_or(0, |(index, _)| *index);
        let localities = if pcr == 0 { 0..=4 } else { 0..=0 };
        for locality in localities {
            let mut value = initial(bank, pcr, locality);
            for (index, digest) in &events {
                if value == quoted {
                    return found(*index, MismatchCause::LogGoesOn);
                }
                value = bank.digest(&[&value, digest]);
            }
            if value == quoted {
                return found(first, MismatchCause::OtherLocality(locality));
            }
        }
        found(first, MismatchCause::Unknown)
    }
}

impl Replay {
    /// The bank.
    #[must_use]
    pub fn bank(&self) -> HashAlgorithm {
        self.bank
    }

    /// The value of each PCR that the log has events of.
    #[must_use]
    pub fn values(&self) -> &BTreeMap<u8, Vec<u8>> {
        &self.values
    }
}

fn extension<'a>(event: &Event<'a>, bank: HashAlgorithm) -> Option<(u8, &'a [u8])> {
    Some((event.extended()?, event.digest(bank)?))
}

/// What a PCR holds before its first event.
fn initial(bank: HashAlgorithm, pcr: u8, locality: u8) -> Vec<u8> {
    let mut value = vec![0; bank.digest_length()];
    if let (0, Some(last)) = (pcr, value.last_mut()) {
        *last = locality;
    }
    value
}

/// What a PCR holds after a reset: zeros, or ones in those of the dynamic root of trust (PFP 1.06
/// §3.3.3), which a launch resets to zeros.
fn is_reset_value(pcr: u8, value: &[u8], locality: u8) -> bool {
    let all = |expected: u8| value.iter().all(|byte| *byte == expected);
    let started = pcr == 0
        && value
            .split_last()
            .is_some_and(|(last, rest)| *last == locality && rest.iter().all(|byte| *byte == 0));
    all(0) || started || ((17..=22).contains(&pcr) && all(0xff))
}
