//! Real gateways with the configurations of `docs/gateways`, on loopback ports, killed when dropped.

pub mod profile;

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use profile::{Product, Profile};

use crate::reserved::Reserved;

/// Far above what a start takes (a second) on a busy machine.
const START: Duration = Duration::from_secs(60);
/// Between two looks whether it listens.
const LOOK: Duration = Duration::from_millis(10);

/// Why a gateway is not running.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Neither wheel nor package is installed.
    #[error("{} is not installed: run `make setup`", .0.display())]
    NotInstalled(PathBuf),
    /// The program, its files or its ports could not be used.
    #[error("the gateway could not be started")]
    Io(#[from] io::Error),
    /// It ended, or did not listen.
    #[error("the gateway did not get ready; it said:\n{log}")]
    NotReady {
        /// What it printed.
        log: String,
    },
    /// A word of a template was left open.
    #[error("the template has a placeholder that nothing fills: {0}")]
    Placeholder(String),
}

/// What the words of the templates stand for.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
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
    /// The authority's URL.
    pub issuer: String,
    /// Audience of its tokens.
    pub audience: String,
    /// Its public token key (PEM), for gateways that check signatures with a file.
    pub token_key: PathBuf,
}

impl GatewaySettings {
    /// A file of a profile, with every word filled in.
    ///
    /// # Errors
    /// [`GatewayError::Placeholder`] when it has a word that these settings lack.
    fn render(
        &self,
        text: &str,
        listen: SocketAddr,
        folder: &Path,
    ) -> Result<String, GatewayError> {
        let path = |path: &Path| path.display().to_string();
        let inside = |name: &str| path(&folder.join(name));
        let words = [
            ("admin_port", "0".to_owned()),
            ("workers", "1".to_owned()),
            ("run", path(folder)),
            ("dynamic", inside("dynamic.yaml")),
            ("lua", inside("signet.lua")),
            ("listen_address", listen.ip().to_string()),
            ("listen_port", listen.port().to_string()),
            ("listen_certificate", path(&self.listen_certificate)),
            ("listen_key", path(&self.listen_key)),
            ("listen_bundle", inside("listen.bundle")),
            ("device_ca", path(&self.device_ca)),
            ("trust_domain", self.trust_domain.clone()),
            ("authority_name", self.authority_name.clone()),
            ("authority_address", self.authority.ip().to_string()),
            ("authority_port", self.authority.port().to_string()),
            ("authority_ca", path(&self.authority_ca)),
            ("gateway_certificate", path(&self.gateway_certificate)),
            ("gateway_key", path(&self.gateway_key)),
            ("gateway_bundle", inside("gateway.bundle")),
            ("upstream_address", self.upstream.ip().to_string()),
            ("upstream_port", self.upstream.port().to_string()),
            ("issuer", self.issuer.clone()),
            ("audience", self.audience.clone()),
            ("token_key", path(&self.token_key)),
            ("token_key_other", path(&self.token_key_other())),
        ];
        let filled = words.iter().fold(text.to_owned(), |text, (word, value)| {
            text.replace(&format!("{{{{{word}}}}}"), value)
        });
        match filled.split_once("{{") {
            None => Ok(filled),
            Some((_, rest)) => {
                let word = rest.split("}}").next().unwrap_or_default();
                Err(GatewayError::Placeholder(word.to_owned()))
            }
        }
    }

    /// Beside it, as `signet-authority keys public` writes them.
    fn token_key_other(&self) -> PathBuf {
        self.token_key.with_file_name("token-key-other.pem")
    }

