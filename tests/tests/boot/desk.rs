//! An enrolled workstation that boots what a test says.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use signet_client::inspection::UnverifiedJwt;
use signet_evidence::thumbprint::hex;
use signet_verifier::ecdsa::P256PublicKey;
use signet_verifier::token::{FileSigner, TokenSigner as _};
use zeroize::Zeroizing;

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
        // As a system does: swtpm loses its clock when it is only killed, and calls it safe again.
        self.start_anew(&["--clear"], machine);
    }

    /// Hibernates and starts again: the TPM's state was saved, `machine` measures anew.
    pub(crate) fn hibernate(&mut self, machine: &Machine) {
        self.start_anew(&[], machine);
    }

    fn start_anew(&mut self, shutdown: &[&str], machine: &Machine) {
        let station = &mut self.bench.station;
        station.tpm.run_tool("tpm2_shutdown", shutdown).unwrap();
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
        let told = format!("boot_log = {path:?}\n");
        self.bench.station.reconfigure(|options| options.extra.push_str(&told)).unwrap();
    }

    /// The TPM's reset and restart counts.
    pub(crate) fn counts(&self) -> (u32, u32) {
        let output = self.bench.station.tpm.run_tool("tpm2_readclock", &[]).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let count = |name: &str| {
            let line = text.lines().find(|line| line.trim().starts_with(name)).unwrap();
            line.split(' ').next_back().unwrap().parse().unwrap()
        };
        (count("reset_count"), count("restart_count"))
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

    /// The claims of a statement of this kind, when the authority's token key signed it.
    pub(crate) fn signed_by_authority(&self, statement: &str, kind: &str) -> Value {
        let part = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let json = |text: &str| serde_json::from_slice::<Value>(&part(text)).unwrap();
        let (signed, signature) = statement.rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let file = self.bench.authority.config().with_file_name("keys").join("token.key");
        let pem = std::fs::read_to_string(file).unwrap();
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let key = FileSigner::from_pkcs8(&Zeroizing::new(STANDARD.decode(body).unwrap())).unwrap();
        let expected = json!({"alg": "ES256", "kid": key.key_id(), "typ": kind});
        assert_eq!(json(header), expected);
        let key = P256PublicKey::from_uncompressed_point(key.public_point()).unwrap();
        key.verify_fixed(signed.as_bytes(), &part(signature)).unwrap();
        json(claims)
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
