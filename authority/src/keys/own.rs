//! The authority's own TLS certificate: issued by its server CA, or kept in files by somebody else. Either
//! is renewed while the authority serves.

use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use signet_evidence::UnixTime;
use signet_evidence::binding::{Sha256, sha256};
use signet_verifier::certificate::Certificate;
use thiserror::Error;

use super::ca_ring::issuing_certificate;
use super::{
    KeyError, ServerIdentity, load_server_ca, read_certificates, read_secret, server_identity,
};
use crate::config::Config;
use crate::server::server_names;
use crate::tls::{Identity, TlsError};

/// How long a certificate of ours lives; another takes its place after a third of it.
const LIFETIME: Duration = Duration::from_secs(90 * 86400);

/// The authority's own certificate cannot be shown.
#[derive(Debug, Error)]
pub enum OwnCertificateError {
    /// Its files, or the CA's.
    #[error("the authority's own certificate cannot be made or read")]
    Keys(#[from] KeyError),
    /// It is not valid now.
    #[error("{} is not valid now; renew it", path.display())]
    Time {
        /// The file.
        path: PathBuf,
    },
    /// It does not serve.
    #[error("the authority's own certificate cannot be used")]
    Tls(#[from] TlsError),
}

/// Which certificate is shown, and of what it came.
pub struct OwnCertificate {
    /// Of the files that it came of.
    digest: Sha256,
    issued: UnixTime,
}

/// A certificate that could be shown.
struct Candidate {
    identity: ServerIdentity,
    made: OwnCertificate,
}

impl OwnCertificate {
    /// What the settings say, made or read.
    ///
    /// # Errors
    /// See [`OwnCertificateError`].
    pub fn begin(config: &Config, now: UnixTime) -> Result<(Self, Identity), OwnCertificateError> {
        let Candidate { identity, made } = candidate(config, now)?;
        Ok((made, Identity::new(identity)?))
    }

    /// Puts another certificate into `shown` where one is due or its files changed; returns whether it did.
    /// What cannot be used does not take the place of what works.
    ///
    /// # Errors
    /// See [`OwnCertificateError`].
    pub fn renew(
        &mut self,
        config: &Config,
        shown: &Identity,
        now: UnixTime,
    ) -> Result<bool, OwnCertificateError> {
        let third = i64::try_from(LIFETIME.as_secs() / 3).unwrap_or(i64::MAX);
        let is_ours = config.settings.tls.is_none();
        let due = is_ours && now.0.saturating_sub(self.issued.0) >= third;
        if !due && digest(config, now)? == self.digest {
            return Ok(false);
        }
        let Candidate { identity, made } = candidate(config, now)?;
        shown.replace(identity)?;
        *self = made;
        Ok(true)
    }
}

fn candidate(config: &Config, now: UnixTime) -> Result<Candidate, OwnCertificateError> {
    // Before the files are read: a change in between is noticed at the next look.
    let made = OwnCertificate { digest: digest(config, now)?, issued: now };
    let Some(tls) = &config.settings.tls else {
        let ca = load_server_ca(&config.keys(), now)?;
        let identity = server_identity(&ca, &server_names(config), now, LIFETIME)?;
        return Ok(Candidate { identity, made });
    };
    let (path, key_path) = (config.resolve(&tls.certificate), config.resolve(&tls.key));
    let chain = read_certificates(&path)?;
    let leaf = chain.first().and_then(|leaf| Certificate::parse(leaf).ok());
    let leaf = leaf.ok_or_else(|| KeyError::Malformed { path: path.clone() })?;
    if now < leaf.not_before() || now >= leaf.not_after() {
        return Err(OwnCertificateError::Time { path });
    }
    let secret = read_secret(&key_path)?;
    let key = PrivateKeyDer::from_pem_slice(secret.as_bytes());
    let key = key.map_err(|_| KeyError::Malformed { path: key_path })?;
    Ok(Candidate { identity: ServerIdentity { chain, key }, made })
}

/// Of what the certificate comes of: files, or the CA that issues now.
fn digest(config: &Config, now: UnixTime) -> Result<Sha256, KeyError> {
    let Some(tls) = &config.settings.tls else {
        return Ok(sha256(&issuing_certificate(&config.keys(), "server-ca", now)?));
    };
    let mut digests = Vec::new();
    for path in [config.resolve(&tls.certificate), config.resolve(&tls.key)] {
        let bytes = std::fs::read(&path).map(zeroize::Zeroizing::new);
        digests.push(sha256(&bytes.map_err(|source| KeyError::Io { path, source })?));
    }
    Ok(sha256(&digests.concat()))
}
