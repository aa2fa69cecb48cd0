//! Starting, working and killing a key process.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use crate::attestation::{AttestationBatch, AttestationRoot};

/// Which third-party firmware runs in the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// Google OpenSK: CTAP 2.1, PIN, fingerprint sensor.
    OpenSk,
    /// `fido-authenticator` on Trussed (Nitrokey 3, Solo 2): PIN, no sensor.
    Trussed,
}

impl Firmware {
    /// The model each program claims to be.
    pub fn aaguid(self) -> [u8; 16] {
        match self {
            Self::OpenSk => *b"\x81\x46\xe1\xf0\xa2\xb3\x4c\x5d\x9e\x6f\x00\x11\x22\x33\x44\x55",
            Self::Trussed => *b"\x2c\x7d\x0b\x94\x51\xe8\x4f\x3a\xb6\x0c\x66\x77\x88\x99\xaa\xbb",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::OpenSk => "opensk-key",
            Self::Trussed => "trussed-key",
        }
    }
}

/// Why a key could not be started or worked.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The program is not next to the running test.
    #[error("{0} is missing: run `cargo build -p signet-test-authenticators`")]
    NotBuilt(PathBuf),
    /// The attestation PKI could not be made.
    #[error("could not make the attestation certificates")]
    Attestation(#[from] rcgen::Error),
    /// A file, pipe or socket failed.
    #[error("i/o with the key process failed")]
    Io(#[from] io::Error),
    /// The process ended before it said `ready`.
    #[error("the key process ended before it was ready")]
    DiedAtStart,
    /// The control socket did not take the command.
    #[error("the key does not know the command")]
    UnknownCommand,
}

/// How to start a key.
#[derive(Debug, Clone)]
pub struct KeyOptions {
    firmware: Firmware,
    manual_touch: bool,
    u2f_only: bool,
    touch_only: bool,
    enterprise: Vec<String>,
    fingers: Vec<String>,
    attestation: Option<AttestationBatch>,
}

impl KeyOptions {
    /// A fresh key that counts as touched whenever it asks.
    pub fn new(firmware: Firmware) -> Self {
        Self {
            firmware,
            manual_touch: false,
            u2f_only: false,
            touch_only: false,
            enterprise: Vec::new(),
            fingers: Vec::new(),
            attestation: None,
        }
    }

    /// The key waits for [`VirtualKey::touch`].
    pub fn manual_touch(mut self) -> Self {
        self.manual_touch = true;
        self
    }

    /// The key is of the U2F generation: its CTAP2 is hidden from the host.
    pub fn u2f_only(mut self) -> Self {
        self.u2f_only = true;
        self
    }

    /// The key speaks CTAP2 and can only be touched: no PIN, no sensor (Trussed only).
    pub fn touch_only(mut self) -> Self {
        self.touch_only = true;
        self
    }

    /// The attestation is this single key's, for this relying party, once enabled (OpenSK only).
    pub fn enterprise(mut self, rp_id: &str) -> Self {
        self.enterprise.push(rp_id.to_owned());
        self
    }

    /// Enrols a finger at the factory (OpenSK only).
    pub fn finger(mut self, name: &str) -> Self {
        self.fingers.push(name.to_owned());
        self
    }

    /// Attestation from a root the test holds; otherwise the key gets a root of its own.
    pub fn attestation(mut self, batch: AttestationBatch) -> Self {
        self.attestation = Some(batch);
        self
    }

    /// Starts the process and waits until it answers.
    pub fn start(self) -> Result<VirtualKey, KeyError> {
        let program = locate(self.firmware.program())?;
        let folder = tempfile::tempdir()?;
        let batch = match self.attestation {
            Some(batch) => batch,
            None => AttestationRoot::generate()?.issue(self.firmware.aaguid())?,
        };
        std::fs::write(folder.path().join("attestation.key"), &batch.key)?;
        std::fs::write(folder.path().join("attestation.der"), &batch.certificate)?;
        let mut arguments: Vec<String> = vec![format!("--aaguid={}", hex(&batch.aaguid))];
        if self.manual_touch {
            arguments.push("--manual-touch".into());
        }
        if self.u2f_only {
            arguments.push("--u2f-only".into());
        }
        if self.touch_only {
            arguments.push("--touch-only".into());
        }
        if !self.enterprise.is_empty() {
            arguments.push(format!("--enterprise-rp-id={}", self.enterprise.join(",")));
        }
        if !self.fingers.is_empty() {
            arguments.push(format!("--fingers={}", self.fingers.join(",")));
        }
        let running = Running::start(&program, folder.path(), &arguments)?;
        Ok(VirtualKey { program, folder, arguments, running: Some(running) })
    }
}

/// A running key. Dropping it kills the process and forgets the key's memory.
#[derive(Debug)]
pub struct VirtualKey {
    program: PathBuf,
    folder: TempDir,
    arguments: Vec<String>,
    running: Option<Running>,
}

impl VirtualKey {
    /// A fresh key that counts as touched whenever it asks.
    pub fn start(firmware: Firmware) -> Result<Self, KeyError> {
        KeyOptions::new(firmware).start()
    }

    /// The socket that stands for the hidraw node.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("key.sock")
    }

    /// The control socket (Unix stream, one command a line, answered with `ok`).
    pub fn control_socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    /// One touch of the button; kept until the firmware asks.
    pub fn touch(&self) -> Result<(), KeyError> {
        self.command("touch")
    }

    /// One refusal of the person; kept until the firmware asks (OpenSK only).
    pub fn deny(&self) -> Result<(), KeyError> {
        self.command("deny")
    }

    /// From now on the button counts as touched whenever asked.
    pub fn touch_auto(&self) -> Result<(), KeyError> {
        self.command("touch auto")
    }

    /// From now on only [`Self::touch`] touches the button; forgets queued touches.
    pub fn touch_manual(&self) -> Result<(), KeyError> {
        self.command("touch manual")
    }

    /// One press of the named finger; kept until the firmware asks.
    pub fn finger(&self, name: &str) -> Result<(), KeyError> {
        self.command(&format!("finger {name}"))
    }

    /// One press that gives an unusable image.
    pub fn dirty(&self) -> Result<(), KeyError> {
        self.command("dirty")
    }

    /// Pulls the key out; [`Self::replug`] or [`Self::restart`] brings it back.
    pub fn unplug(&self) -> Result<(), KeyError> {
        self.command("unplug")
    }

    /// Pulls the key out and plugs it in again: volatile state is gone, credentials stay.
    pub fn replug(&mut self) -> Result<(), KeyError> {
        self.command("replug")?;
        self.running.as_mut().ok_or(KeyError::DiedAtStart)?.wait_ready()
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Kills the process if it runs and starts it again with the same memory.
    pub fn restart(&mut self) -> Result<(), KeyError> {
        self.kill();
        self.running = Some(Running::start(&self.program, self.folder.path(), &self.arguments)?);
        Ok(())
    }

    /// Starts a key of the U2F generation again as what its firmware is, with the same memory.
    pub fn show_ctap2(&mut self) -> Result<(), KeyError> {
        self.arguments.retain(|argument| argument != "--u2f-only");
        self.restart()
    }

    /// Sends one line to the control socket and waits for its `ok`.
    pub fn command(&self, line: &str) -> Result<(), KeyError> {
        command(&self.control_socket(), line)
    }
}

/// Sends one line to a key's control socket and waits for its `ok`.
///
/// `wait` blocks until the firmware waits for a person: run it on a thread of its own.
pub fn command(control_socket: &Path, line: &str) -> Result<(), KeyError> {
    let mut stream = UnixStream::connect(control_socket)?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if answer == "ok\n" { Ok(()) } else { Err(KeyError::UnknownCommand) }
}

/// The child process. Its stdin is held open: the key ends when it closes, so a test that dies
/// without unwinding leaves nothing behind.
#[derive(Debug)]
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    fn start(program: &Path, folder: &Path, arguments: &[String]) -> Result<Self, KeyError> {
        let mut child = Command::new(program)
            .arg("--socket")
            .arg(folder.join("key.sock"))
            .arg("--control")
            .arg(folder.join("control.sock"))
            .arg("--state")
            .arg(folder.join("state"))
            .arg("--attestation-key")
            .arg(folder.join("attestation.key"))
            .arg("--attestation-cert")
            .arg(folder.join("attestation.der"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or(KeyError::DiedAtStart)?;
        let mut running = Self { child, stdout: BufReader::new(stdout) };
        running.wait_ready()?;
        Ok(running)
    }

    fn wait_ready(&mut self) -> Result<(), KeyError> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        if line == "ready\n" { Ok(()) } else { Err(KeyError::DiedAtStart) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Finds a program of this package next to the running test (`target/<profile>/`).
fn locate(program: &'static str) -> Result<PathBuf, KeyError> {
    let test = std::env::current_exe()?;
    let beside = test.ancestors().skip(1).take(2).map(|folder| folder.join(program));
    beside
        .clone()
        .find(|path| path.is_file())
        .ok_or_else(|| KeyError::NotBuilt(beside.last().unwrap_or_else(|| PathBuf::from(program))))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads an AAGUID of 32 hex digits; dashes are ignored.
pub fn aaguid_from_hex(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    let mut aaguid = [0; 16];
    for (byte, at) in aaguid.iter_mut().zip((0..32).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(aaguid)
}
