//! A network between nodes and database that can be cut: packets vanish, and nobody is told.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;

pub(crate) struct Proxy {
    address: SocketAddr,
    flows: watch::Sender<bool>,
}

impl Proxy {
    /// To the Unix socket of a server.
    pub(crate) async fn start(server: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (flows, open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = UnixStream::connect(&server).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(carry(from_client, to_server, open.clone()));
                tokio::spawn(carry(from_server, to_client, open.clone()));
            }
        });
        Self { address, flows }
    }

    /// The database of `url`, by way of this network.
    pub(crate) fn url(&self, url: &str) -> String {
        let database = url.split('?').next().unwrap().rsplit('/').next().unwrap();
        format!("postgres://signet@{}/{database}", self.address)
    }

    pub(crate) fn cut(&self) {
        self.flows.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.flows.send_replace(true);
    }
}

async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut open: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        // What is under way when the network is cut arrives when it is mended, as TCP does.
        if open.wait_for(|open| *open).await.is_err()
            || to.write_all(&buffer[..count]).await.is_err()
        {
            break;
        }
    }
    let _ = to.shutdown().await;
}
