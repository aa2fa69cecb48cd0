//! What a watch is told.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::VerifierBuilderError;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

/// How old knowledge may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// For requests that change something. The authority is heard once a second.
    pub writes: Duration,
    /// For all others.
    pub reads: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { writes: Duration::from_secs(5), reads: Duration::from_secs(60) }
    }
}

/// Where the authority is, as what to connect, and which tokens count.
pub struct Settings {
    /// URL of the authority's listener for gateways.
    pub authority: String,
    /// The CA of the authority's own certificate.
    pub authority_ca: Vec<CertificateDer<'static>>,
    /// This service's certificate (`signet-authority gateway NAME`), leaf first.
    pub certificate: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// `iss` of tokens.
    pub issuer: String,
    /// `aud` of tokens.
    pub audience: String,
    /// How old knowledge may be.
    pub bounds: Bounds,
}

/// The key stays out.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("authority", &self.authority)
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

/// Settings that cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// A file.
    #[error("cannot use {} as a certificate or key in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificates and key.
    #[error("the certificates or the key cannot be used for TLS")]
    Tls(#[from] rustls::Error),
    /// The CA of client certificates.
    #[error("the CA of client certificates cannot be used")]
    ClientCa(#[from] VerifierBuilderError),
    /// The HTTP client.
    #[error("the HTTP client cannot be made")]
    Http(#[from] reqwest::Error),
    /// No random bytes.
    #[error("the system has no random bytes")]
    Random,
}

/// All certificates of a PEM file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let all = CertificateDer::pem_file_iter(path).map_err(|source| pem(path, source))?;
    all.collect::<Result<_, _>>().map_err(|source| pem(path, source))
}

/// The key of a PEM file.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, SettingsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| pem(path, source))
}

fn pem(path: &Path, source: rustls::pki_types::pem::Error) -> SettingsError {
    SettingsError::Pem { path: path.to_owned(), source }
}

impl Settings {
    /// Reads the PEM files that `signet-authority gateway` makes. Say which tokens count with
    /// [`Self::tokens_of`]: until then none does.
    ///
    /// # Errors
    /// [`SettingsError::Pem`].
    pub fn from_files(
        authority: &str,
        authority_ca: &Path,
        certificate: &Path,
        key: &Path,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            authority: authority.trim_end_matches('/').to_owned(),
            authority_ca: certificates(authority_ca)?,
            certificate: certificates(certificate)?,
            key: private_key(key)?,
            issuer: String::new(),
            audience: String::new(),
            bounds: Bounds::default(),
        })
    }

    /// Tokens of this issuer for this audience count, and no others.
    #[must_use]
    pub fn tokens_of(mut self, issuer: &str, audience: &str) -> Self {
        (self.issuer, self.audience) = (issuer.to_owned(), audience.to_owned());
        self
    }

    /// How old knowledge may be.
    #[must_use]
    pub fn bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// TLS 1.3 to this one authority, with this one certificate.
    pub(crate) fn client(self) -> Result<reqwest::Client, SettingsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in self.authority_ca {
            roots.add(certificate)?;
        }
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(self.certificate, self.key)?;
        tls.resumption = rustls::client::Resumption::disabled();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5));
        Ok(client.build()?)
    }
}
