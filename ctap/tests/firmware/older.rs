//! What other keys do: the same firmwares, dressed as older ones or as keys with other rules.

use ciborium::Value;
use signet_ctap::PinProtocol;
use signet_ctap::operation::{Prompt, UvMethod, choose};
use signet_test_authenticators::KeyOptions;

use crate::dressed::{Dressed, Info};
use crate::fingerprint::{LEFT, RIGHT, assert_with};
use crate::person::{Person, Seen, with_pins};
use crate::*;

async fn open_as(key: &VirtualKey, info: impl FnMut(&mut Info) + Send + 'static) -> Key {
    Dressed::new(key, info).open().await
}

fn without_tokens(info: &mut Info) {
    info.option("pinUvAuthToken", None);
}

#[tokio::test]
async fn protocol_one_sets_changes_and_uses_the_pin() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened =
            open_as(&key, |info| info.set(6, Some(Value::Array(vec![1.into()])))).await;
        assert_eq!(opened.info().pin_protocols, [PinProtocol::One], "{firmware:?}");
        opened.set_pin(&secret("998877")).await.unwrap();
        opened.change_pin(&secret("998877"), &secret(PIN)).await.unwrap();
        let made = register(&mut opened, &registration(BY_PIN)).await;
        assert_by_pin(&mut opened, &assertion(&made, BY_PIN)).await.unwrap();
    }
}

#[tokio::test]
async fn a_key_without_permissions_gives_a_plain_token() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_as(&key, without_tokens).await;
        assert!(!opened.info().has_permissions());
        opened.set_pin(&secret(PIN)).await.unwrap();
        let made = register(&mut opened, &registration(BY_PIN)).await;
        let signed = assert_by_pin(&mut opened, &assertion(&made, BY_PIN)).await.unwrap();
        assert_eq!(signed.uv_method, Some(UvMethod::Pin));
    }
}

#[tokio::test]
async fn a_sensor_without_tokens_verifies_during_the_command() {
    let key = KeyOptions::new(Firmware::OpenSk).finger("right").start().unwrap();
    let mut opened = open_as(&key, without_tokens).await;
    let person = || Person { key: Some(&key), fingers: ["right"].into(), ..Person::default() };
    let request = registration(BY_FINGER);
    let (made, _) = person().attend(async |p| opened.register(&request, &p).await).await;
    let request = assertion(&made.unwrap(), BY_FINGER);
    let (signed, seen) = person().attend(async |p| opened.assert(&request, &p).await).await;
    assert_eq!(signed.unwrap().uv_method, Some(UvMethod::BuiltIn));
    assert_eq!(seen.first(), Some(&Seen::Finger));

    let stranger = Person { key: Some(&key), fingers: ["left"].into(), ..Person::default() };
    let (result, _) = stranger.attend(async |p| opened.assert(&request, &p).await).await;
    assert!(matches!(result, Err(OperationError::WrongFinger)), "{result:?}");
}

/// Such a key says by its status that only the PIN helps; the policy decides whether it may.
#[tokio::test]
async fn a_sensor_without_tokens_falls_back_to_the_pin_where_allowed() {
    let key = KeyOptions::new(Firmware::OpenSk).finger("right").start().unwrap();
    let mut opened = open_as(&key, without_tokens).await;
    opened.set_pin(&secret(PIN)).await.unwrap();
    let stranger = || Person { key: Some(&key), fingers: ["left"].into(), pins: [PIN].into() };
    let (result, seen) =
        stranger().attend(async |p| opened.register(&registration(BY_FINGER), &p).await).await;
    assert!(matches!(result, Err(OperationError::WrongFinger)), "{result:?}");
    assert!(!seen.iter().any(|seen| matches!(seen, Seen::Pin { .. })));

    let request = registration(BY_PIN);
    let (made, _) = stranger().attend(async |p| opened.register(&request, &p).await).await;
    let made = made.unwrap();
    assert_eq!(made.uv_method, Some(UvMethod::Pin));
    let request = assertion(&made, BY_PIN);
    let (signed, seen) = stranger().attend(async |p| opened.assert(&request, &p).await).await;
    assert_eq!(signed.unwrap().uv_method, Some(UvMethod::Pin));
    assert!(seen.contains(&Seen::FingerBlocked), "{seen:?}");
}

