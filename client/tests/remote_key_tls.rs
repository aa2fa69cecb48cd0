//! A TLS client whose key is elsewhere, against a real server: what the handshake asks the signer
//! to sign, and what a person is told when it cannot.
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, NamedGroup, RootCertStore, ServerConfig};
use signet_client::authority::AuthorityError;
use signet_client::daemon::{DaemonError, DaemonRefusal};
use signet_client::tls::{ClientIdentity, HandshakeSignError, HandshakeSigner, client_config};
use signet_client::{Authority, Bus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A key in software behind the trait that the TPM is behind in life.
#[derive(Debug)]
struct SoftwareKey {
    key: EcdsaKeyPair,
    signed: Mutex<Vec<Vec<u8>>>,
}

impl HandshakeSigner for SoftwareKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, HandshakeSignError> {
        self.signed.lock().unwrap().push(message.to_vec());
        Ok(self.key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec())
    }
}

#[derive(Debug)]
struct LockedTpm;

impl HandshakeSigner for LockedTpm {
    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, HandshakeSignError> {
        let message = "the TPM is locked: wait ten minutes".to_owned();
        Err(DaemonError::Refused { refusal: DaemonRefusal::TpmLockout, message }.into())
    }
}

struct Pki {
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        Self::named("house")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { ca: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn anchor(&self) -> Vec<u8> {
        self.ca.der().to_vec()
    }

    fn issue(&self, name: &str) -> (Vec<u8>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.ca).unwrap().der().to_vec(), key)
    }
}

/// What the server saw of one handshake.
#[derive(Debug, PartialEq)]
struct Seen {
    peer: Vec<u8>,
    group: NamedGroup,
    tls13: bool,
}

/// A server that demands a client certificate and answers one request per connection.
async fn serve(pki: &Pki, name: &str) -> (String, tokio::sync::mpsc::UnboundedReceiver<Seen>) {
    let (certificate, key) = pki.issue(name);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(pki.anchor())).unwrap();
    let provider = Arc::new(default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.unwrap())
        .with_single_cert(vec![CertificateDer::from(certificate)], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let session = stream.get_ref().1;
            let seen = Seen {
                peer: session.peer_certificates().unwrap()[0].to_vec(),
                group: session.negotiated_key_exchange_group().unwrap().name(),
                tls13: session.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3),
            };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
            let _ = sender.send(seen);
        }
    });
    (format!("https://localhost:{port}"), receiver)
}

#[tokio::test]
async fn the_remote_key_signs_exactly_the_certificate_verify_of_every_connection() {
    let pki = Pki::new();
    let (url, mut seen) = serve(&pki, "localhost").await;
    let (certificate, key) = pki.issue("device");
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key.serialize_der());
    let signer = Arc::new(SoftwareKey { key: key.unwrap(), signed: Mutex::default() });
    let identity = ClientIdentity::new(vec![certificate.clone()], signer.clone());
    let tls = client_config(&[pki.anchor()], Some(identity)).unwrap();
    let authority = Authority::new(&url, tls).unwrap();
    for connection in 1..=2 {
        authority.ready().await.unwrap();
        let group = NamedGroup::X25519MLKEM768;
        let expected = Seen { peer: certificate.clone(), group, tls13: true };
        assert_eq!(seen.recv().await.unwrap(), expected);
        // No resumption: every connection asks for a signature of its own.
        assert_eq!(signer.signed.lock().unwrap().len(), connection);
    }
    // RFC 8446 §4.4.3, with SHA-256 or SHA-384 as the transcript hash.
    for message in signer.signed.lock().unwrap().iter() {
        let (head, hash) = message.split_at(64 + 33 + 1);
        assert_eq!(head, [&[0x20; 64][..], b"TLS 1.3, client CertificateVerify\0"].concat());
        assert!(hash.len() == 32 || hash.len() == 48);
    }
}

#[tokio::test]
async fn a_tpm_that_does_not_sign_is_named_as_the_cause() {
    let pki = Pki::new();
    let (url, _seen) = serve(&pki, "localhost").await;
    let (certificate, _) = pki.issue("device");
    let identity = ClientIdentity::new(vec![certificate], Arc::new(LockedTpm));
    let tls = client_config(&[pki.anchor()], Some(identity)).unwrap();
    let error = Authority::new(&url, tls).unwrap().ready().await.unwrap_err();
    let AuthorityError::Key { cause, source } = error else { panic!("{error:?}") };
    assert_eq!(cause, "the TPM is locked: wait ten minutes");
    let Some(HandshakeSignError::Daemon(error)) = source.signer() else { panic!("{source:?}") };
    assert_eq!(error.refusal(), Some(DaemonRefusal::TpmLockout));
}

#[tokio::test]
async fn a_server_of_another_ca_or_name_is_not_trusted() {
    let pki = Pki::new();
    let (url, _seen) = serve(&pki, "localhost").await;
    let same_name = (Pki::new(), CertificateError::BadSignature);
    for (other, expected) in [(Pki::named("other"), CertificateError::UnknownIssuer), same_name] {
        let tls = client_config(&[other.anchor()], None).unwrap();
        let error = Authority::new(&url, tls).unwrap().ready().await.unwrap_err();
        let AuthorityError::Untrusted { fault, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*fault, expected);
        assert!(error.to_string().ends_with("check the CA file"));
    }

    let (url, _seen) = serve(&pki, "elsewhere.example").await;
    let tls = client_config(&[pki.anchor()], None).unwrap();
    let error = Authority::new(&url, tls).unwrap().ready().await.unwrap_err();
    assert!(error.to_string().ends_with("check the URL"), "{error}");
}

#[tokio::test]
async fn nobody_at_the_address() {
    let pki = Pki::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    drop(listener);
    let tls = client_config(&[pki.anchor()], None).unwrap();
    let error = Authority::new(&url, tls).unwrap().ready().await.unwrap_err();
    assert!(matches!(&error, AuthorityError::Unreachable { origin, .. } if *origin == url));
    assert!(error.is_unavailable());
}

#[tokio::test]
async fn only_bare_https_urls() {
    let pki = Pki::new();
    for url in ["http://a.example", "https://a.example/x", "https://u@a.example", "a.example", ""] {
        let tls = client_config(&[pki.anchor()], None).unwrap();
        assert!(matches!(Authority::new(url, tls), Err(AuthorityError::Url)), "{url}");
    }
}

#[tokio::test]
async fn a_bus_that_is_not_there() {
    let bus = Bus::Address("unix:path=/nonexistent/bus".into());
    let error = signet_client::Daemon::connect(&bus).await.unwrap_err();
    assert!(matches!(error, DaemonError::Bus(_)), "{error:?}");
}
