use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};

use super::*;

const NOW: i64 = 1_800_000_000;

fn folder() -> (tempfile::TempDir, CaFolder) {
    let state = tempfile::tempdir().unwrap();
    let folder = CaFolder::find(Some(state.path().into()), None).unwrap();
    (state, folder)
}

/// What rustls says of a server's certificate to somebody who trusts this CA and no other.
fn judged(ca: &HostCa, leaf: &CertificateDer<'_>, name: &str) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let name = ServerName::try_from(name).unwrap();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(NOW.unsigned_abs() + 60));
    verifier.verify_server_cert(leaf, &[], &name, &[], at).map(|_| ())
}

/// What the holder of the CA's key could sign.
fn forged(ca: &HostCa, name: &str, key: &Key) -> CertificateDer<'static> {
    let mut params = parameters("thief".into(), NOW, CA_LIFETIME).unwrap();
    params.subject_alt_names = CertificateParams::new([name.to_owned()]).unwrap().subject_alt_names;
    let issuer = Issuer::from_ca_cert_der(&ca.certificate, &ca.key).unwrap();
    params.signed_by(key, &issuer).unwrap().der().clone()
}

#[test]
fn each_host_has_its_own_ca_that_is_made_once() {
    let (state, folder) = folder();
    let (one, two) = (folder.open("a.example", NOW).unwrap(), folder.open("::1", NOW).unwrap());
    assert_ne!(one.key.der_bytes(), two.key.der_bytes());
    assert_eq!(one.file(), state.path().join("signet/proxy-ca/a.example.pem"));
    assert_eq!(std::fs::read_to_string(one.file()).unwrap(), one.pem());
    assert_eq!(one.not_after(), NOW + 730 * 86_400);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let key = one.file().with_extension("key");
    assert_eq!((mode(&key), mode(key.parent().unwrap())), (0o600, 0o700));
    let again = folder.open("a.example", NOW + 86_400).unwrap();
    assert_eq!(again.pem(), one.pem());
    // In its last month, or when it is lost or damaged: another certificate of the same name and key.
    let later = folder.open("a.example", NOW + 701 * 86_400).unwrap();
    assert_ne!(later.sha256(), one.sha256());
    for damage in [&b""[..], two.pem().as_bytes()] {
        std::fs::write(one.file(), damage).unwrap();
        let made = folder.open("a.example", NOW).unwrap();
        assert_eq!(made.key.der_bytes(), one.key.der_bytes());
        // Who was given the former one goes on.
        let (leaf, _) = made.leaf(NOW).unwrap();
        assert_eq!(judged(&one, &leaf, "a.example"), Ok(()));
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let open = folder.open("a.example", NOW);
    assert!(
        matches!(open, Err(LocalCaError::File(CacheError::Unsafe { path, .. })) if path == key)
    );
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&key, "none").unwrap();
    let open = folder.open("a.example", NOW);
    assert!(matches!(open, Err(LocalCaError::NotAKey(path)) if path == key));
}

#[test]
fn where_they_are() {
    let found = |state: Option<&str>, home: Option<&str>| {
        CaFolder::find(state.map(Into::into), home.map(Into::into)).map(|folder| folder.0)
    };
    assert_eq!(found(Some("/s"), Some("/h")), Some("/s/signet/proxy-ca".into()));
    assert_eq!(found(Some("s"), Some("/h")), Some("/h/.local/state/signet/proxy-ca".into()));
    assert_eq!(found(None, None), None);
}

#[test]
fn a_ca_vouches_for_its_host_alone_whoever_has_its_key() {
    let (_state, folder) = folder();
    for host in ["ctl.mesh.example", "127.0.0.1", "::1", &format!("{}.example", "a".repeat(60))] {
        let ca = folder.open(host, NOW).unwrap();
        let (leaf, key) = ca.leaf(NOW).unwrap();
        assert_eq!(judged(&ca, &leaf, host), Ok(()), "{host}");
        assert!(matches!(key, PrivateKeyDer::Pkcs8(_)));
        let (thief, _) = Key::generate().unwrap();
        assert_eq!(judged(&ca, &forged(&ca, host, &thief), host), Ok(()), "{host}");
        for other in ["bank.example", "mesh.example", "127.0.0.2", "192.0.2.1", "::2"] {
            let leaf = forged(&ca, other, &thief);
            let Err(rustls::Error::InvalidCertificate(CertificateError::Other(why))) =
                judged(&ca, &leaf, other)
            else {
                panic!("{host} vouched for {other}")
            };
            assert_eq!(why.to_string(), "NameConstraintViolation", "{host}: {other}");
        }
    }
}
