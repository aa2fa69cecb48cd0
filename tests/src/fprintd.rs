//! The real fprintd with libfprint's virtual reader on a private bus: fingers are words, scanned by a
//! command. Killed when dropped.
//!
//! Needs `fprintd`, `python3-dbusmock` (its polkit says who may) and `libglib2.0-bin`.

use std::fs;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::bus::{BusError, PrivateBus};
use crate::polkitd::{Polkitd, PolkitdError};

/// The service of Debian's package.
const PROGRAM: &str = "/usr/libexec/fprintd";
const SERVICE: &str = "net.reactivated.Fprint";
const POLKIT: &str = "org.freedesktop.PolicyKit1";
/// Scans that enrol a finger with the virtual reader.
const STAGES: usize = 5;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What signetd needs, and what enrols the fingers of a test.
const ACTIONS: [&str; 3] = [
    "net.reactivated.fprint.device.verify",
    "net.reactivated.fprint.device.setusername",
    "net.reactivated.fprint.device.enroll",
];
/// The rights that root has on a real system bus, for whoever runs the tests.
const POLICY: &str = r#"<busconfig><policy context="default">
  <allow own="net.reactivated.Fprint"/>
  <allow own="org.freedesktop.PolicyKit1"/>
  <allow own="org.signet.Presence1"/>
  <allow send_destination="org.freedesktop.PolicyKit1"/>
  <allow send_destination="org.signet.Presence1"/>
  <allow send_destination="net.reactivated.Fprint"/>
</policy></busconfig>"#;

