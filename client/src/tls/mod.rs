//! TLS with a client key that is not here.
//!
//! TLS 1.3 only, X25519MLKEM768 first, no resumption: every connection proves the key anew. The
//! signature over the handshake comes from a [`HandshakeSigner`], in life the TPM behind `signetd`.

mod daemon_signer;
mod remote_key;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use thiserror::Error;

pub use daemon_signer::DaemonSigner;
pub use remote_key::{ClientIdentity, HandshakeSignError, HandshakeSigner};

/// Why a TLS configuration could not be made.
#[derive(Debug, Error)]
pub enum TlsConfigError {
    /// No trust anchor: then no server could be trusted.
    #[error("there is no CA certificate to trust: name the authority's CA file")]
    NoAnchor,
    /// A trust anchor or a certificate of ours is not one.
    #[error("a CA certificate cannot be read")]
    Anchor(#[source] rustls::Error),
    /// Neither PEM nor DER.
    #[error("the CA file holds no certificate: it must be PEM or DER")]
    NotACertificate,
    /// The provider does not do TLS 1.3; cannot happen with the one built in.
    #[error("TLS 1.3 is not available")]
    Protocol(#[source] rustls::Error),
    /// The server verifier could not be built.
    #[error("the CA certificates cannot be used")]
    Verifier(#[source] rustls::client::VerifierBuilderError),
}

/// Our algorithms: aws-lc-rs with the hybrid post-quantum group first.
fn provider() -> Arc<CryptoProvider> {
    let kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1];
    Arc::new(CryptoProvider { kx_groups, ..default_provider() })
}

/// TLS towards servers under `anchors` (DER), with `identity` where one is to be shown.
///
/// # Errors
/// See [`TlsConfigError`].
pub fn client_config(
    anchors: &[Vec<u8>],
    identity: Option<ClientIdentity>,
) -> Result<ClientConfig, TlsConfigError> {
    let provider = provider();
    let mut roots = RootCertStore::empty();
    for anchor in anchors {
        roots
            .add(CertificateDer::from_slice(anchor).into_owned())
            .map_err(TlsConfigError::Anchor)?;
    }
    if roots.is_empty() {
        return Err(TlsConfigError::NoAnchor);
    }
    let verifier: Arc<dyn ServerCertVerifier> =
        rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            provider.clone(),
        )
        .build()
        .map_err(TlsConfigError::Verifier)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsConfigError::Protocol)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(identity)),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// TLS as a server of this user's own tools, with HTTP/2 and HTTP/1.1.
pub(crate) fn server_config(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The certificates of a CA file, PEM (any number) or DER (one).
///
/// # Errors
/// [`TlsConfigError::NotACertificate`].
pub fn read_anchors(bytes: &[u8]) -> Result<Vec<Vec<u8>>, TlsConfigError> {
    let pem: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match pem {
        Ok(found) if !found.is_empty() => Ok(found.iter().map(|der| der.to_vec()).collect()),
        Ok(_)
            if x509_parser::parse_x509_certificate(bytes)
                .is_ok_and(|(rest, _)| rest.is_empty()) =>
        {
            Ok(vec![bytes.to_vec()])
        }
        _ => Err(TlsConfigError::NotACertificate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_is_pem_or_der() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["a.example".into()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let der = certificate.der().to_vec();
        assert_eq!(read_anchors(certificate.pem().as_bytes()).unwrap(), std::slice::from_ref(&der));
        assert_eq!(read_anchors(&der).unwrap(), [der]);
        assert!(matches!(read_anchors(b"hello"), Err(TlsConfigError::NotACertificate)));
        assert!(matches!(read_anchors(b""), Err(TlsConfigError::NotACertificate)));
        assert!(matches!(client_config(&[], None), Err(TlsConfigError::NoAnchor)));
    }
}
