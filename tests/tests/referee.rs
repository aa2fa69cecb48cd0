//! Others as referees. `tests/referee`, a second implementation, appraises every fixture by what
//! `docs/protocol.md` says and must come to the same code. `tests/referees/libraries.py` has programs
//! that people use judge the parts that they know.

#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signet_evidence::cbor;
use signet_tests::fixture::{self, Kind};
use signet_tests::judge::judge;
use signet_tests::minted;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What a program in Python says of the fixtures in `folder`.
fn python(program: &str, folder: &Path, input: &str) -> String {
    let python = root().join(".venv/bin/python");
    assert!(python.exists(), "{} is missing: run make setup", python.display());
    let mut child = Command::new(python)
        .arg("-B")
        .arg(root().join(program))
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let written = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    written.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// What the second implementation says of each fixture in `folder`, by `FOLDER/NAME`.
fn verdicts(folder: &Path) -> BTreeMap<String, String> {
    let text = python("tests/referee", folder, "");
    let lines = text.lines().map(|line| line.split_once(' ').unwrap());
    lines.map(|(name, code)| (name.to_owned(), code.to_owned())).collect()
}

/// A line of `exceptions.txt`: which fixtures, and what the referee says of them.
struct Exception {
    pattern: String,
    verdict: String,
}

impl Exception {
    fn all() -> Vec<Self> {
        let text = fs::read_to_string(root().join("tests/referee/exceptions.txt")).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines.map(Self::parse).collect()
    }

    fn parse(line: &str) -> Self {
        let (subject, reason) = line.split_once(": ").unwrap();
        let (pattern, verdict) = subject.split_once(' ').unwrap();
        assert!(!reason.is_empty(), "{line} does not say why");
        Self { pattern: pattern.into(), verdict: verdict.into() }
    }

    fn covers(&self, name: &str) -> bool {
        match self.pattern.strip_suffix('*') {
            Some(folder) => name.starts_with(folder),
            None => name == self.pattern,
        }
    }
}

#[test]
fn another_implementation_comes_to_the_same_code_for_every_fixture() {
    let said = verdicts(&fixture::folder());
    let exceptions = Exception::all();
    let mut wrong = Vec::new();
    for fixture in fixture::all().unwrap() {
        let name = fixture.path.file_stem().unwrap().to_str().unwrap();
        let name = format!("{}/{name}", fixture.expect);
        let verdict = said.get(&name).map_or("not judged", String::as_str);
        let exception = exceptions.iter().find(|one| one.covers(&name));
        let due = exception.map_or(fixture.expect.as_str(), |one| one.verdict.as_str());
        if verdict != due {
            wrong.push(format!("{name}: {verdict}, due is {due}"));
        }
    }
    for exception in &exceptions {
        let covered = said.keys().filter(|name| exception.covers(name)).count();
        if covered == 0 || exception.pattern.starts_with(&format!("{}/", exception.verdict)) {
            wrong.push(format!("{} is no exception any more", exception.pattern));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Numbers that are the same each time (xorshift, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    /// One or two changes to a byte, of the kinds that a decoder may get wrong.
    fn edit(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(2) {
            if bytes.is_empty() {
                return bytes.push(self.byte());
            }
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.byte(),
                2 => bytes[at] = bytes[at].wrapping_add(1),
                3 => bytes.insert(at, self.byte()),
                _ => drop(bytes.remove(at)),
            }
        }
    }

    /// A change to one thing anywhere in what `bytes` encode; the lengths around it are right again.
    fn edit_inside(&mut self, bytes: &mut Vec<u8>) {
        match cbor::decode(bytes) {
            Ok(mut value) if self.below(20) > 0 => {
                self.edit_value(&mut value);
                *bytes = cbor::encode(&value);
            }
            _ => self.edit(bytes),
        }
    }

    fn edit_value(&mut self, value: &mut cbor::Value) {
        match value {
            cbor::Value::Bytes(bytes) => self.edit_inside(bytes),
            cbor::Value::Tag(_, inner) => self.edit_value(inner),
            cbor::Value::Array(items) if !items.is_empty() && self.below(9) > 0 => {
                let at = self.below(items.len());
                self.edit_value(&mut items[at]);
            }
            cbor::Value::Map(members) if !members.is_empty() => {
                let at = self.below(members.len());
                match self.below(9) {
                    0 => drop(members.remove(at)),
                    1 => self.edit_value(&mut members[at].0),
                    _ => self.edit_value(&mut members[at].1),
                }
            }
            cbor::Value::Text(text) if self.below(4) > 0 => {
                let mut bytes = std::mem::take(text).into_bytes();
                self.edit(&mut bytes);
                *text = String::from_utf8_lossy(&bytes).into_owned();
            }
            cbor::Value::Integer(number) if self.below(4) > 0 => {
                let steps = i64::try_from(self.below(5)).unwrap() - 2;
                let number = i64::try_from(i128::from(*number)).unwrap();
                *value = (number + steps).into();
            }
            other => {
                let kinds = [cbor::Value::Null, cbor::Value::Bool(true), 1.5.into(), 1.into()];
                *other = kinds[self.below(kinds.len())].clone();
            }
        }
    }
}

/// Genuine evidence with small faults: what one of the two takes for well-formed, of this purpose, for
/// this authority or of this challenge, the other does too.
#[test]
fn another_implementation_comes_to_the_same_code_for_thousands_of_small_faults() {
    const EACH: usize = 300;
    let world = fixture::world().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixture::folder().join("world.json"), folder.path().join("world.json")).unwrap();
    let mut numbers = Numbers(0x5167_6e65_7472_6566);
    let mut due = BTreeMap::new();
    let genuine = fixture::all().unwrap().into_iter().filter(|one| one.expect == "accepted");
    for original in genuine.filter(|one| one.kind != Kind::Token) {
        for number in 0..EACH {
            let mut mutant = original.clone();
            match number % 3 {
                0 => numbers.edit(&mut mutant.bytes),
                _ => numbers.edit_inside(&mut mutant.bytes),
            }
            let name = original.path.file_stem().unwrap().to_str().unwrap();
            let name = format!("{name}-{number}");
            mutant.path = folder.path().join(format!("accepted/{name}.fixture"));
            mutant.write().unwrap();
            let code = match judge(&world, &mutant).unwrap() {
                Ok(()) => "accepted".to_owned(),
                Err(rejection) => rejection.code().as_str().to_owned(),
            };
            due.insert(format!("accepted/{name}"), code);
        }
    }
    let said = verdicts(folder.path());
    assert_eq!(said.len(), due.len());
    let wrong: Vec<_> = due
        .iter()
        .filter(|(name, code)| said[*name] != **code)
        .map(|(name, code)| format!("{name}: verifier {code}, referee {}", said[name]))
        .collect();
    let codes: BTreeSet<_> = due.values().collect();
    assert!(codes.len() > 5, "only {codes:?} came out");
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), due.len(), wrong.join("\n"));
}