/// Why fprintd could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FprintdError {
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// polkitd.
    #[error(transparent)]
    Polkitd(#[from] PolkitdError),
    /// A program is missing or could not be run.
    #[error("cannot run {program}: are fprintd, python3-dbusmock and libglib2.0-bin installed?")]
    Program {
        /// Its name.
        program: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file or socket failed.
    #[error("i/o with fprintd failed")]
    Io(#[from] io::Error),
    /// A program failed.
    #[error("{program} failed:\n{log}")]
    Failed {
        /// Its name.
        program: &'static str,
        /// What it printed.
        log: String,
    },
}

/// Who says what fprintd and signetd may.
#[derive(Debug)]
enum Polkit {
    StandIn(Child),
    Real { _process: Polkitd },
}

/// A running fprintd with one virtual reader.
#[derive(Debug)]
pub struct Fprintd {
    address: String,
    folder: TempDir,
    polkit: Polkit,
    process: Option<Child>,
}

impl Fprintd {
    /// A bus with the policy of the system bus, on which fprintd, polkit and signetd may be served.
    ///
    /// # Errors
    /// See [`FprintdError`].
    pub fn bus() -> Result<PrivateBus, FprintdError> {
        let mut policy = tempfile::NamedTempFile::with_suffix(".conf")?;
        policy.write_all(POLICY.as_bytes())?;
        Ok(PrivateBus::start_as_system(&[policy.path().to_owned()])?)
    }

    /// Starts polkit's stand-in, which allows everything that fprintd asks, and fprintd.
    ///
    /// # Errors
    /// See [`FprintdError`].
    pub fn start(bus: &PrivateBus) -> Result<Self, FprintdError> {
        let mut mock = Command::new("/usr/bin/python3");
        mock.args(["-m", "dbusmock", "--system", "--template", "polkitd"]);
        mock.env("DBUS_SYSTEM_BUS_ADDRESS", bus.address()).stdin(Stdio::null());
        let mock = mock.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mock = mock.map_err(|source| FprintdError::Program { program: "polkit", source })?;
        let mut fprintd = Self::with_polkit(bus, Polkit::StandIn(mock))?;
        fprintd.wait_for(POLKIT)?;
        fprintd.allow(&ACTIONS)?;
        fprintd.launch()?;
        Ok(fprintd)
    }

    /// Starts the real polkitd with the actions of the system and these rules besides its own, and
    /// fprintd. Only root can: polkitd changes to a user of its own.
    ///
    /// # Errors
    /// See [`FprintdError`].
    pub fn start_with_rules(bus: &PrivateBus, rules: &str) -> Result<Self, FprintdError> {
        let polkitd = Polkitd::start(bus, rules, None)?;
        let mut fprintd = Self::with_polkit(bus, Polkit::Real { _process: polkitd })?;
        fprintd.launch()?;
        Ok(fprintd)
    }

    fn with_polkit(bus: &PrivateBus, polkit: Polkit) -> Result<Self, FprintdError> {
        let folder = tempfile::Builder::new().prefix("signet-fprintd-").tempdir()?;
        fs::create_dir(folder.path().join("prints"))?;
        Ok(Self { address: bus.address().to_owned(), folder, polkit, process: None })
    }

    /// Name of the Unix user who runs the tests.
    ///
    /// # Errors
    /// See [`FprintdError`].
    pub fn me() -> Result<String, FprintdError> {
        let output = Command::new("id").arg("-un").output();
        let output = output.map_err(|source| FprintdError::Program { program: "id", source })?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// What the stand-in of polkit allows from now on, to anybody.
    ///
    /// # Errors
    /// See [`FprintdError`].
    pub fn allow(&self, actions: &[&str]) -> Result<(), FprintdError> {
        let list: Vec<String> = actions.iter().map(|action| format!("'{action}'")).collect();
        let list = format!("@as [{}]", list.join(", "));
        let authority = "/org/freedesktop/PolicyKit1/Authority";
        let method = "org.freedesktop.DBus.Mock.SetAllowed";
        self.run("gdbus", &["call", "--system", "-d", POLKIT, "-o", authority, "-m", method, &list])
            .map(drop)
    }

    /// Enrols a finger (`right-index-finger`) of a user: from now on scans of `print` match it.
    ///
    /// # Errors
    /// See [`FprintdError`].
    pub fn enrol(&self, user: &str, finger: &str, print: &str) -> Result<(), FprintdError> {
        let mut command = self.program("fprintd-enroll", &["-f", finger, user]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child =
            child.map_err(|source| FprintdError::Program { program: "fprintd-enroll", source })?;
        for _ in 0..STAGES {
            self.scan(print)?;
        }
        succeeded("fprintd-enroll", child.wait_with_output()?)?;
        // Until the reader is closed, it would take a scan that nobody waits for.
        let deadline = Instant::now() + PATIENCE;
        let reader = self.folder.path().join("reader");
        while UnixStream::connect(&reader).is_ok() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Deletes all fingers of a user.
    ///
    /// # Errors
    /// See [`FprintdError`].
    pub fn delete(&self, user: &str) -> Result<(), FprintdError> {
        self.run("fprintd-delete", &[user]).map(drop)
    }

    /// Puts a finger on the reader, when a program has claimed it.
    ///
    /// # Errors
    /// When nobody claims the reader.
    pub fn scan(&self, print: &str) -> io::Result<()> {
        self.command(&format!("SCAN {print}"))
    }

    /// A command of libfprint's virtual device: `RETRY 1` (too short), `RETRY 2` (not centred),
    /// `RETRY 3` (remove and retry), `RETRY 0` (again), `ERROR 0`, `UNPLUG`.
    ///
    /// # Errors
    /// When nobody claims the reader.
    pub fn command(&self, words: &str) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        // The reader listens while it is claimed.
        let mut stream = loop {
            match UnixStream::connect(self.folder.path().join("reader")) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        stream.write_all(words.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        // It closes when it has read: one command after the other.
        io::copy(&mut stream, &mut io::sink()).map(drop).or_else(|error| match error.kind() {
            io::ErrorKind::ConnectionReset => Ok(()),
            _ => Err(error),
        })
    }

    /// Kills fprintd with SIGKILL.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.kill()?;
        process.wait()?;
        // What a killed reader leaves behind would refuse connections.
        match fs::remove_file(self.folder.path().join("reader")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Kills fprintd and starts it again, with the fingers it knew.
    ///
    /// # Errors
    /// See [`FprintdError`].
    pub fn restart(&mut self) -> Result<(), FprintdError> {
        self.kill()?;
        self.launch()
    }

    /// Kills fprintd and starts it again without any reader.
    ///
    /// # Errors
    /// See [`FprintdError`].
    pub fn restart_without_reader(&mut self) -> Result<(), FprintdError> {
        self.kill()?;
        self.launch_with(&[])
    }

    fn launch(&mut self) -> Result<(), FprintdError> {
        let reader = self.folder.path().join("reader");
        self.launch_with(&[("FP_VIRTUAL_DEVICE", reader)])
    }

    fn launch_with(&mut self, reader: &[(&str, PathBuf)]) -> Result<(), FprintdError> {
        let log = fs::File::create(self.folder.path().join("log"))?;
        let process = Command::new(PROGRAM)
            .arg("--no-timeout")
            .env("DBUS_SYSTEM_BUS_ADDRESS", &self.address)
            .env("STATE_DIRECTORY", self.folder.path().join("prints"))
            .env("FP_DRIVERS_WHITELIST", "virtual_device")
            .envs(reader.iter().map(|(name, path)| (name, path)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|source| FprintdError::Program { program: "fprintd", source })?;
        self.process = Some(process);
        self.wait_for(SERVICE)
    }

    fn wait_for(&self, name: &str) -> Result<(), FprintdError> {
        let patience = PATIENCE.as_secs().to_string();
        self.run("gdbus", &["wait", "--system", "--timeout", &patience, name]).map(drop)
    }

    fn run(&self, program: &'static str, arguments: &[&str]) -> Result<Output, FprintdError> {
        let output = self.program(program, arguments).output();
        let output = output.map_err(|source| FprintdError::Program { program, source })?;
        succeeded(program, output)
    }

    fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env("DBUS_SYSTEM_BUS_ADDRESS", &self.address).stdin(Stdio::null());
        command
    }

    /// A folder that lives as long as this.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn succeeded(program: &'static str, output: Output) -> Result<Output, FprintdError> {
    if output.status.success() {
        return Ok(output);
    }
    let log = [output.stdout, output.stderr].concat();
    Err(FprintdError::Failed { program, log: String::from_utf8_lossy(&log).into_owned() })
}

impl Drop for Fprintd {
    fn drop(&mut self) {
        let _ = self.kill();
        if let Polkit::StandIn(mock) = &mut self.polkit {
            let _ = mock.kill();
            let _ = mock.wait();
        }
    }
}
