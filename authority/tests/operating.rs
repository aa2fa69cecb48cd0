//! The commands of docs/operating.md: those of the runbook, and those of the authority's chapters before it, run as
//! they stand there, in their order.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

#[allow(dead_code)] // Each test program uses its part of the rows.
mod rows;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signet_authority::keys;
use signet_authority::state::system_clock;
use signet_authority::store::{
    AuditEntry, Authorisation, Decision, DeviceRow, EkPin, Event, KeptEvidence, SessionChange,
    SessionKind, SqlStore, Store,
};
use signet_evidence::binding::sha256;
use signet_evidence::thumbprint::hex;
use signet_evidence::{DeviceId, RejectionCode, UnixTime};

/// Does for a test what systemd does for a unit.
const SYSTEMCTL: &str = r#"#!/bin/bash
set -eu
stop() {
    [ -e "$ROOT/pid" ] || return 0
    kill "$(cat "$ROOT/pid")"
    tail --pid="$(cat "$ROOT/pid")" -f /dev/null
    rm "$ROOT/pid"
}
start() {
    : > "$ROOT/log"
    signet-authority serve < /dev/null > /dev/null 2>> "$ROOT/log" &
    echo $! > "$ROOT/pid"
    grep -q -m 1 ready <(tail -f -n +1 --pid=$! "$ROOT/log") || { cat "$ROOT/log" >&2; exit 1; }
}
case "$1" in
    enable | start) start ;;
    stop) stop ;;
    restart) stop; start ;;
esac
"#;

