//! HTTP/1.1 over mutual TLS, written byte for byte: no client library tidies up the path, the
//! headers or the body on the way.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RawHttpsError {
    /// Certificates or keys that cannot be used.
    #[error("the certificates cannot be used for TLS")]
    Tls(#[from] rustls::Error),
    /// A PEM text that holds something else.
    #[error("not PEM of a certificate or key")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The connection failed, or TLS did.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// What came back is not HTTP/1.1.
    #[error("the answer is not HTTP/1.1")]
    NotHttp,
}

/// A client with one certificate, or none.
#[derive(Clone)]
pub struct RawClient {
    config: Arc<ClientConfig>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAnswer {
    /// Status.
    pub status: u16,
    /// Names (lower case) and values.
    pub headers: Vec<(String, String)>,
    /// Body as text.
    pub body: String,
}

impl RawAnswer {
    /// The value of a header that is there once.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(found, _)| found == name);
        let (_, value) = values.next()?;
        values.next().is_none().then_some(value.as_str())
    }
}

impl RawClient {
    /// A client that trusts `server_ca` and shows `certificate` with `key` (all PEM).
    ///
    /// # Errors
    /// See [`RawHttpsError`].
    pub fn new(server_ca: &str, identity: Option<(&str, &str)>) -> Result<Self, RawHttpsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(server_ca.as_bytes())?)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder.with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes())?],
                PrivateKeyDer::from_pem_slice(key.as_bytes())?,
            )?,
        };
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config) })
    }

    /// The same client, speaking HTTP/2.
    #[must_use]
    pub fn over_h2(&self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { config: Arc::new(config) }
    }

    /// The same client, resuming its TLS sessions where the server lets it.
    #[must_use]
    pub fn resuming(&self) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::in_memory_sessions(8);
        Self { config: Arc::new(config) }
    }

    /// A new connection.
    ///
    /// # Errors
    /// See [`RawHttpsError`].
    pub(crate) fn connect(
        &self,
        to: SocketAddr,
    ) -> Result<StreamOwned<ClientConnection, TcpStream>, RawHttpsError> {
        // By name, as clients of a gateway connect: some of them compare it with the host.
        let name = ServerName::try_from("localhost").map_err(|_| RawHttpsError::NotHttp)?;
        let connection = ClientConnection::new(self.config.clone(), name)?;
        let stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(StreamOwned::new(connection, stream))
    }

    /// Sends these very bytes on a new connection and reads the one answer. Ask for
    /// `connection: close`.
    ///
    /// # Errors
    /// See [`RawHttpsError`].
    pub fn send(&self, to: SocketAddr, request: &[u8]) -> Result<RawAnswer, RawHttpsError> {
        let mut stream = self.connect(to)?;
        stream.write_all(request)?;
        stream.flush()?;
        let mut answer = Vec::new();
        let mut piece = [0; 16 * 1024];
        // Some gateways keep a connection open for a while after their answer.
        while !is_whole(&answer) {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => answer.extend_from_slice(&piece[..length]),
                // A peer that refuses early may cut the connection after its answer.
                Err(error) if answer.is_empty() => return Err(error.into()),
                Err(_) => break,
            }
        }
        parse(&answer).ok_or(RawHttpsError::NotHttp)
    }
}

/// Whether the answer says where it ends, and has ended.
fn is_whole(answer: &[u8]) -> bool {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let Some(answer) = end.and_then(|_| parse(answer)) else { return false };
    let length = answer.header("content-length").and_then(|length| length.parse().ok());
    let chunked = answer.header("transfer-encoding").is_some();
    chunked || length.is_some_and(|length: usize| answer.body.len() >= length)
}

fn parse(answer: &[u8]) -> Option<RawAnswer> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers: Vec<(String, String)> = lines.map(header).collect::<Option<_>>()?;
    let chunked =
        headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if chunked { unchunk(body)? } else { body.to_owned() };
    Some(RawAnswer { status, headers, body })
}

fn unchunk(mut body: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.push_str(rest.get(..size)?);
        body = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}