    /// Certificate and key in one file, for HAProxy.
    fn bundle(&self, folder: &Path) -> io::Result<()> {
        let bundles = [
            ("listen.bundle", &self.listen_certificate, &self.listen_key),
            ("gateway.bundle", &self.gateway_certificate, &self.gateway_key),
        ];
        for (name, certificate, key) in bundles {
            let both = [fs::read(certificate)?, fs::read(key)?].concat();
            fs::write(folder.join(name), both)?;
        }
        Ok(())
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    readers: Vec<JoinHandle<()>>,
    log: Arc<Mutex<String>>,
    listen: Reserved,
    folder: TempDir,
}

impl Gateway {
    /// Starts the product of `profile` and waits until it takes connections.
    ///
    /// # Errors
    /// See [`GatewayError`].
    pub fn start(profile: &Profile, settings: &GatewaySettings) -> Result<Self, GatewayError> {
        let folder = tempfile::tempdir()?;
        let listen = Reserved::take()?;
        for (name, text) in profile.files {
            let text = settings.render(text, listen.address(), folder.path())?;
            fs::write(folder.path().join(name), text)?;
        }
        settings.bundle(folder.path())?;
        let main = profile.files.first().map_or("", |(name, _)| name);
        let mut child = command(profile.product, folder.path(), &folder.path().join(main))?
            .env("HOME", folder.path())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = Arc::new(Mutex::new(String::new()));
        let readers = [
            child.stdout.take().map(|out| read_log(out, &log)),
            child.stderr.take().map(|out| read_log(out, &log)),
        ];
        let readers = readers.into_iter().flatten().collect();
        // From here on the child is killed when this value is dropped.
        let mut gateway = Self { child, readers, log, listen, folder };
        gateway.wait()?;
        Ok(gateway)
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listen.address()
    }

    /// Where Envoy's administration interface listens (loopback only).
    ///
    /// # Errors
    /// When it does not say, or the gateway is another product.
    pub fn admin(&self) -> io::Result<SocketAddr> {
        let text = fs::read_to_string(self.folder.path().join("admin"))?;
        text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// The process; HAProxy's master, which reads its files anew at SIGUSR2.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn wait(&mut self) -> Result<(), GatewayError> {
        let deadline = Instant::now() + START;
        while TcpStream::connect(self.address()).is_err() {
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                self.end();
                return Err(GatewayError::NotReady { log: self.log() });
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.end();
    }
}

/// In the foreground, so that a kill ends all of it.
fn command(product: Product, folder: &Path, main: &Path) -> Result<Command, GatewayError> {
    let mut command = Command::new(program(product)?);
    match product {
        Product::Envoy => {
            command.arg("--config-path").arg(main);
            command.arg("--admin-address-path").arg(folder.join("admin"));
            command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "info"]);
            command.args(["--file-flush-interval-msec", "50"]);
        }
        Product::Nginx => {
            // Without a master: a killed one would leave its workers behind.
            command.arg("-p").arg(folder).arg("-c").arg(main);
            command.args(["-g", "daemon off; master_process off;"]);
        }
        Product::Caddy => {
            command.args(["run", "--adapter", "caddyfile", "--config"]).arg(main);
        }
        Product::Traefik => {
            command.arg(format!("--configFile={}", main.display()));
        }
        Product::Haproxy => {
            // With a master, as the distribution's service runs it; workers end when it is killed.
            command.args(["-W", "-db", "-f"]).arg(main);
        }
    }
    Ok(command)
}

/// The program itself: a wheel's script would start it as its own child, which then outlives a kill.
fn program(product: Product) -> Result<PathBuf, GatewayError> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv");
    let program = match product {
        Product::Envoy => {
            let inside = |entry: fs::DirEntry| {
                let program = entry.path().join("site-packages/envoy/_bin/envoy");
                program.is_file().then_some(program)
            };
            let lib = venv.join("lib");
            let found = fs::read_dir(&lib).ok();
            let found = found.and_then(|all| all.flatten().find_map(inside));
            found.unwrap_or_else(|| lib.join("envoy"))
        }
        Product::Caddy => venv.join("bin/caddy"),
        Product::Traefik => venv.join("bin/traefik"),
        Product::Nginx => PathBuf::from("/usr/sbin/nginx"),
        Product::Haproxy => PathBuf::from("/usr/sbin/haproxy"),
    };
    if program.is_file() { Ok(program) } else { Err(GatewayError::NotInstalled(program)) }
}

/// Keeps what it prints, so that its pipe never fills. Ends with it.
fn read_log(out: impl Read + Send + 'static, log: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let log = log.clone();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push_str(&line);
            log.push('\n');
        }
    })
}
