//! The real polkitd on a private bus, with rules and actions of the test. Killed when dropped.
//!
//! Needs `polkitd`, `libglib2.0-bin`, and root: polkitd changes to a user of its own, and sees other
//! folders of rules and actions than the rest of the machine.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::bus::PrivateBus;

const PROGRAM: &str = "/usr/lib/polkit-1/polkitd";
const NAME: &str = "org.freedesktop.PolicyKit1";
/// Seconds until it must be on the bus.
const PATIENCE: &str = "30";
/// A mount namespace with other folders for polkitd, and for nobody else.
const SCRIPT: &str = r#"set -e
mount --bind "$0/rules" /etc/polkit-1/rules.d
if [ -d "$0/actions" ]; then
  cp /usr/share/polkit-1/actions/*.policy "$0/actions"
  mount --bind "$0/actions" /usr/share/polkit-1/actions
fi
exec "$1" --no-debug"#;

/// Why polkitd does not run.
#[derive(Debug, thiserror::Error)]
pub enum PolkitdError {
    /// A program is missing or could not be run.
    #[error("cannot run {program}: are polkitd, util-linux and libglib2.0-bin installed?")]
    Program {
        /// Its name.
        program: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file failed.
    #[error("i/o with polkitd failed")]
    Io(#[from] io::Error),
    /// It does not come to the bus.
    #[error("polkitd does not serve:\n{log}")]
    Silent {
        /// What it printed.
        log: String,
    },
}

/// A running polkitd.
#[derive(Debug)]
pub struct Polkitd {
    process: Child,
    folder: TempDir,
}

impl Polkitd {
    /// Starts it with these rules (JavaScript) in the place of the machine's own, and with one policy
    /// file besides the machine's.
    ///
    /// # Errors
    /// See [`PolkitdError`].
    pub fn start(
        bus: &PrivateBus,
        rules: &str,
        policy: Option<&str>,
    ) -> Result<Self, PolkitdError> {
        let folder = tempfile::Builder::new().prefix("signet-polkit-").tempdir()?;
        // It reads and connects as its own user.
        open_to_all(folder.path())?;
        bus.open_to_all()?;
        fs::create_dir(folder.path().join("rules"))?;
        open_to_all(&folder.path().join("rules"))?;
        fs::write(folder.path().join("rules/50-signet.rules"), rules)?;
        if let Some(policy) = policy {
            fs::create_dir(folder.path().join("actions"))?;
            open_to_all(&folder.path().join("actions"))?;
            fs::write(folder.path().join("actions/org.signet.test.policy"), policy)?;
        }
        let log = fs::File::create(folder.path().join("log"))?;
        let process = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT])
            .arg(folder.path())
            .arg(PROGRAM)
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|source| PolkitdError::Program { program: "unshare", source })?;
        let polkitd = Self { process, folder };
        let waited = Command::new("gdbus")
            .args(["wait", "--system", "--timeout", PATIENCE, NAME])
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
            .stdin(Stdio::null())
            .output()
            .map_err(|source| PolkitdError::Program { program: "gdbus", source })?;
        match waited.status.success() {
            true => Ok(polkitd),
            false => Err(PolkitdError::Silent {
                log: fs::read_to_string(polkitd.folder.path().join("log")).unwrap_or_default(),
            }),
        }
    }

    /// Lets it hang: it keeps its name and answers nothing.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn hang(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn go_on(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.ok_or(io::ErrorKind::NotFound)?, signal)?)
    }
}

impl Drop for Polkitd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn open_to_all(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}
