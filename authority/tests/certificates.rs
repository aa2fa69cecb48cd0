//! Certificates that renew themselves while the authority serves: its own, its gateways', and those that an
//! outside CA keeps in files.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

#[allow(dead_code)] // Each test program uses its part of the house.
mod house;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use rcgen::{CertificateParams, KeyPair};
use reqwest::StatusCode;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use signet_authority::keys;
use signet_verifier::certificate::{Certificate, KeyPurpose, TrustAnchors, VerifiedPath};

use house::{House, last_audit};

const DAY: i64 = 86400;

/// The certificates that the listener for clients shows now.
async fn shown(house: &House) -> Vec<CertificateDer<'static>> {
    house.shown_by("localhost").await
}

/// Returns once another certificate than `before` is shown.
async fn until_other(
    house: &House,
    before: &[CertificateDer<'static>],
) -> Vec<CertificateDer<'static>> {
    loop {
        let now = shown(house).await;
        if now != before {
            return now;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_authoritys_own_certificate_is_renewed_while_it_serves() {
    let (house, ahead) = House::in_time().await;
    let first = shown(&house).await;
    ahead.fetch_add(29 * DAY, Ordering::SeqCst);
    assert_eq!(shown(&house).await, first);
    ahead.fetch_add(2 * DAY, Ordering::SeqCst);
    let second = until_other(&house, &first).await;
    let ends = |chain: &[CertificateDer<'_>]| Certificate::parse(&chain[0]).unwrap().not_after().0;
    assert_eq!((ends(&second) - ends(&first)) / DAY, 31);
    // Who trusts the CA trusts it, by the time that it is then.
    let keys = &house.authority.keys;
    let anchors =
        TrustAnchors::from_der([keys.server_ca.issuer(house.authority.now()).certificate()])
            .unwrap();
    VerifiedPath::verify(&second[0], &[], &anchors, None, house.authority.now()).unwrap();
}

#[tokio::test]
async fn a_ca_certificate_of_the_organisation_is_shown_as_soon_as_it_is_there() {
    let house = House::start().await;
    let first = shown(&house).await;
    assert_eq!(first.len(), 1);
    let directory = house.authority.config.keys();
    let request =
        keys::certificate_request(&directory, "server-ca", "Signet authority CA").unwrap();
    let root = rcgen::Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
    let request = rcgen::CertificateSigningRequestParams::from_pem(&request).unwrap();
    let certificate = request.signed_by(&root).unwrap();
    let now = house.authority.now();
    keys::import_certificate(&directory, "server-ca", certificate.der().clone(), now).unwrap();
    let second = until_other(&house, &first).await;
    assert_eq!(second.len(), 2, "what leads to the root is shown");
    assert_eq!(&second[1], certificate.der());
}

/// A certificate for localhost, and its key, in files that an ACME client would keep.
fn place(folder: &Path, key: Option<&KeyPair>) -> KeyPair {
    let made = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(key.unwrap_or(&made)).unwrap();
    std::fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
    let path = folder.join("key.pem");
    std::fs::write(&path, made.serialize_pem()).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    made
}

#[tokio::test]
async fn certificate_files_of_an_outside_ca_are_read_again_when_they_change() {
    let folder = tempfile::tempdir().unwrap();
    place(folder.path(), None);
    let path = |name: &str| folder.path().join(name);
    let tls = format!(
        "[tls]\ncertificate = {:?}\nkey = {:?}\nca = {:?}\n",
        path("cert.pem"),
        path("key.pem"),
        path("cert.pem")
    );
    let house = House::with_settings(&tls).await;
    let file = || keys::read_certificates(&path("cert.pem")).unwrap();
    let first = shown(&house).await;
    assert_eq!(first, file());
    // A certificate of another key than the one beside it never takes the place of what works.
    let other = KeyPair::generate().unwrap();
    place(folder.path(), Some(&other));
    let refused = file();
    std::fs::write(path("key.pem"), other.serialize_pem()).unwrap();
    assert_eq!(until_other(&house, &first).await, refused, "whole again, it is taken");
    place(folder.path(), None);
    assert_eq!(until_other(&house, &refused).await, file());
}

/// A certificate request for `key`.
fn request(key: &KeyPair) -> String {
    let mut params = CertificateParams::default();
    // Whatever a request asks for, the name is the gateway's own.
    params.subject_alt_names =
        vec![rcgen::SanType::URI("spiffe://mesh.example/gateway/other".try_into().unwrap())];
    params.serialize_request(key).unwrap().pem().unwrap()
}

#[tokio::test]
async fn a_gateway_renews_its_certificate_with_the_one_it_has() {
    let (house, ahead) = House::in_time().await;
    let url = house.gateways("/v1/gateway/certificate");
    let key = KeyPair::generate().unwrap();
    ahead.fetch_add(200, Ordering::SeqCst);
    let answer = house.gateway("edge").post(&url).body(request(&key)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let pem = answer.text().await.unwrap();
    let renewed = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let parsed = Certificate::parse(&renewed).unwrap();
    assert_eq!(parsed.spiffe_id(), Ok("spiffe://mesh.example/gateway/edge"));
    let now = house.authority.now();
    let left = parsed.not_after().0 - now.0;
    assert!((3590..=3600).contains(&left), "it lives as long as the one shown: {left}");
    let anchors = TrustAnchors::from_der([house
        .authority
        .keys
        .gateway_ca
        .issuer(house.authority.now())
        .certificate()])
    .unwrap();
    let purpose = Some(KeyPurpose::ClientAuthentication);
    VerifiedPath::verify(&renewed, &[], &anchors, purpose, now).unwrap();
    let record = last_audit(&house.authority).await;
    assert_eq!(record.event, "gateway-certificate");
    assert!(record.detail.starts_with("renewed until "), "{}", record.detail);
    // The new one is good for the next.
    let der = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let client = house.client_with((renewed, der));
    let next = KeyPair::generate().unwrap();
    let answer = client.post(&url).body(request(&next)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_request_of_a_known_gateway_gets_no_certificate() {
    let house = House::start().await;
    let url = house.gateways("/v1/gateway/certificate");
    let key = KeyPair::generate().unwrap();
    let good = request(&key);
    let issued = async || house.authority.store.log_size().await.unwrap();
    let before = issued().await;
    let other_curve = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    // One letter of the signature.
    let mut forged = pem_body(&good);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    for bad in [Vec::new(), b"none".to_vec(), request(&other_curve).into_bytes(), forged] {
        let answer = house.gateway("edge").post(&url).body(bad).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    }
    assert_eq!(issued().await, before);
    // A gateway that the settings do not name, with a good certificate of the gateway CA.
    let answer = house.gateway("gone").post(&url).body(good).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(last_audit(&house.authority).await.code.as_deref(), Some("policy-denied"));
}

fn pem_body(pem: &str) -> Vec<u8> {
    use base64::Engine;
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).map(str::trim).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}
