//! makeCredential with attestation, getAssertion with and without user verification.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use ciborium::Value;
use signet_ctap::authenticator_data::AuthenticatorData;
use signet_ctap::cbor;
use signet_ctap::operation::{Assertion, Feature, Prompt, UvMethod};
use signet_test_authenticators::{AttestationRoot, KeyOptions};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::person::{Person, Seen};
use crate::*;

pub(crate) fn verify(point: &[u8], message: &[&[u8]], signature: &[u8]) {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(&message.concat(), signature)
        .expect("signature");
}

/// Checks the packed attestation against the root; returns the credential's public point.
fn check_attestation(registration: &Registration, client_data_hash: &[u8], root: &[u8]) -> Vec<u8> {
    let mut object = cbor::named(cbor::decode(&registration.attestation_object).unwrap()).unwrap();
    assert_eq!(object["fmt"].as_text(), Some("packed"));
    assert_eq!(object["authData"].as_bytes(), Some(&registration.auth_data));
    let statement = cbor::named(object.remove("attStmt").unwrap()).unwrap();
    assert_eq!(statement["alg"].as_integer(), Some((-7).into()));
    let chain = statement["x5c"].as_array().unwrap();
    let (_, leaf) = X509Certificate::from_der(chain[0].as_bytes().unwrap()).unwrap();
    let (_, root) = X509Certificate::from_der(root).unwrap();
    verify(
        root.public_key().subject_public_key.data.as_ref(),
        &[leaf.tbs_certificate.as_ref()],
        leaf.signature_value.data.as_ref(),
    );
    verify(
        leaf.public_key().subject_public_key.data.as_ref(),
        &[&registration.auth_data, client_data_hash],
        statement["sig"].as_bytes().unwrap(),
    );
    let data = AuthenticatorData::parse(&registration.auth_data).unwrap();
    let mut key = cbor::Fields::from_value(data.credential.unwrap().public_key).unwrap();
    [vec![4], key.bytes(-2).unwrap().unwrap(), key.bytes(-3).unwrap().unwrap()].concat()
}

pub(crate) fn check_assertion(assertion: &Assertion, point: &[u8]) -> AuthenticatorData {
    verify(point, &[&assertion.auth_data, &[0xA5; 32]], &assertion.signature);
    AuthenticatorData::parse(&assertion.auth_data).unwrap()
}

#[tokio::test]
async fn a_credential_is_attested_and_signs() {
    for firmware in BOTH {
        let root = AttestationRoot::generate().unwrap();
        let batch = root.issue(firmware.aaguid()).unwrap();
        let key = KeyOptions::new(firmware).attestation(batch).start().unwrap();
        let mut opened = open_with_pin(&key).await;
        assert_eq!(opened.info().aaguid, firmware.aaguid());

        let made = register(&mut opened, &registration(BY_PIN)).await;
        assert_eq!((made.aaguid, made.uv_method), (firmware.aaguid(), Some(UvMethod::Pin)));
        let point = check_attestation(&made, &[0xC1; 32], root.certificate());
        let data = AuthenticatorData::parse(&made.auth_data).unwrap();
        assert!(data.user_present && data.user_verified);
        assert_eq!(data.extension("credProtect").and_then(Value::as_integer), Some(3.into()));

        let mut last_counter = data.counter;
        for _ in 0..3 {
            let signed = assert_by_pin(&mut opened, &assertion(&made, BY_PIN)).await.unwrap();
            assert_eq!(signed.credential_id, made.credential_id);
            assert_eq!(signed.uv_method, Some(UvMethod::Pin));
            let data = check_assertion(&signed, &point);
            assert!(data.user_present && data.user_verified && data.counter > last_counter);
            last_counter = data.counter;
        }

        // credProtect 3: without its user the credential is not there.
        let request = assertion(&made, UserVerification::Discouraged);
        let result = opened.assert(&request, &Prompt::nobody()).await;
        assert!(matches!(result, Err(OperationError::NoCredentials)), "{firmware:?}: {result:?}");
    }
}

#[tokio::test]
async fn a_touch_without_user_verification_has_no_uv_flag() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let made = register_touch_only(&mut opened).await;
        key.touch_manual().unwrap();
        let person = Person { key: Some(&key), ..Person::default() };
        let request = assertion(&made, UserVerification::Discouraged);
        let (signed, seen) = person.attend(async |p| opened.assert(&request, &p).await).await;
        let signed = signed.unwrap();
        let data = AuthenticatorData::parse(&signed.auth_data).unwrap();
        assert!(data.user_present && !data.user_verified, "{firmware:?}");
        assert_eq!(signed.uv_method, None);
        assert_eq!(
            seen.iter().filter(|seen| **seen == Seen::Touch).count(),
            1,
            "{firmware:?}: {seen:?}"
        );
    }
}

#[tokio::test]
async fn an_enrolled_key_is_not_enrolled_twice() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let mut request = registration(BY_PIN);
        let made = register(&mut opened, &request).await;
        request.exclude_list = vec![vec![1; 64], made.credential_id];
        let (result, _) =
            person::with_pins(&[PIN], async |p| opened.register(&request, &p).await).await;
        assert!(
            matches!(result, Err(OperationError::AlreadyRegistered)),
            "{firmware:?}: {result:?}"
        );
    }
}

#[tokio::test]
async fn a_foreign_credential_and_an_unknown_algorithm_are_told() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let mut made = register(&mut opened, &registration(BY_PIN)).await;
        let last = made.credential_id.len() - 1;
        made.credential_id[last] ^= 1;
        let result = assert_by_pin(&mut opened, &assertion(&made, BY_PIN)).await;
        assert!(matches!(result, Err(OperationError::NoCredentials)), "{firmware:?}: {result:?}");

        let mut request = registration(BY_PIN);
        request.algorithms = vec![-257];
        let (result, _) =
            person::with_pins(&[PIN], async |p| opened.register(&request, &p).await).await;
        assert!(
            matches!(result, Err(OperationError::Unsupported(Feature::Algorithm))),
            "{firmware:?}: {result:?}"
        );
    }
}

#[tokio::test]
async fn a_long_allow_list_is_searched() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let made = register_touch_only(&mut opened).await;
        let mut request = assertion(&made, UserVerification::Discouraged);
        request.allow_list = (0..40u8).map(|i| vec![i; 64]).collect();
        request.allow_list.push(made.credential_id.clone());
        let signed = opened.assert(&request, &Prompt::nobody()).await.unwrap();
        assert_eq!(signed.credential_id, made.credential_id);
    }
}

#[tokio::test]
async fn credentials_outlive_a_kill() {
    for firmware in BOTH {
        let mut key = VirtualKey::start(firmware).unwrap();
        let made = register(&mut open_with_pin(&key).await, &registration(BY_PIN)).await;
        key.restart().unwrap();
        assert_by_pin(&mut open(&key).await, &assertion(&made, BY_PIN)).await.unwrap();
    }
}
