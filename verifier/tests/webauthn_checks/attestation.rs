//! What attestations prove, and the rules that they keep (L3 §8).

use aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
use aws_lc_rs::signature::KeyPair as _;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, KeyPair, date_time_ymd,
};
use signet_evidence::webauthn::{Aaguid, AttestationStatement, CredProtect, PackedStatement};
use signet_evidence::{CertificateThumbprint, UnixTime};
use signet_verifier::AttestationKind;
use signet_verifier::certificate::{CertificateError, PathError, TrustAnchors};
use signet_verifier::metadata::AttestationKeyId;
use signet_verifier::webauthn::{AttestationError, RegistrationError};

use super::{
    CREDENTIAL_ID, ED, MODEL, Maker, Registration, UP, UV, aaguid_extension, batch_params, none,
};

#[test]
fn a_packed_registration_proves_the_model() {
    let maker = Maker::new();
    let batch = maker.batch(&batch_params());
    let protect = [&[0xa1, 0x6b][..], b"credProtect", &[3]].concat();
    let registration = Registration::new(UP | UV | ED, MODEL, &protect);
    let verified = registration.judge(registration.packed(&batch), &maker.roots()).unwrap();
    assert_eq!(verified.kind(), AttestationKind::Packed);
    assert_eq!(verified.aaguid(), MODEL);
    assert_eq!(verified.anchor(), Some(CertificateThumbprint::of_der(&maker.root)));
    assert_eq!(verified.credential_id(), CREDENTIAL_ID);
    assert_eq!(verified.public_key(), &registration.credential.public_key());
    assert_eq!(verified.cred_protect(), Some(CredProtect::UserVerificationRequired));
    assert!(verified.user_verified());
    assert_eq!(verified.sign_count(), 9);
    assert!(!verified.leaves_tpm());
    let key = batch.key.0.public_key();
    let id = aws_lc_rs::digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, key.as_ref());
    let id = AttestationKeyId(id.as_ref().try_into().unwrap());
    assert_eq!(verified.attestation_key(), Some(id));
    // FIDO metadata may list the attestation certificate itself as its root.
    let leaf = TrustAnchors::from_der([&batch.certificate]).unwrap();
    let verified = registration.judge(registration.packed(&batch), &leaf).unwrap();
    assert_eq!(verified.anchor(), Some(CertificateThumbprint::of_der(&batch.certificate)));
}

/// A certificate that is its own anchor is judged by its time as any other.
#[test]
fn a_listed_attestation_certificate_counts_from_its_first_second_to_its_last() {
    let registration = Registration::of_model();
    let batch = Maker::new().batch(&batch_params());
    let itself = TrustAnchors::from_der([&batch.certificate]).unwrap();
    let (first, last) = (1_577_836_800, 1_893_456_000);
    let untrusted = |error| Err(RegistrationError::Attestation(AttestationError::Untrusted(error)));
    for (now, due) in [
        (first - 1, untrusted(PathError::NotYetValid)),
        (first, Ok(())),
        (first + 1, Ok(())),
        (last, Ok(())),
        (last + 1, untrusted(PathError::Expired)),
    ] {
        let judged = registration.judge_at(UnixTime(now), registration.packed(&batch), &itself);
        assert_eq!(judged.map(|_| ()), due, "{now}");
    }
}

#[test]
fn weaker_attestations_say_so() {
    let registration = Registration::of_model();
    let roots = TrustAnchors::default();
    let verified = registration.judge(none(), &roots).unwrap();
    assert_eq!((verified.kind(), verified.anchor()), (AttestationKind::None, None));
    assert_eq!(verified.attestation_key(), None);
    let by_itself = AttestationStatement::Packed(PackedStatement {
        algorithm: -7,
        signature: registration.credential.sign(&registration.signed()),
        x5c: vec![],
    });
    let verified = registration.judge(by_itself, &roots).unwrap();
    assert_eq!((verified.kind(), verified.anchor()), (AttestationKind::PackedSelf, None));
    let maker = Maker::new();
    let batch = maker.batch(&CertificateParams::default());
    let u2f = Registration::new(UP | UV, Aaguid([0; 16]), &[]);
    let verified = u2f.judge(u2f.u2f(&batch), &maker.roots()).unwrap();
    assert_eq!(verified.kind(), AttestationKind::FidoU2f);
    assert_eq!(verified.anchor(), Some(CertificateThumbprint::of_der(&maker.root)));
    let error = registration.judge(registration.u2f(&batch), &maker.roots()).unwrap_err();
    assert_eq!(error, RegistrationError::Attestation(AttestationError::U2fAaguid));
}

