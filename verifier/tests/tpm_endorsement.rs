//! Endorsement certificates of real TPMs, and the chains above them.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]
#![allow(clippy::disallowed_methods, reason = "certificates are files")]

mod exceptions;

use std::path::Path;

use exceptions::Set;
use signet_evidence::UnixTime;
use signet_evidence::tpm::{
    EccCurve, EccParameters, HashAlgorithm, ObjectAttributes, PublicParameters, RsaParameters,
    Scheme, Symmetric, TpmtPublic,
};
use signet_verifier::certificate::{
    Certificate, CertificateError, CertificateKey, KeyPurpose, PathError, TrustAnchors,
    VerifiedPath, without_padding,
};
use signet_verifier::tpm::{EndorsementError, EndorsementKey, VerifiedEndorsement};

macro_rules! der {
    ($name:literal) => {
        include_bytes!(concat!("../../fixtures/published/tpm-ek/", $name, ".der")).as_slice()
    };
}

/// 2024-01-01.
const NOW: UnixTime = UnixTime(1_704_067_200);
const YEAR: i64 = 365 * 86400;
const EK: Option<KeyPurpose> = Some(KeyPurpose::EndorsementKey);

fn anchors(certificates: &[&[u8]]) -> TrustAnchors {
    TrustAnchors::from_der(certificates).unwrap()
}

fn owned(certificates: &[&[u8]]) -> Vec<Vec<u8>> {
    certificates.iter().map(|der| der.to_vec()).collect()
}

fn st_rsa() -> &'static [u8] {
    without_padding(der!("st-st33-rsa-nv-padded")).unwrap()
}

/// The EK that belongs to a certificate, as its TPM would send it.
fn endorsement_key(certificate: &[u8]) -> EndorsementKey {
    let symmetric = Symmetric::AesCfb { key_bits: 128 };
    let scheme = Scheme::Null;
    let parameters = match Certificate::parse(certificate).unwrap().key() {
        CertificateKey::P256(key) => PublicParameters::Ecc(EccParameters {
            symmetric,
            scheme,
            curve: EccCurve::P256,
            x: key.uncompressed_point()[1..33].to_vec(),
            y: key.uncompressed_point()[33..].to_vec(),
        }),
        CertificateKey::Rsa { modulus, .. } => PublicParameters::Rsa(RsaParameters {
            symmetric,
            scheme,
            key_bits: 2048,
            exponent: 0,
            modulus: modulus.clone(),
        }),
        other => panic!("{other:?}"),
    };
    let policy = "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa";
    let policy = (0..64).step_by(2).map(|at| u8::from_str_radix(&policy[at..at + 2], 16).unwrap());
    EndorsementKey::from_public(&TpmtPublic {
        name_algorithm: HashAlgorithm::Sha256,
        attributes: ObjectAttributes::from_bits(0x0003_00b2).unwrap(),
        auth_policy: policy.collect(),
        parameters,
    })
    .unwrap()
}

/// Leaf, intermediates, anchor.
type Chain = (&'static [u8], Vec<Vec<u8>>, &'static [u8]);

fn real_chains() -> Vec<Chain> {
    vec![
        (
            der!("infineon-slb9670-ecc"),
            owned(&[der!("infineon-ecc-manufacturing-ca-035")]),
            der!("infineon-ecc-root"),
        ),
        (
            der!("infineon-slb9670-rsa"),
            owned(&[der!("infineon-rsa-manufacturing-ca-035")]),
            der!("infineon-rsa-root"),
        ),
        (der!("nuvoton-npct75x"), vec![], der!("nuvoton-root-2111")),
        // STMicroelectronics' intermediates mark their policies critical: they are anchors themselves.
        (der!("st-st33-ecc"), vec![], der!("st-ecc-intermediate-01")),
        (st_rsa(), vec![], der!("st-rsa-intermediate-05")),
    ]
}

#[test]
fn real_endorsements_are_believed() {
    for (leaf, intermediates, anchor) in real_chains() {
        let key = endorsement_key(leaf);
        let verified = VerifiedEndorsement::verify(
            key.clone(),
            leaf,
            &intermediates,
            &anchors(&[anchor]),
            NOW,
        )
        .unwrap();
        assert_eq!(verified.key(), &key);
        assert_eq!(verified.certificate(), Certificate::parse(leaf).unwrap().thumbprint());
        assert_eq!(verified.anchor(), Certificate::parse(anchor).unwrap().thumbprint());
    }
}

/// Every published certificate: those of a chain that is believed, and the rest.
#[test]
fn published_certificates_lead_to_their_makers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/published/tpm-ek");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|found| found == "der"));
    let chains = real_chains();
    let mut set = Set::of("tpm-ek");
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        let certificate = without_padding(&bytes).unwrap();
        let believed = chains.iter().any(|(leaf, intermediates, anchor)| {
            [*leaf, *anchor].contains(&certificate)
                || intermediates.iter().any(|one| one == certificate)
        });
        set.judged(path.file_stem().unwrap().to_str().unwrap(), believed);
    }
    assert_eq!(set.settle(), 12);
}

