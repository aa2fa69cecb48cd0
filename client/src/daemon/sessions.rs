//! Sessions as `signetd` sees them, and their end at this machine.

use signet_evidence::SessionId;

use super::Daemon;
use super::dictionary::Dictionary;
use super::error::DaemonError;
use super::proxy::Arguments;

/// A session of this Unix user at this machine, or, without `renewals`, how it stands without any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// `active`, `paused` or `ended`.
    pub state: String,
    /// Why it is paused or ended: `screen-locked`, `suspended`, `key-removed` or `asked`.
    pub cause: Option<String>,
    /// The authority's id, once it was renewed.
    pub session: Option<String>,
    /// When the user was present, seconds since 1970.
    pub since: Option<u64>,
    /// How.
    pub method: Option<String>,
    /// Renewals.
    pub renewals: Option<u32>,
    /// The last of them, seconds since 1970.
    pub renewed: Option<u64>,
}

impl Standing {
    fn read(mut entry: Dictionary) -> Result<Self, DaemonError> {
        let session: Option<Vec<u8>> = entry.optional("session")?;
        let session = session.and_then(|id| id.try_into().ok());
        Ok(Self {
            state: entry.take("state")?,
            cause: entry.optional("cause")?,
            session: session.map(|id| SessionId(id).to_string()),
            since: entry.optional("since")?,
            method: entry.optional("method")?,
            renewals: entry.optional("renewals")?,
            renewed: entry.optional("renewed")?,
        })
    }

    /// What a person should know: that renewals wait, and for what. `None` while they do not.
    #[must_use]
    pub fn notice(&self) -> Option<&'static str> {
        match (self.state.as_str(), self.cause.as_deref()) {
            ("active", _) => None,
            ("paused", Some("screen-locked")) => {
                Some("renewals wait until your screen is unlocked")
            }
            ("paused", Some("suspended")) => Some("renewals wait until the machine is awake"),
            ("paused", Some("key-removed")) => {
                Some("renewals wait until your security key is plugged in")
            }
            ("ended", Some("screen-locked")) => {
                Some("ended when the screen was locked: run `signet login`")
            }
            ("ended", Some("suspended")) => {
                Some("ended when the machine went to sleep: run `signet login`")
            }
            ("ended", Some("key-removed")) => {
                Some("ended when the security key was unplugged: run `signet login`")
            }
            ("ended", _) => Some("ended at this machine: run `signet login`"),
            _ => Some("renewals wait"),
        }
    }
}

impl Daemon {
    /// This Unix user's sessions, oldest first.
    ///
    /// # Errors
    /// When `signetd` cannot be reached.
    pub async fn sessions(&self) -> Result<Vec<Standing>, DaemonError> {
        let listed = self.proxy.list_sessions(&Arguments::new()).await?;
        listed.into_iter().map(|entry| Standing::read(Dictionary::new(entry))).collect()
    }

    /// Ends this Unix user's sessions at this machine: nothing is renewed before the next login.
    ///
    /// # Errors
    /// When `signetd` cannot be reached.
    pub async fn end_sessions(&self) -> Result<(), DaemonError> {
        Ok(self.proxy.end_sessions(&Arguments::new()).await?)
    }
}
