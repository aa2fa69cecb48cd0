//! The program, a directory that its `init` made, and a process that serves from it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_signet-authority");

/// A directory that `init` made.
pub(crate) struct Made {
    pub(crate) folder: tempfile::TempDir,
    /// Variables for the program besides those of the test.
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// A serving process; it dies with the test.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) address: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Made {
    pub(crate) fn new() -> Self {
        let made = Self { folder: tempfile::tempdir().unwrap(), environment: Vec::new() };
        let output = made.init();
        assert!(output.status.success(), "{}", text(&output.stderr));
        made
    }

    pub(crate) fn init(&self) -> Output {
        let dir = self.dir();
        Command::new(PROGRAM)
            .args(["--json", "init", "--operator", "alice", "--listen", "127.0.0.1:0"])
            .args(["--gateway-listen", "127.0.0.1:0", "--issuer", "https://localhost", "--dir"])
            .arg(dir)
            .output()
            .unwrap()
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("authority")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).arg("--config").arg(self.dir().join("authority.toml"));
        command.env_remove("SIGNET_LOG").envs(self.environment.iter().cloned());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.command(arguments).arg("--json").output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Serves, and waits until it says so.
    pub(crate) fn serve(&self) -> Serving {
        let mut command = self.command(&["serve"]);
        command.env("SIGNET_LOG", "info").env("NO_COLOR", "1").stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let ready = log.lines().map(Result::unwrap).find(|line| line.contains("ready clients="));
        let ready = ready.unwrap();
        let (_, rest) = ready.split_once("clients=").unwrap();
        let address = rest.split(' ').next().unwrap().to_owned();
        Serving { child, address }
    }

    pub(crate) fn client(&self) -> reqwest::Client {
        let mut roots = rustls::RootCertStore::empty();
        let pem = self.dir().join("keys/server-ca.pem");
        for certificate in signet_authority::keys::read_certificates(&pem).unwrap() {
            roots.add(certificate).unwrap();
        }
        let provider = signet_authority::tls::provider();
        let tls = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap()
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
