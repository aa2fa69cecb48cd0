//! Fingers and PINs that are used up (OpenSK: five fingers, eight PINs, three in a row).

use signet_ctap::operation::{Config, Prompt, UvMethod};

use crate::fingerprint::{LEFT, RIGHT, assert_with, with_finger};
use crate::person::{Person, Seen, with_pins};
use crate::*;

#[tokio::test]
async fn five_wrong_fingers_and_then_the_pin_in_one_go() {
    let (key, mut opened, made) = with_finger().await;
    let request = assertion(&made, BY_PIN);
    let (signed, seen) = assert_with(&key, &mut opened, &request, &[LEFT; 5], &[PIN]).await;
    assert_eq!(signed.unwrap().uv_method, Some(UvMethod::Pin));
    assert_eq!(
        seen[..11],
        [
            Seen::Finger,
            Seen::WrongFinger(4),
            Seen::Finger,
            Seen::WrongFinger(3),
            Seen::Finger,
            Seen::WrongFinger(2),
            Seen::Finger,
            Seen::WrongFinger(1),
            Seen::Finger,
            Seen::FingerBlocked,
            Seen::Pin { tries_left: 8, wrong_before: false },
        ]
    );
    // The right PIN gave the fingers back.
    let request = assertion(&made, BY_FINGER);
    let (signed, _) = assert_with(&key, &mut opened, &request, &[RIGHT], &[]).await;
    assert_eq!(signed.unwrap().uv_method, Some(UvMethod::BuiltIn));
}

#[tokio::test]
async fn a_blocked_finger_stays_blocked_when_plugged_in_again() {
    let (mut key, mut opened, made) = with_finger().await;
    let request = assertion(&made, BY_FINGER);
    let (result, _) = assert_with(&key, &mut opened, &request, &[LEFT; 5], &[]).await;
    assert!(matches!(result, Err(OperationError::UvBlocked)), "{result:?}");
    drop(opened);
    key.replug().unwrap();
    let mut opened = open(&key).await;
    let (result, seen) = assert_with(&key, &mut opened, &request, &[RIGHT], &[PIN]).await;
    assert!(matches!(result, Err(OperationError::UvBlocked)), "{result:?}");
    assert_eq!(seen, [], "nobody is asked for what is not taken");
    // Any use of the right PIN unblocks it.
    with_pins(&[PIN], async |p| opened.list_fingers(&p).await).await.0.unwrap();
    let (signed, _) = assert_with(&key, &mut opened, &request, &[RIGHT], &[]).await;
    signed.unwrap();
}

#[tokio::test]
async fn a_blocked_pin_blocks_the_finger_and_is_named_as_the_cause() {
    let (mut key, mut opened, made) = with_finger().await;
    for _ in 0..3 {
        let wrong = ["000000"; 3];
        let _ = with_pins(&wrong, async |p| opened.list_fingers(&p).await).await;
        drop(opened);
        key.replug().unwrap();
        opened = open(&key).await;
    }
    assert_eq!(opened.pin_retries().await.unwrap().left, 0);
    for policy in [BY_FINGER, BY_PIN] {
        let request = assertion(&made, policy);
        let (result, _) = assert_with(&key, &mut opened, &request, &[RIGHT], &[PIN]).await;
        assert!(matches!(result, Err(OperationError::PinBlocked)), "{result:?}");
    }
    let result = opened.list_fingers(&Prompt::nobody()).await;
    assert!(matches!(result, Err(OperationError::PinBlocked)), "{result:?}");
}

#[tokio::test]
async fn a_key_that_always_verifies_takes_the_finger_where_a_touch_was_asked() {
    let (key, mut opened, _) = with_finger().await;
    let made = register_touch_only(&mut opened, &key).await;
    let request = assertion(&made, UserVerification::Discouraged);
    let signed = opened.assert(&request, &Prompt::nobody()).await.unwrap();
    assert_eq!(signed.uv_method, None);
    let config = Config::AlwaysUv(true);
    with_pins(&[PIN], async |p| opened.configure(&config, &p).await).await.0.unwrap();
    let (signed, seen) = assert_with(&key, &mut opened, &request, &[RIGHT], &[]).await;
    assert_eq!(signed.unwrap().uv_method, Some(UvMethod::BuiltIn));
    assert_eq!(seen, [Seen::Finger]);
}

/// A credential that a touch may use, on a key with fingers.
async fn register_touch_only(opened: &mut Key, key: &VirtualKey) -> Registration {
    let mut request = registration(BY_FINGER);
    request.protection = None;
    let person = Person { key: Some(key), fingers: [RIGHT].into(), ..Person::default() };
    person.attend(async |p| opened.register(&request, &p).await).await.0.unwrap()
}
