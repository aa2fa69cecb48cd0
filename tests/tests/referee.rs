//! Others as referees. `tests/referee`, a second implementation, appraises every fixture by what
//! `docs/protocol.md` says and must come to the same code. `tests/referees/libraries.py` has programs
//! that people use judge the parts that they know.

#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signet_tests::{fixture, minted};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What a program in Python says of the fixtures.
fn python(program: &str, input: &str) -> String {
    let python = root().join(".venv/bin/python");
    assert!(python.exists(), "{} is missing: run make setup", python.display());
    let mut child = Command::new(python)
        .arg("-B")
        .arg(root().join(program))
        .arg(fixture::folder())
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

/// What the second implementation says of each fixture, by `FOLDER/NAME`.
fn verdicts() -> BTreeMap<String, String> {
    let text = python("tests/referee", "");
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
    let said = verdicts();
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
    let said = python("tests/referees/libraries.py", &input);
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
