//! Keys of the U2F generation: the firmwares' own U2F code, their CTAP2 hidden.

use aws_lc_rs::digest::{SHA256, digest};
use signet_ctap::authenticator_data::AuthenticatorData;
use signet_ctap::cbor;
use signet_ctap::operation::{Config, Event, Feature, Prompt, assert_any, choose};
use signet_test_authenticators::{AttestationRoot, KeyOptions};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::credential::{check_assertion, verify};
use crate::person::{Person, Seen};
use crate::*;

fn u2f_key(firmware: Firmware) -> VirtualKey {
    KeyOptions::new(firmware).u2f_only().start().unwrap()
}

fn touch_registration() -> RegisterRequest {
    let mut request = registration(UserVerification::Discouraged);
    request.protection = None;
    request
}

fn touch_assertion(made: &Registration) -> AssertRequest {
    assertion(made, UserVerification::Discouraged)
}

async fn made(key: &mut Key) -> Registration {
    key.register(&touch_registration(), &Prompt::nobody()).await.unwrap()
}

/// Checks the fido-u2f attestation (WebAuthn L3 §8.6) against the root; returns the public point.
fn check_attestation(made: &Registration, root: &[u8]) -> Vec<u8> {
    let mut object = cbor::named(cbor::decode(&made.attestation_object).unwrap()).unwrap();
    assert_eq!(object["fmt"].as_text(), Some("fido-u2f"));
    assert_eq!(object["authData"].as_bytes(), Some(&made.auth_data));
    let statement = cbor::named(object.remove("attStmt").unwrap()).unwrap();
    let chain = statement["x5c"].as_array().unwrap();
    let (rest, leaf) = X509Certificate::from_der(chain[0].as_bytes().unwrap()).unwrap();
    let (_, root) = X509Certificate::from_der(root).unwrap();
    assert_eq!((chain.len(), rest), (1, &[][..]));
    verify(
        root.public_key().subject_public_key.data.as_ref(),
        &[leaf.tbs_certificate.as_ref()],
        leaf.signature_value.data.as_ref(),
    );
    let data = AuthenticatorData::parse(&made.auth_data).unwrap();
    assert!(data.user_present && !data.user_verified);
    let credential = data.credential.unwrap();
    assert_eq!((credential.aaguid, credential.id), ([0; 16], made.credential_id.clone()));
    let mut key = cbor::Fields::from_value(credential.public_key).unwrap();
    assert_eq!(key.unsigned(1).unwrap(), Some(2));
    assert_eq!(key.take(3).unwrap().as_integer(), Some((-7).into()));
    let point =
        [vec![4], key.bytes(-2).unwrap().unwrap(), key.bytes(-3).unwrap().unwrap()].concat();
    let rp_id_hash = digest(&SHA256, RP_ID.as_bytes());
    verify(
        leaf.public_key().subject_public_key.data.as_ref(),
        &[&[0], rp_id_hash.as_ref(), &[0xC1; 32], &made.credential_id, &point],
        statement["sig"].as_bytes().unwrap(),
    );
    point
}

#[tokio::test]
async fn a_u2f_key_registers_with_its_attestation_and_signs() {
    for firmware in BOTH {
        let root = AttestationRoot::generate().unwrap();
        let batch = root.issue(firmware.aaguid()).unwrap();
        let key =
            KeyOptions::new(firmware).u2f_only().manual_touch().attestation(batch).start().unwrap();
        let mut opened = open(&key).await;
        assert!(opened.info().u2f_only);
        assert_eq!(opened.info().versions, ["U2F_V2"]);
        assert_eq!(opened.refresh().await.unwrap().versions, ["U2F_V2"]);

        let person = || Person { key: Some(&key), ..Person::default() };
        let request = touch_registration();
        let (made, seen) = person().attend(async |p| opened.register(&request, &p).await).await;
        let made = made.unwrap();
        assert_eq!(seen, [Seen::Touch], "{firmware:?}");
        assert_eq!((made.format.as_str(), made.aaguid), ("fido-u2f", [0; 16]));
        let point = check_attestation(&made, root.certificate());

        let mut last_counter = None;
        for _ in 0..2 {
            // Foreign credentials, one of a length that U2F cannot carry, are passed over.
            let mut request = touch_assertion(&made);
            request.allow_list.splice(0..0, [vec![1; 64], vec![1; 300], vec![]]);
            let (signed, seen) = person().attend(async |p| opened.assert(&request, &p).await).await;
            let signed = signed.unwrap();
            assert_eq!(seen, [Seen::Touch], "{firmware:?}");
            assert_eq!((&signed.credential_id, signed.uv_method), (&made.credential_id, None));
            let data = check_assertion(&signed, &point);
            assert!(data.user_present && !data.user_verified);
            assert!(Some(data.counter) > last_counter);
            last_counter = Some(data.counter);
        }
    }
}

