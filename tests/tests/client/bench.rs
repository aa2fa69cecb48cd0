//! A workstation and an authority, and short ways to what most tests need.

use std::path::PathBuf;

use serde_json::Value;
use signet_ctap::commands::{RelyingParty, UserEntity};
use signet_ctap::operation::{Prompt, RegisterRequest, UserVerification};
use signet_ctap::{Key, Timing};
use signet_test_authenticators::{AttestationRoot, Firmware, KeyOptions, VirtualKey};
use signet_tests::house::{AuthorityService, PIN, Ran, Station};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
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
        Self::with_models("built-in-or-pin", "built-in-or-pin").await
    }

    /// A workstation that is not enrolled, at an authority that was told how the two models of key
    /// verify their user.
    pub(crate) async fn with_models(opensk: &str, trussed: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let maker = AttestationRoot::generate().unwrap();
        let station = Station::start(&maker).await.unwrap();
        let makers = station.tpm.ca_certificates();
        let mut authority =
            AuthorityService::init(&folder.path().join("authority"), "alice").unwrap();
        authority.accept_tpms(&[&makers.root, &makers.intermediate]).unwrap();
        let root = maker.certificate_pem();
        for (firmware, verifies) in [(Firmware::OpenSk, opensk), (Firmware::Trussed, trussed)] {
            authority.accept_keys_that(&root, firmware.aaguid(), verifies).unwrap();
        }
        authority.serve().unwrap();
        Self { station, authority, maker, _folder: folder }
    }

    /// A workstation that is enrolled, without a key of its operator's.
    pub(crate) async fn enrolled() -> Self {
        let bench = Self::new().await;
        bench.enrol_first().await;
        bench
    }

    /// An enrolled workstation at an authority that knows the U2F keys of the maker, and does or does
    /// not take keys that can only be touched.
    pub(crate) async fn knowing_u2f(accept: bool) -> Self {
        let mut bench = Self::new().await;
        let root = bench.maker.certificate_pem();
        bench.authority.accept_keys_that(&root, [0; 16], "none").unwrap();
        bench.set("accept_touch_only", &accept.to_string());
        bench.enrol_first().await;
        bench
    }

    /// As [`Self::knowing_u2f`], of the maker's FIDO2 model that can only be touched.
    pub(crate) async fn knowing_touch_only(accept: bool) -> Self {
        let mut bench = Self::with_models("built-in-or-pin", "none").await;
        bench.set("accept_touch_only", &accept.to_string());
        bench.enrol_first().await;
        bench
    }

    /// Enrols the workstation with the authority's first ticket.
    pub(crate) async fn enrol_first(&self) {
        let ticket = self.authority.first_ticket().to_owned();
        let ran = self.enrol(&ticket).await;
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
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
        self.enrol_at(&self.station, ticket).await
    }

    pub(crate) async fn enrol_at(&self, station: &Station, ticket: &str) -> Ran {
        let (url, ca) = (self.authority.url(), self.authority.server_ca());
        let ca = ca.display().to_string();
        let arguments = ["--json", "enrol", "--authority", &url, "--ca", &ca];
        station.signet_given(&arguments, ticket.as_bytes()).await.unwrap()
    }

    /// Another workstation, enrolled for `operator`, without a key.
    pub(crate) async fn desk(&self, operator: &str) -> Station {
        let station = Station::start(&self.maker).await.unwrap();
        let ticket = self.authority.device_ticket(operator, "LT-1").unwrap();
        let ran = self.enrol_at(&station, &ticket).await;
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        station
    }

    /// Another workstation, with a key of its operator's.
    pub(crate) async fn colleague(&self, operator: &str) -> Station {
        let station = self.desk(operator).await;
        station.put_finger().unwrap();
        self.good_at(&station, &["key", "add", "--name", operator]).await;
        station
    }

    /// Another workstation that nobody enrolled.
    pub(crate) async fn new_desk(&self) -> Station {
        Station::start(&self.maker).await.unwrap()
    }

    pub(crate) async fn run_at(&self, station: &Station, arguments: &[&str]) -> Ran {
        let arguments: Vec<&str> = [&["--json"], arguments].concat();
        station.signet(&arguments).await.unwrap()
    }

    /// As [`Self::good`], elsewhere.
    pub(crate) async fn good_at(&self, station: &Station, arguments: &[&str]) -> Value {
        let ran = self.run_at(station, arguments).await;
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}\n{}", ran.stderr, self.authority.log());
        ran.json()
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
        let key = self.plug_fresh_key(Firmware::Trussed).await;
        let mut open = Key::open_path(&key.socket(), Timing::default()).await.unwrap();
        open.set_pin(&Zeroizing::new(PIN.to_owned())).await.unwrap();
        key
    }

    /// Swaps the key for one fresh from the factory.
    pub(crate) async fn plug_fresh_key(&mut self, firmware: Firmware) -> VirtualKey {
        self.plug_instead(KeyOptions::new(firmware), firmware).await
    }

    /// Swaps the key for one of the U2F generation.
    pub(crate) async fn plug_u2f_key(&mut self) -> VirtualKey {
        let firmware = Firmware::OpenSk;
        self.plug_instead(KeyOptions::new(firmware).u2f_only(), firmware).await
    }

    /// Swaps the key for a FIDO2 key that can only be touched.
    pub(crate) async fn plug_touch_only_key(&mut self) -> VirtualKey {
        let firmware = Firmware::Trussed;
        self.plug_instead(KeyOptions::new(firmware).touch_only(), firmware).await
    }

    /// Swaps the key for another of the same maker.
    pub(crate) async fn plug_instead(
        &mut self,
        options: KeyOptions,
        firmware: Firmware,
    ) -> VirtualKey {
        let batch = self.maker.issue(firmware.aaguid()).unwrap();
        let key = options.attestation(batch).start().unwrap();
        self.station.plug(vec![key.socket()]).unwrap();
        key
    }

    /// Has the key keep a discoverable credential of another service; gives its id in hex.
    pub(crate) async fn keep_credential(&self, rp_id: &str, user: &str) -> String {
        let mut key = Key::open_path(&self.station.key.socket(), Timing::default()).await.unwrap();
        let request = RegisterRequest {
            rp: RelyingParty { id: rp_id.into(), name: rp_id.into() },
            user: UserEntity {
                id: user.as_bytes().to_vec(),
                name: user.into(),
                display_name: user.into(),
            },
            client_data_hash: [7; 32],
            algorithms: vec![-7],
            exclude_list: Vec::new(),
            resident_key: true,
            protection: None,
            user_verification: UserVerification::Required { pin_fallback: false },
            min_pin_length: false,
            enterprise_attestation: None,
        };
        self.station.put_finger().unwrap();
        let made = key.register(&request, &Prompt::nobody()).await.unwrap();
        made.credential_id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// `signet --json …` with PINs on descriptor 3, one a line.
    pub(crate) async fn run_with_pin(&self, pins: &str, arguments: &[&str]) -> Ran {
        std::fs::write(self.station.file("pin"), pins).unwrap();
        finished(self.shell(arguments, true)).await
    }

    /// Registers a key with a PIN as `name`; the operator's key, plugged in beside it, authorises that.
    pub(crate) async fn add_second_key(&mut self, second: &VirtualKey, name: &str) {
        self.station.plug(vec![self.station.key.socket(), second.socket()]).unwrap();
        self.station.put_finger().unwrap();
        std::fs::write(self.station.file("pin"), PIN).unwrap();
        // Both blink for the authorisation, and the one that is touched first is meant.
        second.touch_manual().unwrap();
        let mut adding = self.shell(&["key", "add", "--name", name], true);
        let pipe = std::process::Stdio::piped;
        let mut adding = adding.stdout(pipe()).stderr(pipe()).spawn().unwrap();
        let mut lines = BufReader::new(adding.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            if line == "PIN needed." {
                second.touch().unwrap();
            }
            said.push(line);
        }
        let output = adding.wait_with_output().await.unwrap();
        assert!(output.status.success(), "{said:?} {output:?}");
        second.touch_auto().unwrap();
    }

    /// As [`Self::run_with_pin`], with the output for people.
    pub(crate) async fn people_with_pin(&self, pins: &str, arguments: &[&str]) -> Ran {
        std::fs::write(self.station.file("pin"), pins).unwrap();
        finished(self.shell(arguments, false)).await
    }

    /// `signet …` with the file `pin` on descriptor 3.
    pub(crate) fn shell(&self, arguments: &[&str], json: bool) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("sh");
        let flags = if json { "--json --pin-fd 3" } else { "--pin-fd 3" };
        command.arg("-c").arg(format!("exec \"$0\" {flags} \"$@\" 3<pin"));
        command.arg(self.station.program()).args(arguments);
        command.envs(self.station.environment()).current_dir(self.station.file("."));
        command.stdin(std::process::Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs `signet` at a terminal of its own, typing each answer when its question has been shown;
    /// gives the exit code and what the terminal showed.
    pub(crate) async fn typed(
        &self,
        arguments: &str,
        answers: &[(&str, &str)],
    ) -> (Option<i32>, String) {
        let mut terminal = tokio::process::Command::new("script");
        let program = self.station.program().display().to_string();
        let command = format!("{program} {arguments}");
        terminal.args(["--quiet", "--flush", "--return", "--command", &command, "/dev/null"]);
        terminal.envs(self.station.environment()).env("NO_COLOR", "1").env("TERM", "xterm");
        terminal.current_dir(self.station.file(".")).kill_on_drop(true);
        let pipe = std::process::Stdio::piped;
        let mut terminal = terminal.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
        let mut keyboard = terminal.stdin.take().unwrap();
        let mut screen = terminal.stdout.take().unwrap();
        let (mut shown, mut read) = (Vec::new(), 0);
        let mut answers = answers.iter();
        let mut next = answers.next();
        while screen.read_buf(&mut shown).await.unwrap() > 0 {
            let fresh = String::from_utf8_lossy(&shown[read..]).into_owned();
            if let Some((question, answer)) = next
                && fresh.contains(question)
            {
                keyboard.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
                (next, read) = (answers.next(), shown.len());
            }
        }
        let shown = String::from_utf8_lossy(&shown).into_owned();
        assert_eq!(next, None, "never asked, but: {shown}");
        (terminal.wait().await.unwrap().code(), shown)
    }
}

/// Expects this exit code and error code; gives the message.
pub(crate) fn refused(ran: &Ran, exit: i32, code: &str) -> String {
    let (found, message) = ran.error().unwrap_or_else(|| panic!("no error in {ran:?}"));
    assert_eq!((ran.code, found.as_str()), (Some(exit), code), "{message}");
    message
}

async fn finished(mut command: tokio::process::Command) -> Ran {
    let output = command.output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}
