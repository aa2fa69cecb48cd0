//! `signet-authority machine` on published logs and quotes.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

fn published(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/published").join(path)
}

/// `signet-authority machine …`, each `--machine` and `--before` by the names of its files.
fn machine(arguments: &[&str]) -> Output {
    let arguments = arguments.iter().map(|argument| match argument.rsplit_once('.') {
        Some((_, "bin")) => published("eventlogs").join(argument),
        Some((_, "json")) => published("tpm-quotes").join(argument),
        _ => PathBuf::from(argument),
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_signet-authority"));
    command.arg("machine").args(arguments).output().unwrap()
}

const GCE: [&str; 3] = ["--machine", "gce-cos-85.bin", "gce-cos-85-no-nonce-sha256.json"];

#[test]
fn a_policy_is_learned_and_judges() {
    let learned =
        machine(&[&["baseline", "--name", "gce", "--mode", "enforce"], &GCE[..]].concat());
    assert!(learned.status.success(), "{learned:?}");
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("gce.toml");
    std::fs::write(&policy, &learned.stdout).unwrap();
    let policy = policy.to_str().unwrap();

    let same = machine(&[&["explain", "--policy", policy], &GCE[..]].concat());
    let text = String::from_utf8(same.stdout).unwrap();
    assert!(same.status.success(), "{text}");
    assert!(text.contains("Secure Boot is on\n"), "{text}");
    assert!(text.contains("command line (by its label): \"/syslinux/vmlinuz.A init="), "{text}");
    assert!(text.ends_with("policy, mode enforce: approved\n"), "{text}");

    let other = ["--machine", "rhel8-uefi.bin", "gce-cos-85-no-nonce-sha256.json"];
    let refused = machine(&[&["--json", "explain", "--policy", policy], &other[..]].concat());
    assert_eq!(refused.status.code(), Some(1));
    let value: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(value["verdict"], "refused");
    assert_eq!(value["findings"][0]["rule"], "log.explains");
    let advice = "restart the machine; if it stays, treat the machine as tampered with";
    assert_eq!(value["findings"][0]["advice"], advice);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("the policy refuses this machine"), "{said}");
}

#[test]
fn differences_between_two_boots() {
    let before = ["--before", "gce-cos-85.bin", "gce-cos-85-nonce9009-sha256.json"];
    let same = machine(&[&["explain"], &GCE[..], &before[..]].concat());
    assert!(same.status.success(), "{same:?}");
    assert!(String::from_utf8(same.stdout).unwrap().ends_with("0 differences:\n"));
}

#[test]
fn values_as_linux_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let quote = std::fs::read(published("tpm-quotes/gce-cos-85-no-nonce-sha256.json")).unwrap();
    let quote: Value = serde_json::from_slice(&quote).unwrap();
    for (pcr, value) in quote["pcrs"].as_object().unwrap() {
        let text = format!("{}\n", value.as_str().unwrap().to_uppercase());
        std::fs::write(folder.path().join(pcr), text).unwrap();
    }
    let found = machine(&["explain", "--machine", GCE[1], folder.path().to_str().unwrap()]);
    let text = String::from_utf8(found.stdout).unwrap();
    assert!(text.contains("PCRs not-in-log: [10]\n"), "{text}");
    let empty = tempfile::tempdir().unwrap();
    let failed = machine(&["explain", "--machine", GCE[1], empty.path().to_str().unwrap()]);
    let said = String::from_utf8(failed.stderr).unwrap();
    assert!(said.contains("no files 0 to 23 with values of SHA-256 or SHA-384"), "{said}");
}
