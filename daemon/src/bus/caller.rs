//! Who calls, as the system knows them.

use std::time::Duration;

use nix::unistd::{Uid, User};
use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::message::Header;
use zbus::names::{BusName, OwnedUniqueName, UniqueName};

use crate::ceremony::CallerId;
use crate::failure::{Bug, Failure};
use crate::logind::{LoginSession, unit_of};

/// How long the facts for display are waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// Longest name of a program in the kernel's words (`TASK_COMM_LEN`), and the line's end.
const MAX_PROGRAM: usize = 16;

/// The program that makes a call. Only the bus's own words about the connection, `id` and `uid`, are
/// for decisions; everything else is for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The connection's unique bus name.
    pub id: CallerId,
    /// The Unix user, as the bus learnt it when the connection was made.
    pub uid: u32,
    /// The process that made the connection; another one may have the number by now.
    pub pid: Option<u32>,
    /// Its login session, where logind knows one.
    pub session: Option<LoginSession>,
    /// Its systemd unit.
    pub unit: Option<String>,
    /// What the kernel calls the program; any program can change it.
    pub program: Option<String>,
}

impl Caller {
    /// Asks the bus whose connection sent this.
    ///
    /// # Errors
    /// [`Failure::NotAllowed`] when the connection is gone.
    pub async fn identify(connection: &Connection, header: &Header<'_>) -> Result<Self, Failure> {
        let sender = header.sender().ok_or(Failure::NotAllowed)?;
        let asked = async {
            let bus = DBusProxy::new(connection).await?;
            let credentials = bus.get_connection_credentials(BusName::from(sender.to_owned()));
            credentials.await.map_err(zbus::Error::from)
        };
        let credentials = asked.await.map_err(|_| Failure::NotAllowed)?;
        Ok(Self {
            id: CallerId::new(sender.as_str()),
            uid: credentials.unix_user_id().ok_or(Failure::NotAllowed)?,
            pid: credentials.process_id(),
            session: None,
            unit: None,
            program: None,
        })
    }

    /// Adds what a person is shown of the caller, as far as it can be found out.
    pub async fn describe(&mut self, connection: &Connection) {
        let Some(pid) = self.pid else { return };
        let session = tokio::time::timeout(PATIENCE, LoginSession::of(connection, self.uid, pid));
        let unit = tokio::time::timeout(PATIENCE, unit_of(connection, pid));
        let (session, unit) = tokio::join!(session, unit);
        self.session = session.ok().flatten();
        self.unit = unit.ok().flatten();
        self.program = program(pid);
    }

    /// What is counted together when the TPM serves callers in turn: all of one Unix user.
    pub fn account(&self) -> String {
        format!("uid {}", self.uid)
    }

    /// Name of the Unix user.
    ///
    /// # Errors
    /// [`Failure::NotAllowed`] when the user has none.
    pub async fn user_name(&self) -> Result<String, Failure> {
        let uid = Uid::from_raw(self.uid);
        // The name service may ask a server.
        let user = tokio::task::spawn_blocking(move || User::from_uid(uid)).await;
        let user = user.map_err(|_| Failure::Internal(Bug::TaskLost))?;
        user.ok().flatten().map(|user| user.name).ok_or(Failure::NotAllowed)
    }

    /// The connection's unique bus name, for sending to it.
    ///
    /// # Errors
    /// Never for a name that the bus gave.
    pub fn bus_name(&self) -> Result<OwnedUniqueName, Failure> {
        let name = UniqueName::try_from(self.id.as_str().to_owned());
        name.map(Into::into).map_err(|_| Failure::Internal(Bug::Bus))
    }
}

/// Where the kernel hides other users' processes from us, there is none.
fn program(pid: u32) -> Option<String> {
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    let name = name.strip_suffix(b"\n").unwrap_or(&name);
    let name = String::from_utf8_lossy(&name[..name.len().min(MAX_PROGRAM)]).into_owned();
    Some(name.replace(char::is_control, "?")).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_the_kernels_name_for_it() {
        let name = program(std::process::id()).unwrap();
        assert!((1..=MAX_PROGRAM).contains(&name.len()), "{name}");
        assert_eq!(program(u32::MAX), None);
    }
}
