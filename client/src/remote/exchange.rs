//! The approved request, sent over a connection of this machine's own making.

use std::error::Error as StdError;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use signet_evidence::action::content_digest;
use thiserror::Error;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::frame::{Frame, Kind, MAX_PIECE};
use super::message::{Header, StationMessage, framed};
use crate::authority::tls_cause;
use crate::tokens::AccessToken;

/// Longest answer that is passed on.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Headers that the far host may set. Whatever else decides what a request means, such as another
/// method, host or user, is not the far host's to say: the person has not seen it.
const HEADERS: [&str; 12] = [
    "accept",
    "accept-language",
    "content-encoding",
    "content-language",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "prefer",
    "traceparent",
];

/// Why a header cannot be sent.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Not of the list.
    #[error("the header {0:?} is not taken from a far host")]
    NotTaken(String),
    /// Not a header.
    #[error("a header has a value that is none")]
    Value,
}

/// Why the request was not answered.
#[derive(Debug, Error)]
pub(super) enum ExchangeError {
    /// The URL's host is no name that a certificate can have.
    #[error("the URL's host cannot be checked against a certificate")]
    Host,
    /// The server at the other end is not the gateway.
    #[error(
        "what the far host connected to is not {origin}, or its CA is not known here: set gateway_ca in the workstation's client.toml"
    )]
    Untrusted {
        /// The gateway.
        origin: String,
        /// What TLS says.
        source: rustls::Error,
    },
    /// The connection failed.
    #[error("the connection to {origin} through the far host failed")]
    Connection {
        /// The gateway.
        origin: String,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The request cannot be written as HTTP.
    #[error("the request cannot be written as HTTP")]
    Request(#[source] hyper::http::Error),
    /// The answer is too long.
    #[error("the gateway's answer is longer than {MAX_ANSWER} bytes")]
    TooLong,
    /// The far host is gone.
    #[error("the far host is gone")]
    FarGone,
}

/// A request as it was approved.
#[derive(Debug)]
pub(super) struct Approved {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Vec<u8>,
    pub(super) token: AccessToken,
}

/// The headers of the far host that are sent on.
pub(super) fn headers(given: &[Header]) -> Result<Vec<(HeaderName, HeaderValue)>, HeaderError> {
    let header = |(name, value): &Header| {
        let name = name.to_ascii_lowercase();
        if !HEADERS.contains(&name.as_str()) {
            return Err(HeaderError::NotTaken(crate::authority::printable(&name)));
        }
        let name = HeaderName::try_from(name).map_err(|_| HeaderError::Value)?;
        Ok((name, HeaderValue::from_str(value).map_err(|_| HeaderError::Value)?))
    };
    given.iter().map(header).collect()
}

/// Sends the request through `stream`, and the answer to `out`.
pub(super) async fn send(
    approved: Approved,
    mut tls: ClientConfig,
    stream: DuplexStream,
    out: &mpsc::Sender<Frame>,
) -> Result<(), ExchangeError> {
    let origin = approved.url.origin().ascii_serialization();
    let name = approved.url.host_str().and_then(|host| ServerName::try_from(host.to_owned()).ok());
    let name = name.ok_or(ExchangeError::Host)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let failed = |source: Box<dyn StdError + Send + Sync>| {
        let tls = tls_cause(&*source).cloned();
        let origin = origin.clone();
        match tls {
            Some(source @ rustls::Error::InvalidCertificate(_)) => {
                ExchangeError::Untrusted { origin, source }
            }
            _ => ExchangeError::Connection { origin, source },
        }
    };
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await;
    let stream = stream.map_err(|error| failed(error.into()))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.into()))?;
    let request = request(approved)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| failed(error.into()))?;
        pass_on(response, out, failed).await
    };
    let connection = async {
        let ended = connection.await;
        // The answer ends by itself when its connection does.
        drop(ended);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answered = exchange => answered,
        () = connection => Err(ExchangeError::FarGone),
    }
}

fn request(approved: Approved) -> Result<Request<Full<Bytes>>, ExchangeError> {
    let Approved { method, url, headers, body, token } = approved;
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let target = Uri::try_from(target).map_err(|error| ExchangeError::Request(error.into()))?;
    let host = match (url.host_str().unwrap_or_default(), url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    };
    let bearer = token.authorization().map_err(|error| ExchangeError::Request(error.into()))?;
    let mut request = Request::builder().method(method).uri(target).header(HOST, host);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request = request
        .header(AUTHORIZATION, bearer)
        .header("user-agent", concat!("signet/", env!("CARGO_PKG_VERSION")));
    if !body.is_empty() {
        request = request
            .header(CONTENT_LENGTH, body.len())
            .header("content-digest", content_digest(&body));
    }
    request.body(Full::new(Bytes::from(body))).map_err(ExchangeError::Request)
}

async fn pass_on(
    response: Response<Incoming>,
    out: &mpsc::Sender<Frame>,
    failed: impl Fn(Box<dyn StdError + Send + Sync>) -> ExchangeError,
) -> Result<(), ExchangeError> {
    let told = async |frame: Frame| out.send(frame).await.map_err(|_| ExchangeError::FarGone);
    let listed = response.headers().iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let (status, headers) = (response.status().as_u16(), listed.collect());
    told(framed(&StationMessage::Answer { status, headers })).await?;
    let mut body = response.into_body();
    let mut length = 0;
    while let Some(part) = body.frame().await {
        let part = part.map_err(|error| failed(error.into()))?;
        let Ok(data) = part.into_data() else { continue };
        length += data.len();
        if length > MAX_ANSWER {
            return Err(ExchangeError::TooLong);
        }
        for piece in data.chunks(MAX_PIECE) {
            told(Frame { kind: Kind::Body, content: piece.to_vec() }).await?;
        }
    }
    told(framed(&StationMessage::End {})).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_far_host_sets_no_header_that_decides() {
        let header = |name: &str, value: &str| headers(&[(name.to_owned(), value.to_owned())]);
        assert_eq!(header("Content-Type", "application/json").unwrap().len(), 1);
        for name in [
            "authorization",
            "Host",
            "content-length",
            "transfer-encoding",
            "content-digest",
            "x-http-method-override",
            "x-original-url",
            "x-forwarded-for",
            "cookie",
            "expect",
            "upgrade",
        ] {
            let expected = HeaderError::NotTaken(name.to_ascii_lowercase());
            assert_eq!(header(name, "x"), Err(expected), "{name}");
        }
        assert_eq!(header("accept", "a\r\nhost: b"), Err(HeaderError::Value));
    }
}
