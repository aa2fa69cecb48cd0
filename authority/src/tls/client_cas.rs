//! Which CAs' client certificates a listener takes: others can take their place while it serves, and the
//! connections of those that are not taken any more end.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use tokio::sync::watch;

use super::{ClientCertificate, PeerCertificate, TlsError, provider};

/// The CAs whose client certificates a listener takes.
#[derive(Debug)]
pub struct ClientCas {
    which: ClientCertificate,
    /// What a handshake says of them. All keys of a CA have one name.
    hints: Vec<DistinguishedName>,
    current: RwLock<Current>,
    changes: watch::Sender<()>,
}

#[derive(Clone, Debug)]
struct Current {
    certificates: Vec<CertificateDer<'static>>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientCas {
    /// Takes certificates that lead to one of these.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn new(
        certificates: Vec<CertificateDer<'static>>,
        which: ClientCertificate,
    ) -> Result<Arc<Self>, TlsError> {
        let current = current(certificates, which)?;
        let hints = current.verifier.root_hint_subjects().to_vec();
        let (changes, _) = watch::channel(());
        Ok(Arc::new(Self { which, hints, current: RwLock::new(current), changes }))
    }

    /// Takes certificates that lead to one of these, and no others any more: connections of others end.
    /// Returns whether that is a change.
    ///
    /// # Errors
    /// See [`TlsError`]; those before stay then.
    pub fn replace(&self, certificates: Vec<CertificateDer<'static>>) -> Result<bool, TlsError> {
        if self.current().certificates == certificates {
            return Ok(false);
        }
        let current = current(certificates, self.which)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        self.changes.send_replace(());
        Ok(true)
    }

    /// Tells of changes from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Returns when the certificate of a connection is taken no more, by the changes since `changes` was made.
    pub(super) async fn refuse(&self, peer: &PeerCertificate, changes: &mut watch::Receiver<()>) {
        let certificate = CertificateDer::from(peer.der());
        while changes.changed().await.is_ok() {
            // One that has run out meanwhile ends, too.
            let verifier = self.current().verifier;
            let judged = verifier.verify_client_cert(&certificate, &[], UnixTime::now());
            if judged.is_err() {
                return;
            }
        }
        // Nobody changes anything any more.
        std::future::pending().await
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn current(
    certificates: Vec<CertificateDer<'static>>,
    which: ClientCertificate,
) -> Result<Current, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(TlsError::Identity)?;
    }
    let provider = Arc::new(provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = match which {
        ClientCertificate::Optional => verifier.allow_unauthenticated(),
        ClientCertificate::Required => verifier,
    };
    let verifier = verifier.build().map_err(TlsError::ClientCa)?;
    Ok(Current { certificates, verifier })
}

impl ClientCertVerifier for ClientCas {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.which == ClientCertificate::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.current().verifier.verify_client_cert(leaf, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current().verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current().verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current().verifier.supported_verify_schemes()
    }
}