#[tokio::test]
async fn the_wrong_key_says_so_without_a_touch() {
    for firmware in BOTH {
        let keys = [u2f_key(firmware), u2f_key(firmware)];
        let (mut first, mut second) = (open(&keys[0]).await, open(&keys[1]).await);
        let made = made(&mut first).await;
        let person = Person::default();
        let request = touch_assertion(&made);
        let (result, seen) = person.attend(async |p| second.assert(&request, &p).await).await;
        assert!(matches!(result, Err(OperationError::NoCredentials)), "{firmware:?}: {result:?}");
        assert_eq!(seen, []);
        // Another relying party's credential is a wrong one too.
        let mut request = touch_assertion(&made);
        request.rp_id = "other.mesh.example".into();
        let result = first.assert(&request, &Prompt::nobody()).await;
        assert!(matches!(result, Err(OperationError::NoCredentials)), "{firmware:?}: {result:?}");
        // And no list at all: such a key finds nothing by itself.
        request.allow_list.clear();
        let result = first.assert(&request, &Prompt::nobody()).await;
        assert!(matches!(result, Err(OperationError::NoCredentials)), "{firmware:?}: {result:?}");
    }
}

#[tokio::test]
async fn what_a_touch_cannot_do_is_said() {
    for firmware in BOTH {
        let key = u2f_key(firmware);
        let mut opened = open(&key).await;
        let made = made(&mut opened).await;
        let nobody = Prompt::nobody();
        let lacks = |result: Result<(), OperationError>, lacking: Feature| {
            assert!(
                matches!(result, Err(OperationError::Unsupported(f)) if f == lacking),
                "{firmware:?}: {result:?}"
            );
        };
        for policy in [BY_PIN, BY_FINGER] {
            let result = opened.assert(&assertion(&made, policy), &nobody).await.map(drop);
            lacks(result, Feature::UserVerification);
            let result = opened.register(&registration(policy), &nobody).await.map(drop);
            lacks(result, Feature::UserVerification);
        }
        let mut request = touch_registration();
        request.protection = Some(CredentialProtection::UserVerificationRequired);
        lacks(opened.register(&request, &nobody).await.map(drop), Feature::CredentialProtection);
        request = touch_registration();
        request.resident_key = true;
        lacks(opened.register(&request, &nobody).await.map(drop), Feature::CredentialManagement);
        request = touch_registration();
        request.algorithms = vec![-257];
        lacks(opened.register(&request, &nobody).await.map(drop), Feature::Algorithm);
        lacks(opened.set_pin(&secret(PIN)).await, Feature::Pin);
        lacks(opened.enroll_finger(None, &nobody).await.map(drop), Feature::FingerEnrolment);
        lacks(opened.list_credentials(&nobody).await.map(drop), Feature::CredentialManagement);
        lacks(opened.configure(&Config::AlwaysUv(true), &nobody).await, Feature::Configuration);
        lacks(opened.reset_to_factory(&nobody).await, Feature::Reset);
        // It never heard of CTAP2.
        let result = opened.pin_retries().await;
        assert!(matches!(result, Err(signet_ctap::CommandError::NoPinProtocol)), "{result:?}");
    }
}

#[tokio::test]
async fn an_enrolled_u2f_key_is_not_enrolled_twice() {
    for firmware in BOTH {
        let key = u2f_key(firmware);
        let mut opened = open(&key).await;
        let made = made(&mut opened).await;
        let mut request = touch_registration();
        request.exclude_list = vec![vec![3; 64], made.credential_id];
        let result = opened.register(&request, &Prompt::nobody()).await;
        assert!(
            matches!(result, Err(OperationError::AlreadyRegistered)),
            "{firmware:?}: {result:?}"
        );
    }
}

#[tokio::test]
async fn without_a_touch_nothing_is_signed() {
    for firmware in BOTH {
        let key = u2f_key(firmware);
        let made = made(&mut open(&key).await).await;
        key.touch_manual().unwrap();
        let short = Timing { answer: Duration::from_secs(1), ..timing() };
        let mut opened = Key::open_path(&key.socket(), short).await.unwrap();
        let request = touch_assertion(&made);
        let person = Person::default();
        let (result, seen) = person.attend(async |p| opened.assert(&request, &p).await).await;
        assert!(matches!(result, Err(OperationError::Timeout)), "{firmware:?}: {result:?}");
        assert_eq!(seen, [Seen::Touch]);
    }
}