/// A host, in a folder: what the chapter's paths and names stand for.
struct Host {
    folder: tempfile::TempDir,
    names: Vec<(String, String)>,
    variables: Vec<(&'static str, String)>,
}

impl Drop for Host {
    fn drop(&mut self) {
        let Ok(pid) = std::fs::read_to_string(self.root().join("pid")) else { return };
        let _ = Command::new("kill").arg(pid.trim()).status();
    }
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["bin", "home"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        let systemctl = root.join("bin/systemctl");
        std::fs::write(&systemctl, SYSTEMCTL).unwrap();
        std::fs::set_permissions(&systemctl, PermissionsExt::from_mode(0o755)).unwrap();
        let path = |name: &str| root.join(name).display().to_string();
        let [clients, gateways] = free_ports();
        let names = [
            ("/var/lib/signet-authority", path("authority")),
            ("/var/lib/signet-witness", path("witness")),
            ("/var/backups", path("home")),
            ("/etc/envoy/signet", path("edge")),
            ("/root", path("home")),
            ("authority.mesh.example:8443", format!("localhost:{clients}")),
            ("authority.mesh.example:9443", format!("localhost:{gateways}")),
            ("0.0.0.0:8443", format!("127.0.0.1:{clients}")),
            ("0.0.0.0:9443", format!("127.0.0.1:{gateways}")),
        ];
        let names = names.into_iter().map(|(name, here)| (name.to_owned(), here)).collect();
        Self { folder, names, variables: Vec::new() }
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn authority(&self) -> PathBuf {
        self.root().join("authority")
    }

    /// Runs the commands of one block; the first that fails ends it. What they said to standard output and
    /// error.
    fn run(&self, block: &str) -> (bool, String) {
        let (done, said, failure) = self.bash(block.lines().map(|line| {
            let (_, command) = line.split_once("$ ").unwrap();
            match command.starts_with("signet-authority audit witness") {
                // A witness that serves looks again by itself.
                true => format!("until {command}; do :; done"),
                false => command.to_owned(),
            }
        }));
        (done, said + &failure)
    }

    fn bash(&self, commands: impl IntoIterator<Item = String>) -> (bool, String, String) {
        let mut script = String::from("set -eu -o pipefail\n");
        for command in commands {
            script.push_str(&format!("{command}\n"));
        }
        for (name, here) in &self.names {
            script = script.replace(name, here);
        }
        let program = Path::new(env!("CARGO_BIN_EXE_signet-authority")).parent().unwrap();
        let path = format!(
            "{}:{}:{}",
            self.root().join("bin").display(),
            program.display(),
            std::env::var("PATH").unwrap()
        );
        let output = Command::new("timeout")
            .args(["120", "bash", "-c", &script])
            .current_dir(self.root().join("home"))
            .env("PATH", path)
            .env("ROOT", self.root())
            .env("SIGNET_AUTHORITY_CONFIG", self.authority().join("authority.toml"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    async fn store(&self) -> SqlStore {
        let integrity = keys::load_integrity(&self.authority().join("keys")).unwrap();
        SqlStore::open(&self.authority().join("authority.db"), integrity).await.unwrap()
    }

    /// A TPM that waits for somebody's word, and whoever has something to lose: what the guide's variables stand
    /// for.
    async fn guests(&mut self) {
        let (store, now) = (self.store().await, system_clock()());
        let mut digest = [7; 32];
        digest[..4].copy_from_slice(&[0x9b, 0x1f, 0x6e, 0x6a]);
        let (operator, asset) = ("bob".to_owned(), Some("LT-4712".to_owned()));
        let seen_at = UnixTime(1_795_340_000);
        let pin = EkPin { digest, operator, asset, seen_at, approved: None };
        let entry = AuditEntry::new(now, Event::EkPin, Decision::Allowed);
        store.pin_ek(&pin, &entry).await.unwrap();
        let row = enrolled(1, "alice", now);
        rows::enrol(&store, row.clone(), UnixTime(now.0 + 900)).await;
        let key = rows::enrol_key(&store, &row, &[1; 16], Authorisation::Grant).await.unwrap();
        rows::enrol(&store, enrolled(2, "bob", now), UnixTime(now.0 + 900)).await;
        let mut minted = rows::session_record(&store, &row, SessionKind::Person).await;
        if let SessionChange::Start(session) = &mut minted.session {
            (session.started_at, session.expires) = (now, UnixTime(now.0 + 3600));
        }
        (minted.token.issued_at, minted.token.expires) = (now, UnixTime(now.0 + 300));
        let entry = AuditEntry::new(now, Event::TokenSession, Decision::Allowed);
        store.mint(&minted, &entry).await.unwrap();
        self.variables.extend([
            ("EK", hex(&[5; 32])),
            ("TOKEN", hex(&minted.token.id)),
            ("SESSION", minted.token.session.to_string()),
            ("KEY", URL_SAFE_NO_PAD.encode(key.id)),
            ("DEVICE", row.id.to_string()),
        ]);
        store.close().await;
    }

    /// People with machines and keys, and a decision on evidence: what the chapter's variables stand for.
    async fn people(&mut self) {
        let store = self.store().await;
        let now = system_clock()();
        for (number, name, variable) in
            [(1, "bob", "DEVICE"), (2, "alice", "OTHER"), (3, "dave", "COMPROMISED")]
        {
            let row = enrolled(number, name, now);
            rows::enrol(&store, row.clone(), UnixTime(now.0 + 900)).await;
            self.variables.push((variable, row.id.to_string()));
            if name == "alice" {
                let key = rows::enrol_key(&store, &row, &[number; 16], Authorisation::Grant).await;
                self.variables.push(("KEY", URL_SAFE_NO_PAD.encode(key.unwrap().id)));
            }
        }
        let code = RejectionCode::EvidenceMalformed;
        let mut entry = AuditEntry::new(now, Event::Token, Decision::Refused(code));
        let bytes = b"no evidence".to_vec();
        entry.evidence = Some(sha256(&bytes));
        let peer = keys::read_certificates(&self.authority().join("keys/device-ca.pem")).unwrap();
        entry.kept = Some(Arc::new(KeptEvidence { bytes, peer: peer[0].to_vec() }));
        store.append_audit(&entry).await.unwrap();
        let records = store.log_size().await.unwrap();
        self.variables.push(("RECORD", records.to_string()));
        store.close().await;
    }
}

fn enrolled(number: u8, operator: &str, now: UnixTime) -> DeviceRow {
    let mut row = rows::device(number);
    row.id = DeviceId::from_random(&signet_authority::random::bytes::<16>()).unwrap();
    row.operator = operator.into();
    row.ek_digest = signet_authority::random::bytes();
    row.enrolled_at = now;
    row
}

/// Ports that nobody uses now.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|one| one.local_addr().unwrap().port())
}

fn page() -> (String, String) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (guide, runbook) = page.split_once("\n## Runbook\n").unwrap();
    (guide.to_owned(), runbook.split("\n## ").next().unwrap().to_owned())
}

/// The commands of a block, each with the output that is shown of it.
fn steps(block: &str) -> Vec<(String, Vec<String>)> {
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    for line in block.replace("\\\n", " ").lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command.to_owned(), Vec::new())),
            (None, Some((_, shown))) => shown.push(line.to_owned()),
            (None, None) => panic!("output of no command: {line}"),
        }
    }
    steps
}

