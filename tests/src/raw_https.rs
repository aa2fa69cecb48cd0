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

    /// Sends these very bytes on a new connection and reads the one answer. Ask for
    /// `connection: close`.
    ///
    /// # Errors
    /// See [`RawHttpsError`].
    pub fn send(&self, to: SocketAddr, request: &[u8]) -> Result<RawAnswer, RawHttpsError> {
        let name = ServerName::IpAddress(to.ip().into());
        let connection = ClientConnection::new(self.config.clone(), name)?;
        let socket = TcpStream::connect_timeout(&to, PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut stream = StreamOwned::new(connection, socket);
        stream.write_all(request)?;
        stream.flush()?;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            // A peer that refuses early may cut the connection after its answer.
            Err(error) if answer.is_empty() => return Err(error.into()),
            Ok(_) | Err(_) => {}
        }
        parse(&answer).ok_or(RawHttpsError::NotHttp)
    }
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
