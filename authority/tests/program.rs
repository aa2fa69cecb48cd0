//! The program itself: what it lays down, what it refuses, and what a kill leaves.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

mod made;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use made::{Made, PROGRAM, Serving, mode, text};

#[test]
fn init_keeps_secrets_to_itself_and_overwrites_nothing() {
    let made = Made::new();
    let keys = made.dir().join("keys");
    assert_eq!((mode(&made.dir()), mode(&keys)), (0o700, 0o700));
    for entry in std::fs::read_dir(&keys).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "key") {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
    let before = std::fs::read(keys.join("token.key")).unwrap();
    let again = made.init();
    assert!(!again.status.success());
    assert!(text(&again.stderr).contains("exists already; choose another --dir"));
    assert_eq!(std::fs::read(keys.join("token.key")).unwrap(), before);
    let entries: Vec<_> = std::fs::read_dir(made.folder.path()).unwrap().collect();
    assert_eq!(entries.len(), 1, "nothing unfinished is left: {entries:?}");
}

#[test]
fn an_init_that_was_killed_is_made_anew() {
    let made = Made { folder: tempfile::tempdir().unwrap(), environment: Vec::new() };
    let partial = made.folder.path().join(".authority.partial/keys");
    std::fs::create_dir_all(&partial).unwrap();
    std::fs::write(partial.join("token.key"), "half").unwrap();
    assert!(made.init().status.success());
    assert!(!made.folder.path().join(".authority.partial").exists());
    assert_eq!(made.json(&["config", "check"]), [json!({"ok": true})]);
}

#[test]
fn exposed_keys_and_bad_settings_stop_the_start_with_advice() {
    let made = Made::new();
    let key = made.dir().join("keys/token.key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o640)).unwrap();
    let exposed = made.run(&["config", "check"]);
    assert!(text(&exposed.stderr).contains("can be read by others; run `chmod 600` on it"));
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    let file = made.dir().join("authority.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, settings.replace("session_token = \"5m\"", "session_token = \"1h\""))
        .unwrap();
    let wrong = text(&made.run(&["serve"]).stderr);
    assert!(wrong.contains("write at most session_token = \"15m\""), "{wrong}");
    std::fs::remove_file(&file).unwrap();
    let missing = text(&made.run(&["serve"]).stderr);
    assert!(missing.contains("make one with `signet-authority init`"), "{missing}");
}

#[test]
fn tickets_gateways_and_revocations_leave_their_records() {
    let made = Made::new();
    let ticket = made.json(&["ticket", "device", "--operator", "bob", "--asset", "LT-9"]);
    assert_eq!(ticket[0]["operator"], "bob");
    let bad = made.run(&["ticket", "device", "--operator", "bob; rm"]);
    assert!(text(&bad.stderr).contains("not an operator's name"));
    let out = made.folder.path().join("gateway");
    let out = out.to_str().unwrap();
    let gateway = made.json(&["gateway", "edge", "--out", out]);
    assert_eq!(gateway[0]["spiffe_id"], "spiffe://mesh.example/gateway/edge");
    assert_eq!(mode(Path::new(gateway[0]["key"].as_str().unwrap())), 0o600);
    let again = made.run(&["gateway", "edge", "--out", out]);
    assert!(text(&again.stderr).contains("exists already"));
    let nothing = made.run(&["revoke", "session", &"00".repeat(16)]);
    assert!(text(&nothing.stderr).contains("nothing to revoke"));
    assert_eq!(made.json(&["revoke", "operator", "bob"])[0]["revoked"], true);
    let events: Vec<(String, Option<String>)> = made
        .json(&["audit", "list"])
        .iter()
        .map(|record| {
            let text = |name: &str| record[name].as_str().map(str::to_owned);
            (text("event").unwrap(), text("subject"))
        })
        .collect();
    let expected = [
        ("ticket", Some("alice")),
        ("ticket", Some("bob")),
        ("gateway-certificate", None),
        ("revoke", None),
        ("revoke", Some("bob")),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(event, subject)| (event.to_owned(), subject.map(str::to_owned)))
        .collect();
    assert_eq!(events, expected);
    // The ticket itself is nowhere in the directory.
    let ticket = ticket[0]["ticket"].as_str().unwrap();
    let database = std::fs::read(made.dir().join("authority.db")).unwrap();
    assert!(!database.windows(ticket.len()).any(|window| window == ticket.as_bytes()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_of_requests_leaves_a_whole_trail_and_a_working_authority() {
    let made = Made::new();
    let mut serving = made.serve();
    let client = made.client();
    let body = json!({
        "ticket": "none", "ek_kind": "ecc-p256", "ek_public": "", "ak_public": "", "tls_public": "",
    });
    let url = |serving: &Serving| format!("https://{}/v1/enrol/device/begin", serving.address);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let request = client.post(url(&serving)).json(&body);
        requests.spawn(async move { request.send().await.is_ok() });
    }
    // As soon as one was answered, others are under way.
    let mut answered = usize::from(requests.join_next().await.unwrap().unwrap());
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
    for outcome in requests.join_all().await {
        answered += usize::from(outcome);
    }
    let trail = made.json(&["audit", "list"]);
    let refused = trail.iter().filter(|record| record["code"] == "ticket-invalid").count();
    assert!(refused >= answered, "every answer has its record: {refused} of {answered}");
    let sequences: Vec<i64> = trail.iter().map(|one| one["sequence"].as_i64().unwrap()).collect();
    assert_eq!(sequences, (1..=i64::try_from(trail.len()).unwrap()).collect::<Vec<_>>());
    let serving = made.serve();
    let answer = client.post(url(&serving)).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), reqwest::StatusCode::FORBIDDEN);
}

