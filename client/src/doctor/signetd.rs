//! The daemon.

use crate::daemon::DaemonError;
use crate::one_line::words;

use super::ground::{Ground, LookError};
use super::{Check, Finding};

pub(super) fn examine(ground: &Ground) -> Finding {
    let ours = env!("CARGO_PKG_VERSION");
    let finding = match &ground.version {
        Ok(version) if version == ours => {
            Finding::ok(Check::Signetd, format!("answers, version {version}"))
        }
        Ok(version) => Finding::warn(
            Check::Signetd,
            format!("is version {version}, and signet is {ours}"),
            "install both in one version, then `systemctl restart signetd`",
        ),
        Err(LookError::Skipped(what)) => {
            Finding::unknown(Check::Signetd, format!("{what} does not answer"))
        }
        Err(error @ LookError::Silent(_)) => Finding::fail(
            Check::Signetd,
            format!("hangs: {error}"),
            "`systemctl restart signetd`; if it hangs again, report `journalctl -u signetd`",
        ),
        Err(LookError::Daemon(DaemonError::NotRunning)) => Finding::fail(
            Check::Signetd,
            "is not running, and the bus cannot start it",
            "`systemctl start signetd`, and look into `journalctl -u signetd` if that fails",
        ),
        Err(error) => Finding::fail(
            Check::Signetd,
            format!("cannot be asked ({})", words(error)),
            "look into `journalctl -u signetd`, and install the bus policy org.signet.Presence1.conf",
        ),
    };
    finding.fact("version", ground.version.as_ref().ok().cloned()).fact("client_version", ours)
}
