//! Optional settings: `/etc/signet/client.toml`, then `~/.config/signet/client.toml` over it.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::daemon::Bus;

/// Settings for the whole machine.
pub const SYSTEM_FILE: &str = "/etc/signet/client.toml";
/// The person's settings, below the configuration directory.
pub const USER_FILE: &str = "signet/client.toml";

/// What a settings file may say. After enrolment `signetd` knows the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// D-Bus address of `signetd`'s bus; the system bus when absent.
    pub bus: Option<String>,
    /// The authority's URL, for enrolment.
    pub authority: Option<String>,
    /// The authority's CA file, for enrolment.
    pub authority_ca: Option<PathBuf>,
    /// Program that asks for PINs, for `signet agent`; `pinentry` when absent.
    pub pinentry: Option<PathBuf>,
    /// Socket of another workstation, forwarded to this host, that `signet request` goes through.
    pub socket: Option<PathBuf>,
    /// CA file of gateways, for `signet request` and `signet proxy`; the authority's CA when absent.
    pub gateway_ca: Option<PathBuf>,
    /// Gateways that `signet proxy` reaches, `https://host[:port]`, where its command line names none.
    pub proxy_to: Option<Vec<String>>,
    /// Whether `signet proxy` shows them certificates of the operator, and not the machine's.
    pub proxy_as_operator: Option<bool>,
}

/// Why settings cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// There, but not readable.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not what a settings file may say.
    #[error("{path} is not a valid settings file: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<toml::de::Error>,
    },
}

impl Settings {
    /// Reads the files that are there; later ones win, member by member.
    ///
    /// # Errors
    /// See [`SettingsError`]; a missing file is none.
    pub fn read(files: &[PathBuf]) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        for path in files {
            let later = Self::read_one(path)?;
            settings = Self {
                bus: later.bus.or(settings.bus),
                authority: later.authority.or(settings.authority),
                authority_ca: later.authority_ca.or(settings.authority_ca),
                gateway_ca: later.gateway_ca.or(settings.gateway_ca),
                socket: later.socket.or(settings.socket),
                pinentry: later.pinentry.or(settings.pinentry),
                proxy_to: later.proxy_to.or(settings.proxy_to),
                proxy_as_operator: later.proxy_as_operator.or(settings.proxy_as_operator),
            };
        }
        Ok(settings)
    }

    fn read_one(path: &Path) -> Result<Self, SettingsError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(SettingsError::Read { path: path.to_owned(), source }),
        };
        toml::from_str(&text).map_err(|error| SettingsError::Parse {
            path: path.to_owned(),
            source: Box::new(error),
        })
    }

    /// The bus of these settings.
    #[must_use]
    pub fn bus(&self) -> Bus {
        self.bus.clone().map_or(Bus::System, Bus::Address)
    }
}

/// The files of this person, in the order in which they are read. `config` is `XDG_CONFIG_HOME`,
/// `home` is `HOME`.
#[must_use]
pub fn files(config: Option<PathBuf>, home: Option<PathBuf>) -> Vec<PathBuf> {
    let config = config.filter(|path| path.is_absolute());
    let user = config.or_else(|| home.map(|home| home.join(".config")));
    std::iter::once(PathBuf::from(SYSTEM_FILE))
        .chain(user.map(|directory| directory.join(USER_FILE)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_files_win_member_by_member() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let first = file("1", "bus = \"unix:path=/a\"\nauthority = \"https://a.example\"\n");
        let second = file("2", "bus = \"unix:path=/b\"\n");
        let settings = Settings::read(&[first, directory.path().join("none"), second]).unwrap();
        assert_eq!(settings.bus(), Bus::Address("unix:path=/b".into()));
        assert_eq!(settings.authority.as_deref(), Some("https://a.example"));
        let unknown = Settings::read(&[file("3", "pin = \"1234\"\n")]);
        assert!(matches!(unknown, Err(SettingsError::Parse { .. })));
    }

    #[test]
    fn where_settings_are() {
        let home = || Some(PathBuf::from("/home/a"));
        let user = |found: Vec<PathBuf>| found.into_iter().nth(1);
        assert_eq!(user(files(None, home())), Some("/home/a/.config/signet/client.toml".into()));
        assert_eq!(user(files(Some("/x".into()), home())), Some("/x/signet/client.toml".into()));
        assert_eq!(user(files(Some("x".into()), None)), None);
    }
}
