//! No bytes make the event log's parser panic, and nothing that it says comes from outside the log.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use proptest::prelude::*;
use signet_evidence::eventlog::{BootFacts, EventLog, EventLogError, Limits, hint};
use signet_evidence::tpm::{HashAlgorithm, PcrValues};

const AGILE: &[u8] =
    include_bytes!("../../fixtures/published/eventlogs/event-sd-boot-fedora37.bin");
const OLD: &[u8] = include_bytes!("../../fixtures/published/eventlogs/event-uefi-sha1-log.bin");

/// Everything that can be done with a log.
fn exercise(bytes: &[u8]) {
    let Ok(log) = EventLog::parse(bytes, &Limits::default()) else { return };
    let data: usize = log.events().iter().map(|event| event.data.len()).sum();
    assert!(data <= bytes.len());
    for event in log.events() {
        let _ = hint(event);
    }
    for bank in [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384] {
        let zeros = (0..24).map(|pcr| (pcr, vec![0; bank.digest_length()]));
        let compared = log.compare(bank, &PcrValues::of_bank(bank, zeros).unwrap());
        assert_eq!(compared.is_ok(), log.banks().any(|declared| declared == bank));
        let _ = BootFacts::of(&log, bank, &(0..24).collect());
    }
}

/// A log with some bytes overwritten and its end cut off.
fn mutated(log: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((0..log.len(), any::<u8>()), 0..6);
    (edits, 0..=log.len()).prop_map(|(edits, end)| {
        let mut bytes = log.to_vec();
        for (at, byte) in edits {
            bytes[at] = byte;
        }
        bytes.truncate(end);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        exercise(&bytes);
    }

    #[test]
    fn any_changed_log(agile in mutated(AGILE), old in mutated(OLD)) {
        exercise(&agile);
        exercise(&old);
    }

    /// A cut log is never taken for a whole one, save where it is cut between two events or within
    /// leading zeros of one.
    #[test]
    fn any_cut(end in 1..AGILE.len()) {
        let whole = EventLog::parse(AGILE, &Limits::default()).unwrap();
        match EventLog::parse(&AGILE[..end], &Limits::default()) {
            Err(EventLogError::Truncated { offset, needed, left }) => {
                prop_assert!(offset + left == end && left < needed);
            }
            Err(other) => prop_assert!(false, "{other:?}"),
            Ok(log) => {
                let next = &whole.events()[log.events().len()];
                prop_assert!(AGILE[next.offset..end].iter().all(|byte| *byte == 0));
            }
        }
    }
}