/// Whether `said` is as `shown`; `…` stands for anything, in a line or for lines, and blanks are alike.
fn fits(shown: &[String], said: &[&str]) -> bool {
    match (shown, said) {
        ([], []) => true,
        ([any, rest @ ..], _) if any == "…" => {
            fits(rest, said) || said.split_first().is_some_and(|(_, later)| fits(shown, later))
        }
        ([one, rest @ ..], [line, later @ ..]) => {
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            line_fits(&words(one), &words(line)) && fits(rest, later)
        }
        _ => false,
    }
}

fn line_fits(pattern: &str, line: &str) -> bool {
    let Some((before, after)) = pattern.split_once('…') else { return pattern == line };
    let Some(rest) = line.strip_prefix(before) else { return false };
    let places = (0..=rest.len()).filter_map(|at| rest.get(at..));
    places.into_iter().any(|rest| line_fits(after, rest))
}

#[test]
fn what_is_shown_is_compared() {
    let shown = ["a  b…", "…", "…: c"].map(str::to_owned);
    for (said, good) in [
        (&["a b", "x: c"][..], true),
        (&["a b 12", "else", "more", "x: c"], true),
        (&["a c", "x: c"], false),
        (&["a b", "x: d"], false),
        (&["a b"], false),
        (&["a b", "x: c", "more"], false),
    ] {
        assert_eq!(fits(&shown, said), good, "{said:?}");
    }
}

#[tokio::test]
async fn the_guides_commands_on_an_authority_run_as_they_stand() {
    let (guide, _) = page();
    let marked = guide.split("<!-- run as it stands -->\n```console\n").skip(1);
    let blocks: Vec<&str> = marked.map(|rest| rest.split("\n```").next().unwrap()).collect();
    assert!(blocks.len() >= 7, "only {} blocks were found", blocks.len());
    let mut host = Host::new();
    let mut compared = 0;
    for block in blocks {
        if block.contains("tpm list") {
            host.guests().await;
        }
        for (command, shown) in steps(block) {
            let run = match command.starts_with("signet-authority serve") {
                // Until it says that it is ready; then it is ended as systemd does.
                true => format!(
                    ": > \"$ROOT/log\"; {command} 2> \"$ROOT/log\" & serving=$!
                     grep -q -m 1 ready <(tail -f -n +1 --pid=$serving \"$ROOT/log\")
                     kill $serving; wait $serving"
                ),
                false => command.clone(),
            };
            let (done, said, failure) = host.bash([run]);
            assert!(done, "{command}\n{said}{failure}");
            if !shown.is_empty() {
                let said: Vec<&str> = said.lines().collect();
                assert!(fits(&shown, &said), "{command}\n{shown:#?}\n{said:#?}");
                compared += 1;
            }
        }
        if block.contains("signet-authority init") {
            // A certificate that somebody fetched.
            let made = host.authority().join("keys/server-ca.pem");
            std::fs::copy(made, host.root().join("home/ica.crt")).unwrap();
        }
    }
    assert!(compared >= 2, "only {compared} outputs were compared");
}

#[tokio::test]
async fn the_runbooks_commands_do_what_it_says() {
    let (_, runbook) = page();
    let blocks: Vec<&str> = runbook
        .split("```console\n")
        .skip(1)
        .map(|rest| rest.split("\n```").next().unwrap())
        .collect();
    assert!(blocks.len() > 15, "only {} blocks were found", blocks.len());
    let mut host = Host::new();
    let mut said = Vec::new();
    for block in blocks {
        if block.contains("$DEVICE") {
            host.people().await;
        }
        let (done, text) = host.run(block);
        assert!(done, "{block}\n{text}");
        said.push((block, text));
    }
    let of = |word: &str| {
        let (_, text) = said.iter().find(|(block, _)| block.contains(word)).unwrap();
        text.as_str()
    };
    assert!(of("audit reappraise").contains("evidence-malformed then, evidence-malformed now"));
    let due = of("keys list --json").lines().filter(|line| line.contains("\"log\"")).count();
    assert_eq!(due, 2, "both keys of the log sign");
    assert!(of("audit list --event restore").contains("restore"));
    assert!(of("init --dir").contains("First ticket"));
    assert!(host.root().join("witness/checkpoint").exists());
}