#[test]
fn sigterm_is_a_clean_stop() {
    let made = Made::new();
    let mut serving = made.serve();
    let pid = serving.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(serving.child.wait().unwrap().success());
}

#[test]
fn the_audit_log_is_shown_checked_handed_on_and_pruned() {
    let made = Made::new();
    made.json(&["revoke", "operator", "alice"]);
    let unsigned = &made.json(&["audit", "show", "1"])[0];
    assert_eq!(
        (&unsigned["record"]["event"], &unsigned["proof"]),
        (&json!("ticket"), &Value::Null)
    );
    let early = made.run(&["audit", "show", "1", "--proof"]);
    assert!(text(&early.stderr).contains("not in a checkpoint yet"), "{}", text(&early.stderr));
    // Whoever stops signs first.
    let mut serving = made.serve();
    let pid = serving.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(serving.child.wait().unwrap().success());
    let report = &made.json(&["audit", "verify"])[0];
    let all = report["records"].as_u64().unwrap();
    assert_eq!((&report["ok"], &report["signed"]), (&json!(true), &json!(all)));
    let key = made.json(&["audit", "key"])[0]["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("localhost/log+"), "{key}");
    let proof = text(&made.run(&["audit", "show", "2", "--proof"]).stdout);
    assert!(proof.starts_with("c2sp.org/tlog-proof@v1\nindex 1\n"), "{proof}");
    assert!(
        text(&made.run(&["audit", "show", "2"]).stdout)
            .contains(&format!("proved to be record 2 of {all}"))
    );
    let missing = made.run(&["audit", "show", "99"]);
    assert!(text(&missing.stderr).contains("there is no record 99"));
    let records = |arguments: &[&str]| made.json(&[&["audit", "list"], arguments].concat()).len();
    assert_eq!(records(&["--event", "revoke"]), 1);
    assert_eq!(records(&["--subject", "alice", "--since", "1h"]), 2);
    assert_eq!(records(&["--until", "2026-01-01"]), 0);
    for (format, start) in [("jsonl", "{"), ("ocsf", "{"), ("journald", "__REALTIME_TIMESTAMP=")] {
        let exported = text(&made.run(&["audit", "export", "--format", format]).stdout);
        assert!(exported.starts_with(start), "{format}: {exported}");
    }
    let nothing = &made.json(&["audit", "prune", "--before", "1d"])[0];
    assert_eq!(nothing["deleted"], 0);
    let dry = &made.json(&["audit", "prune", "--before", "2999-01-01", "--dry-run"])[0];
    assert_eq!((&dry["deleted"], &dry["kept_from"]), (&json!(all), &json!(all + 1)));
    assert_eq!(made.json(&["audit", "prune", "--before", "2999-01-01"])[0]["deleted"], all);
    let report = &made.json(&["audit", "verify"])[0];
    assert_eq!((&report["ok"], &report["pruned"]), (&json!(true), &json!(all)));
}

#[test]
fn roots_of_tpm_makers_are_imported_with_their_source_and_listed() {
    let made = Made::new();
    let shipped = made.json(&["tpm", "roots", "import", "--shipped", "--maker", "Infineon"]);
    assert!(!shipped.is_empty() && shipped.iter().all(|one| one["imported"] == true));
    // Any certificate is one between others.
    let file = made.dir().join("keys/server-ca.pem");
    let fetched = ["--role", "intermediate", "--maker", "AMD", "--date", "2026-11-22"];
    let import = ["tpm", "roots", "import", file.to_str().unwrap(), "--source"];
    let import = [&import[..], &["https://ftpm.amd.example/ica.crt"], &fetched].concat();
    assert_eq!(made.json(&import)[0]["imported"], true);
    assert_eq!(made.json(&import)[0]["imported"], false, "it is there already");
    let listed = made.json(&["tpm", "roots", "list"]);
    assert_eq!(listed.len(), shipped.len() + 1);
    let amd = listed.iter().find(|one| one["maker"] == "AMD").unwrap();
    assert_eq!((&amd["role"], &amd["fetched"]), (&json!("intermediate"), &json!("2026-11-22")));
    assert_eq!(amd["source"], "https://ftpm.amd.example/ica.crt");
    assert_eq!(made.json(&["config", "check"]), [json!({"ok": true})]);
}

#[test]
fn help_has_examples_and_completion_is_a_script() {
    let help = Command::new(PROGRAM).arg("--help").output().unwrap();
    assert!(text(&help.stdout).contains("Examples:\n  signet-authority init"));
    let script = Command::new(PROGRAM).args(["completion", "bash"]).output().unwrap();
    assert!(text(&script.stdout).contains("complete -F _signet"));
}