#[tokio::test]
async fn keys_without_selection_are_chosen_by_a_request_that_fails() {
    for with_pin in [false, true] {
        let keys = BOTH.map(|firmware| KeyOptions::new(firmware).manual_touch().start().unwrap());
        let mut opened = Vec::new();
        for key in &keys {
            let mut key =
                open_as(key, |info| info.set(1, Some(Value::Array(vec!["FIDO_2_0".into()])))).await;
            assert!(!key.info().has_ctap_2_1());
            if with_pin {
                key.set_pin(&secret(PIN)).await.unwrap();
            }
            opened.push(key);
        }
        for chosen in [1, 0] {
            let person = Person { key: Some(&keys[chosen]), ..Person::default() };
            let candidates = opened.iter_mut().enumerate().collect();
            let (place, _) =
                person.attend(async |p| choose(candidates, &p).await.map(|(place, _)| place)).await;
            assert_eq!(place.unwrap(), chosen);
        }
    }
}

/// A key of the time before CTAP 2.1: prototype commands, a PIN token that is good for all of them.
async fn open_preview(key: &VirtualKey) -> Key {
    let info = |info: &mut Info| {
        let enrolled = info.has("bioEnroll");
        info.set(1, Some(Value::Array(vec!["FIDO_2_0".into(), "FIDO_2_1_PRE".into()])));
        for newer in ["pinUvAuthToken", "bioEnroll", "credMgmt", "authnrCfg", "setMinPINLength"] {
            info.option(newer, None);
        }
        info.option("userVerificationMgmtPreview", enrolled);
        info.option("credentialMgmtPreview", Some(true));
    };
    let request = |command: u8, mut parameters: Value| {
        const PIN_TOKEN: i64 = 5;
        const TOKEN_WITH_PERMISSIONS: i64 = 9;
        const MANAGEMENT: i64 = 0x04 | 0x08;
        match (command, &mut parameters) {
            (0x40, _) => (0x09, parameters),
            (0x41, _) => (0x0A, parameters),
            (0x09 | 0x0A | 0x0D, _) => panic!("{command:#04x} is not known to such a key"),
            (0x06, Value::Map(members)) => {
                let sub = members.iter_mut().find(|(key, _)| *key == Value::from(2)).unwrap();
                if sub.1 == Value::from(PIN_TOKEN) {
                    sub.1 = TOKEN_WITH_PERMISSIONS.into();
                    members.push((9.into(), MANAGEMENT.into()));
                }
                (command, parameters)
            }
            _ => (command, parameters),
        }
    };
    Dressed::new(key, info).translating(Box::new(request)).open().await
}

#[tokio::test]
async fn the_prototype_commands_manage_fingers_and_credentials() {
    let key = VirtualKey::start(Firmware::OpenSk).unwrap();
    let mut opened = open_preview(&key).await;
    assert!(!opened.info().has_ctap_2_1());
    opened.set_pin(&secret(PIN)).await.unwrap();
    let sensor = opened.fingerprint_sensor().await.unwrap();
    assert_eq!(
        (sensor.swipe, sensor.max_samples, sensor.max_name_length),
        (false, Some(4), Some(64))
    );
    let person = Person { key: Some(&key), pins: [PIN].into(), fingers: [RIGHT; 4].into() };
    let enrol = async |p| opened.enroll_finger(Some("index"), &p).await;
    let template = person.attend(enrol).await.0.unwrap().template;
    assert_eq!(opened.info().options.user_verification_mgmt_preview, Some(true));
    let rename = async |p| opened.rename_finger(&template, "thumb", &p).await;
    with_pins(&[PIN], rename).await.0.unwrap();
    let (fingers, _) = with_pins(&[PIN], async |p| opened.list_fingers(&p).await).await;
    assert_eq!(fingers.unwrap()[0].name.as_deref(), Some("thumb"));
    let remove = async |p| opened.remove_finger(&template, &p).await;
    with_pins(&[PIN], remove).await.0.unwrap();

    let (listed, _) = with_pins(&[PIN], async |p| opened.list_credentials(&p).await).await;
    assert_eq!(listed.unwrap().0.existing, 0);
    let user = registration(BY_PIN).user;
    let result = opened.rename_credential(b"any", &user, &Prompt::nobody()).await;
    let lacking = signet_ctap::operation::Feature::CredentialUpdate;
    assert!(matches!(result, Err(OperationError::Unsupported(f)) if f == lacking), "{result:?}");
}

fn no_pin_for_signatures(info: &mut Info) {
    info.option("noMcGaPermissionsWithClientPin", Some(true));
}

