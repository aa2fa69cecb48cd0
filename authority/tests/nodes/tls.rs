//! A database that is reached over TLS: believed by its CA and its name, and by nothing less.

use std::net::TcpListener;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use signet_authority::random;
use signet_authority::store::{IntegrityKey, OpenError, SqlStore};
use signet_evidence::thumbprint::hex;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::postgres::{Cluster, Network, server};
use crate::stage::{Stage, Told};

/// A CA for servers, and its certificate in a file.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    file: NamedTempFile,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        // No two have one name.
        let name = hex(&random::bytes::<8>());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    /// Certificate and key in PEM for this name or address.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    pub(crate) fn file(&self) -> &Path {
        self.file.path()
    }
}

/// Why the database does not open.
async fn refused(url: &str) -> String {
    let integrity = IntegrityKey::new(&Zeroizing::new([7; 32]));
    match SqlStore::open(server(url), integrity).await {
        Err(OpenError::Unusable { source, .. }) => format!("{source:?}"),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{url} was believed"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_over_tls_is_believed_by_its_ca_and_name_only() {
    let (ca, other) = (Ca::new(), Ca::new());
    let (certificate, key) = ca.issue("localhost");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = "127.0.0.1";
    let (certificate, key) = (certificate.as_str(), key.as_str());
    let network = Network { address, port, certificate, key, namespace: None };
    let cluster = Cluster::start_over(&network);
    let good = cluster.database_over("localhost", ca.file()).await;
    let stage = Stage::set(&good).await;
    let once = stage.once().await;
    assert_eq!(stage.redeem(0, &once).await, Told::Active);
    assert_eq!(stage.redeem(1, &once).await, Told::Inactive);

    let wrong_name = good.replace("@localhost:", "@127.0.0.1:");
    let why = refused(&wrong_name).await;
    assert!(why.contains("NotValidForName"), "{why}");
    let wrong_ca = good.replace(ca.file().to_str().unwrap(), other.file().to_str().unwrap());
    let why = refused(&wrong_ca).await;
    assert!(why.contains("UnknownIssuer"), "{why}");
    // And the server that the test runs would answer nobody without TLS.
    let (plain, _) = good.split_once('?').unwrap();
    let why = refused(&format!("{plain}?sslmode=disable")).await;
    assert!(why.contains("no encryption"), "{why}");
}
