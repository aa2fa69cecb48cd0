//! The authority's settings: one TOML file, checked whole before anything listens.
//!
//! A setting that is unknown, out of range or contradicts another stops the start; the message
//! names file and line and what to write instead.

mod limits;
mod settings;
mod template;
mod values;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use limits::Limits;
pub use settings::{
    AuditSettings, AuthenticatorModel, BootMode, CredProtectKind, GatewaySettings, Lifetimes,
    LogSettings, MetadataSettings, PeerCertificateSource, PolicySettings, Recovery, Registration,
    RequestForm, StalePolicy, TelemetrySettings, TpmSettings, UserVerificationKind,
};
pub use template::render as render_template;
pub use values::{
    AaguidText, CollectorUrl, DatabaseText, HttpsUrl, MetadataUrl, Rate, RpId, Span, SpiffeText,
    Timeout, TrustDomain, ValueError, is_name,
};

use settings::Settings;

use crate::store::Location;

/// Checked settings; relative paths are resolved against the file's own directory.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the settings came from.
    pub file: PathBuf,
    /// The settings as written.
    pub settings: Settings,
}

/// Settings that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}; make one with `signet-authority init`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line that is not understood or not allowed.
    #[error("{}:{line}: {message}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong and what to write instead.
        message: String,
    },
    /// Two settings contradict each other.
    #[error("{}:{line}: {conflict}", path.display())]
    Conflict {
        /// The file.
        path: PathBuf,
        /// Line of the setting to change, from 1.
        line: usize,
        /// What is wrong.
        conflict: Conflict,
    },
    /// A file or directory that a setting names is not there.
    #[error("{}:{line}: {} does not exist; create it or change this setting", path.display(), missing.display())]
    Missing {
        /// The settings file.
        path: PathBuf,
        /// Line of the setting.
        line: usize,
        /// What is not there.
        missing: PathBuf,
    },
}

/// Settings that contradict each other.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Conflict {
    /// Tokens would outlive the cap of protocol §3.1.
    #[error("session_token is longer than 15m; write at most session_token = \"15m\"")]
    TokenTooLong,
    /// Action tokens are for one request, now.
    #[error("action_token is longer than 60s; write at most action_token = \"60s\"")]
    ActionTokenTooLong,
    /// Presence cannot outlive the session.
    #[error("presence is longer than session; write a presence that is at most session")]
    PresenceOutlivesSession,
    /// A zero lifetime would refuse everything.
    #[error("a lifetime of zero refuses everything; write at least 1s")]
    ZeroLifetime,
    /// Keys that change before anybody has heard of them.
    #[error("a token key takes ten minutes to take over; write at least 1h")]
    RotatesTooOften,
    /// Both listeners on one address.
    #[error("listen and gateway_listen are the same address; give gateways their own port")]
    SameListener,
    /// A gateway of another trust domain.
    #[error(
        "spiffe_id is not in this trust domain; write \"spiffe://<trust_domain>/gateway/<name>\""
    )]
    ForeignGateway,
    /// A socket that nobody, or anybody, could use.
    #[error(
        "socket and socket_uids go together; write socket_uids = [<uid of the gateway's user>]"
    )]
    SocketWithoutUsers,
    /// One socket for two gateways.
    #[error("two gateways have the same socket; give each its own")]
    SameSocket,
    /// One AAGUID in both lists.
    #[error("deny_aaguids holds an AAGUID that allow_aaguids holds too; write it in one of them")]
    AllowedAndDenied,
    /// Two sources of metadata, which could contradict each other.
    #[error("metadata has both a file and a url; write one of them")]
    FileAndUrl,
    /// Every certificate under the roots could sign.
    #[error("signer is empty; write the DNS name of the certificate that signs the BLOB")]
    NoSigner,
    /// A BLOB changes once a month.
    #[error("refresh is below a minute; write refresh = \"6h\"")]
    RefreshTooOften,
    /// Two must approve, and there are not two.
    #[error(
        "two_administrators needs at least two administrators; name them, and a third for when one of them needs a ticket"
    )]
    TooFewAdministrators,
    /// A name that no operator has.
    #[error("administrators are operators' names: letters, digits, '.', '-' and '_', at most 64")]
    AdministratorName,
    /// Only a file's size is the authority's to bound.
    #[error(
        "database_mebibytes is for a SQLite file; leave it out, and bound the server's own disk"
    )]
    ServerSize,
    /// A PCR index that no TPM has.
    #[error("required_pcrs holds an index above 23; write indices between 0 and 23")]
    PcrIndex,
}