/// On a key whose PIN is for management only it never stands in for a finger, whatever the policy.
#[tokio::test]
async fn a_key_whose_pin_does_not_sign_takes_fingers_only() {
    let key = KeyOptions::new(Firmware::OpenSk).finger(RIGHT).start().unwrap();
    let mut opened = open_as(&key, no_pin_for_signatures).await;
    assert!(!opened.info().pin_signs());
    opened.set_pin(&secret(PIN)).await.unwrap();
    let person = Person { key: Some(&key), fingers: [RIGHT].into(), ..Person::default() };
    let request = registration(BY_PIN);
    let made = person.attend(async |p| opened.register(&request, &p).await).await.0.unwrap();
    assert_eq!(made.uv_method, Some(UvMethod::BuiltIn));
    let request = assertion(&made, BY_PIN);
    let (result, seen) = assert_with(&key, &mut opened, &request, &[LEFT; 5], &[PIN]).await;
    assert!(matches!(result, Err(OperationError::UvBlocked)), "{result:?}");
    assert!(!seen.iter().any(|seen| matches!(seen, Seen::Pin { .. })), "{seen:?}");
    // For management it is good, and unblocks the finger.
    with_pins(&[PIN], async |p| opened.list_fingers(&p).await).await.0.unwrap();
    let (signed, _) = assert_with(&key, &mut opened, &request, &[RIGHT], &[PIN]).await;
    assert_eq!(signed.unwrap().uv_method, Some(UvMethod::BuiltIn));
}

#[tokio::test]
async fn a_key_whose_pin_does_not_sign_wants_a_finger_enrolled() {
    let key = VirtualKey::start(Firmware::OpenSk).unwrap();
    let mut opened = open_as(&key, no_pin_for_signatures).await;
    opened.set_pin(&secret(PIN)).await.unwrap();
    let result = opened.register(&registration(BY_PIN), &Prompt::nobody()).await;
    assert!(matches!(result, Err(OperationError::NoFingerEnrolled)), "{result:?}");
}

/// Without `makeCredUvNotRqd` a key with a PIN wants it for every new credential (CTAP 2.0).
#[tokio::test]
async fn a_key_that_wants_its_user_for_every_credential_gets_it() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_as(&key, |info| info.option("makeCredUvNotRqd", None)).await;
        let mut request = registration(UserVerification::Discouraged);
        request.protection = None;
        let made = opened.register(&request, &Prompt::nobody()).await.unwrap();
        assert_eq!(made.uv_method, None, "no pin is set");
        opened.set_pin(&secret(PIN)).await.unwrap();
        let made = register(&mut opened, &request).await;
        assert_eq!(made.uv_method, Some(UvMethod::Pin));
        // An assertion is another matter.
        let request = assertion(&made, UserVerification::Discouraged);
        let signed = opened.assert(&request, &Prompt::nobody()).await.unwrap();
        assert_eq!(signed.uv_method, None);
    }
}

#[tokio::test]
async fn a_finger_manages_where_the_key_says_so_and_has_no_pin() {
    let key = KeyOptions::new(Firmware::OpenSk).finger(RIGHT).start().unwrap();
    let mut opened = open(&key).await;
    assert!(!opened.info().has_pin());
    // `uvAcfg`: configuration by finger; no `uvBioEnroll`: not for enrolling others.
    let person = Person { key: Some(&key), fingers: [RIGHT].into(), ..Person::default() };
    let config = signet_ctap::operation::Config::AlwaysUv(true);
    let (configured, seen) = person.attend(async |p| opened.configure(&config, &p).await).await;
    configured.unwrap();
    assert_eq!(seen, [Seen::Finger]);
    let result = opened.list_fingers(&Prompt::nobody()).await;
    assert!(matches!(result, Err(OperationError::PinNotSet)), "{result:?}");
}

#[tokio::test]
async fn a_key_that_cannot_be_reset_over_usb_says_so() {
    let key = VirtualKey::start(Firmware::OpenSk).unwrap();
    let info = |info: &mut Info| {
        info.set(0x1A, Some(Value::Array(vec!["nfc".into()])));
        info.set(0x18, Some(true.into()));
    };
    let mut opened = open_as(&key, info).await;
    assert!(opened.info().long_touch_for_reset);
    let result = opened.reset_to_factory(&Prompt::nobody()).await;
    let lacking = signet_ctap::operation::Feature::Reset;
    assert!(matches!(result, Err(OperationError::Unsupported(f)) if f == lacking), "{result:?}");
}
