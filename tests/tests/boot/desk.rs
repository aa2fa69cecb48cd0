//! An enrolled workstation that boots what a test says.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;
use signet_client::inspection::UnverifiedJwt;
use signet_evidence::thumbprint::hex;

use crate::bench::Bench;
use crate::machine::{Machine, NO_ACTION, SHA256};

/// The command line that is approved, and one that is not.
pub(crate) const APPROVED: &str = "/vmlinuz-6.12 root=UUID=0b7c ro quiet";
pub(crate) const CHANGED: &str = "/vmlinuz-6.12 root=UUID=0b7c ro quiet init=/bin/sh";

/// The inventory tag of the first ticket.
pub(crate) const ASSET: &str = "LT-4711";

pub(crate) struct Desk {
    pub(crate) bench: Bench,
}

impl Desk {
    /// Booted with the approved command line, enrolled, with its operator's key.
    pub(crate) async fn new() -> Self {
        let mut desk = Self { bench: Bench::new().await };
        desk.boot(&machine(APPROVED));
        desk.bench.enrol_first().await;
        desk.bench.add_key("blue").await;
        desk
    }

    /// Restarts the machine: its TPM holds what `machine` measures, and the log says so.
    pub(crate) fn boot(&mut self, machine: &Machine) {
        let station = &mut self.bench.station;
        // As a system does: swtpm loses its clock when it is only killed, and calls it safe again.
        station.tpm.run_tool("tpm2_shutdown", &["--clear"]).unwrap();
        station.tpm.restart().unwrap();
        let mut extensions = Vec::new();
        for event in machine.events.iter().filter(|event| event.kind != NO_ACTION) {
            let (_, digest) = event.digests.iter().find(|(id, _)| *id == SHA256.id()).unwrap();
            extensions.push(format!("{}:sha256={}", event.pcr, hex(digest)));
        }
        let extensions: Vec<&str> = extensions.iter().map(String::as_str).collect();
        station.tpm.run_tool("tpm2_pcrextend", &extensions).unwrap();
        self.log(Some(&machine.log()));
    }

    /// Gives the daemon this event log, or none.
    pub(crate) fn log(&mut self, log: Option<&[u8]>) {
        let path = self.bench.station.file("boot-log");
        match log {
            Some(log) => std::fs::write(&path, log).unwrap(),
            None if path.exists() => std::fs::remove_file(&path).unwrap(),
            None => {}
        }
        let station = &mut self.bench.station;
        let mut options = station.signetd_options();
        writeln!(options.extra, "boot_log = {path:?}").unwrap();
        station.signetd.configure(&options).unwrap();
        station.signetd.restart().unwrap();
    }

    pub(crate) async fn log_in(&self) -> Value {
        self.bench.station.put_finger().unwrap();
        self.bench.good(&["login", "--new"]).await
    }

    /// A login that is refused with this code; gives the words for the person.
    pub(crate) async fn refused(&self, code: &str) -> String {
        self.bench.station.put_finger().unwrap();
        self.bench.bad(&["login", "--new"], 1, code).await
    }

    /// The fact `boot` of the current token.
    pub(crate) async fn boot_claim(&self) -> String {
        let token = self.bench.good(&["token"]).await;
        let token = token["access_token"].as_str().unwrap();
        let claims = UnverifiedJwt::parse(token).unwrap().claims;
        claims["signet"]["boot"].as_str().unwrap().to_owned()
    }

    /// `signet-authority --json machine …` that succeeds.
    pub(crate) fn machine(&self, arguments: &[&str]) -> Value {
        let (code, stdout, stderr) =
            self.bench.authority.ran(&[&["--json", "machine"], arguments].concat()).unwrap();
        assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
        serde_json::from_str(stdout.trim_end()).unwrap_or(Value::String(stdout))
    }

    /// `signet-authority machine …` for people: exit code, output and errors.
    pub(crate) fn said(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        self.bench.authority.ran(&[&["machine"], arguments].concat()).unwrap()
    }

    /// Puts a policy file before the authority, which then starts anew.
    pub(crate) fn policy(&mut self, text: &str) -> PathBuf {
        let authority = &mut self.bench.authority;
        let file = authority.config().with_file_name("machine-policies").join("laptops.toml");
        std::fs::write(&file, text).unwrap();
        authority.serve().unwrap();
        file
    }

    /// What the authority recorded of this event since that record.
    pub(crate) fn recorded(&self, event: &str) -> Vec<String> {
        let records = self.bench.authority.audit().unwrap();
        let of_event = records.into_iter().filter(|record| record.event == event);
        of_event.map(|record| record.detail).collect()
    }
}

/// A workstation whose TPM was started at locality 0, as swtpm is.
pub(crate) fn machine(command_line: &str) -> Machine {
    let mut machine = Machine::workstation(1, command_line);
    machine.events.remove(0);
    machine.locality = 0;
    machine
}
