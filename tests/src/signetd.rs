//! A running `signetd`: its own configuration and state, started when ready, killed when dropped.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::kept;

/// Why `signetd` did not start.
#[derive(Debug, thiserror::Error)]
pub enum SignetdError {
    /// The program is not where it should be.
    #[error("{0} is missing: run `cargo build -p signet-daemon`")]
    NotBuilt(PathBuf),
    /// A file, socket or process failed.
    #[error("i/o with signetd failed")]
    Io(#[from] io::Error),
    /// It ended before it was ready.
    #[error("signetd ended before it was ready:\n{log}")]
    DiedAtStart {
        /// What it printed.
        log: String,
    },
}

/// How to start it.
#[derive(Debug, Clone)]
pub struct SignetdOptions {
    /// Bus address.
    pub bus: String,
    /// TPM transport.
    pub tcti: String,
    /// Paths of security keys; those that do not exist count as unplugged.
    pub authenticators: Vec<PathBuf>,
    /// More lines for the configuration; tables last. Callers may do everything unless they say
    /// `danger_skip_polkit = false`.
    pub extra: String,
}

/// A running `signetd`.
#[derive(Debug)]
pub struct Signetd {
    program: PathBuf,
    folder: TempDir,
    process: Option<Child>,
    file_size_limit: Option<u64>,
    /// The user who runs it, where it is not who runs the tests.
    user: Option<u32>,
    /// Where keys are handed in: its standard input, as systemd gives it.
    key_socket: Option<OwnedFd>,
}

impl Signetd {
    /// Writes the configuration, starts `program` and waits until its name is on the bus.
    ///
    /// # Errors
    /// See [`SignetdError`].
    pub fn start(program: &Path, options: &SignetdOptions) -> Result<Self, SignetdError> {
        if !program.is_file() {
            return Err(SignetdError::NotBuilt(program.to_owned()));
        }
        let mut signetd = Self::prepare(program.to_owned(), options)?;
        signetd.launch()?;
        Ok(signetd)
    }

    /// As [`Self::start`], as another user; only root can.
    ///
    /// # Errors
    /// See [`SignetdError`].
    pub fn start_as(
        user: u32,
        program: &Path,
        options: &SignetdOptions,
    ) -> Result<Self, SignetdError> {
        let mut signetd = Self::prepare(program.to_owned(), options)?;
        // That user may not be able to reach the folder that it was built in.
        let own = signetd.folder.path().join("signetd");
        fs::copy(program, &own)?;
        signetd.program = own;
        signetd.user = Some(user);
        chown(signetd.folder.path(), Some(user), None)?;
        signetd.launch()?;
        Ok(signetd)
    }

    /// As [`Self::start`], with keys from whoever hands them in on this listening socket, and not from
    /// the options.
    ///
    /// # Errors
    /// See [`SignetdError`].
    pub fn start_with_key_socket(
        program: &Path,
        options: &SignetdOptions,
        socket: OwnedFd,
    ) -> Result<Self, SignetdError> {
        let mut signetd = Self::prepare(program.to_owned(), options)?;
        signetd.key_socket = Some(socket);
        signetd.configure(options)?;
        signetd.launch()?;
        Ok(signetd)
    }

    fn prepare(program: PathBuf, options: &SignetdOptions) -> Result<Self, SignetdError> {
        let folder = tempfile::tempdir()?;
        let signetd = Self {
            program,
            folder,
            process: None,
            file_size_limit: None,
            user: None,
            key_socket: None,
        };
        signetd.configure(options)?;
        Ok(signetd)
    }

    /// Replaces the configuration; counts from the next [`Self::restart`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configure(&self, options: &SignetdOptions) -> io::Result<()> {
        let mut text = String::new();
        let keys: Vec<String> =
            options.authenticators.iter().map(|path| format!("{path:?}")).collect();
        let keys = match self.key_socket {
            Some(_) => "\"broker\"".to_owned(),
            None => format!("[{}]", keys.join(", ")),
        };
        let state = self.state_dir();
        if !options.extra.contains("danger_skip_polkit") {
            // There is none on most buses of tests.
            text.push_str("danger_skip_polkit = true\n");
        }
        let _ = write!(
            text,
            "bus = {:?}\ntcti = {:?}\nstate_dir = {state:?}\nauthenticators = {keys}\n{}\n",
            options.bus, options.tcti, options.extra
        );
        fs::write(self.config(), text)
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("signetd.toml")
    }

    /// The state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Process id; `None` when it does not run.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// What it has printed since it was started first.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// From the next start on, no file can grow beyond so many bytes: a full disk.
    pub fn limit_file_size(&mut self, bytes: Option<u64>) {
        self.file_size_limit = bytes;
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop(&mut self) -> io::Result<ExitStatus> {
        let mut process = self.process.take().ok_or(ErrorKind::NotConnected)?;
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.ok_or(ErrorKind::NotConnected)?, Signal::TERM)?;
        process.wait()
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it does not run.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.take().ok_or(ErrorKind::NotConnected)?.wait()
    }

    /// Kills it if it runs and starts it again with the same state.
    ///
    /// # Errors
    /// See [`SignetdError`].
    pub fn restart(&mut self) -> Result<(), SignetdError> {
        self.kill();
        self.launch()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn launch(&mut self) -> Result<(), SignetdError> {
        let socket = self.folder.path().join("notify");
        if let Err(error) = fs::remove_file(&socket)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(error.into());
        }
        // systemd's readiness protocol: a datagram READY=1.
        let ready = UnixDatagram::bind(&socket)?;
        ready.set_read_timeout(Some(Duration::from_millis(50)))?;
        chown(&socket, self.user, None)?;
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let mut command = match self.file_size_limit {
            None => match self.user {
                None => Command::new(&self.program),
                Some(user) => {
                    let mut command = Command::new("setpriv");
                    let user = user.to_string();
                    command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
                    command.arg(&self.program);
                    command
                }
            },
            Some(bytes) => {
                let mut shell = Command::new("sh");
                // SIGXFSZ is ignored so that the write fails, as on a full disk.
                let blocks = bytes.div_ceil(512);
                shell
                    .arg("-c")
                    .arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""));
                shell.arg(&self.program);
                shell
            }
        };
        command.arg("--config").arg(self.config()).env("NOTIFY_SOCKET", &socket);
        let stdin = match &self.key_socket {
            Some(socket) => socket.try_clone()?.into(),
            None => Stdio::null(),
        };
        command.stdin(stdin).stdout(Stdio::null());
        let mut process = if self.file_size_limit.is_some() {
            command.stderr(Stdio::null()).spawn()?
        } else {
            command.stderr(log).spawn()?
        };
        let mut message = [0; 256];
        loop {
            match ready.recv(&mut message) {
                Ok(length) if message[..length].split(|b| *b == b'\n').any(|l| l == b"READY=1") => {
                    self.process = Some(process);
                    return Ok(());
                }
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if process.try_wait()?.is_some() {
                        return Err(SignetdError::DiedAtStart { log: self.log() });
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Signetd {
    fn drop(&mut self) {
        self.kill();
        kept::errors(self.log());
    }
}