#[test]
fn an_attestation_certificate_keeps_the_rules_of_section_8_2_1() {
    use AttestationError as E;
    let maker = Maker::new();
    let registration = Registration::of_model();
    let with = |edit: &dyn Fn(&mut CertificateParams)| {
        let mut params = batch_params();
        edit(&mut params);
        let statement = registration.packed(&maker.batch(&params));
        match registration.judge(statement, &maker.roots()) {
            Ok(_) => None,
            Err(RegistrationError::Attestation(error)) => Some(error),
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(with(&|_| ()), None);
    assert_eq!(with(&|params| params.custom_extensions.clear()), None);
    let name = |kind: DnType, value: &'static str| {
        with(&move |params: &mut CertificateParams| {
            params.distinguished_name.remove(kind.clone());
            if !value.is_empty() {
                params.distinguished_name.push(kind.clone(), value);
            }
        })
    };
    let broken = Some(E::CertificateRequirements);
    assert_eq!(name(DnType::OrganizationalUnitName, "Authenticator attestation"), broken);
    assert_eq!(name(DnType::OrganizationalUnitName, ""), broken);
    assert_eq!(name(DnType::CountryName, ""), broken);
    assert_eq!(name(DnType::OrganizationName, ""), broken);
    assert_eq!(name(DnType::CommonName, ""), broken);
    assert_eq!(with(&|params| params.is_ca = IsCa::NoCa), broken);
    assert_eq!(with(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), broken);
    let extension = |extension: CustomExtension| {
        with(&move |params| params.custom_extensions = vec![extension.clone()])
    };
    assert_eq!(extension(aaguid_extension(&[0xab; 16])), Some(E::AaguidMismatch));
    assert_eq!(extension(aaguid_extension(&[0xaa; 15])), broken);
    // Sixteen bytes are promised, and fifteen or seventeen are there.
    for length in [15, 17] {
        let content = [&[0x04, 16][..], &vec![0xaa; length]].concat();
        let oid = [1, 3, 6, 1, 4, 1, 45724, 1, 1, 4];
        assert_eq!(extension(CustomExtension::from_oid_content(&oid, content)), broken);
    }
    let mut critical = aaguid_extension(&MODEL.0);
    critical.set_criticality(true);
    assert_eq!(extension(critical), broken);
}

#[test]
fn an_attestation_that_does_not_hold_is_refused_by_its_fault() {
    use AttestationError as E;
    let (maker, other) = (Maker::new(), Maker::new());
    let batch = maker.batch(&batch_params());
    let registration = Registration::of_model();
    let judge = |statement, roots: &TrustAnchors| match registration.judge(statement, roots) {
        Err(RegistrationError::Attestation(error)) => error,
        other => panic!("{other:?}"),
    };
    let stranger = Registration::of_model();
    assert_eq!(judge(stranger.packed(&batch), &maker.roots()), E::SignatureInvalid);
    assert_eq!(judge(stranger.u2f(&batch), &maker.roots()), E::SignatureInvalid);
    let error = judge(registration.packed(&batch), &TrustAnchors::default());
    assert_eq!(error, E::Untrusted(PathError::UnknownIssuer));
    let error = judge(registration.packed(&batch), &other.roots());
    assert_eq!(error, E::Untrusted(PathError::SignatureInvalid));
    let mut old = batch_params();
    old.not_after = date_time_ymd(2025, 1, 1);
    let old = maker.batch(&old);
    let error = judge(registration.packed(&old), &maker.roots());
    assert_eq!(error, E::Untrusted(PathError::Expired));
    let itself = TrustAnchors::from_der([&old.certificate]).unwrap();
    assert_eq!(judge(registration.packed(&old), &itself), E::Untrusted(PathError::Expired));
    let packed = |algorithm, x5c: Vec<Vec<u8>>| {
        let signature = registration.credential.sign(&registration.signed());
        AttestationStatement::Packed(PackedStatement { algorithm, signature, x5c })
    };
    assert_eq!(judge(packed(-35, vec![]), &maker.roots()), E::Algorithm(-35));
    let error = judge(packed(-7, vec![vec![0x30, 0]]), &maker.roots());
    assert_eq!(error, E::Certificate(CertificateError::Malformed));
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let p384 = batch_params().signed_by(&p384, &maker.issuer).unwrap().der().to_vec();
    let error = judge(packed(-7, vec![p384]), &maker.roots());
    assert_eq!(error, E::Certificate(CertificateError::KeyNotP256));
}
