//! A connection that sends what a test says, as slowly as it says.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{House, trusting};

/// What came back.
#[derive(Debug)]
pub(crate) enum Answered {
    /// A status line.
    Status(u16),
    /// Nothing any more.
    Closed,
}

/// To the clients' listener, without a certificate.
pub(crate) struct Raw {
    stream: TlsStream<TcpStream>,
    received: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(house: &House) -> Self {
        Self::try_connect(house).await.unwrap()
    }

    pub(crate) async fn try_connect(house: &House) -> Option<Self> {
        let ca = house.authority.keys.server_ca.issuer(house.authority.now());
        let config = trusting(ca.certificate(), None, &rustls::version::TLS13);
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, house.tcp().await);
        Some(Self { stream: connecting.await.ok()?, received: Vec::new() })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // Whoever refuses early may have hung up.
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> Answered {
        let mut piece = [0; 4096];
        loop {
            if let Some(status) = self.take() {
                return Answered::Status(status);
            }
            match self.stream.read(&mut piece).await {
                Ok(count @ 1..) => self.received.extend_from_slice(&piece[..count]),
                Ok(0) | Err(_) => return Answered::Closed,
            }
        }
    }

    /// The status of a whole answer, which is taken out.
    fn take(&mut self) -> Option<u16> {
        let text = String::from_utf8_lossy(&self.received).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length = head.to_ascii_lowercase();
        let length = length.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
        body.get(..length)?;
        self.received.drain(..head.len() + 4 + length);
        head.split(' ').nth(1)?.parse().ok()
    }
}
