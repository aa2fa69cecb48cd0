//! `signet-authority`: its directory, its settings and its process.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::Value;

use super::{HouseError, TRUST_DOMAIN, program};
use crate::kept;
use crate::reserved::Reserved;

/// Far above what a start takes on a busy machine.
const START: Duration = Duration::from_secs(60);

/// The authority of the house.
pub struct AuthorityService {
    program: PathBuf,
    folder: PathBuf,
    clients: Reserved,
    gateways: Reserved,
    first_ticket: String,
    log: Arc<Mutex<String>>,
    process: Option<Serving>,
}

struct Serving {
    child: Child,
    reader: Option<JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Files of an issued gateway certificate.
#[derive(Clone, Debug)]
pub struct GatewayFiles {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM, mode 0600.
    pub key: PathBuf,
}

/// One record of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Audited {
    /// Place in the trail.
    pub sequence: i64,
    /// What was asked.
    pub event: String,
    /// `allowed` or `refused`.
    pub decision: String,
    /// The exact code of a refusal.
    pub code: Option<String>,
    /// The operator.
    pub subject: Option<String>,
    /// The machine.
    pub device: Option<String>,
    /// The session.
    pub session: Option<String>,
    /// The token's id.
    pub token: Option<String>,
    /// Cause or object.
    pub detail: String,
}

impl AuthorityService {
    /// `signet-authority init` in a new folder, on free ports.
    ///
    /// # Errors
    /// See [`HouseError`].
    pub fn init(folder: &Path, operator: &str) -> Result<Self, HouseError> {
        let (clients, gateways) = (Reserved::take()?, Reserved::take()?);
        let listens = [clients.address().to_string(), gateways.address().to_string()];
        let mut authority = Self {
            program: program("signet-authority")?,
            folder: folder.to_owned(),
            clients,
            gateways,
            first_ticket: String::new(),
            log: Arc::default(),
            process: None,
        };
        let made = authority.run(&[
            "init",
            "--dir",
            &folder.display().to_string(),
            "--operator",
            operator,
            "--asset",
            "LT-4711",
            "--listen",
            &listens[0],
            "--gateway-listen",
            &listens[1],
            "--trust-domain",
            TRUST_DOMAIN,
        ])?;
        authority.first_ticket = text_of(&made, "init", "ticket")?;
        Ok(authority)
    }

    /// The ticket that `init` made.
    #[must_use]
    pub fn first_ticket(&self) -> &str {
        &self.first_ticket
    }

    /// Accepts TPMs of the makers with these certificates.
    ///
    /// # Errors
    /// When the files cannot be copied.
    pub fn accept_tpms(&self, certificates: &[&Path]) -> Result<(), HouseError> {
        for (number, certificate) in certificates.iter().enumerate() {
            fs::copy(certificate, self.folder.join(format!("ek-roots/maker-{number}.pem")))?;
        }
        Ok(())
    }

    /// Accepts security keys of one model and maker, that verify their user by finger or PIN.
    ///
    /// # Errors
    /// When the settings cannot be written.
    pub fn accept_keys(&self, root_pem: &str, aaguid: [u8; 16]) -> Result<(), HouseError> {
        self.accept_keys_that(root_pem, aaguid, "built-in-or-pin")
    }

    /// Accepts security keys of one model and maker, that verify their user as the setting
    /// `user_verification` says.
    ///
    /// # Errors
    /// When the settings cannot be written.
    pub fn accept_keys_that(
        &self,
        root_pem: &str,
        aaguid: [u8; 16],
        user_verification: &str,
    ) -> Result<(), HouseError> {
        fs::write(self.folder.join("attestation-roots/software-key.pem"), root_pem)?;
        let aaguid = uuid(aaguid);
        self.configure(&format!(
            "\n[[authenticators]]\nname = \"Software key of the test bench\"\n\
             roots = \"attestation-roots/software-key.pem\"\naaguids = [\"{aaguid}\"]\n\
             user_verification = \"{user_verification}\"\n"
        ))
    }

    /// Issues a gateway's certificate into `folder` and names the gateway in the settings.
    ///
    /// # Errors
    /// See [`HouseError`].
    pub fn admit_gateway(&self, name: &str, folder: &Path) -> Result<GatewayFiles, HouseError> {
        let issued = self.run(&["gateway", name, "--out", &folder.display().to_string()])?;
        let id = text_of(&issued, "gateway", "spiffe_id")?;
        self.configure(&format!(
            "\n[[gateways]]\nspiffe_id = \"{id}\"\npeer_certificate = \"sha256-header\"\n"
        ))?;
        Ok(GatewayFiles {
            certificate: text_of(&issued, "gateway", "certificate")?.into(),
            key: text_of(&issued, "gateway", "key")?.into(),
        })
    }

