//! One operator's workstation: TPM, security key, message bus, `signetd`, and the `signet` command
//! with an environment of its own.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use signet_ctap::{Key, Timing};
use signet_test_authenticators::{AttestationRoot, Firmware, KeyOptions, VirtualKey};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use super::{HouseError, blocking, program};
use crate::bus::PrivateBus;
use crate::kept;
use crate::signetd::{Signetd, SignetdOptions};
use crate::swtpm::Swtpm;

/// The PIN of every key of the house.
pub const PIN: &str = "294817";
/// The finger that every key of the house knows.
pub const FINGER: &str = "right-index";

/// What the daemon is configured with unless a test changes it.
fn ordinary(bus: &PrivateBus, tpm: &Swtpm, key: &VirtualKey) -> SignetdOptions {
    SignetdOptions {
        bus: bus.address().to_owned(),
        tcti: tpm.tcti(),
        authenticators: vec![key.socket()],
        extra: String::new(),
    }
}

/// A running workstation.
pub struct Station {
    /// The daemon. Dropped first: it uses all the others.
    pub signetd: Signetd,
    /// The security key.
    pub key: VirtualKey,
    /// The TPM.
    pub tpm: Swtpm,
    /// The message bus.
    pub bus: PrivateBus,
    home: TempDir,
    program: PathBuf,
}

/// What a command did.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Standard output as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or(Value::Null)
    }

    /// The error of `--json` output: code and message.
    #[must_use]
    pub fn error(&self) -> Option<(String, String)> {
        let line = self.stderr.lines().rev().find(|line| line.starts_with('{'))?;
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |name: &str| value["error"][name].as_str().map(str::to_owned);
        Some((text("code")?, text("message")?))
    }
}

/// A `signet` command under way; killed when dropped.
#[derive(Debug)]
pub struct Pending(Child);

impl Pending {
    /// Waits for its end.
    ///
    /// # Errors
    /// When its output cannot be read.
    pub async fn finish(self) -> Result<Ran, HouseError> {
        let output = self.0.wait_with_output().await?;
        kept::output(&output.stdout);
        kept::errors(&output.stderr);
        Ok(Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

impl Station {
    /// Starts a workstation with a TPM fresh from the factory and a key of `maker`, with a PIN and
    /// one finger.
    ///
    /// # Errors
    /// See [`HouseError`].
    pub async fn start(maker: &AttestationRoot) -> Result<Self, HouseError> {
        let firmware = Firmware::OpenSk;
        let batch = maker.issue(firmware.aaguid())?;
        let options = KeyOptions::new(firmware).finger(FINGER).attestation(batch);
        let (key, tpm, bus) =
            blocking(|| Ok((options.start()?, Swtpm::manufacture()?, PrivateBus::start()?)))
                .await?;
        let fault = |error: Box<dyn std::error::Error + Send + Sync>| HouseError::Pin(error);
        let mut open = Key::open_path(&key.socket(), Timing::default())
            .await
            .map_err(|error| fault(error.into()))?;
        open.set_pin(&Zeroizing::new(PIN.to_owned())).await.map_err(|error| fault(error.into()))?;
        drop(open);
        let daemon = ordinary(&bus, &tpm, &key);
        let signetd_program = program("signetd")?;
        let signetd = blocking(move || Ok(Signetd::start(&signetd_program, &daemon)?)).await?;
        let home = tempfile::Builder::new().prefix("signet-home-").tempdir()?;
        for folder in ["run", "config"] {
            DirBuilder::new().mode(0o700).create(home.path().join(folder))?;
        }
        Ok(Self { signetd, key, tpm, bus, home, program: program("signet")? })
    }

    /// The `signet` program.
    #[must_use]
    pub fn program(&self) -> &std::path::Path {
        &self.program
    }

    /// The environment that makes `signet` act on this workstation.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.home.path().join(name).display().to_string();
        vec![
            ("SIGNET_BUS", self.bus.address().to_owned()),
            ("XDG_RUNTIME_DIR", path("run")),
            ("XDG_CONFIG_HOME", path("config")),
            ("XDG_STATE_HOME", path("state")),
        ]
    }

    /// A file of the operator's.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Restarts the daemon with other settings: `change` is given those that the station began with.
    ///
    /// # Errors
    /// When it does not start.
    pub fn reconfigure(
        &mut self,
        change: impl FnOnce(&mut SignetdOptions),
    ) -> Result<(), HouseError> {
        let mut options = ordinary(&self.bus, &self.tpm, &self.key);
        change(&mut options);
        self.signetd.configure(&options)?;
        Ok(self.signetd.restart()?)
    }

    /// Plugs in the keys behind these sockets and no others.
    ///
    /// # Errors
    /// As [`Self::reconfigure`].
    pub fn plug(&mut self, keys: Vec<PathBuf>) -> Result<(), HouseError> {
        self.reconfigure(|options| options.authenticators = keys)
    }

    /// Starts `signet` and does not wait for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn begin(&self, arguments: &[&str], input: &[u8]) -> Result<Pending, HouseError> {
        let mut child = self.command(arguments).spawn()?;
        if let Some(mut stdin) = child.stdin.take()
            && let Err(error) = stdin.write_all(input).await
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            return Err(error.into());
        }
        Ok(Pending(child))
    }

    /// Runs `signet` to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn signet(&self, arguments: &[&str]) -> Result<Ran, HouseError> {
        self.signet_given(arguments, b"").await
    }

    /// Runs `signet` with this standard input.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn signet_given(&self, arguments: &[&str], input: &[u8]) -> Result<Ran, HouseError> {
        self.begin(arguments, input).await?.finish().await
    }

    /// `signet` with this workstation's environment, to be started.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .envs(self.environment())
            .env("NO_COLOR", "1")
            .env_remove("SIGNET_PIN_FD")
            .current_dir(self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// The operator's finger on the key, kept until the key asks for it.
    ///
    /// # Errors
    /// When the key does not run.
    pub fn put_finger(&self) -> Result<(), HouseError> {
        Ok(self.key.finger(FINGER)?)
    }
}
