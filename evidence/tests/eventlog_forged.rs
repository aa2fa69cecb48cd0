//! Forged event logs: each is refused for exactly the reason that its fixture says.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test walks the folder, so that no log is left out"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signet_evidence::eventlog::{
    BootFacts, EventLog, EventLogError, Limits, PcrComparison, SecureBoot,
};
use signet_evidence::thumbprint::unhex;
use signet_evidence::tpm::{HashAlgorithm, PcrValues};

#[path = "../examples/forge-event-logs/forgery/mod.rs"]
mod forgery;
#[path = "../examples/forge-event-logs/machine.rs"]
mod machine;

struct Fixture {
    headers: BTreeMap<String, String>,
    log: Vec<u8>,
}

impl Fixture {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let (head, body) = text.split_once("\n\n").unwrap();
        let headers = head.lines().map(|line| line.split_once(": ").unwrap());
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let body: String = body.split_whitespace().collect();
        Self { headers, log: STANDARD.decode(body).unwrap() }
    }

    fn limits(&self) -> Limits {
        let limits = Limits::default();
        match self.headers["limits"].split_once('=') {
            None => limits,
            Some(("bytes", bytes)) => Limits { bytes: bytes.parse().unwrap(), ..limits },
            Some(("events", events)) => Limits { events: events.parse().unwrap(), ..limits },
            Some(other) => panic!("{other:?}"),
        }
    }

    fn quoted(&self) -> (HashAlgorithm, PcrValues) {
        let bank = match self.headers["bank"].as_str() {
            "sha256" => HashAlgorithm::Sha256,
            "sha384" => HashAlgorithm::Sha384,
            other => panic!("{other}"),
        };
        let values = self.headers["quoted"].split(',').map(|part| {
            let (pcr, value) = part.split_once('=').unwrap();
            (pcr.parse().unwrap(), unhex(value).unwrap())
        });
        (bank, PcrValues::of_bank(bank, values).unwrap())
    }
}

fn code(error: EventLogError) -> &'static str {
    match error {
        EventLogError::Missing => "missing",
        EventLogError::TooLong { .. } | EventLogError::TooManyEvents { .. } => "too-long",
        EventLogError::Truncated { .. } => "truncated",
        EventLogError::LengthOverflow { .. } => "length-overflow",
        EventLogError::SpecId(_) => "spec-id",
        EventLogError::DigestCount { .. } => "digest-count",
        EventLogError::UnknownAlgorithm { .. } => "unknown-algorithm",
        EventLogError::DuplicateDigest { .. } => "duplicate-digest",
        EventLogError::NoSuchPcr { .. } => "no-such-pcr",
        EventLogError::StartupLocality { .. } => "startup-locality",
    }
}

/// Code and reason, as a verifier comes to them: parse, replay, read what was measured.
fn judge(fixture: &Fixture) -> (&'static str, String) {
    let log = match EventLog::parse(&fixture.log, &fixture.limits()) {
        Ok(log) => log,
        Err(error) => return (code(error), format!("{error:?}")),
    };
    let (bank, quoted) = fixture.quoted();
    let compared = match log.compare(bank, &quoted) {
        Ok(compared) => compared,
        Err(error) => return ("no-such-bank", format!("{error:?}")),
    };
    let mismatches: Vec<String> = compared
        .iter()
        .filter_map(|(pcr, comparison)| match comparison {
            PcrComparison::Explained | PcrComparison::Untouched => None,
            PcrComparison::NotInLog => Some(format!("PCR {pcr} not in log")),
            PcrComparison::Mismatch(mismatch) => {
                Some(format!("PCR {pcr} at {}: {:?}", mismatch.first_unexplained, mismatch.cause))
            }
        })
        .collect();
    if !mismatches.is_empty() {
        return ("mismatch", mismatches.join("; "));
    }
    let proven: BTreeSet<u8> = compared.into_keys().collect();
    match BootFacts::of(&log, bank, &proven).secure_boot {
        SecureBoot::On => ("accepted", "On".to_owned()),
        SecureBoot::Off => ("secure-boot-off", "Off".to_owned()),
        unproven @ SecureBoot::Unproven(_) => ("secure-boot-unproven", format!("{unproven:?}")),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/eventlogs")
}

#[test]
fn the_fixtures_are_those_that_the_generator_makes() {
    for forgery in forgery::all() {
        let path = root().join(forgery.code).join(format!("{}.fixture", forgery.name));
        let fixture = Fixture::read(&path);
        let header = |name: &str| fixture.headers[name].as_str();
        assert_eq!((header("reason"), header("limits")), (&*forgery.reason, forgery.limits));
        assert_eq!(header("comment"), forgery.comment);
        let values = forgery.quoted.pcrs(forgery.bank).into_iter();
        let values = values.map(|(pcr, value)| (u8::try_from(pcr).unwrap(), value));
        let quoted = PcrValues::of_bank(forgery.bank, values).unwrap();
        assert_eq!(fixture.quoted(), (forgery.bank, quoted), "{}", path.display());
        assert_eq!(fixture.log, forgery.log, "{}", path.display());
    }
}

#[test]
fn every_forged_log_is_refused_for_its_reason() {
    let mut judged = BTreeMap::<String, usize>::new();
    let mut wrong = Vec::new();
    for folder in fs::read_dir(root()).unwrap() {
        let folder = folder.unwrap().path();
        for path in fs::read_dir(&folder).unwrap() {
            let path = path.unwrap().path();
            let fixture = Fixture::read(&path);
            let expect = fixture.headers["expect"].as_str();
            assert_eq!(folder.file_name().unwrap(), expect);
            let (code, reason) = judge(&fixture);
            if (code, &reason) != (expect, &fixture.headers["reason"]) {
                wrong.push(format!("{}: {code} {reason}", path.display()));
            }
            *judged.entry(expect.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(wrong, [""; 0]);
    // Every way to refuse is shown.
    assert_eq!(judged.len(), 15, "{judged:?}");
    assert!(judged.values().sum::<usize>() >= 60, "{judged:?}");
}
