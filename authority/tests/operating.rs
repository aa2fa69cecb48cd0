//! The commands of docs/operating.md's runbook, run as they stand there, in their order.
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
    AuditEntry, Authorisation, Decision, DeviceRow, Event, KeptEvidence, SqlStore, Store,
};
use signet_evidence::binding::sha256;
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

    /// Runs the commands of one block; the first that fails ends it.
    fn run(&self, block: &str) -> (bool, String) {
        let mut script = String::from("set -eu -o pipefail\n");
        for line in block.lines() {
            let (_, command) = line.split_once("$ ").unwrap();
            match command.starts_with("signet-authority audit witness") {
                // A witness that serves looks again by itself.
                true => script.push_str(&format!("until {command}; do :; done\n")),
                false => script.push_str(&format!("{command}\n")),
            }
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
            .env("PATH", path)
            .env("ROOT", self.root())
            .env("SIGNET_AUTHORITY_CONFIG", self.authority().join("authority.toml"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    }

    /// People with machines and keys, and a decision on evidence: what the chapter's variables stand for.
    async fn people(&mut self) {
        let integrity = keys::load_integrity(&self.authority().join("keys")).unwrap();
        let store =
            SqlStore::open(&self.authority().join("authority.db"), integrity).await.unwrap();
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

#[tokio::test]
async fn the_runbooks_commands_do_what_it_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, runbook) = page.split_once("\n## Runbook\n").unwrap();
    let runbook = runbook.split("\n## ").next().unwrap();
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
