//! The udev rules. `udevadm verify` came with systemd 254; where it is older, the grammar is read here.

use crate::{root, run, text};

const RULES: &str = "udev/70-signet.rules";

/// One `KEY{attribute}OPERATOR"value"` (udev(7)).
#[derive(Debug, PartialEq, Eq)]
struct Word {
    key: String,
    operator: String,
    value: String,
}

fn words(line: &str) -> Vec<Word> {
    let mut rest = line.trim();
    let mut words = Vec::new();
    while !rest.is_empty() {
        let (head, tail) = rest.split_once('"').unwrap_or_else(|| panic!("no value: {line}"));
        let (value, tail) = tail.split_once('"').unwrap_or_else(|| panic!("open quote: {line}"));
        let key = head.trim_end_matches(['=', '!', '+', '-', ':']);
        let operator = head[key.len()..].to_owned();
        words.push(Word { key: key.to_owned(), operator, value: value.to_owned() });
        rest = tail.trim_start().strip_prefix(',').unwrap_or(tail).trim_start();
    }
    words
}

fn lines() -> Vec<Vec<Word>> {
    let rules = text(RULES);
    let lines = rules.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(words).collect()
}

#[test]
fn rules_are_valid() {
    let (known, help) = run("udevadm", &["--help"]);
    assert!(known, "{help}");
    if help.lines().any(|line| line.trim_start().starts_with("verify ")) {
        let path = root().join(RULES);
        let (valid, printed) = run("udevadm", &["verify", path.to_str().unwrap()]);
        assert!(valid, "{printed}");
    }
    let matches = ["ACTION", "SUBSYSTEM", "KERNEL", "ENV{ID_FIDO_TOKEN}"];
    let assignments = ["GOTO", "LABEL", "TAG", "ENV{SYSTEMD_WANTS}", "GROUP", "MODE"];
    for word in lines().iter().flatten() {
        let fits = match word.operator.as_str() {
            "==" | "!=" => matches.contains(&word.key.as_str()),
            "=" | "+=" => assignments.contains(&word.key.as_str()),
            _ => false,
        };
        assert!(fits, "{word:?}");
    }
    let of = |key: &str| -> Vec<String> {
        let found = lines().into_iter().flatten().filter(|word| word.key == key);
        found.map(|word| word.value).collect()
    };
    assert_eq!(of("GOTO"), of("LABEL"));
}

#[test]
fn no_node_is_opened_to_more_programs() {
    for line in lines() {
        let is = |key: &str, value: &str| {
            line.iter().any(|word| word.key == key && word.operator == "==" && word.value == value)
        };
        let rights: Vec<(&str, &str)> = line
            .iter()
            .filter(|word| ["OWNER", "GROUP", "MODE", "TAG"].contains(&word.key.as_str()))
            .map(|word| (word.key.as_str(), word.value.as_str()))
            .collect();
        match rights.as_slice() {
            [] => {}
            [("TAG", "systemd")] => assert!(is("ENV{ID_FIDO_TOKEN}", "1"), "{line:?}"),
            // What tpm-udev and tpm2-tss say as well.
            [("TAG", "systemd"), ("GROUP", "tss"), ("MODE", "0660")] => {
                assert!(is("SUBSYSTEM", "tpmrm"), "{line:?}");
            }
            other => panic!("{other:?} in {line:?}"),
        }
    }
}

#[test]
fn a_plugged_in_fido_device_starts_the_broker_for_its_node() {
    let wanted = lines().into_iter().flatten().find(|word| word.key == "ENV{SYSTEMD_WANTS}");
    let wanted = wanted.unwrap().value;
    assert_eq!(wanted, "signet-key@%k.service");
    let unit = text("systemd/signet-key@.service");
    assert_eq!(crate::values(&unit, "ExecStart"), ["/usr/libexec/signet/signet-broker /dev/%i"],);
}
