//! Where BLOBs come from. What comes is trusted for nothing: its signature decides.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use reqwest::{StatusCode, redirect};
use signet_verifier::metadata::LARGEST_BLOB;
use thiserror::Error;

use crate::config::Config;
use crate::keys::{KeyError, read_certificates};
use crate::tls::outgoing;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Twelve megabytes over a slow line.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A file, or a URL.
pub enum Source {
    /// A file that somebody else replaces.
    File(PathBuf),
    /// A server that is asked.
    Url(Box<Server>),
}

/// A server, and what it sent last.
pub struct Server {
    url: String,
    client: reqwest::Client,
    etag: Option<HeaderValue>,
}

/// What looking brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetched {
    /// A BLOB, perhaps the one that is known.
    Blob(Vec<u8>),
    /// The server says that it sent its BLOB before.
    Unchanged,
}

/// Nothing came.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The file.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The CA of the server.
    #[error("url_roots cannot be used")]
    Roots(#[from] KeyError),
    /// TLS.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// The server, the way there, or its certificate.
    #[error("cannot fetch the metadata")]
    Fetch(#[from] reqwest::Error),
    /// An answer that is none.
    #[error("the metadata's server answered {0}")]
    Status(StatusCode),
    /// More than any BLOB has.
    #[error("the metadata's server sends more than {LARGEST_BLOB} bytes")]
    TooLarge,
}

impl Source {
    /// The source that the settings name, if any.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn of(config: &Config) -> Result<Option<Self>, SourceError> {
        let Some(settings) = &config.settings.metadata else { return Ok(None) };
        if let Some(file) = &settings.file {
            return Ok(Some(Self::File(config.resolve(file.get_ref()))));
        }
        let Some(url) = &settings.url else { return Ok(None) };
        let cas = read_certificates(&config.resolve(settings.url_roots.get_ref()))?;
        // From an https URL nowhere but to another.
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(outgoing(cas)?)
            .https_only(true)
            .redirect(redirect::Policy::limited(3))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()?;
        let url = url.get_ref().as_str().to_owned();
        Ok(Some(Self::Url(Box::new(Server { url, client, etag: None }))))
    }

    /// Its name, for people and the audit record.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(server) => server.url.clone(),
        }
    }

    /// Looks whether there is something.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub async fn look(&mut self) -> Result<Fetched, SourceError> {
        match self {
            Self::File(path) => tokio::fs::read(&*path)
                .await
                .map(Fetched::Blob)
                .map_err(|source| SourceError::File { path: path.clone(), source }),
            Self::Url(server) => server.fetch().await,
        }
    }

    /// What was fetched is no good: the next look wants the whole again.
    pub fn forget(&mut self) {
        if let Self::Url(server) = self {
            server.etag = None;
        }
    }
}

impl Server {
    async fn fetch(&mut self) -> Result<Fetched, SourceError> {
        let mut request = self.client.get(&self.url);
        if let Some(etag) = &self.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let mut response = request.send().await?;
        match response.status() {
            StatusCode::NOT_MODIFIED => return Ok(Fetched::Unchanged),
            StatusCode::OK => {}
            other => return Err(SourceError::Status(other)),
        }
        let etag = response.headers().get(ETAG).cloned();
        let mut blob = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if blob.len() + chunk.len() > LARGEST_BLOB {
                return Err(SourceError::TooLarge);
            }
            blob.extend_from_slice(&chunk);
        }
        self.etag = etag;
        Ok(Fetched::Blob(blob))
    }
}
