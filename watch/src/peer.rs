//! The rustls side: only enrolled machines get a connection, and each request knows over whose it came.

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use signet_evidence::CertificateThumbprint;
use tower_service::Service;

use crate::settings::{SettingsError, certificates, private_key};

/// TLS 1.3 for machines that the authority enrolled and for nobody else: no handshake without a
/// certificate of `device_ca` (the authority's `keys/device-ca.pem`) and the proof of its key, no resumed
/// sessions, no early data. `certificate` and `key` are the service's own, from whatever CA its clients
/// trust. All files are PEM.
///
/// # Errors
/// See [`SettingsError`].
pub fn server_config(
    device_ca: &Path,
    certificate: &Path,
    key: &Path,
) -> Result<ServerConfig, SettingsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(device_ca)? {
        roots.add(certificate)?;
    }
    let machines =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(machines)
        .with_single_cert(certificates(certificate)?, private_key(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// The client certificate that a connection's handshake proved, if any. It can only be had from the
/// connection: nothing that a client writes into a request becomes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(Option<CertificateThumbprint>);

impl Peer {
    /// The hook: to be called once the handshake is over.
    #[must_use]
    pub fn of(connection: &ServerConnection) -> Self {
        let proved = (!connection.is_handshaking()).then(|| connection.peer_certificates());
        let leaf = proved.flatten().and_then(<[_]>::first);
        Self(leaf.map(|leaf| CertificateThumbprint::of_der(leaf)))
    }

    /// SHA-256 of the certificate.
    #[must_use]
    pub fn thumbprint(self) -> Option<CertificateThumbprint> {
        self.0
    }

    /// `service`, for the requests of this one connection: each carries this [`Peer`] in its extensions.
    #[must_use]
    pub fn mark<S>(self, service: S) -> Marked<S> {
        Marked { peer: self, service }
    }
}

/// See [`Peer::mark`].
#[derive(Clone, Copy, Debug)]
pub struct Marked<S> {
    peer: Peer,
    service: S,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Marked<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        request.extensions_mut().insert(self.peer);
        self.service.call(request)
    }
}