#[tokio::test]
async fn a_dropped_wait_leaves_the_u2f_key_usable() {
    for firmware in BOTH {
        let key = u2f_key(firmware);
        let mut opened = open(&key).await;
        let made = made(&mut opened).await;
        key.touch_manual().unwrap();
        let request = touch_assertion(&made);
        for _ in 0..3 {
            cancel::drop_at(&mut opened, &request, |e| matches!(e, Event::TouchNeeded)).await;
            opened.refresh().await.unwrap();
        }
        key.touch_auto().unwrap();
        let signed = opened.assert(&request, &Prompt::nobody()).await.unwrap();
        assert_eq!(signed.credential_id, made.credential_id);
    }
}

#[tokio::test]
async fn a_u2f_key_pulled_out_while_it_waits_is_told() {
    for firmware in BOTH {
        let mut key = u2f_key(firmware);
        let mut opened = open(&key).await;
        let made = made(&mut opened).await;
        key.touch_manual().unwrap();
        let request = touch_assertion(&made);
        let result =
            removal::remove_at_touch(&mut opened, &request, || key.unplug().unwrap()).await;
        assert!(matches!(result, Err(OperationError::KeyRemoved(_))), "{firmware:?}: {result:?}");
        key.replug().unwrap();
        key.touch_auto().unwrap();
        open(&key).await.assert(&request, &Prompt::nobody()).await.unwrap();
    }
}

/// A key of each generation is plugged in: the one that is touched is meant.
#[tokio::test]
async fn both_generations_blink_together() {
    let keys = [
        KeyOptions::new(Firmware::OpenSk).u2f_only().start().unwrap(),
        KeyOptions::new(Firmware::Trussed).u2f_only().start().unwrap(),
        VirtualKey::start(Firmware::OpenSk).unwrap(),
    ];
    let mut opened = Vec::new();
    for key in &keys {
        opened.push(open(key).await);
    }
    let mut all = Vec::new();
    for key in &mut opened {
        all.push(made(key).await.credential_id);
    }
    for key in &keys {
        key.touch_manual().unwrap();
    }
    let mut request = assertion_of(&all);
    for (chosen, key) in keys.iter().enumerate() {
        let person = Person { key: Some(key), ..Person::default() };
        let (result, seen) =
            person.attend(async |p| assert_any(&mut opened, &request, &p).await).await;
        let (place, signed) = result.unwrap();
        assert_eq!((place, &signed.credential_id), (chosen, &all[chosen]));
        assert_eq!(seen, [Seen::Choice(3), Seen::Touch]);
    }
    // Only the key that knows the credential is asked.
    request.allow_list.drain(1..);
    let person = Person { key: Some(&keys[0]), ..Person::default() };
    let (result, seen) = person.attend(async |p| assert_any(&mut opened, &request, &p).await).await;
    assert_eq!(result.unwrap().0, 0);
    assert_eq!(seen, [Seen::Touch]);

    // It is not asked where it could not do what is wanted.
    request.user_verification = BY_PIN;
    let person = Person::default();
    let (result, seen) =
        person.attend(async |p| assert_any(&mut opened[..2], &request, &p).await).await;
    let lacking = Feature::UserVerification;
    assert!(matches!(result, Err(OperationError::Unsupported(f)) if f == lacking), "{result:?}");
    assert_eq!(seen, []);

    let person = Person { key: Some(&keys[1]), ..Person::default() };
    let candidates = opened.iter_mut().enumerate().collect();
    let (place, _) =
        person.attend(async |p| choose(candidates, &p).await.map(|(place, _)| place)).await;
    assert_eq!(place.unwrap(), 1);
}

fn assertion_of(ids: &[Vec<u8>]) -> AssertRequest {
    AssertRequest {
        rp_id: RP_ID.into(),
        client_data_hash: [0xA5; 32],
        allow_list: ids.to_vec(),
        user_verification: UserVerification::Discouraged,
    }
}

/// What a key registered by U2F, it signs by CTAP2 (OpenSK; the other firmware keeps them apart).
#[tokio::test]
async fn a_credential_made_by_u2f_is_good_when_the_key_speaks_ctap2() {
    let root = AttestationRoot::generate().unwrap();
    let batch = root.issue(Firmware::OpenSk.aaguid()).unwrap();
    let mut key = KeyOptions::new(Firmware::OpenSk).u2f_only().attestation(batch).start().unwrap();
    let made = made(&mut open(&key).await).await;
    let point = check_attestation(&made, root.certificate());
    key.show_ctap2().unwrap();
    let mut opened = open(&key).await;
    assert!(!opened.info().u2f_only);
    let signed = opened.assert(&touch_assertion(&made), &Prompt::nobody()).await.unwrap();
    check_assertion(&signed, &point);
}
