//! TLS 1.3 for both listeners, and the peer certificate as the handlers see it.

mod accept;
mod client_cas;
mod connection;

use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use signet_evidence::CertificateThumbprint;
use signet_verifier::certificate::Certificate;
use thiserror::Error;

use crate::keys::ServerIdentity;

pub(crate) use accept::{DRAIN, pause_after, serve_http};
pub use accept::{Serving, Timeouts, serve};
pub use client_cas::ClientCas;
pub(crate) use connection::Busy;
pub use connection::Closer;

/// The client certificate of the connection that a request came over: present only when the
/// handshake proved its key and its path to the listener's CA.
#[derive(Clone, Debug)]
pub struct PeerCertificate(Arc<Shown>);

#[derive(Debug)]
struct Shown {
    der: CertificateDer<'static>,
    spiffe_id: Option<Arc<str>>,
}

impl PeerCertificate {
    /// The certificate that the handshake verified.
    #[must_use]
    pub fn new(der: CertificateDer<'static>) -> Self {
        let parsed = Certificate::parse(&der).ok();
        let spiffe_id = parsed.and_then(|parsed| parsed.spiffe_id().ok().map(Arc::from));
        Self(Arc::new(Shown { der, spiffe_id }))
    }

    /// The certificate, DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// The one SPIFFE ID that it names.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&str> {
        self.0.spiffe_id.as_deref()
    }

    /// Whom it stands for: its SPIFFE ID, or itself where it names none.
    pub(crate) fn owner(&self) -> Arc<str> {
        self.0.spiffe_id.clone().unwrap_or_else(|| self.thumbprint().to_hex().into())
    }

    /// Its SHA-256.
    #[must_use]
    pub fn thumbprint(&self) -> CertificateThumbprint {
        CertificateThumbprint::of_der(self.der())
    }
}

/// Whether a listener speaks to clients that have no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Enrolment and public documents need none; each endpoint says for itself.
    Optional,
    /// No handshake without one.
    Required,
}

/// TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The CA of client certificates is not usable.
    #[error("the CA of client certificates cannot be used")]
    ClientCa(#[source] rustls::server::VerifierBuilderError),
    /// The authority's certificate or key is not usable.
    #[error("the authority's certificate cannot be used")]
    Identity(#[source] rustls::Error),
}

/// The authority's own certificate: another can take its place while it serves.
#[derive(Debug)]
pub struct Identity(RwLock<Arc<CertifiedKey>>);

impl Identity {
    /// Shows `identity`.
    ///
    /// # Errors
    /// [`TlsError::Identity`].
    pub fn new(identity: ServerIdentity) -> Result<Self, TlsError> {
        Ok(Self(RwLock::new(certified(identity)?)))
    }

    /// Shows `identity` from now on; connections that are open stay.
    ///
    /// # Errors
    /// [`TlsError::Identity`]; the one before stays then.
    pub fn replace(&self, identity: ServerIdentity) -> Result<(), TlsError> {
        let certified = certified(identity)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(())
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn certified(identity: ServerIdentity) -> Result<Arc<CertifiedKey>, TlsError> {
    let certified = CertifiedKey::from_der(identity.chain, identity.key, &provider());
    Ok(Arc::new(certified.map_err(TlsError::Identity)?))
}

/// TLS 1.3 only, X25519MLKEM768 first, no session tickets: each connection proves the client's key.
///
/// # Errors
/// See [`TlsError`].
pub fn server_config(
    identity: Arc<Identity>,
    client_cas: Arc<ClientCas>,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Identity)?
        .with_client_cert_verifier(client_cas)
        .with_cert_resolver(identity);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// For connections to servers of others, whose CAs are these. A bundle of web CAs holds some that rustls
/// does not read; they certify nobody then.
///
/// # Errors
/// [`rustls::Error`] when the provider has no version of TLS.
pub(crate) fn outgoing(cas: Vec<CertificateDer<'static>>) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(cas);
    let config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// AWS-LC with post-quantum key exchange preferred (`prefer-post-quantum`).
#[must_use]
pub fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn post_quantum_key_exchange_comes_first() {
        let provider = provider();
        let first = provider.kx_groups.first().map(|group| group.name());
        assert_eq!(first, Some(rustls::NamedGroup::X25519MLKEM768));
    }
}
