//! Settings of the key: always verify, stricter PINs.

use signet_ctap::commands::EnterpriseAttestation;
use signet_ctap::operation::{Config, Feature, Prompt, UvMethod};
use signet_test_authenticators::KeyOptions;

use crate::person::{Person, Seen, with_pins};
use crate::*;

const LONG_PIN: &str = "11447799";

async fn configure(key: &mut Key, config: Config) -> Result<(), OperationError> {
    with_pins(&[PIN], async |p| key.configure(&config, &p).await).await.0
}

fn rules(length: Option<u32>, force_change: bool) -> Config {
    Config::MinPinLength { length, force_change, rp_ids: Vec::new() }
}

#[tokio::test]
async fn always_uv_is_set_and_then_a_touch_is_not_enough() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let made = register_touch_only(&mut opened).await;
        assert!(!opened.info().make_credential_needs_uv(false));
        assert!(opened.info().make_credential_needs_uv(true));
        configure(&mut opened, Config::AlwaysUv(true)).await.unwrap();
        assert!(opened.info().always_uv() && opened.info().make_credential_needs_uv(false));
        // As wanted already: nobody is asked for the PIN.
        opened.configure(&Config::AlwaysUv(true), &Prompt::nobody()).await.unwrap();

        let request = assertion(&made, UserVerification::Discouraged);
        let (signed, seen) = with_pins(&[PIN], async |p| opened.assert(&request, &p).await).await;
        assert_eq!(signed.unwrap().uv_method, Some(UvMethod::Pin), "{firmware:?}");
        assert!(matches!(seen[..], [Seen::Pin { .. }, ..]), "{seen:?}");

        configure(&mut opened, Config::AlwaysUv(false)).await.unwrap();
        let signed = opened.assert(&request, &Prompt::nobody()).await.unwrap();
        assert_eq!(signed.uv_method, None);
    }
}

#[tokio::test]
async fn a_discoverable_credential_takes_the_pin_although_the_request_does_not() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let mut request = registration(UserVerification::Discouraged);
        request.protection = None;
        let made = opened.register(&request, &Prompt::nobody()).await.unwrap();
        assert_eq!(made.uv_method, None, "{firmware:?}");
        request.resident_key = true;
        let made = register(&mut opened, &request).await;
        assert_eq!(made.uv_method, Some(UvMethod::Pin), "{firmware:?}");
    }
}

/// A key that verifies nobody yet is configured freely, and says what it lacks afterwards.
#[tokio::test]
async fn always_uv_on_a_new_key_wants_a_pin_first() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open(&key).await;
        opened.configure(&Config::AlwaysUv(true), &Prompt::nobody()).await.unwrap();
        let mut request = registration(UserVerification::Discouraged);
        request.protection = None;
        let result = opened.register(&request, &Prompt::nobody()).await;
        assert!(matches!(result, Err(OperationError::PinNotSet)), "{firmware:?}: {result:?}");
        let result = opened.configure(&rules(Some(6), false), &Prompt::nobody()).await;
        assert!(matches!(result, Err(OperationError::PinNotSet)), "{firmware:?}: {result:?}");
        opened.configure(&Config::AlwaysUv(false), &Prompt::nobody()).await.unwrap();
        opened.register(&request, &Prompt::nobody()).await.unwrap();
    }
}

#[tokio::test]
async fn the_minimum_pin_length_rises_and_a_short_pin_must_be_changed() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let made = register_touch_only(&mut opened).await;
        configure(&mut opened, rules(Some(8), false)).await.unwrap();
        assert_eq!((opened.info().min_pin_length, opened.info().force_pin_change), (8, true));
        let result = configure(&mut opened, rules(Some(7), false)).await;
        assert!(
            matches!(result, Err(OperationError::MinPinLengthOutOfRange { from: 8, to: 63 })),
            "{firmware:?}: {result:?}"
        );

        // No PIN is asked for: it would be good for nothing.
        let request = assertion(&made, BY_PIN);
        let result = opened.assert(&request, &Prompt::nobody()).await;
        assert!(matches!(result, Err(OperationError::PinChangeRequired)), "{result:?}");
        let result = opened.change_pin(&secret(PIN), &secret("1234567")).await;
        assert!(
            matches!(result, Err(OperationError::PinTooShort { min_length: 8 })),
            "{firmware:?}: {result:?}"
        );
        opened.change_pin(&secret(PIN), &secret(LONG_PIN)).await.unwrap();
        assert!(!opened.info().force_pin_change);
        let (signed, _) = with_pins(&[LONG_PIN], async |p| opened.assert(&request, &p).await).await;
        assert_eq!(signed.unwrap().uv_method, Some(UvMethod::Pin));
    }
}

