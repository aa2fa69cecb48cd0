//! A second implementation as referee: `tests/referee` appraises every fixture by what
//! `docs/protocol.md` says, with libraries that are not ours, and must come to the same code.

#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use signet_tests::fixture;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What the referee says of each fixture, by `FOLDER/NAME`.
fn verdicts() -> BTreeMap<String, String> {
    let python = root().join(".venv/bin/python");
    assert!(python.exists(), "{} is missing: run make setup", python.display());
    let output = Command::new(python)
        .arg("-B")
        .arg(root().join("tests/referee"))
        .arg(fixture::folder())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
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