#[test]
fn the_appraisal_is_short_enough_to_be_read_at_one_sitting() {
    let text = fs::read_to_string(root().join("tests/referee/appraise.py")).unwrap();
    assert!(text.lines().count() < 400, "{} lines", text.lines().count());
}

/// Which folders show a fault that each program must see. What stands elsewhere is none of its business.
const SEEN_BY: [(&str, &[&str]); 3] = [
    (
        "fido2",
        &[
            "assertion-challenge-mismatch",
            "assertion-client-data-wrong",
            "assertion-malformed",
            "assertion-signature-invalid",
            "attestation-format-refused",
            "attestation-invalid",
            "rp-id-mismatch",
            "up-missing",
            "uv-missing",
        ],
    ),
    (
        "tpm2_checkquote",
        &[
            "pcr-digest-mismatch",
            "quote-challenge-mismatch",
            "quote-magic-wrong",
            "quote-malformed",
            "quote-signature-invalid",
            "quote-type-wrong",
        ],
    ),
    ("cwt", &["algorithm", "signature", "subject"]),
];

#[test]
fn programs_that_people_use_accept_and_refuse_the_same_parts() {
    let cwts = ["session", "action", "workload"].map(|name| minted::cwt(name).unwrap());
    let input: String = cwts.iter().map(|cwt| STANDARD.encode(cwt) + "\n").collect();
    let mut judged: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    let said = python("tests/referees/libraries.py", &fixture::folder(), &input);
    for line in said.lines() {
        let mut words = line.splitn(3, ' ');
        let [program, name, verdict] = [(); 3].map(|()| words.next().unwrap());
        let (folder, _) = name.split_once('/').unwrap();
        let Some((program, faults)) = SEEN_BY.iter().find(|(known, _)| *known == program) else {
            continue;
        };
        let accepted = verdict == "accepted";
        let due = ["accepted", "token"].contains(&folder);
        if due || faults.contains(&folder) {
            *judged.entry((program, due)).or_default() += 1;
            if accepted != due {
                wrong.push(line);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (program, _) in SEEN_BY {
        let counts = [true, false].map(|due| judged.get(&(program, due)).copied().unwrap_or(0));
        assert!(counts.iter().all(|count| *count >= 3), "{program} judged only {counts:?}");
    }
}
