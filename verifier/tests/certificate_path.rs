//! Device and AK certificates of an authority's own CA.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, SanType, SerialNumber, date_time_ymd,
};
use signet_evidence::UnixTime;
use signet_verifier::certificate::{
    Certificate, CertificateError, CertificateKey, KeyPurpose, PathError, TrustAnchors,
    VerifiedPath,
};
use signet_verifier::tpm::{AttestationKey, AttestationKeyError};

/// 2026-01-01.
const NOW: UnixTime = UnixTime(1_767_225_600);
const SPIFFE_ID: &str = "spiffe://mesh.example/device/1";

struct Ca {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Self {
        let mut params = params();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { der, issuer: Issuer::new(params, key) }
    }

    fn anchors(&self) -> TrustAnchors {
        TrustAnchors::from_der([&self.der]).unwrap()
    }

    fn issue(&self, params: &CertificateParams) -> Vec<u8> {
        self.issue_for(params, &KeyPair::generate().unwrap())
    }

    fn issue_for(&self, params: &CertificateParams, key: &KeyPair) -> Vec<u8> {
        params.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }
}

fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

fn device() -> CertificateParams {
    let mut params = params();
    params.subject_alt_names = vec![SanType::URI(SPIFFE_ID.try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn attestation_key() -> CertificateParams {
    let mut params = params();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 3])];
    params
}

const CLIENT: Option<KeyPurpose> = Some(KeyPurpose::ClientAuthentication);

#[test]
fn a_device_certificate_gives_its_facts() {
    let (ca, key) = (Ca::new(), KeyPair::generate().unwrap());
    let mut params = device();
    params.serial_number = Some(SerialNumber::from_slice(&[0x2a, 7]));
    let der = ca.issue_for(&params, &key);
    let path = VerifiedPath::verify(&der, &[], &ca.anchors(), CLIENT, NOW).unwrap();
    let leaf = path.leaf();
    assert_eq!((leaf.spiffe_id(), leaf.serial()), (Ok(SPIFFE_ID), &[0x2a, 7][..]));
    assert_eq!(leaf.p256_key().unwrap().uncompressed_point().as_slice(), key.public_key_raw());
    assert_eq!(leaf.purposes(), [KeyPurpose::ClientAuthentication]);
    assert_eq!(leaf.thumbprint(), signet_evidence::CertificateThumbprint::of_der(&der));
    assert_eq!(
        (leaf.not_before(), leaf.not_after()),
        (UnixTime(1_735_689_600), UnixTime(1_798_761_600))
    );
    assert_eq!(path.anchor(), signet_evidence::CertificateThumbprint::of_der(&ca.der));
    assert_eq!(leaf.der(), der);
}

#[test]
fn purposes_are_not_interchangeable() {
    let ca = Ca::new();
    let verify = |params: &CertificateParams, purpose| {
        let der = ca.issue(params);
        VerifiedPath::verify(&der, &[], &ca.anchors(), Some(purpose), NOW).map(|_| ())
    };
    let (client, ak) = (KeyPurpose::ClientAuthentication, KeyPurpose::AttestationKey);
    assert_eq!(verify(&device(), client), Ok(()));
    assert_eq!(verify(&attestation_key(), ak), Ok(()));
    assert_eq!(verify(&device(), ak), Err(PathError::Purpose(ak)));
    assert_eq!(verify(&attestation_key(), client), Err(PathError::Purpose(client)));
    // No usage at all, and "any usage", are not enough.
    assert_eq!(verify(&params(), client), Err(PathError::Purpose(client)));
    let mut any = params();
    any.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    assert_eq!(verify(&any, client), Err(PathError::Purpose(client)));
}

#[test]
fn an_attestation_key_comes_only_from_its_own_kind_of_certificate() {
    let ca = Ca::new();
    let path = |der: &[u8], purpose| {
        VerifiedPath::verify(der, &[], &ca.anchors(), Some(purpose), NOW).unwrap()
    };
    let ak = path(&ca.issue(&attestation_key()), KeyPurpose::AttestationKey);
    let key = AttestationKey::from_certificate(&ak).unwrap();
    assert_eq!(key.public_key(), ak.leaf().p256_key().unwrap());
    let device = path(&ca.issue(&device()), KeyPurpose::ClientAuthentication);
    assert_eq!(AttestationKey::from_certificate(&device), Err(AttestationKeyError::Purpose));
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let p384 = path(&ca.issue_for(&attestation_key(), &p384), KeyPurpose::AttestationKey);
    assert!(matches!(p384.leaf().key(), CertificateKey::P384(_)));
    let error = AttestationKeyError::Key(CertificateError::KeyNotP256);
    assert_eq!(AttestationKey::from_certificate(&p384), Err(error));
}

