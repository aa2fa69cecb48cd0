//! tpm2-tools as referee: `tpm2_eventlog` and our parser read the same events, digests and PCRs out of
//! every published log.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test walks the folder, so that no log is left out"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use signet_evidence::eventlog::{EventLog, Limits};
use signet_evidence::thumbprint::hex;
use signet_evidence::tpm::HashAlgorithm;

/// What the referee made of a log.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reading {
    events: Vec<ReadEvent>,
    pcrs: BTreeMap<(String, u8), String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct ReadEvent {
    pcr: u32,
    kind: String,
    size: usize,
    digests: Vec<(String, String)>,
}

/// The referee crashes on this log before it has printed the PCRs, and prints its events.
const CRASHES: &str = "option_rom_eventlog.bin";
/// The referee refuses this one: it takes its only event, StartupLocality, for a Spec ID event.
const REFUSES: &str = "short_no_action_eventlog.bin";

/// tpm2-tools before 5.5 extend EV_NO_ACTION events into PCR 0 and know no startup locality. For the
/// one log of these whose machine is known, `expected-pcrs.json` says that ours is right.
const PCR_0_DIFFERS: [&str; 2] = ["eventlogwithsp800155.bin", "keylime-mb.bin"];

fn logs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/published/eventlogs");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "bin"));
    paths.sort();
    paths
}

/// The referee's YAML, line by line: it quotes nothing that matters here.
fn referee(path: &Path) -> Option<Reading> {
    let output = Command::new("tpm2_eventlog").arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let mut reading = Reading::default();
    let (mut bank, mut in_pcrs) = (String::new(), false);
    for line in text.lines() {
        if line == "pcrs:" {
            in_pcrs = true;
        }
        let Some((key, value)) = line.split_once(':') else { continue };
        let indent = key.len() - key.trim_start().len();
        let (key, value) = (key.trim(), value.trim().trim_matches('"'));
        if in_pcrs {
            match indent {
                2 => key.clone_into(&mut bank),
                4 => {
                    let value = value.trim_start_matches("0x").to_owned();
                    reading.pcrs.insert((bank.clone(), key.parse().unwrap()), value);
                }
                _ => {}
            }
            continue;
        }
        match (indent, key) {
            (2, "PCRIndex") => reading
                .events
                .push(ReadEvent { pcr: value.parse().unwrap(), ..ReadEvent::default() }),
            (2, "EventType") => value.clone_into(&mut reading.events.last_mut()?.kind),
            (2, "EventSize") => reading.events.last_mut()?.size = value.parse().unwrap(),
            // The Spec ID event of the old structure has one digest and no bank.
            (2, "Digest") => {}
            (2, "- AlgorithmId") => value.clone_into(&mut bank),
            (4, "Digest") => {
                reading.events.last_mut()?.digests.push((bank.clone(), value.to_owned()));
            }
            _ => {}
        }
    }
    (!reading.events.is_empty()).then_some(reading)
}

fn name(bank: HashAlgorithm) -> &'static str {
    match bank {
        HashAlgorithm::Sha1 => "sha1",
        HashAlgorithm::Sha256 => "sha256",
        HashAlgorithm::Sha384 => "sha384",
        HashAlgorithm::Sha512 => "sha512",
    }
}

fn ours(bytes: &[u8]) -> Reading {
    let log = EventLog::parse(bytes, &Limits::default()).unwrap();
    let banks: Vec<HashAlgorithm> = log.banks().collect();
    let mut reading = Reading::default();
    for event in log.events() {
        let digests = banks
            .iter()
            .filter_map(|bank| Some((name(*bank).to_owned(), hex(event.digest(*bank)?))));
        reading.events.push(ReadEvent {
            pcr: event.pcr,
            kind: event.kind.to_string(),
            size: event.data.len(),
            digests: digests.collect(),
        });
    }
    for bank in banks {
        for (pcr, value) in log.replay(bank).unwrap().values() {
            reading.pcrs.insert((name(bank).to_owned(), *pcr), hex(value));
        }
    }
    reading
}

type Pcrs = BTreeMap<(String, u8), String>;

fn take_pcr_0(pcrs: &mut Pcrs) -> Pcrs {
    let (zero, others) = std::mem::take(pcrs).into_iter().partition(|((_, pcr), _)| *pcr == 0);
    *pcrs = others;
    zero
}

fn pcr_0_of_old_tools(bytes: &[u8]) -> Pcrs {
    let log = EventLog::parse(bytes, &Limits::default()).unwrap();
    let value = |bank: HashAlgorithm| {
        let events = log.events().iter().filter(|event| event.pcr == 0);
        events
            .filter_map(|event| event.digest(bank))
            .fold(vec![0; bank.digest_length()], |value, digest| bank.digest(&[&value, digest]))
    };
    log.banks().map(|bank| ((name(bank).to_owned(), 0), hex(&value(bank)))).collect()
}

#[test]
fn tpm2_tools_reads_the_same_events_digests_and_pcrs() {
    let mut judged = 0;
    for path in logs() {
        let file = path.file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(&path).unwrap();
        let mut ours = ours(&bytes);
        let Some(mut theirs) = referee(&path) else {
            assert_eq!(file, REFUSES);
            continue;
        };
        if file == CRASHES {
            assert_eq!(theirs.pcrs, BTreeMap::new());
            ours.pcrs.clear();
            ours.events.truncate(theirs.events.len());
        }
        if PCR_0_DIFFERS.contains(&file) {
            let old = pcr_0_of_old_tools(&bytes);
            let theirs = take_pcr_0(&mut theirs.pcrs);
            let ours = take_pcr_0(&mut ours.pcrs);
            assert!(theirs == old || theirs == ours, "{file}: {theirs:?}");
        }
        assert_eq!(ours.events.len(), theirs.events.len(), "{file}");
        for (index, (our, their)) in ours.events.iter().zip(&mut theirs.events).enumerate() {
            if their.kind == "Unknown event type" {
                their.kind.clone_from(&our.kind);
            }
            assert_eq!(our, their, "{file} event {index}");
        }
        assert_eq!(ours.pcrs, theirs.pcrs, "{file}");
        judged += 1;
    }
    assert_eq!(judged, 21);
}
