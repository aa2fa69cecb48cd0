//! What changed between two boots.

use std::collections::BTreeSet;
use std::fmt;

use signet_evidence::eventlog::Measured;
use signet_evidence::thumbprint::hex;
use signet_evidence::tpm::PcrValues;

use super::proven::ProvenLog;
use super::words::{Measurement, purpose};

/// One difference between two boots of one machine, or between two machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The same thing with another digest.
    Changed {
        /// As it was.
        old: Measurement,
        /// As it is.
        new: Measurement,
    },
    /// Not there any more.
    Removed(Measurement),
    /// New.
    Added(Measurement),
    /// The same measurements in another order.
    Reordered {
        /// The PCR.
        pcr: u8,
    },
    /// The quote of one of them does not confirm the log of this PCR, so nothing can be said of it.
    Unproven {
        /// The PCR.
        pcr: u8,
    },
    /// The PCR holds another value, and no log says why.
    Value {
        /// The PCR.
        pcr: u8,
        /// As it was.
        old: Vec<u8>,
        /// As it is.
        new: Vec<u8>,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { old, new } if old.what == new.what => {
                write!(f, "{new}, was {}, is {}", hex(&old.digest), hex(&new.digest))
            }
            Self::Changed { old, new } => write!(
                f,
                "event {} in PCR {} was {} ({}), is {} ({})",
                new.event,
                new.pcr,
                old.what,
                hex(&old.digest),
                new.what,
                hex(&new.digest)
            ),
            Self::Removed(old) => write!(f, "{old}, was {}, is gone", hex(&old.digest)),
            Self::Added(new) => write!(f, "{new}, is new: {}", hex(&new.digest)),
            Self::Reordered { pcr } => {
                write!(f, "PCR {pcr} ({}) has the same events in another order", purpose(*pcr))
            }
            Self::Unproven { pcr } => {
                write!(f, "the quote does not confirm the log of PCR {pcr} ({})", purpose(*pcr))
            }
            Self::Value { pcr, old, new } => {
                write!(f, "PCR {pcr} ({}) was {}, is {}", purpose(*pcr), hex(old), hex(new))
            }
        }
    }
}

/// What is different in `new`, by PCR. Both logs have to be of one bank; PCRs that only one quote
/// covers are left out.
#[must_use]
pub fn differences(old: &ProvenLog<'_>, new: &ProvenLog<'_>) -> Vec<Change> {
    let (before, after) = (old.facts(), new.facts());
    let quoted: BTreeSet<u8> =
        old.compared().keys().filter(|pcr| new.compared().contains_key(pcr)).copied().collect();
    let mut changes = Vec::new();
    for pcr in quoted {
        let logged = |log: &ProvenLog<'_>| {
            log.log().events().iter().any(|event| event.extended() == Some(pcr))
        };
        let proven = |log: &ProvenLog<'_>, pcrs: &BTreeSet<u8>| pcrs.contains(&pcr) || !logged(log);
        if !proven(old, &before.pcrs) || !proven(new, &after.pcrs) {
            changes.push(Change::Unproven { pcr });
            continue;
        }
        let of = |measured: &&Measured<'_>| measured.pcr == pcr;
        let was: Vec<_> = before.measured.iter().filter(of).map(Measurement::of).collect();
        let is: Vec<_> = after.measured.iter().filter(of).map(Measurement::of).collect();
        changes.extend(of_pcr(pcr, was, is));
    }
    changes
}

/// Which quoted values are different in `new`: what is left to tell where a log is missing. PCRs that
/// only one quote covers are left out.
#[must_use]
pub fn changed_values(old: &PcrValues, new: &PcrValues) -> Vec<Change> {
    let both = new.iter().filter_map(|(bank, pcr, is)| Some((pcr, old.value(bank, pcr)?, is)));
    let changed = both.filter(|(_, was, is)| was != is);
    changed
        .map(|(pcr, was, is)| Change::Value { pcr, old: was.to_vec(), new: is.to_vec() })
        .collect()
}

fn of_pcr(pcr: u8, was: Vec<Measurement>, is: Vec<Measurement>) -> Vec<Change> {
    let same = |(old, new): (&Measurement, &Measurement)| old.digest == new.digest;
    if was.len() == is.len() && was.iter().zip(&is).all(same) {
        return Vec::new();
    }
    let (mut gone, fresh) = unmatched(was, is);
    if gone.is_empty() && fresh.is_empty() {
        return vec![Change::Reordered { pcr }];
    }
    let mut changes = Vec::new();
    let mut rest = Vec::new();
    for new in fresh {
        // The same words for the same thing: that is how old and new are brought together.
        match gone.iter().position(|old| old.what == new.what) {
            Some(at) => changes.push(Change::Changed { old: gone.remove(at), new }),
            None => rest.push(new),
        }
    }
    // As many on each side, as where a command line changed: what was in their places before.
    if gone.len() == rest.len() {
        changes.extend(
            gone.drain(..).zip(rest.drain(..)).map(|(old, new)| Change::Changed { old, new }),
        );
    }
    changes.extend(gone.into_iter().map(Change::Removed));
    changes.extend(rest.into_iter().map(Change::Added));
    changes
}

/// What only one of them has, each measurement counted as often as it was made.
fn unmatched(
    mut was: Vec<Measurement>,
    is: Vec<Measurement>,
) -> (Vec<Measurement>, Vec<Measurement>) {
    let fresh = is
        .into_iter()
        .filter(|new| match was.iter().position(|old| old.digest == new.digest) {
            Some(at) => {
                was.remove(at);
                false
            }
            None => true,
        })
        .collect();
    (was, fresh)
}