#[test]
fn an_endorsement_certificate_for_another_key_is_refused() {
    let chains = real_chains();
    for (index, (leaf, intermediates, anchor)) in chains.iter().enumerate() {
        let other = endorsement_key(chains[(index + 1) % chains.len()].0);
        let verified =
            VerifiedEndorsement::verify(other, leaf, intermediates, &anchors(&[anchor]), NOW);
        assert_eq!(verified.unwrap_err(), EndorsementError::KeyMismatch);
    }
}

#[test]
fn other_makers_do_not_vouch_for_it() {
    let makers = anchors(&[der!("nuvoton-root-2111"), der!("st-ecc-root-01"), der!("st-rsa-root")]);
    let leaf = der!("infineon-slb9670-ecc");
    let verified = VerifiedEndorsement::verify(endorsement_key(leaf), leaf, &[], &makers, NOW);
    assert_eq!(verified.unwrap_err(), EndorsementError::Untrusted(PathError::UnknownIssuer));
    let path = |leaf, anchors: &TrustAnchors| VerifiedPath::verify(leaf, &[], anchors, EK, NOW);
    assert_eq!(path(der!("gce-vtpm-ecc"), &makers).unwrap_err(), PathError::UnknownIssuer);
    let none = TrustAnchors::default();
    assert_eq!(path(leaf, &none).unwrap_err(), PathError::UnknownIssuer);
}

#[test]
fn critical_policies_of_an_intermediate_are_not_understood() {
    let error = VerifiedPath::verify(
        der!("st-st33-ecc"),
        &owned(&[der!("st-ecc-intermediate-01")]),
        &anchors(&[der!("st-ecc-root-01")]),
        EK,
        NOW,
    )
    .unwrap_err();
    assert_eq!(error, PathError::Path(webpki::Error::UnsupportedCriticalExtension));
}

#[test]
fn time_is_judged_by_the_argument() {
    let leaf = der!("nuvoton-npct75x");
    let makers = anchors(&[der!("nuvoton-root-2111")]);
    let at = |now| VerifiedPath::verify(leaf, &[], &makers, EK, now).map(|path| path.anchor());
    let facts = Certificate::parse(leaf).unwrap();
    let (first, last) = (facts.not_before(), facts.not_after());
    assert_eq!(at(UnixTime(first.0 - 1)), Err(PathError::NotYetValid));
    assert!(at(first).is_ok() && at(last).is_ok());
    assert_eq!(at(UnixTime(last.0 + 1)), Err(PathError::Expired));
    assert_eq!(at(UnixTime(-YEAR)), Err(PathError::NotYetValid));
}

#[test]
fn a_changed_certificate_is_refused() {
    let makers = anchors(&[der!("nuvoton-root-2111")]);
    let mut leaf = der!("nuvoton-npct75x").to_vec();
    let last = leaf.len() - 1;
    leaf[last] ^= 1;
    let verify = |leaf: &[u8]| VerifiedPath::verify(leaf, &[], &makers, EK, NOW).unwrap_err();
    assert_eq!(verify(&leaf), PathError::SignatureInvalid);
    leaf.push(0);
    assert_eq!(verify(&leaf), PathError::Leaf(CertificateError::Malformed));
    assert_eq!(verify(&[]), PathError::Leaf(CertificateError::Malformed));
}

#[test]
fn endorsement_certificates_are_for_nothing_else() {
    let makers = anchors(&[der!("nuvoton-root-2111")]);
    for purpose in [KeyPurpose::ClientAuthentication, KeyPurpose::AttestationKey] {
        let path = VerifiedPath::verify(der!("nuvoton-npct75x"), &[], &makers, Some(purpose), NOW);
        assert_eq!(path.unwrap_err(), PathError::Purpose(purpose));
    }
}

#[test]
fn padding_of_the_nv_area_is_cut_off() {
    let padded = der!("st-st33-rsa-nv-padded");
    assert_eq!((padded.len(), st_rsa().len()), (1600, 1169));
    assert_eq!(Certificate::parse(padded).unwrap_err(), CertificateError::Malformed);
    assert!(matches!(Certificate::parse(st_rsa()).unwrap().key(), CertificateKey::Rsa { .. }));
    // Short certificates have a length of one byte.
    let short = [&[0x30, 0x81, 0x80][..], &[0x55; 0x80], &[0xff; 9]].concat();
    assert_eq!(without_padding(&short), Ok(&short[..0x83]));
    assert_eq!(without_padding(&short[..0x82]), Err(CertificateError::Malformed));
    for area in [&padded[..1168], &[], &[0xff; 64], &[0x30, 0x80, 0, 0]] {
        assert_eq!(without_padding(area), Err(CertificateError::Malformed));
    }
}

#[test]
fn an_anchor_that_is_no_certificate_is_named() {
    let error = TrustAnchors::from_der([der!("nuvoton-root-2111"), b"nonsense"]).unwrap_err();
    assert_eq!(error.index, 1);
}
