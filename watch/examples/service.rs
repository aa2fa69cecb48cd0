//! A service without a gateway: enrolled machines only, good tokens only, nothing on old knowledge.
//!
//! `service LISTEN AUTHORITY ISSUER AUDIENCE FOLDER`, with these files in FOLDER: `authority-ca.pem`,
//! `edge.pem` and `edge.key` (`signet-authority gateway edge`), `device-ca.pem`, and the service's own
//! `service.pem` and `service.key`.

use std::{error::Error, path::Path, sync::Arc};

use axum::{Extension, Router, routing::any};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::{server::conn::auto::Builder, service::TowerToHyperService};
use signet_watch::{Admitted, Peer, Settings, Watch, server_config};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, authority, issuer, audience, folder] = arguments.as_slice() else {
        return Err("usage: service LISTEN AUTHORITY ISSUER AUDIENCE FOLDER".into());
    };
    let settings = settings(authority, folder.as_ref())?.tokens_of(issuer, audience);
    serve(TcpListener::bind(listen).await?, settings, folder.as_ref()).await
}

pub(crate) fn settings(authority: &str, folder: &Path) -> Result<Settings, Failure> {
    let [ca, certificate, key] =
        ["authority-ca.pem", "edge.pem", "edge.key"].map(|name| folder.join(name));
    Ok(Settings::from_files(authority, &ca, &certificate, &key)?)
}

pub(crate) async fn serve(
    listener: TcpListener,
    settings: Settings,
    folder: &Path,
) -> Result<(), Failure> {
    let [device_ca, certificate, key] =
        ["device-ca.pem", "service.pem", "service.key"].map(|name| folder.join(name));
    let acceptor = TlsAcceptor::from(Arc::new(server_config(&device_ca, &certificate, &key)?));
    let hello = |Extension(admitted): Extension<Arc<Admitted>>| async move {
        format!("hello {}", admitted.token.claims().sub)
    };
    let app = Router::new().route("/", any(hello)).layer(Watch::start(settings)?.layer());
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, app) = (acceptor.clone(), app.clone());
        tokio::spawn(async move {
            let stream = acceptor.accept(stream).await?;
            // The handshake says who is at the other end, for every request of this connection.
            let app = TowerToHyperService::new(Peer::of(stream.get_ref().1).mark(app));
            Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), app).await
        });
    }
}
