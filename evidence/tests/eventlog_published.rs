//! Event logs of real machines: they parse, and they lead to the PCRs that those machines held.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test walks the folder, so that no log is left out"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use signet_evidence::eventlog::{EventLog, Limits, LogFormat, PcrComparison};
use signet_evidence::thumbprint::{hex, unhex};
use signet_evidence::tpm::{HashAlgorithm, PcrValues};

fn published(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/published").join(folder)
}

fn log(name: &str) -> Vec<u8> {
    fs::read(published("eventlogs").join(name)).unwrap()
}

fn bank(name: &str) -> HashAlgorithm {
    match name {
        "sha1" => HashAlgorithm::Sha1,
        "sha256" => HashAlgorithm::Sha256,
        "sha384" => HashAlgorithm::Sha384,
        other => panic!("bank {other}"),
    }
}

fn quoted(file: &str) -> (HashAlgorithm, PcrValues) {
    let text = fs::read_to_string(published("tpm-quotes").join(file)).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let bank = bank(value["bank"].as_str().unwrap());
    let pcrs = value["pcrs"].as_object().unwrap().iter();
    let values = pcrs
        .map(|(index, value)| (index.parse().unwrap(), unhex(value.as_str().unwrap()).unwrap()));
    (bank, PcrValues::of_bank(bank, values).unwrap())
}

/// Name, format, events. Whoever adds a log adds its line.
const LOGS: [(&str, LogFormat, usize); 22] = [
    ("arch-linux-workstation.bin", LogFormat::CryptoAgile, 25),
    ("cos-101-amd-sev.bin", LogFormat::CryptoAgile, 49),
    ("crypto_agile_eventlog.bin", LogFormat::CryptoAgile, 27),
    ("debian-10.bin", LogFormat::Sha1Only, 25),
    ("debian-12-vm.bin", LogFormat::CryptoAgile, 44),
    ("ebs_event_missing_eventlog.bin", LogFormat::Sha1Only, 38),
    ("event-bootorder.bin", LogFormat::CryptoAgile, 104),
    ("event-moklisttrusted.bin", LogFormat::CryptoAgile, 97),
    ("event-sd-boot-fedora37.bin", LogFormat::CryptoAgile, 28),
    ("event-uefi-sha1-log.bin", LogFormat::Sha1Only, 17),
    ("eventlogwithsp800155.bin", LogFormat::CryptoAgile, 54),
    ("gce-cos-85.bin", LogFormat::CryptoAgile, 45),
    ("keylime-mb.bin", LogFormat::CryptoAgile, 121),
    ("keylime-secureboot.bin", LogFormat::CryptoAgile, 99),
    ("linux-tpm12.bin", LogFormat::Sha1Only, 40),
    ("option_rom_eventlog.bin", LogFormat::Sha1Only, 61),
    ("rhel8-uefi.bin", LogFormat::CryptoAgile, 83),
    ("rust-keylime-uefi_log.bin", LogFormat::CryptoAgile, 124),
    ("sb_cert_eventlog.bin", LogFormat::CryptoAgile, 15),
    ("short_no_action_eventlog.bin", LogFormat::Sha1Only, 1),
    ("ubuntu-2104-no-dbx.bin", LogFormat::CryptoAgile, 112),
    ("windows-gce.bin", LogFormat::Sha1Only, 21),
];

#[test]
fn every_published_log_parses() {
    let mut names: Vec<String> = fs::read_dir(published("eventlogs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".bin"))
        .collect();
    names.sort();
    assert_eq!(names, LOGS.map(|(name, _, _)| name));
    for (name, format, events) in LOGS {
        let bytes = log(name);
        let parsed = EventLog::parse(&bytes, &Limits::default()).unwrap();
        assert_eq!((parsed.format(), parsed.events().len()), (format, events), "{name}");
    }
}

#[test]
fn logs_replay_to_the_values_that_were_read_from_their_machines() {
    let text = fs::read_to_string(published("eventlogs/expected-pcrs.json")).unwrap();
    let expected: BTreeMap<String, BTreeMap<String, BTreeMap<u8, String>>> =
        serde_json::from_str(&text).unwrap();
    let (mut explained, mut others) = (0, Vec::new());
    for (name, banks) in &expected {
        let bytes = log(name);
        let parsed = EventLog::parse(&bytes, &Limits::default()).unwrap();
        for (bank_name, values) in banks {
            let bank = bank(bank_name);
            let values = values.iter().map(|(pcr, value)| (*pcr, unhex(value).unwrap()));
            let values = PcrValues::of_bank(bank, values).unwrap();
            for (pcr, comparison) in parsed.compare(bank, &values).unwrap() {
                match comparison {
                    PcrComparison::Explained => explained += 1,
                    PcrComparison::Untouched => {}
                    other => others.push((name.as_str(), pcr, other)),
                }
            }
        }
    }
    assert_eq!(explained, 111);
    // Linux measured files into PCR 10 after the firmware had closed the log.
    assert_eq!(others, [("linux-tpm12.bin", 10, PcrComparison::NotInLog)]);
}

#[test]
fn logs_replay_to_the_quotes_of_their_machines() {
    let gce = ["no-nonce-sha1", "no-nonce-sha256", "no-nonce-sha384"]
        .into_iter()
        .chain(["nonce9009-sha1", "nonce9009-sha256", "nonce9009-sha384"])
        .map(|name| ("gce-cos-85.bin", format!("gce-cos-85-{name}.json")));
    let windows = ("windows-gce.bin", "windows-gce-sha1.json".to_owned());
    let debian = ("debian-12-vm.bin", "debian-12-vm-sha256.json".to_owned());
    for (name, quote) in gce.chain([windows, debian]) {
        let bytes = log(name);
        let parsed = EventLog::parse(&bytes, &Limits::default()).unwrap();
        let (bank, values) = quoted(&quote);
        let compared = parsed.compare(bank, &values).unwrap();
        assert_eq!(compared.len(), values.iter().count());
        for (pcr, value) in parsed.replay(bank).unwrap().values() {
            let held = values.value(bank, *pcr).map(hex);
            assert_eq!((pcr, held), (pcr, Some(hex(value))), "{name} {quote}");
        }
        for (pcr, comparison) in compared {
            match comparison {
                PcrComparison::Explained | PcrComparison::Untouched => {}
                // Linux measured files into PCR 10 after the firmware had closed the log.
                PcrComparison::NotInLog => assert!(pcr == 10 && name != "windows-gce.bin"),
                PcrComparison::Mismatch(_) => panic!("{name} {quote}: PCR {pcr} {comparison:?}"),
            }
        }
    }
}
