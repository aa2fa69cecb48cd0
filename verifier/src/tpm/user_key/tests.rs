use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use signet_evidence::binding::Sha256;
use signet_evidence::tpm::{EccParameters, PublicParameters, Symmetric};

fn point() -> ([u8; 32], [u8; 32]) {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
    let point = pair.public_key().as_ref();
    (point[1..33].try_into().unwrap(), point[33..].try_into().unwrap())
}

fn key(attributes: ObjectAttributes, policy: &[u8]) -> TpmtPublic {
    let (x, y) = point();
    TpmtPublic {
        name_algorithm: HashAlgorithm::Sha256,
        attributes,
        auth_policy: policy.to_vec(),
        parameters: PublicParameters::Ecc(EccParameters {
            symmetric: Symmetric::Null,
            scheme: Scheme::Ecdsa(HashAlgorithm::Sha256),
            curve: EccCurve::P256,
            x: x.to_vec(),
            y: y.to_vec(),
        }),
    }
}

fn made_inside() -> ObjectAttributes {
    MADE_INSIDE.union(ObjectAttributes::SIGN)
}

fn released_by(authorisation: &TpmtPublic, policy_ref: &[u8]) -> Sha256 {
    policy_signed(&Name::of(authorisation), policy_ref)
}

#[test]
fn the_method_follows_from_the_policy() {
    let pin = key(made_inside(), &policy_auth_value());
    let found = UserKey::from_public(&pin, None).unwrap();
    assert_eq!(found.method(), UserKeyMethod::Pin);
    assert_eq!(found.id().as_bytes(), Name::of(&pin).as_bytes());

    let broker = key(ObjectAttributes::SIGN, &[]);
    let policy = released_by(&broker, FINGERPRINT_POLICY_REF);
    for attributes in [made_inside(), made_inside().union(ObjectAttributes::NO_DA)] {
        let finger = key(attributes, &policy);
        let found = UserKey::from_public(&finger, Some(&broker.to_bytes())).unwrap();
        assert_eq!(found.method(), UserKeyMethod::Fingerprint);
    }
}

#[test]
fn no_other_policy_is_a_method() {
    let (broker, other) = (key(ObjectAttributes::SIGN, &[]), key(ObjectAttributes::SIGN, &[]));
    let policy = |policy: &[u8], broker: Option<&TpmtPublic>| {
        let broker = broker.map(TpmtPublic::to_bytes);
        UserKey::from_public(&key(made_inside(), policy), broker.as_deref()).unwrap_err()
    };
    let released = released_by(&broker, FINGERPRINT_POLICY_REF);
    assert_eq!(policy(&[], None), UserKeyError::Policy);
    assert_eq!(policy(&[7; 32], None), UserKeyError::Policy);
    assert_eq!(policy(&released, None), UserKeyError::Policy);
    assert_eq!(policy(&released, Some(&other)), UserKeyError::Policy);
    assert_eq!(policy(&released_by(&broker, b"other"), Some(&broker)), UserKeyError::Policy);
    assert_eq!(policy(&released_by(&broker, b""), Some(&broker)), UserKeyError::Policy);
    let pin = policy_auth_value();
    assert_eq!(policy(&pin, Some(&broker)), UserKeyError::UnusedAuthorisationKey);
}

#[test]
fn an_authorisation_key_is_a_signing_key() {
    let judge = |broker: &TpmtPublic| {
        let finger = key(made_inside(), &released_by(broker, FINGERPRINT_POLICY_REF));
        UserKey::from_public(&finger, Some(&broker.to_bytes())).unwrap_err()
    };
    let missing = TemplateError::MissingAttributes(ObjectAttributes::SIGN);
    let decrypts = key(ObjectAttributes::DECRYPT, &[]);
    assert_eq!(judge(&decrypts), UserKeyError::AuthorisationKey(missing));
    let mut off_curve = key(ObjectAttributes::SIGN, &[]);
    let PublicParameters::Ecc(ecc) = &mut off_curve.parameters else { panic!() };
    ecc.x[0] ^= 1;
    assert_eq!(judge(&off_curve), UserKeyError::AuthorisationKey(TemplateError::PublicKey));
    let finger = key(made_inside(), &[1; 32]);
    assert!(matches!(
        UserKey::from_public(&finger, Some(b"x")),
        Err(UserKeyError::AuthorisationPublic(_))
    ));
}

#[test]
fn every_attribute_counts() {
    let with = |attributes| {
        UserKey::from_public(&key(attributes, &policy_auth_value()), None).unwrap_err()
    };
    for missing in [
        ObjectAttributes::FIXED_TPM,
        ObjectAttributes::FIXED_PARENT,
        ObjectAttributes::SENSITIVE_DATA_ORIGIN,
        ObjectAttributes::SIGN,
    ] {
        let expected = UserKeyError::Template(TemplateError::MissingAttributes(missing));
        assert_eq!(with(made_inside().difference(missing)), expected);
    }
    for present in [
        ObjectAttributes::USER_WITH_AUTH,
        ObjectAttributes::ADMIN_WITH_POLICY,
        ObjectAttributes::RESTRICTED,
        ObjectAttributes::DECRYPT,
        ObjectAttributes::X509_SIGN,
    ] {
        let expected = UserKeyError::Template(TemplateError::ForbiddenAttributes(present));
        assert_eq!(with(made_inside().union(present)), expected);
    }
    assert_eq!(with(made_inside().union(ObjectAttributes::NO_DA)), UserKeyError::LockoutExempt);
}

#[test]
fn the_kind_of_key_counts() {
    let judge = |change: &dyn Fn(&mut TpmtPublic)| {
        let mut public = key(made_inside(), &policy_auth_value());
        change(&mut public);
        UserKey::from_public(&public, None)
    };
    let ecc = |change: &dyn Fn(&mut EccParameters)| {
        judge(&|public: &mut TpmtPublic| {
            let PublicParameters::Ecc(ecc) = &mut public.parameters else { panic!() };
            change(ecc);
        })
    };
    let template = |error| Err(UserKeyError::Template(error));
    assert!(ecc(&|ecc| ecc.scheme = Scheme::Null).is_ok());
    let sha384 = Scheme::Ecdsa(HashAlgorithm::Sha384);
    assert_eq!(ecc(&|ecc| ecc.scheme = sha384), template(TemplateError::Scheme(sha384)));
    assert_eq!(ecc(&|ecc| ecc.curve = EccCurve::P384), template(TemplateError::KeyType));
    assert_eq!(ecc(&|ecc| ecc.y[31] ^= 1), template(TemplateError::PublicKey));
    let found = judge(&|public| public.name_algorithm = HashAlgorithm::Sha384);
    assert_eq!(found, template(TemplateError::NameAlgorithm(HashAlgorithm::Sha384)));
}
