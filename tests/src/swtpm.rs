//! A software TPM per test: manufactured with endorsement certificates, started on its own
//! loopback ports, killed when dropped.
//!
//! Needs `swtpm`, `swtpm_setup` and `swtpm_localca` on the path (Debian: `swtpm`, `swtpm-tools`);
//! [`Swtpm::tool`] needs `tpm2-tools`.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Why a software TPM could not be made or started.
#[derive(Debug, thiserror::Error)]
pub enum SwtpmError {
    /// A program is missing or could not be run.
    #[error("cannot run {program}: is the package swtpm-tools (or tpm2-tools) installed?")]
    Program {
        /// Its name.
        program: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of the TPM could not be read or written.
    #[error("the files of the software tpm cannot be used")]
    Files(#[from] io::Error),
    /// `swtpm_setup` failed.
    #[error("swtpm_setup failed:\n{log}")]
    Setup {
        /// What it printed.
        log: String,
    },
    /// `swtpm` ended instead of serving, or did not serve in time.
    #[error("swtpm does not serve:\n{log}")]
    Start {
        /// Its log.
        log: String,
    },
}

/// How the TPM leaves the factory.
#[derive(Clone, Debug)]
pub struct Manufacture {
    /// PCR banks to switch on, comma separated as `swtpm_setup` wants them.
    pub pcr_banks: &'static str,
    /// Whether endorsement and platform certificates are written into its memory.
    pub certificates: bool,
}

impl Default for Manufacture {
    fn default() -> Self {
        Self { pcr_banks: "sha256", certificates: true }
    }
}

/// The certificates of the maker, as files in PEM.
#[derive(Clone, Debug)]
pub struct CaCertificates {
    /// Self-signed root.
    pub root: PathBuf,
    /// Issuer of the endorsement certificates, signed by the root.
    pub intermediate: PathBuf,
}

impl CaCertificates {
    /// The root in DER.
    ///
    /// # Errors
    /// When the file is missing or is no PEM.
    pub fn root_der(&self) -> io::Result<Vec<u8>> {
        read_pem(&self.root)
    }

    /// The intermediate in DER.
    ///
    /// # Errors
    /// When the file is missing or is no PEM.
    pub fn intermediate_der(&self) -> io::Result<Vec<u8>> {
        read_pem(&self.intermediate)
    }
}

/// A running software TPM. Killed, and its files removed, when dropped.
#[derive(Debug)]
pub struct Swtpm {
    process: Option<Child>,
    port: u16,
    state: TempDir,
    factory: Arc<Factory>,
}

impl Swtpm {
    /// Makes a TPM with its own endorsement seed (about 1.5 s) and starts it.
    ///
    /// # Errors
    /// See [`SwtpmError`].
    pub fn manufacture() -> Result<Self, SwtpmError> {
        Self::manufacture_as(&Manufacture::default())
    }

    /// As [`manufacture`](Self::manufacture), with other choices.
    ///
    /// # Errors
    /// See [`SwtpmError`].
    pub fn manufacture_as(how: &Manufacture) -> Result<Self, SwtpmError> {
        let factory = Factory::shared()?;
        let state = factory.set_up(how)?;
        Self::start(state, factory)
    }

    /// Starts a copy of one TPM that is made once per process: quick, but all copies have the same
    /// endorsement key.
    ///
    /// # Errors
    /// See [`SwtpmError`].
    pub fn copy() -> Result<Self, SwtpmError> {
        let factory = Factory::shared()?;
        let state = factory.copy_of_template()?;
        Self::start(state, factory)
    }

    fn start(state: TempDir, factory: Arc<Factory>) -> Result<Self, SwtpmError> {
        let mut tpm = Self { process: None, port: 0, state, factory };
        let mut failure = None;
        // Another process may take the ports between our look and swtpm's bind.
        for _ in 0..8 {
            tpm.port = free_port_pair()?;
            match tpm.launch() {
                Ok(()) => return Ok(tpm),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or(SwtpmError::Start { log: String::new() }))
    }

    /// Starts the process on `self.port` and waits until it answers a command.
    fn launch(&mut self) -> Result<(), SwtpmError> {
        self.launch_with("startup-clear")
    }

    fn launch_with(&mut self, startup: &str) -> Result<(), SwtpmError> {
        let log = self.state.path().join("log");
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", &format!("not-need-init,{startup}")])
            .arg("--tpmstate")
            .arg(prefixed("dir=", self.state.path()))
            .arg("--server")
            // One command per connection, as libtss2 uses it. Without "disconnect" swtpm waits for
            // the client to close, and libtss2's sockets stay open in every child process that is
            // spawned meanwhile (they are not close-on-exec): it would wait for ever.
            .arg(format!("type=tcp,port={},bindaddr=127.0.0.1,disconnect", self.port))
            .arg("--ctrl")
            .arg(format!("type=tcp,port={},bindaddr=127.0.0.1", self.port + 1))
            .arg("--log")
            .arg(prefixed("level=1,file=", &log))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| SwtpmError::Program { program: "swtpm", source })?;
        let process = self.process.insert(process);
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if process.try_wait()?.is_some() {
                break;
            }
            // Seen alive after the answer, so it was not somebody else who answered.
            if answers(self.port).is_ok() && process.try_wait()?.is_none() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.kill()?;
        Err(SwtpmError::Start { log: fs::read_to_string(&log).unwrap_or_default() })
    }

    /// Kills the process as a power cut would: no shutdown command, no saved clock.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        process.kill()?;
        process.wait().map(drop)
    }

    /// Kills the TPM and starts it again with the same state and ports: a reboot without
    /// shutdown.
    ///
    /// # Errors
    /// See [`SwtpmError`].
    pub fn restart(&mut self) -> Result<(), SwtpmError> {
        self.kill()?;
        self.launch()
    }

    /// Sleeps and wakes up again, as a suspended or hibernated machine whose system saves the TPM's
    /// state: `TPM2_Shutdown(STATE)`, power off, `TPM2_Startup(STATE)`. Registers and reset count stay.
    ///
    /// # Errors
    /// See [`SwtpmError`].
    pub fn sleep_and_resume(&mut self) -> Result<(), SwtpmError> {
        self.run_tool("tpm2_shutdown", &[])?;
        self.kill()?;
        self.launch_with("startup-state")
    }

    /// Stops the process without ending it: it takes connections and answers none.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pause(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused process go on.
    ///
    /// # Errors
    /// When it is not running.
    pub fn resume(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self.process.as_ref().map(Pid::from_child);
        let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits until a command lies unread in the socket of a paused TPM.
    ///
    /// # Errors
    /// When none arrives within 30 s.
    pub fn wait_for_command(&self) -> io::Result<()> {
        let local = format!("0100007F:{:04X}", self.port);
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            let waiting = fs::read_to_string("/proc/net/tcp")?.lines().any(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let queue = fields.get(4).and_then(|queues| queues.split_once(':'));
                fields.get(1) == Some(&local.as_str())
                    && fields.get(3) == Some(&"01")
                    && queue.is_some_and(|(_, receive)| receive.bytes().any(|b| b != b'0'))
            });
            if waiting {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// The transport, as the daemon and tpm2-tools write it.
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// Where it takes commands; the control channel is the next port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Certificates of the maker.
    pub fn ca_certificates(&self) -> CaCertificates {
        self.factory.certificates()
    }

    /// The handles that are in use, by a raw `TPM2_GetCapability`: transient objects, loaded sessions,
    /// saved sessions.
    ///
    /// # Errors
    /// When the TPM does not answer.
    pub fn handles(&self) -> io::Result<[usize; 3]> {
        let mut counts = [0; 3];
        for (count, first) in counts.iter_mut().zip([0x80u8, 0x02, 0x03]) {
            let mut command = vec![0x80, 0x01, 0, 0, 0, 22, 0, 0, 0x01, 0x7a, 0, 0, 0, 1];
            command.extend([first, 0, 0, 0, 0, 0, 0, 64]);
            let answer = raw_command(self.port, &command)?;
            // moreData, capability, count, handles.
            *count = answer.len().checked_sub(9).ok_or(io::ErrorKind::InvalidData)? / 4;
        }
        Ok(counts)
    }

    /// A command of tpm2-tools on this TPM, in this TPM's own scratch folder (see
    /// [`scratch`](Self::scratch)). Only between commands of other clients: nothing keeps them
    /// apart.
    pub fn tool(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("TPM2TOOLS_TCTI", self.tcti())
            .env("TSS2_LOG", "all+none")
            .current_dir(self.state.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command of tpm2-tools that must succeed.
    ///
    /// # Errors
    /// With what the command printed, when it fails.
    pub fn run_tool(&self, program: &str, arguments: &[&str]) -> io::Result<Output> {
        let output = self.tool(program, arguments).output()?;
        match output.status.success() {
            true => Ok(output),
            false => Err(io::Error::other(printed(&output))),
        }
    }

    /// Folder that [`tool`](Self::tool) runs in; removed with the TPM.
    pub fn scratch(&self) -> &Path {
        self.state.path()
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = self.kill();
    }
}

/// The maker: a certificate authority in a folder of its own, and one TPM made in advance. Lives
/// as long as one of its TPMs.
#[derive(Debug)]
struct Factory {
    folder: TempDir,
    template: Mutex<Option<TempDir>>,
    /// `swtpm_localca` runs for one TPM at a time.
    certifying: Mutex<()>,
}

static FACTORY: Mutex<Weak<Factory>> = Mutex::new(Weak::new());

impl Factory {
    fn shared() -> Result<Arc<Self>, SwtpmError> {
        let mut shared = FACTORY.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(factory) = shared.upgrade() {
            return Ok(factory);
        }
        let factory = Arc::new(Self::build()?);
        *shared = Arc::downgrade(&factory);
        Ok(factory)
    }

    fn build() -> Result<Self, SwtpmError> {
        let folder = temporary_folder()?;
        let path = folder.path().display();
        let tool = find_program("swtpm_localca").ok_or_else(|| SwtpmError::Program {
            program: "swtpm_localca",
            source: io::ErrorKind::NotFound.into(),
        })?;
        fs::write(
            folder.path().join("localca.conf"),
            format!(
                "statedir = {path}\nsigningkey = {path}/signkey.pem\n\
                 issuercert = {path}/issuercert.pem\ncertserial = {path}/certserial\n"
            ),
        )?;
        fs::write(
            folder.path().join("localca.options"),
            "--platform-manufacturer Signet\n--platform-version 1\n--platform-model Test\n",
        )?;
        fs::write(
            folder.path().join("setup.conf"),
            format!(
                "create_certs_tool = {}\ncreate_certs_tool_config = {path}/localca.conf\n\
                 create_certs_tool_options = {path}/localca.options\n",
                tool.display()
            ),
        )?;
        Ok(Self { folder, template: Mutex::new(None), certifying: Mutex::new(()) })
    }

    fn certificates(&self) -> CaCertificates {
        CaCertificates {
            root: self.folder.path().join("swtpm-localca-rootca-cert.pem"),
            intermediate: self.folder.path().join("issuercert.pem"),
        }
    }

    fn set_up(&self, how: &Manufacture) -> Result<TempDir, SwtpmError> {
        let state = temporary_folder()?;
        let _one_at_a_time = self.certifying.lock().unwrap_or_else(PoisonError::into_inner);
        let mut command = Command::new("swtpm_setup");
        command
            .args(["--tpm2", "--createek", "--lock-nvram", "--not-overwrite"])
            .args(["--pcr-banks", how.pcr_banks, "--vmid", "signet-test"])
            .arg("--config")
            .arg(self.folder.path().join("setup.conf"))
            .arg("--tpm-state")
            .arg(state.path())
            .stdin(Stdio::null());
        if how.certificates {
            command.args(["--create-ek-cert", "--create-platform-cert"]);
        }
        let output = command
            .output()
            .map_err(|source| SwtpmError::Program { program: "swtpm_setup", source })?;
        match output.status.success() {
            true => Ok(state),
            false => Err(SwtpmError::Setup { log: printed(&output) }),
        }
    }

    fn copy_of_template(&self) -> Result<TempDir, SwtpmError> {
        let mut template = self.template.lock().unwrap_or_else(PoisonError::into_inner);
        let source = match template.take() {
            Some(state) => template.insert(state),
            None => template.insert(self.set_up(&Manufacture::default())?),
        };
        let state = temporary_folder()?;
        for entry in fs::read_dir(source.path())? {
            let entry = entry?;
            if entry.file_type()?.is_file() && entry.file_name() != ".lock" {
                fs::copy(entry.path(), state.path().join(entry.file_name()))?;
            }
        }
        Ok(state)
    }
}

fn temporary_folder() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("signet-swtpm-").tempdir()
}

/// Two ports in a row that nobody listens on: libtss2 expects the control channel right after the
/// server port. Taken from below the range that the system gives to outgoing connections.
pub(crate) fn free_port_pair() -> io::Result<u16> {
    static OFFSET: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const PAIRS: u16 = 6_000;
    // Test processes that run side by side start at different places.
    let start = u16::try_from(std::process::id() % u32::from(PAIRS)).unwrap_or(0);
    for _ in 0..PAIRS {
        let offset = OFFSET.fetch_add(1, Ordering::Relaxed) % PAIRS;
        let port = FIRST + 2 * ((start + offset) % PAIRS);
        let both = [port, port + 1].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
        if both.iter().all(Result::is_ok) {
            return Ok(port);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// Asks for eight random bytes.
fn answers(port: u16) -> io::Result<()> {
    const GET_RANDOM: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 8];
    raw_command(port, &GET_RANDOM).map(drop)
}

/// Sends one command; the parameters of a good answer.
fn raw_command(port: u16, command: &[u8]) -> io::Result<Vec<u8>> {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(command)?;
    let mut header = [0; 10];
    stream.read_exact(&mut header)?;
    if !header.ends_with(&[0, 0, 0, 0]) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut parameters = Vec::new();
    stream.read_to_end(&mut parameters)?;
    Ok(parameters)
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn read_pem(path: &Path) -> io::Result<Vec<u8>> {
    let text = fs::read_to_string(path)?;
    let body: String = text
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN CERTIFICATE"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    match STANDARD.decode(body) {
        Ok(der) if !der.is_empty() => Ok(der),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn prefixed(prefix: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(prefix);
    argument.push(path);
    argument
}

fn printed(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text
}
