//! A client certificate whose key signs elsewhere.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{OtherError, SignatureAlgorithm, SignatureScheme};
use thiserror::Error;

use crate::daemon::DaemonError;

/// Signs the content of a TLS 1.3 client `CertificateVerify` (RFC 8446 §4.4.3).
///
/// Blocking: it is called in the middle of a handshake.
pub trait HandshakeSigner: fmt::Debug + Send + Sync {
    /// DER ECDSA P-256 signature over SHA-256 of `message`.
    ///
    /// # Errors
    /// See [`HandshakeSignError`].
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, HandshakeSignError>;
}

/// Why a handshake was not signed.
#[derive(Debug, Error)]
pub enum HandshakeSignError {
    /// `signetd` did not sign.
    #[error("signetd did not sign the TLS handshake")]
    Daemon(#[from] DaemonError),
    /// No answer in time.
    #[error("signetd did not sign the TLS handshake within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The thread that talks to `signetd` ended.
    #[error("the connection to signetd for TLS signatures has ended")]
    Stopped,
    /// The thread that talks to `signetd` could not be started.
    #[error("cannot start the connection to signetd for TLS signatures")]
    Start(#[source] std::io::Error),
}

/// The client certificate chain and the one who signs for it.
#[derive(Clone)]
pub struct ClientIdentity {
    certified: Arc<CertifiedKey>,
}

impl ClientIdentity {
    /// An identity of `chain` (DER, leaf first) whose key is behind `signer`.
    #[must_use]
    pub fn new(chain: Vec<Vec<u8>>, signer: Arc<dyn HandshakeSigner>) -> Self {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let certified = CertifiedKey { cert: chain, key: Arc::new(RemoteKey(signer)), ocsp: None };
        Self { certified: Arc::new(certified) }
    }

    /// The same key under another chain (DER, leaf first).
    #[must_use]
    pub fn under(&self, chain: &[Vec<u8>]) -> Self {
        let cert = chain.iter().cloned().map(CertificateDer::from).collect();
        let certified = CertifiedKey { cert, key: self.certified.key.clone(), ocsp: None };
        Self { certified: Arc::new(certified) }
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").field("certificates", &self.certified.cert.len()).finish()
    }
}

impl ResolvesClientCert for ClientIdentity {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        schemes.contains(&SignatureScheme::ECDSA_NISTP256_SHA256).then(|| self.certified.clone())
    }

    fn has_certs(&self) -> bool {
        !self.certified.cert.is_empty()
    }
}

/// A P-256 key that only ever signs through its [`HandshakeSigner`].
#[derive(Clone, Debug)]
struct RemoteKey(Arc<dyn HandshakeSigner>);

impl SigningKey for RemoteKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ECDSA_NISTP256_SHA256)
            .then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for RemoteKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.0.sign(message).map_err(|error| rustls::Error::Other(OtherError(Arc::new(error))))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
