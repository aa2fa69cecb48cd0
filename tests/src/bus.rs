//! A private message bus: its own `dbus-daemon`, configuration and socket; killed when dropped.
//!
//! Needs `dbus-daemon` on the path (Debian: `dbus-daemon`).

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Why the bus did not start.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The program is missing.
    #[error("cannot run dbus-daemon: is the package dbus-daemon installed?")]
    Program(#[source] io::Error),
    /// Its files cannot be written.
    #[error("the files of the bus cannot be written")]
    Files(#[from] io::Error),
    /// It ended instead of serving.
    #[error("dbus-daemon does not serve:\n{log}")]
    Start {
        /// What it printed.
        log: String,
    },
}

/// A running private bus.
#[derive(Debug)]
pub struct PrivateBus {
    process: Child,
    address: String,
    folder: TempDir,
}

/// Whoever can reach the socket may do everything.
const OPEN_POLICY: &str = r#"<policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="false"/>
    <allow receive_sender="*" eavesdrop="false"/>
  </policy>"#;

/// As the system bus: nobody owns a name or calls a method unless a policy says so.
const SYSTEM_POLICY: &str = r#"<policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>"#;

impl PrivateBus {
    /// Starts a bus on which everybody may do everything.
    ///
    /// # Errors
    /// See [`BusError`].
    pub fn start() -> Result<Self, BusError> {
        Self::start_with(OPEN_POLICY, &[], None)
    }

    /// As [`Self::start`]; the bus starts the programs that the service files in this folder name.
    ///
    /// # Errors
    /// See [`BusError`].
    pub fn start_with_services(services: &Path) -> Result<Self, BusError> {
        Self::start_with(OPEN_POLICY, &[], Some(services))
    }

    /// Starts a bus with the system bus's default policy and these policy files.
    ///
    /// # Errors
    /// See [`BusError`].
    pub fn start_as_system(policies: &[PathBuf]) -> Result<Self, BusError> {
        Self::start_with(SYSTEM_POLICY, policies, None)
    }

    fn start_with(
        policy: &str,
        policies: &[PathBuf],
        services: Option<&Path>,
    ) -> Result<Self, BusError> {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("bus");
        let includes: String =
            policies.iter().map(|path| format!("<include>{}</include>", path.display())).collect();
        // Of this type it tells the programs that it starts where it is.
        let session = "<type>session</type>";
        let services =
            services.map(|path| format!("{session}<servicedir>{}</servicedir>", path.display()));
        let services = services.unwrap_or_default();
        let configuration = format!(
            r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={}</listen>
  <auth>EXTERNAL</auth>
  {policy}
  {services}
  {includes}
</busconfig>"#,
            socket.display()
        );
        let file = folder.path().join("bus.conf");
        fs::write(&file, configuration)?;
        // Not a pipe: nobody empties it while the bus runs, and a full one would stop the bus.
        let log = folder.path().join("log");
        let mut process = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", file.display()))
            .args(["--nofork", "--nopidfile", "--nosyslog", "--print-address=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .map_err(BusError::Program)?;
        // The address is printed when the socket takes connections.
        let mut address = String::new();
        if let Some(stdout) = process.stdout.take() {
            BufReader::new(stdout).read_line(&mut address)?;
        }
        let bus = Self { process, address: address.trim().to_owned(), folder };
        if bus.address.is_empty() {
            // It has ended, or is about to.
            return Err(BusError::Start { log: fs::read_to_string(log)? });
        }
        Ok(bus)
    }

    /// The address for clients.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Lets programs of other users connect, too.
    ///
    /// # Errors
    /// When the rights cannot be changed.
    pub fn open_to_all(&self) -> io::Result<()> {
        fs::set_permissions(self.folder(), Permissions::from_mode(0o755))?;
        fs::set_permissions(self.folder().join("bus"), Permissions::from_mode(0o777))
    }

    /// Kills it with SIGKILL; everybody on it is disconnected.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// A folder that lives as long as the bus.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        self.kill();
    }
}