#[tokio::test]
async fn a_change_of_the_pin_is_forced() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open(&key).await;
        let result = opened.configure(&rules(None, true), &Prompt::nobody()).await;
        assert!(matches!(result, Err(OperationError::PinNotSet)), "{firmware:?}: {result:?}");
        opened.set_pin(&secret(PIN)).await.unwrap();
        configure(&mut opened, rules(None, true)).await.unwrap();
        assert_eq!((opened.info().min_pin_length, opened.info().force_pin_change), (4, true));
        let result = opened.list_credentials(&Prompt::nobody()).await;
        assert!(matches!(result, Err(OperationError::PinChangeRequired)), "{result:?}");
        let result = opened.change_pin(&secret(PIN), &secret(PIN)).await;
        assert!(matches!(result, Err(OperationError::PinUnchanged)), "{result:?}");
        // The key itself refuses it too.
        let result = opened.client_pin_change(PIN, PIN).await.map_err(OperationError::from);
        assert!(matches!(result, Err(OperationError::PinPolicy)), "{firmware:?}: {result:?}");
        opened.change_pin(&secret(PIN), &secret(LONG_PIN)).await.unwrap();
        with_pins(&[LONG_PIN], async |p| opened.list_credentials(&p).await).await.0.unwrap();
    }
}

#[tokio::test]
async fn the_minimum_pin_length_is_told_to_the_parties_configured_for_it() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let limit = opened.info().max_rp_ids_for_min_pin_length;
        let mut request = registration(BY_PIN);
        request.min_pin_length = true;
        let made = register(&mut opened, &request).await;
        assert_eq!(made.min_pin_length, None, "{firmware:?}: not configured for it");

        let parties = |count: u32| Config::MinPinLength {
            length: Some(5),
            force_change: false,
            rp_ids: (1..count).map(|i| format!("{i}.example")).chain([RP_ID.into()]).collect(),
        };
        let result = configure(&mut opened, parties(limit + 1)).await;
        assert!(
            matches!(result, Err(OperationError::TooManyRelyingParties { limit: l }) if l == limit),
            "{firmware:?}: {result:?}"
        );
        configure(&mut opened, parties(limit)).await.unwrap();
        let made = register(&mut opened, &request).await;
        assert_eq!(made.min_pin_length, Some(5), "{firmware:?}");
    }
}

#[tokio::test]
async fn settings_are_the_owner_s() {
    let key = KeyOptions::new(Firmware::OpenSk).finger("right").start().unwrap();
    let mut opened = open_with_pin(&key).await;
    let person = Person { key: Some(&key), pins: ["000000", PIN].into(), fingers: [].into() };
    let config = Config::AlwaysUv(true);
    let (configured, seen) = person.attend(async |p| opened.configure(&config, &p).await).await;
    configured.unwrap();
    assert_eq!(
        seen,
        [
            Seen::Pin { tries_left: 8, wrong_before: false },
            Seen::Pin { tries_left: 7, wrong_before: true }
        ],
        "an enrolled finger is not enough"
    );
}

#[tokio::test]
async fn keys_without_enterprise_attestation_say_so() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let result = configure(&mut opened, Config::EnterpriseAttestation).await;
        let lacking = Feature::EnterpriseAttestation;
        assert!(
            matches!(result, Err(OperationError::Unsupported(f)) if f == lacking),
            "{firmware:?}: {result:?}"
        );
    }
}

#[tokio::test]
async fn a_key_attests_itself_singly_where_it_may_and_was_told_to() {
    let key = KeyOptions::new(Firmware::OpenSk).enterprise(RP_ID).start().unwrap();
    let mut opened = open_with_pin(&key).await;
    let mut request = registration(BY_PIN);
    request.enterprise_attestation = Some(EnterpriseAttestation::VendorFacilitated);
    let lacking = Feature::EnterpriseAttestation;
    let result = opened.register(&request, &Prompt::nobody()).await.map(drop);
    assert!(matches!(result, Err(OperationError::Unsupported(f)) if f == lacking), "{result:?}");

    configure(&mut opened, Config::EnterpriseAttestation).await.unwrap();
    assert_eq!(opened.info().options.enterprise_attestation, Some(true));
    opened.configure(&Config::EnterpriseAttestation, &Prompt::nobody()).await.unwrap();
    let made = register(&mut opened, &request).await;
    assert!(made.enterprise_attestation);

    // Not asked for: not named.
    request.enterprise_attestation = None;
    assert!(!register(&mut opened, &request).await.enterprise_attestation);
    // Its maker did not foresee this relying party.
    request.enterprise_attestation = Some(EnterpriseAttestation::PlatformManaged);
    request.rp.id = "other.mesh.example".into();
    let (result, _) = with_pins(&[PIN], async |p| opened.register(&request, &p).await).await;
    assert!(matches!(result, Err(OperationError::NotEnterprise)), "{result:?}");
}
