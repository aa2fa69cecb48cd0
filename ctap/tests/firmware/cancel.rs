//! Cancelling: the caller is free at once, the key is usable afterwards.

use signet_ctap::operation::{Event, Prompt};
use signet_test_authenticators::{KeyOptions, command};

use crate::*;

/// Starts an assertion and drops it at the first event that `stop` wants.
pub(crate) async fn drop_at(opened: &mut Key, request: &AssertRequest, stop: fn(&Event) -> bool) {
    let (prompt, mut events) = Prompt::new();
    let mut operation = std::pin::pin!(opened.assert(request, &prompt));
    loop {
        tokio::select! {
            result = &mut operation => panic!("ended before it was dropped: {result:?}"),
            Some(event) = events.next() => if stop(&event) { return },
        }
    }
}

#[tokio::test]
async fn a_dropped_wait_for_touch_leaves_the_key_usable() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let made = register_touch_only(&mut opened).await;
        key.touch_manual().unwrap();
        let request = assertion(&made, UserVerification::Discouraged);
        for _ in 0..3 {
            drop_at(&mut opened, &request, |event| matches!(event, Event::TouchNeeded)).await;
            opened.refresh().await.unwrap();
        }
        key.touch_auto().unwrap();
        let signed = opened.assert(&request, &Prompt::nobody()).await.unwrap();
        assert_eq!(signed.credential_id, made.credential_id);
    }
}

#[tokio::test]
async fn a_touch_for_a_dropped_operation_signs_nothing_later() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let made = register_touch_only(&mut opened).await;
        key.touch_manual().unwrap();
        let mut dropped = assertion(&made, UserVerification::Discouraged);
        dropped.client_data_hash = [0xDD; 32];
        drop_at(&mut opened, &dropped, |event| matches!(event, Event::TouchNeeded)).await;
        key.touch_auto().unwrap();
        // The answer must belong to this request, not to the dropped one.
        let request = assertion(&made, UserVerification::Discouraged);
        let signed = opened.assert(&request, &Prompt::nobody()).await.unwrap();
        let data =
            signet_ctap::authenticator_data::AuthenticatorData::parse(&made.auth_data).unwrap();
        let mut public =
            signet_ctap::cbor::Fields::from_value(data.credential.unwrap().public_key).unwrap();
        let point =
            [vec![4], public.bytes(-2).unwrap().unwrap(), public.bytes(-3).unwrap().unwrap()]
                .concat();
        aws_lc_rs::signature::UnparsedPublicKey::new(
            &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1,
            point,
        )
        .verify(&[&signed.auth_data[..], &[0xA5; 32]].concat(), &signed.signature)
        .expect("signed for the second request");
    }
}

/// OpenSK does not hear CANCEL while it waits for a finger; the next command waits until it is back.
#[tokio::test]
async fn a_dropped_wait_for_a_finger_is_drained_by_the_next_command() {
    let key = KeyOptions::new(Firmware::OpenSk).finger("right").start().unwrap();
    let mut opened = open_with_pin(&key).await;
    key.finger("right").unwrap();
    let made = register(&mut opened, &registration(BY_FINGER)).await;
    let request = assertion(&made, BY_FINGER);
    let nobody = Prompt::nobody();
    let control = key.control_socket();
    let in_finger_loop = tokio::task::spawn_blocking(move || command(&control, "wait").unwrap());
    tokio::select! {
        result = opened.assert(&request, &nobody) => panic!("not dropped: {result:?}"),
        waiting = in_finger_loop => waiting.unwrap(),
    }
    let (info, ()) = tokio::join!(opened.refresh(), async { key.finger("right").unwrap() });
    assert!(info.unwrap().has_built_in_uv());
    key.finger("right").unwrap();
    opened.assert(&request, &Prompt::nobody()).await.unwrap();
}

#[tokio::test]
async fn a_dropped_question_for_the_pin_costs_no_try() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let made = register(&mut opened, &registration(BY_PIN)).await;
        let request = assertion(&made, BY_PIN);
        drop_at(&mut opened, &request, |event| matches!(event, Event::PinNeeded(_))).await;
        assert_eq!(opened.pin_retries().await.unwrap().left, 8);
    }
}

/// Dropped at any moment, in the middle of a message or of an exchange, the key stays usable.
#[tokio::test]
async fn operations_dropped_anywhere_leave_the_key_usable() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let made = register_touch_only(&mut opened).await;
        let touch = assertion(&made, UserVerification::Discouraged);
        let pin = assertion(&made, BY_PIN);
        for microseconds in (0..60u64).map(|round| round * round * 10) {
            let patience = std::time::Duration::from_micros(microseconds);
            let nobody = Prompt::nobody();
            let _ = tokio::time::timeout(patience, opened.assert(&touch, &nobody)).await;
            let _ = tokio::time::timeout(patience, assert_by_pin(&mut opened, &pin)).await;
        }
        assert_by_pin(&mut opened, &pin).await.unwrap();
        assert_eq!(opened.pin_retries().await.unwrap().left, 8);
    }
}
