//! What every question costs before anything is decided: the authority's own listeners, TLS and HTTP,
//! with a router that answers each question the same yes. Called as
//! `constant-service AUTHORITY.toml SOCKET`; prints where it listens for gateways.

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::IntoResponse;
use axum::routing::post;
use http_body_util::{BodyExt, Full};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use signet_authority::config::Config;
use signet_authority::gateway::GatewaySocket;
use signet_authority::keys::{self, ServerIdentity};
use signet_authority::limits::Listener;
use signet_authority::state::system_clock;
use signet_authority::tls::{self, ClientCas, ClientCertificate, Identity, Serving, Timeouts};
use tokio::net::TcpListener;
use tokio::sync::watch;

const DAY: Duration = Duration::from_secs(86_400);

type Failure = Box<dyn Error + Send + Sync>;

/// The headers of a permit.
async fn yes(_body: Bytes) -> impl IntoResponse {
    [
        ("x-signet-subject", "bob"),
        ("x-signet-device", "spiffe://mesh.example/device/011c15989f7d4f9036a7346de436244427"),
        ("x-signet-acr", "signet.uv"),
        ("x-signet-session", "22222222222222222222222222222222"),
        ("x-signet-action", "mesh.route.view"),
        ("x-signet-decision", "0123456789abcdef"),
    ]
}

/// `CheckResponse { status: {}, ok_response: {} }` of Envoy's protocol, in a gRPC frame.
async fn grpc_yes(_body: Bytes) -> impl IntoResponse {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let framed = Full::new(Bytes::from_static(&[0, 0, 0, 0, 4, 0x0a, 0, 0x1a, 0]));
    let body = Body::new(framed.with_trailers(async move { Some(Ok(trailers)) }));
    ([(header::CONTENT_TYPE, "application/grpc")], body)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [config, socket] = arguments.as_slice() else {
        return Err("usage: constant-service AUTHORITY.toml SOCKET".into());
    };
    let config = Config::load(config.as_ref())?;
    let (keys, now) = (keys::load(&config.keys())?, system_clock()());
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let issued = keys.server_ca.issuer(now).issue_server(&names, now, DAY)?;
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes())?;
    let identity = ServerIdentity { chain: vec![issued.certificate], key };
    let identity = Arc::new(Identity::new(identity)?);
    let client_cas = ClientCas::new(keys.gateway_ca.trusted(now), ClientCertificate::Required)?;
    let tls = tls::server_config(identity, client_cas.clone())?;
    let router = Router::new()
        .route("/envoy.service.auth.v3.Authorization/Check", post(grpc_yes))
        .fallback(yes);
    let limits = config.settings.limits;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let uid = nix::unistd::getuid().as_raw();
    let socket = GatewaySocket::bind(socket.into(), [uid].into(), "constant")?;
    let (_stop, stopped) = watch::channel(false);
    let serving = Serving {
        listener,
        tls: Arc::new(tls),
        client_cas,
        router: router.clone(),
        which: Listener::Gateways,
        limits,
        metrics: Arc::default(),
    };
    writeln!(std::io::stdout(), "{address}")?;
    tokio::join!(
        tls::serve(serving, stopped.clone()),
        socket.serve(router, limits.connections.get(), Timeouts::from(&limits), stopped)
    );
    Ok(())
}