impl Config {
    /// Reads and checks the settings in `file`.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| ConfigError::Unreadable { path: file.to_owned(), source })?;
        let config = Self::parse(&text, file)?;
        config.check_files(&text)?;
        Ok(config)
    }

    /// Checks settings as if they stood in `file`; the files they name are not looked at.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let settings: Settings = toml::from_str(text).map_err(|error| ConfigError::Line {
            path: file.to_owned(),
            line: error.span().map_or(1, |span| line_of(text, span.start)),
            message: error.message().replace('\n', " "),
        })?;
        if let Some((offset, conflict)) = settings.conflict() {
            let line = line_of(text, offset);
            return Err(ConfigError::Conflict { path: file.to_owned(), line, conflict });
        }
        Ok(Self { file: file.to_owned(), settings })
    }

    /// `path` as seen from the settings file's directory.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.file.parent().unwrap_or(Path::new(".")).join(path)
    }

    /// Where the database is. A server's password may be in the service's credentials.
    #[must_use]
    pub fn database(&self) -> Location {
        match self.settings.database.get_ref() {
            DatabaseText::File(path) => self.resolve(path).as_path().into(),
            DatabaseText::Server(server) => {
                let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
                server.clone().with_credentials(credentials.as_deref()).into()
            }
        }
    }

    /// The directory of keys and certificates (mode 0700).
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.resolve(&self.settings.keys)
    }

    /// This node's journal of decisions, if it has one.
    #[must_use]
    pub fn journal(&self) -> Option<PathBuf> {
        self.settings.audit.journal.as_ref().map(|path| self.resolve(path))
    }

    /// SPIFFE ID of the device with this id.
    #[must_use]
    pub fn device_spiffe_id(&self, device: &signet_evidence::DeviceId) -> String {
        format!("spiffe://{}/device/{device}", self.settings.trust_domain)
    }

    /// SPIFFE ID of the operator of this name.
    #[must_use]
    pub fn operator_spiffe_id(&self, operator: &str) -> String {
        format!("spiffe://{}/operator/{operator}", self.settings.trust_domain)
    }

    /// Origin of the reserved relying party (protocol §2.2).
    #[must_use]
    pub fn origin(&self) -> String {
        format!("https://{}", self.settings.rp_id)
    }

    fn check_files(&self, text: &str) -> Result<(), ConfigError> {
        let settings = &self.settings;
        let named = settings.authenticators.iter().map(|model| &model.roots);
        let machines = settings.machines.iter().map(|machines| &machines.policies);
        let directories = [&settings.tpm.ek_roots, &settings.policy.directory];
        // The BLOB's own file may come later: an import or a timer brings it.
        let metadata = settings.metadata.iter();
        let trusted = metadata.flat_map(|metadata| {
            let url_roots = metadata.url.as_ref().map(|_| &metadata.url_roots);
            [Some(&metadata.roots), url_roots]
        });
        let directories = directories.into_iter().chain(machines);
        for path in directories.chain(named).chain(trusted.flatten()) {
            let resolved = self.resolve(path.get_ref());
            if !resolved.exists() {
                return Err(ConfigError::Missing {
                    path: self.file.clone(),
                    line: line_of(text, path.span().start),
                    missing: resolved,
                });
            }
        }
        Ok(())
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests;
