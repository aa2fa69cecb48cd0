//! Yubico's device tests, which come with python-fido2, on both firmwares: every test does what
//! `tests/referees/*.expected` says, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use signet_test_authenticators::{Firmware, VirtualKey};

use crate::{BOTH, file, python};

/// What each test did, or is known to do.
#[derive(Debug, Default, PartialEq)]
struct Outcomes {
    passed: BTreeSet<String>,
    /// What the failed test said.
    failed: BTreeMap<String, String>,
    /// How many were skipped, by the reason they gave.
    skipped: BTreeMap<String, usize>,
}

impl Outcomes {
    /// The known outcomes, and why each known failure is none of ours.
    fn known(name: &str) -> (Self, BTreeMap<String, String>) {
        let text = std::fs::read_to_string(file(&format!("tests/referees/{name}.expected")));
        let (mut known, mut reasons) = (Self::default(), BTreeMap::new());
        for line in text.unwrap().lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (outcome, rest) = line.split_once(' ').unwrap();
            let parts: Vec<&str> = rest.split(" | ").collect();
            match (outcome, parts.as_slice()) {
                ("passed", [test]) => drop(known.passed.insert((*test).to_owned())),
                ("failed", [test, said, reason]) => {
                    known.failed.insert((*test).to_owned(), (*said).to_owned());
                    reasons.insert((*test).to_owned(), (*reason).to_owned());
                }
                ("skipped", [count, why]) => {
                    known.skipped.insert((*why).to_owned(), count.parse().unwrap());
                }
                _ => panic!("{name}.expected: {line:?}"),
            }
        }
        (known, reasons)
    }

    fn read(path: &Path) -> Self {
        let mut found = Self::default();
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let value: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| value[name].as_str().unwrap().to_owned();
            match text("outcome").as_str() {
                "passed" => drop(found.passed.insert(text("test"))),
                "failed" => drop(found.failed.insert(text("test"), text("why"))),
                "skipped" => *found.skipped.entry(text("why")).or_default() += 1,
                other => panic!("{other}"),
            }
        }
        // Torn down badly counts as failed.
        found.passed.retain(|test| !found.failed.contains_key(test));
        found
    }

    /// Where this differs from what is known, in words.
    fn surprises(&self, known: &Self) -> Vec<String> {
        let mut surprises = Vec::new();
        for test in self.passed.difference(&known.passed) {
            surprises.push(format!("{test} passes now: move it to the passed ones"));
        }
        for test in known.passed.difference(&self.passed) {
            let said = self.failed.get(test).map_or("skipped or gone", String::as_str);
            surprises.push(format!("{test} passed before: {said}"));
        }
        for (test, said) in &self.failed {
            if known.failed.get(test) != Some(said) && !known.passed.contains(test) {
                surprises.push(format!("{test} fails otherwise than known: {said}"));
            }
        }
        for test in known.failed.keys().filter(|test| !self.failed.contains_key(*test)) {
            surprises.push(format!("{test} fails no longer"));
        }
        if self.skipped != known.skipped {
            surprises.push(format!("skipped: {:#?}\nknown: {:#?}", self.skipped, known.skipped));
        }
        surprises
    }
}

fn run(firmware: Firmware, outcomes: &Path) -> String {
    let key = VirtualKey::start(firmware).unwrap();
    let output = Command::new(python())
        .args(["-m", "pytest", "-p", "device_suite", "-p", "no:cacheprovider"])
        .args(["--quiet", "--tb=short", "tests/device"])
        .current_dir(file(".venv/referees/fido2-2.2.1"))
        .env("PYTHONPATH", file("tests/referees"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SIGNET_KEY", key.socket())
        .env("SIGNET_CONTROL", key.control_socket())
        .env("SIGNET_OUTCOMES", outcomes)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(outcomes.exists(), "no test ran:\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn yubicos_device_tests_do_what_is_known_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for (firmware, name) in BOTH {
        let (known, reasons) = Outcomes::known(name);
        let attempt = |number: u32| {
            let path = folder.path().join(format!("{name}-{number}"));
            let printed = run(firmware, &path);
            let found = Outcomes::read(&path);
            (found.surprises(&known), found, printed)
        };
        let (mut surprises, mut found, mut printed) = attempt(1);
        // The firmware's time for a touch goes by the clock: on a machine with more to do than this, a
        // test can come too late. What is wrong is wrong in a second run too.
        if surprises.iter().any(|surprise| surprise.contains("TIMEOUT")) {
            eprintln!("{name}: once more, because of {}", surprises.join("; "));
            (surprises, found, printed) = attempt(2);
        }
        assert!(surprises.is_empty(), "{name}:\n{}\n{printed}", surprises.join("\n"));
        report(name, &found, &reasons);
    }
}

/// Past the capture of the test harness: the counts are the result, also when all is well.
fn report(name: &str, found: &Outcomes, reasons: &BTreeMap<String, String>) {
    let mut text = format!(
        "{name}-key: {} passed, {} known to fail, {} skipped\n",
        found.passed.len(),
        found.failed.len(),
        found.skipped.values().sum::<usize>()
    );
    for (test, reason) in reasons {
        text.push_str(&format!("  fails: {test}: {reason}\n"));
    }
    for (why, count) in &found.skipped {
        text.push_str(&format!("  skipped: {count} of them: {why}\n"));
    }
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}

#[test]
fn any_other_outcome_is_a_surprise() {
    let known = || Outcomes::known("opensk").0;
    assert_eq!(known().surprises(&known()), Vec::<String>::new());
    let one = |outcomes: &Outcomes| outcomes.surprises(&known()).len();

    let mut lost = known();
    let test = lost.passed.pop_first().unwrap();
    assert_eq!(one(&lost), 1);
    lost.failed.insert(test, "call: AssertionError".into());
    assert_eq!(one(&lost), 1);

    let mut repaired = known();
    let (test, _) = repaired.failed.pop_first().unwrap();
    repaired.passed.insert(test);
    assert_eq!(one(&repaired), 2);

    let mut otherwise = known();
    *otherwise.failed.values_mut().next().unwrap() = "call: OSError".into();
    assert_eq!(one(&otherwise), 1);

    let mut skipped = known();
    skipped.skipped.pop_first();
    assert_eq!(one(&skipped), 1);
}
