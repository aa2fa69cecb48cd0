//! An event log that quoted PCRs confirm.

use std::collections::{BTreeMap, BTreeSet};

use signet_evidence::eventlog::{
    BootFacts, EventLog, EventLogError, Limits, PcrComparison, ReplayError,
};
use signet_evidence::tpm::{HashAlgorithm, PcrValues};
use thiserror::Error;

/// Why an event log proves nothing. Missing, cut and too long are three different facts; that it does
/// not match is a fourth, and one of each PCR: see [`ProvenLog::compared`].
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum LogError {
    /// No log came, or an empty one.
    #[error("no event log was sent")]
    Missing,
    /// The machine has one and cannot read it.
    #[error("the machine cannot read its event log")]
    Unreadable,
    /// The machine says that it has more than may be sent.
    #[error("the machine's event log is longer than may be sent")]
    Withheld,
    /// It ends too early.
    #[error("the event log is cut")]
    Truncated(#[source] EventLogError),
    /// It is longer, or has more events, than is looked at.
    #[error("the event log is longer than allowed")]
    TooLong(#[source] EventLogError),
    /// It is not an event log.
    #[error("the event log is malformed")]
    Malformed(#[source] EventLogError),
    /// No PCRs of SHA-256 or SHA-384 were quoted.
    #[error("no PCRs of SHA-256 or SHA-384 were quoted")]
    WeakBank,
    /// It has no digests of the quoted bank; those of SHA-1 prove nothing about it.
    #[error("the event log has no digests of the quoted bank")]
    OtherBank(#[source] ReplayError),
}

impl From<EventLogError> for LogError {
    fn from(error: EventLogError) -> Self {
        match error {
            EventLogError::Missing => Self::Missing,
            EventLogError::Truncated { .. } => Self::Truncated(error),
            EventLogError::TooLong { .. } | EventLogError::TooManyEvents { .. } => {
                Self::TooLong(error)
            }
            _ => Self::Malformed(error),
        }
    }
}

/// A log, and which of its PCRs the quote confirms. Only events of those are ever looked at.
#[derive(Clone, Debug)]
pub struct ProvenLog<'a> {
    log: EventLog<'a>,
    bank: HashAlgorithm,
    compared: BTreeMap<u8, PcrComparison>,
}

impl<'a> ProvenLog<'a> {
    /// Reads `log` and compares it with `quoted`, the values of a [`crate::tpm::VerifiedQuote`].
    ///
    /// # Errors
    /// [`LogError`]. A log that does not match is no error here: each PCR may match or not.
    pub fn verify(
        log: Option<&'a [u8]>,
        quoted: &PcrValues,
        limits: &Limits,
    ) -> Result<Self, LogError> {
        let log = EventLog::parse(log.unwrap_or_default(), limits)?;
        let bank = strong_bank(quoted).ok_or(LogError::WeakBank)?;
        let compared = log.compare(bank, quoted).map_err(LogError::OtherBank)?;
        Ok(Self { log, bank, compared })
    }

    /// The bank of the quote.
    #[must_use]
    pub fn bank(&self) -> HashAlgorithm {
        self.bank
    }

    /// What the log explains of each quoted PCR.
    #[must_use]
    pub fn compared(&self) -> &BTreeMap<u8, PcrComparison> {
        &self.compared
    }

    /// The log itself; what it says of PCRs that are not explained is a story.
    #[must_use]
    pub fn log(&self) -> &EventLog<'a> {
        &self.log
    }

    /// What was booted, as far as the quote confirms it.
    #[must_use]
    pub fn facts(&self) -> BootFacts<'a> {
        let explained: BTreeSet<u8> = self
            .compared
            .iter()
            .filter(|(_, comparison)| **comparison == PcrComparison::Explained)
            .map(|(pcr, _)| *pcr)
            .collect();
        BootFacts::of(&self.log, self.bank, &explained)
    }
}

/// The bank that is judged: SHA-256, or SHA-384 where no SHA-256 was quoted. Never SHA-1.
pub(super) fn strong_bank(quoted: &PcrValues) -> Option<HashAlgorithm> {
    [HashAlgorithm::Sha256, HashAlgorithm::Sha384]
        .into_iter()
        .find(|bank| quoted.iter().any(|(found, _, _)| found == *bank))
}
