//! A workstation and an authority, and short ways to what most tests need.

use std::path::PathBuf;

use serde_json::Value;
use signet_ctap::{Key, Timing};
use signet_test_authenticators::{AttestationRoot, Firmware, KeyOptions, VirtualKey};
use signet_tests::house::{AuthorityService, PIN, Ran, Station};
use signet_tests::signetd::SignetdOptions;
use tempfile::TempDir;
use zeroize::Zeroizing;

pub(crate) struct Bench {
    pub(crate) station: Station,
    pub(crate) authority: AuthorityService,
    maker: AttestationRoot,
    _folder: TempDir,
}

impl Bench {
    /// A workstation that is not enrolled.
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let maker = AttestationRoot::generate().unwrap();
        let station = Station::start(&maker).await.unwrap();
        let makers = station.tpm.ca_certificates();
        let mut authority =
            AuthorityService::init(&folder.path().join("authority"), "alice").unwrap();
        authority.accept_tpms(&[&makers.root, &makers.intermediate]).unwrap();
        let root = maker.certificate_pem();
        authority.accept_keys(&root, Firmware::OpenSk.aaguid()).unwrap();
        authority.accept_keys(&root, Firmware::Trussed.aaguid()).unwrap();
        authority.serve().unwrap();
        Self { station, authority, maker, _folder: folder }
    }

    /// A workstation that is enrolled, without a key of its operator's.
    pub(crate) async fn enrolled() -> Self {
        let bench = Self::new().await;
        let ticket = bench.authority.first_ticket().to_owned();
        let ran = bench.enrol(&ticket).await;
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        bench
    }

    /// An enrolled workstation with its operator's key.
    pub(crate) async fn ready() -> Self {
        let bench = Self::enrolled().await;
        bench.add_key("blue").await;
        bench
    }

    /// As [`Self::ready`], and logged in.
    pub(crate) async fn logged_in() -> (Self, Value) {
        let bench = Self::ready().await;
        bench.station.put_finger().unwrap();
        let session = bench.good(&["login"]).await;
        (bench, session)
    }

    pub(crate) async fn enrol(&self, ticket: &str) -> Ran {
        let (url, ca) = (self.authority.url(), self.authority.server_ca());
        let ca = ca.display().to_string();
        let arguments = ["--json", "enrol", "--authority", &url, "--ca", &ca];
        self.station.signet_given(&arguments, ticket.as_bytes()).await.unwrap()
    }

    pub(crate) async fn add_key(&self, name: &str) -> Value {
        self.station.put_finger().unwrap();
        self.good(&["key", "add", "--name", name]).await
    }

    /// Runs `signet --json` and expects it to succeed.
    pub(crate) async fn good(&self, arguments: &[&str]) -> Value {
        let ran = self.run(arguments).await;
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}\n{}", ran.stderr, self.authority.log());
        ran.json()
    }

    /// Runs `signet --json` and expects this exit code and error code; gives the message.
    pub(crate) async fn bad(&self, arguments: &[&str], exit: i32, code: &str) -> String {
        refused(&self.run(arguments).await, exit, code)
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        let arguments: Vec<&str> = [&["--json"], arguments].concat();
        self.station.signet(&arguments).await.unwrap()
    }

    /// The cached session.
    pub(crate) fn cache(&self) -> PathBuf {
        self.station.file("run/signet/session.json")
    }

    /// Sets a member of the cached session: a test does not wait for time to pass.
    pub(crate) fn set_cached(&self, member: &str, value: impl Into<Value>) {
        let mut record: Value =
            serde_json::from_slice(&std::fs::read(self.cache()).unwrap()).unwrap();
        assert!(record.get(member).is_some(), "{member}");
        record[member] = value.into();
        // The file keeps its mode.
        std::fs::write(self.cache(), record.to_string()).unwrap();
    }

    /// Changes a setting of the authority, which then starts anew.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.authority.set(name, value).unwrap();
        self.authority.serve().unwrap();
    }

    /// How many times the authority decided so about certificates: `None` for allowed.
    pub(crate) fn recorded(&self, event: &str, code: Option<&str>) -> usize {
        let records = self.authority.audit().unwrap();
        records
            .iter()
            .filter(|record| record.event == event && record.code.as_deref() == code)
            .count()
    }

    /// Makes the cached token older by so many seconds.
    pub(crate) fn age_cached(&self, seconds: u64) {
        let record: Value = serde_json::from_slice(&std::fs::read(self.cache()).unwrap()).unwrap();
        for member in ["obtained", "renew_at", "expires"] {
            self.set_cached(member, record[member].as_u64().unwrap() - seconds);
        }
    }

    /// How many tokens the authority has given.
    pub(crate) fn tokens_given(&self) -> usize {
        let records = self.authority.audit().unwrap();
        records
            .iter()
            .filter(|record| record.event.starts_with("token-") && record.decision == "allowed")
            .count()
    }

    /// Swaps the key for one that knows a PIN only; it is not registered.
    pub(crate) async fn plug_pin_key(&mut self) -> VirtualKey {
        let batch = self.maker.issue(Firmware::Trussed.aaguid()).unwrap();
        let key = KeyOptions::new(Firmware::Trussed).attestation(batch).start().unwrap();
        let mut open = Key::open_path(&key.socket(), Timing::default()).await.unwrap();
        open.set_pin(&Zeroizing::new(PIN.to_owned())).await.unwrap();
        drop(open);
        let options =
            SignetdOptions { authenticators: vec![key.socket()], ..self.station.signetd_options() };
        self.station.signetd.configure(&options).unwrap();
        self.station.signetd.restart().unwrap();
        key
    }

    /// `signet --json …` with a PIN on descriptor 3.
    pub(crate) async fn run_with_pin(&self, pin: &str, arguments: &[&str]) -> Ran {
        let file = self.station.file("pin");
        std::fs::write(&file, pin).unwrap();
        let mut command = tokio::process::Command::new("sh");
        command.arg("-c").arg("exec \"$0\" --json --pin-fd 3 \"$@\" 3<pin");
        command.arg(self.station.program()).args(arguments);
        command.envs(self.station.environment()).current_dir(self.station.file("."));
        command.stdin(std::process::Stdio::null()).kill_on_drop(true);
        let output = command.output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Expects this exit code and error code; gives the message.
pub(crate) fn refused(ran: &Ran, exit: i32, code: &str) -> String {
    let (found, message) = ran.error().unwrap_or_else(|| panic!("no error in {ran:?}"));
    assert_eq!((ran.code, found.as_str()), (Some(exit), code), "{message}");
    message
}
