//! A workstation in Python that shares no code with ours, on a software TPM: the authority accepts what
//! it makes, and refuses what it makes wrong for the fault that it has.

#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]
#![allow(clippy::disallowed_methods, reason = "the other program is waited for, and takes seconds")]

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use signet_test_authenticators::{AttestationRoot, Firmware};
use signet_tests::house::AuthorityService;
use signet_tests::swtpm::Swtpm;

/// Each step, and the answer that is due.
const DUE: &str = "\
begin 200 -
finish 200 -
key 200 -
session 200 -
renewal 200 -
workload 200 -
action 200 -
again 400 challenge-replayed
touchless 400 assertion-missing
unverified 400 uv-missing
moved-touch 400 assertion-challenge-mismatch
audience 400 audience-wrong
uncertified 400 certification-missing
";

#[test]
fn the_authority_accepts_what_a_workstation_in_python_makes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = root.join(".venv/bin/python");
    assert!(python.exists(), "{} is missing: run make setup", python.display());
    let (folder, tpm) = (tempfile::tempdir().unwrap(), Swtpm::copy().unwrap());
    let mut authority = AuthorityService::init(&folder.path().join("authority"), "alice").unwrap();
    let makers = tpm.ca_certificates();
    authority.accept_tpms(&[&makers.root]).unwrap();
    let maker = AttestationRoot::generate().unwrap();
    let aaguid = Firmware::OpenSk.aaguid();
    let batch = maker.issue(aaguid).unwrap();
    authority.accept_keys(&maker.certificate_pem(), aaguid).unwrap();
    authority.serve().unwrap();

    let port: u16 = tpm.tcti().rsplit_once('=').unwrap().1.parse().unwrap();
    let settings = json!({
        "folder": tpm.scratch(),
        "tpm_port": port,
        "authority": authority.url(),
        "server_ca": authority.server_ca(),
        "ticket": authority.first_ticket(),
        "ek_intermediate": URL_SAFE_NO_PAD.encode(makers.intermediate_der().unwrap()),
        "aaguid": aaguid.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "batch_key": STANDARD.encode(&batch.key),
        "batch_certificate": STANDARD.encode(&batch.certificate),
    });
    let file = folder.path().join("settings.json");
    std::fs::write(&file, settings.to_string()).unwrap();
    let program = root.join("tests/referees/attester.py");
    let output = Command::new(python).arg("-B").arg(program).arg(file).output().unwrap();
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{errors}\n{}", authority.log());
    assert_eq!(said, DUE, "{}", authority.log());
}
