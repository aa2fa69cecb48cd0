//! A second implementation as referee: `tests/oracles/binding.py` rebuilds what ties evidence together
//! with libraries that are not ours, and must come to the same answers.

#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use signet_tests::fixture;

/// Codes whose every fixture shows in bytes, signatures and certificates alone. The referee knows no
/// rows, no settings and no challenge key, and nothing of attestation.
const SHOWN_BY_BYTES: [&str; 35] = [
    "ak-certificate-untrusted",
    "ak-mismatch",
    "assertion-challenge-mismatch",
    "assertion-client-data-wrong",
    "assertion-malformed",
    "assertion-missing",
    "assertion-signature-invalid",
    "backup-eligible",
    "certificate-mismatch",
    "certification-challenge-mismatch",
    "certification-key-mismatch",
    "certification-malformed",
    "certification-missing",
    "certification-signature-invalid",
    "device-certificate-untrusted",
    "evidence-signature-invalid",
    "key-thumbprint-mismatch",
    "pcr-digest-mismatch",
    "platform-facts-missing",
    "platform-fingers-changed",
    "platform-key-attributes",
    "platform-key-policy",
    "quote-challenge-mismatch",
    "quote-magic-wrong",
    "quote-malformed",
    "quote-signature-invalid",
    "quote-type-wrong",
    "rp-id-mismatch",
    "token-audience-wrong",
    "token-binding-mismatch",
    "token-expired",
    "token-malformed",
    "token-signature-invalid",
    "up-missing",
    "uv-missing",
];

#[test]
fn another_implementation_accepts_and_refuses_the_same_bytes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = root.join(".venv/bin/python");
    assert!(python.exists(), "{} is missing: run make setup", python.display());
    let script = root.join("tests/oracles/binding.py");
    let output = Command::new(python).arg(script).arg(fixture::folder()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let said: BTreeMap<_, _> = text.lines().map(|line| line.split_once(' ').unwrap()).collect();

    let mut judged = 0;
    let mut wrong = Vec::new();
    for (name, verdict) in &said {
        let (folder, _) = name.split_once('/').unwrap();
        let accepted = *verdict == "accepted";
        let due = match folder {
            "accepted" => true,
            code if SHOWN_BY_BYTES.contains(&code) => false,
            _ => continue,
        };
        judged += 1;
        if accepted != due {
            wrong.push(format!("{name}: {verdict}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for code in SHOWN_BY_BYTES {
        assert!(
            said.keys().any(|name| name.starts_with(&format!("{code}/"))),
            "no {code} was judged"
        );
    }
    assert!(judged > 45, "only {judged} fixtures were judged");
}