#[test]
fn another_ca_and_another_time_do_not_vouch() {
    let (ca, other) = (Ca::new(), Ca::new());
    let der = ca.issue(&device());
    let verify = |anchors: &TrustAnchors, now| {
        VerifiedPath::verify(&der, &[], anchors, CLIENT, now).map(|_| ()).unwrap_err()
    };
    // Both CAs have the same name: the signature tells them apart.
    assert_eq!(verify(&other.anchors(), NOW), PathError::SignatureInvalid);
    assert_eq!(verify(&ca.anchors(), UnixTime(1_735_689_599)), PathError::NotYetValid);
    assert_eq!(verify(&ca.anchors(), UnixTime(1_798_761_601)), PathError::Expired);
}

#[test]
fn a_device_cannot_issue() {
    let ca = Ca::new();
    let key = KeyPair::generate().unwrap();
    let mut forger = device();
    forger.distinguished_name.push(DnType::CommonName, "a device");
    let intermediate = ca.issue_for(&forger, &key);
    let forged = Ca { der: vec![], issuer: Issuer::new(forger, key) }.issue(&device());
    let path = VerifiedPath::verify(&forged, &[intermediate], &ca.anchors(), CLIENT, NOW);
    assert_eq!(path.unwrap_err(), PathError::Path(webpki::Error::EndEntityUsedAsCa));
}

#[test]
fn a_spiffe_certificate_has_one_uri() {
    let ca = Ca::new();
    let with = |uris: &[&str]| {
        let mut params = device();
        let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
        params.subject_alt_names = uris.iter().map(uri).collect();
        let der = ca.issue(&params);
        Certificate::parse(&der).unwrap().spiffe_id().map(str::to_owned)
    };
    assert_eq!(with(&[SPIFFE_ID]), Ok(SPIFFE_ID.to_owned()));
    assert_eq!(with(&[]), Err(CertificateError::UriCount { found: 0 }));
    assert_eq!(with(&[SPIFFE_ID, SPIFFE_ID]), Err(CertificateError::UriCount { found: 2 }));
    for uri in ["https://mesh.example/", "spiffe://", "SPIFFE://mesh.example/a"] {
        assert_eq!(with(&[uri]), Err(CertificateError::NotASpiffeId));
    }
}

#[test]
fn unknown_critical_extensions_are_refused() {
    let ca = Ca::new();
    let mut params = device();
    let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    extension.set_criticality(true);
    params.custom_extensions.push(extension);
    let path = VerifiedPath::verify(&ca.issue(&params), &[], &ca.anchors(), CLIENT, NOW);
    let error = PathError::Path(webpki::Error::UnsupportedCriticalExtension);
    assert_eq!(path.unwrap_err(), error);
}

/// An authority below the root may be there for one kind of leaf only.
#[test]
fn an_intermediate_for_another_purpose_vouches_for_no_leaf() {
    let mut params = params();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_key = KeyPair::generate().unwrap();
    let root = params.self_signed(&root_key).unwrap().der().to_vec();
    let anchors = TrustAnchors::from_der([&root]).unwrap();
    assert_eq!((anchors.len(), anchors.is_empty()), (1, false));
    let none = TrustAnchors::default();
    assert_eq!((none.len(), none.is_empty()), (0, true));
    let root = Issuer::new(params.clone(), root_key);
    let tcg = |last| ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, last]);
    let [client, ak, ek] = [ExtendedKeyUsagePurpose::ClientAuth, tcg(3), tcg(1)];
    let purposes = [
        (KeyPurpose::ClientAuthentication, &client),
        (KeyPurpose::AttestationKey, &ak),
        (KeyPurpose::EndorsementKey, &ek),
    ];
    for usages in [vec![], vec![&client], vec![&ak], vec![&ek], vec![&client, &ek]] {
        let mut params = params.clone();
        params.distinguished_name.push(DnType::CommonName, "an intermediate");
        params.extended_key_usages = usages.iter().copied().cloned().collect();
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &root).unwrap().der().to_vec();
        let below = Ca { der: der.clone(), issuer: Issuer::new(params, key) };
        for (purpose, usage) in purposes {
            let mut leaf = self::params();
            leaf.extended_key_usages = vec![usage.clone()];
            let path = VerifiedPath::verify(
                &below.issue(&leaf),
                std::slice::from_ref(&der),
                &anchors,
                Some(purpose),
                NOW,
            );
            // An authority that names no usage is there for all of them.
            let due = usages.is_empty() || usages.contains(&usage);
            let due = if due { Ok(()) } else { Err(PathError::Purpose(purpose)) };
            assert_eq!(path.map(|_| ()), due, "{usages:?}");
        }
    }
}

#[test]
fn a_key_on_another_curve_is_no_key_of_ours() {
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let mut der = device().self_signed(&p384).unwrap().der().to_vec();
    let key = |der: &[u8]| Certificate::parse(der).unwrap().key().clone();
    assert_eq!(key(&der), CertificateKey::P384(p384.public_key_raw().to_vec()));
    // secp384r1 is 1.3.132.0.34; the next is secp521r1.
    let curve = [0x06, 5, 0x2b, 0x81, 4, 0, 0x22];
    let at = der.windows(curve.len()).position(|bytes| bytes == curve).unwrap();
    der[at + 6] += 1;
    assert_eq!(key(&der), CertificateKey::Other);
}
