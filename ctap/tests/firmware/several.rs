//! Several keys, and several clients on one key.

use signet_ctap::operation::{Prompt, assert_any, choose};
use signet_test_authenticators::KeyOptions;

use crate::person::{Person, Seen, with_pins};
use crate::*;

async fn two_keys() -> ([VirtualKey; 2], Vec<Key>) {
    let keys = BOTH.map(|firmware| VirtualKey::start(firmware).unwrap());
    let mut opened = Vec::new();
    for key in &keys {
        opened.push(open_with_pin(key).await);
    }
    (keys, opened)
}

#[tokio::test]
async fn of_two_enrolled_keys_the_touched_one_signs() {
    let (keys, mut opened) = two_keys().await;
    let mut request = None::<AssertRequest>;
    let mut ids = Vec::new();
    for key in &mut opened {
        let made = register(key, &registration(BY_PIN)).await;
        ids.push(made.credential_id.clone());
        request = Some(assertion(&made, BY_PIN));
    }
    let mut request = request.unwrap();
    request.allow_list.clone_from(&ids);
    for chosen in [0, 1, 0] {
        for key in &keys {
            key.touch_manual().unwrap();
        }
        let person = Person { key: Some(&keys[chosen]), pins: [PIN].into(), ..Person::default() };
        let (result, seen) =
            person.attend(async |p| assert_any(&mut opened, &request, &p).await).await;
        let (place, signed) = result.unwrap();
        assert_eq!((place, &signed.credential_id), (chosen, &ids[chosen]));
        assert_eq!(seen.first(), Some(&Seen::Choice(2)));
    }
}

#[tokio::test]
async fn a_key_that_is_not_enrolled_does_not_blink() {
    let (keys, mut opened) = two_keys().await;
    let made = register_touch_only(&mut opened[1]).await;
    keys[0].touch_manual().unwrap();
    let request = assertion(&made, UserVerification::Discouraged);
    let (result, seen) =
        with_pins(&[], async |p| assert_any(&mut opened, &request, &p).await).await;
    assert_eq!(result.unwrap().0, 1);
    assert!(!seen.iter().any(|seen| matches!(seen, Seen::Choice(_))));

    let result = assert_any(&mut opened[..1], &request, &Prompt::nobody()).await;
    assert!(matches!(result, Err(OperationError::NoCredentials)), "{result:?}");
    let result = assert_any(&mut [], &request, &Prompt::nobody()).await;
    assert!(matches!(result, Err(OperationError::NoKey)), "{result:?}");
}

/// Credentials that need their user are not found without one, so the other key blinks too.
#[tokio::test]
async fn the_wrong_one_of_two_keys_says_so() {
    let (keys, mut opened) = two_keys().await;
    let made = register(&mut opened[1], &registration(BY_PIN)).await;
    for key in &keys {
        key.touch_manual().unwrap();
    }
    keys[0].touch().unwrap();
    let request = assertion(&made, BY_PIN);
    let person = Person { key: Some(&keys[0]), pins: [PIN].into(), ..Person::default() };
    let (result, _) = person.attend(async |p| assert_any(&mut opened, &request, &p).await).await;
    assert!(matches!(result, Err(OperationError::WrongKey)), "{result:?}");
}

/// A key that always wants its user is still the right one where a touch was asked for.
#[tokio::test]
async fn a_key_that_always_verifies_is_not_passed_over() {
    let (keys, mut opened) = two_keys().await;
    let mut ids = Vec::new();
    for key in &mut opened {
        ids.push(register_touch_only(key).await);
        let config = signet_ctap::operation::Config::AlwaysUv(true);
        with_pins(&[PIN], async |p| key.configure(&config, &p).await).await.0.unwrap();
    }
    for (chosen, made) in ids.iter().enumerate() {
        for key in &keys {
            key.touch_manual().unwrap();
        }
        let request = assertion(made, UserVerification::Discouraged);
        let person = Person { key: Some(&keys[chosen]), pins: [PIN].into(), ..Person::default() };
        let (result, _) =
            person.attend(async |p| assert_any(&mut opened, &request, &p).await).await;
        assert_eq!(result.unwrap().0, chosen);
    }
}

#[tokio::test]
async fn a_key_pulled_out_while_both_blink_leaves_the_other_in_the_race() {
    let (mut keys, mut opened) = two_keys().await;
    for key in &keys {
        key.touch_manual().unwrap();
    }
    keys[0].kill();
    let person = Person { key: Some(&keys[1]), ..Person::default() };
    let candidates = opened.iter_mut().enumerate().collect();
    let (result, _) =
        person.attend(async |p| choose(candidates, &p).await.map(|(place, _)| place)).await;
    assert_eq!(result.unwrap(), 1);
}

#[tokio::test]
async fn two_clients_share_one_key() {
    for firmware in BOTH {
        let key = KeyOptions::new(firmware).start().unwrap();
        let mut first = open_with_pin(&key).await;
        let mut second = open(&key).await;
        let made = register_touch_only(&mut first).await;
        let request = assertion(&made, UserVerification::Discouraged);
        // Each sees the other's packets and busy answers; both get their own answer.
        let nobody = Prompt::nobody();
        for _ in 0..5 {
            let (one, two) = tokio::join!(first.assert(&request, &nobody), second.refresh());
            assert_eq!(one.unwrap().credential_id, made.credential_id, "{firmware:?}");
            two.unwrap();
        }
    }
}

#[tokio::test]
async fn a_second_client_waits_while_the_first_waits_for_a_touch() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut first = open_with_pin(&key).await;
        let made = register_touch_only(&mut first).await;
        let busy =
            Timing { busy_retries: 2, busy_pause: std::time::Duration::from_millis(1), ..timing() };
        let mut second = Key::open_path(&key.socket(), busy).await.unwrap();
        key.touch_manual().unwrap();
        let request = assertion(&made, UserVerification::Discouraged);
        let (prompt, mut events) = Prompt::new();
        let (signed, ()) = tokio::join!(first.assert(&request, &prompt), async {
            while !matches!(events.next().await, Some(signet_ctap::operation::Event::TouchNeeded)) {
            }
            let result = second.refresh().await.map(drop);
            assert!(
                matches!(
                    result,
                    Err(signet_ctap::CommandError::Channel(signet_ctap::ChannelError::Busy))
                ),
                "{firmware:?}: {result:?}"
            );
            key.touch().unwrap();
        });
        signed.unwrap();
        second.refresh().await.unwrap();
    }
}

/// OpenSK only: usbd-ctaphid 0.5 lets any client's INIT abort what another one waits for.
#[tokio::test]
async fn a_key_in_use_is_busy_when_opened() {
    let key = VirtualKey::start(Firmware::OpenSk).unwrap();
    let mut first = open_with_pin(&key).await;
    let made = register_touch_only(&mut first).await;
    key.touch_manual().unwrap();
    let request = assertion(&made, UserVerification::Discouraged);
    let (prompt, mut events) = Prompt::new();
    let (signed, ()) = tokio::join!(first.assert(&request, &prompt), async {
        while !matches!(events.next().await, Some(signet_ctap::operation::Event::TouchNeeded)) {}
        let impatient = Timing { opening: Duration::from_millis(10), ..timing() };
        let result = Key::open_path(&key.socket(), impatient).await;
        let busy = signet_ctap::CommandError::Channel(signet_ctap::ChannelError::Busy);
        assert_eq!(
            result.map(drop).map_err(|error| error.to_string()),
            Err(signet_ctap::OpenError::Command(busy).to_string())
        );
        key.touch().unwrap();
    });
    signed.unwrap();
}