    /// Adds lines at the end of the settings; they count from the next start.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configure(&self, lines: &str) -> Result<(), HouseError> {
        let file = self.config();
        let text = fs::read_to_string(&file)?;
        Ok(fs::write(&file, text + lines)?)
    }

    /// Gives a setting that the file has another value; it counts from the next start.
    ///
    /// # Errors
    /// When the file cannot be written, or has no such setting.
    pub fn set(&self, name: &str, value: &str) -> Result<(), HouseError> {
        let file = self.config();
        let text = fs::read_to_string(&file)?;
        let begins = format!("{name} = ");
        let mut found = false;
        let mut line = |line: &str| {
            let this = line.starts_with(&begins);
            found |= this;
            if this { format!("{begins}{value}\n") } else { format!("{line}\n") }
        };
        let changed: String = text.lines().map(&mut line).collect();
        if !found {
            return Err(HouseError::Answer { command: name.into(), text });
        }
        Ok(fs::write(&file, changed)?)
    }

    /// Starts serving and waits until both listeners are open.
    ///
    /// # Errors
    /// See [`HouseError`].
    pub fn serve(&mut self) -> Result<(), HouseError> {
        self.kill();
        let mut child = self
            .command(&["serve"])
            .env("NO_COLOR", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let (ready, readiness) = mpsc::channel();
        let log = self.log.clone();
        let reader =
            child.stderr.take().map(|stderr| thread::spawn(move || read(stderr, &log, &ready)));
        let serving = Serving { child, reader };
        if readiness.recv_timeout(START).is_err() {
            drop(serving);
            return Err(HouseError::Authority { command: "serve".into(), log: self.log() });
        }
        self.process = Some(serving);
        Ok(())
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Process id; `None` when it does not serve.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.child.id())
    }

    /// Stops the process without ending it: it takes connections and answers nothing more.
    ///
    /// # Errors
    /// When it does not serve.
    pub fn pause(&self) -> io::Result<()> {
        let pid = self.process.as_ref().map(|process| Pid::from_child(&process.child));
        let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        Ok(kill_process(pid, Signal::STOP)?)
    }

    /// Waits until a request lies unread in a connection to a paused authority.
    ///
    /// # Errors
    /// When none arrives within 30 s.
    pub async fn wait_for_request(&self) -> io::Result<()> {
        let local = format!("0100007F:{:04X}", self.clients.address().port());
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            let unread = fs::read_to_string("/proc/net/tcp")?.lines().any(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let queue = fields.get(4).and_then(|queues| queues.split_once(':'));
                fields.get(1) == Some(&local.as_str())
                    && fields.get(3) == Some(&"01")
                    && queue.is_some_and(|(_, receive)| receive.bytes().any(|b| b != b'0'))
            });
            if unread {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// What it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its URL for operators' machines.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.clients.address().port())
    }

    /// Where operators' machines connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.clients.address()
    }

    /// Where gateways connect.
    #[must_use]
    pub fn gateway_address(&self) -> SocketAddr {
        self.gateways.address()
    }

    /// The settings file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("authority.toml")
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// CA of its own certificate, PEM.
    #[must_use]
    pub fn server_ca(&self) -> PathBuf {
        self.folder.join("keys/server-ca.pem")
    }

    /// CA of the machines' certificates, PEM.
    #[must_use]
    pub fn device_ca(&self) -> PathBuf {
        self.folder.join("keys/device-ca.pem")
    }

    /// A new ticket for a machine of `operator`.
    ///
    /// # Errors
    /// See [`HouseError`].
    pub fn device_ticket(&self, operator: &str, asset: &str) -> Result<String, HouseError> {
        let made = self.run(&["ticket", "device", "--operator", operator, "--asset", asset])?;
        text_of(&made, "ticket", "ticket")
    }

    /// `signet-authority ticket` with these arguments.
    ///
    /// # Errors
    /// See [`HouseError`].
    pub fn ticket(&self, arguments: &[&str]) -> Result<String, HouseError> {
        let made = self.run(&[&["ticket"], arguments].concat())?;
        text_of(&made, "ticket", "ticket")
    }

    /// `signet-authority revoke WHAT ID`.
    ///
    /// # Errors
    /// See [`HouseError`].
    pub fn revoke(&self, what: &str, id: &str) -> Result<Value, HouseError> {
        self.run(&["revoke", what, id])
    }

    /// The audit trail after this sequence number.
    ///
    /// # Errors
    /// See [`HouseError`].
    pub fn audit_after(&self, after: i64) -> Result<Vec<Audited>, HouseError> {
        let text = self.output(&["audit", "list", "--after", &after.to_string()])?;
        let records: Result<_, _> = text.lines().map(serde_json::from_str).collect();
        records.map_err(|_| HouseError::Answer { command: "audit list".into(), text })
    }

    /// The whole audit trail.
    ///
    /// # Errors
    /// See [`HouseError`].
    pub fn audit(&self) -> Result<Vec<Audited>, HouseError> {
        self.audit_after(0)
    }

    /// `signet-authority` with these arguments: exit code, output and errors.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn ran(&self, arguments: &[&str]) -> io::Result<(Option<i32>, String, String)> {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.config()).args(arguments).stdin(Stdio::null());
        let output = command.output()?;
        kept::output(&output.stdout);
        kept::errors(&output.stderr);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
    }

    fn run(&self, arguments: &[&str]) -> Result<Value, HouseError> {
        let text = self.output(arguments)?;
        let command = arguments.first().copied().unwrap_or_default().to_owned();
        serde_json::from_str(&text).map_err(|_| HouseError::Answer { command, text })
    }

    fn output(&self, arguments: &[&str]) -> Result<String, HouseError> {
        let output = self.command(arguments).output()?;
        kept::output(&output.stdout);
        kept::errors(&output.stderr);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(HouseError::Authority { command: arguments.join(" "), log: text(&output.stderr) })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--json").arg("--config").arg(self.config()).args(arguments);
        command.stdin(Stdio::null());
        command
    }
}

fn text_of(value: &Value, command: &str, member: &str) -> Result<String, HouseError> {
    value[member]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| HouseError::Answer { command: command.into(), text: format!("no {member}") })
}

/// Keeps what it prints, so that its pipe never fills, and says when it is ready. Ends with it.
fn read(stderr: impl Read, log: &Mutex<String>, ready: &mpsc::Sender<()>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if line.contains("ready") && line.contains("gateways=") {
            let _ = ready.send(());
        }
        kept::errors(&line);
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push_str(&line);
        log.push('\n');
    }
}

fn uuid(bytes: [u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}
