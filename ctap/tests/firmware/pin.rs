//! The PIN: setting, changing, wrong ones, nobody to ask.

use signet_ctap::operation::{Feature, OperationError, Prompt};

use crate::person::{Seen, with_pins};
use crate::*;

#[tokio::test]
async fn a_pin_is_set_once_and_then_changed() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open(&key).await;
        assert!(!opened.info().has_pin());
        assert!(matches!(
            opened.set_pin(&secret("12")).await,
            Err(OperationError::PinTooShort { min_length: 4 })
        ));
        assert!(matches!(
            opened.set_pin(&secret(&"1".repeat(64))).await,
            Err(OperationError::PinTooLong)
        ));
        opened.set_pin(&secret(PIN)).await.unwrap();
        assert!(opened.info().has_pin());
        assert!(matches!(opened.set_pin(&secret(PIN)).await, Err(OperationError::PinAlreadySet)));
        assert!(matches!(
            opened.change_pin(&secret("000000"), &secret("998877")).await,
            Err(OperationError::WrongPin { tries_left: 7 })
        ));
        opened.change_pin(&secret(PIN), &secret("998877")).await.unwrap();
        assert_eq!(opened.pin_retries().await.unwrap().left, 8);
        let request = registration(BY_PIN);
        let (result, _) =
            with_pins(&["998877"], async |p| opened.register(&request, &p).await).await;
        assert!(result.is_ok(), "{firmware:?}: {result:?}");
    }
}

#[tokio::test]
async fn a_wrong_pin_is_asked_again_with_fewer_tries() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let request = registration(BY_PIN);
        let (result, seen) =
            with_pins(&["000000", "111111", PIN], async |p| opened.register(&request, &p).await)
                .await;
        assert!(result.is_ok(), "{firmware:?}: {result:?}");
        let asked: Vec<_> = seen.into_iter().filter(|s| matches!(s, Seen::Pin { .. })).collect();
        assert_eq!(
            asked,
            [
                Seen::Pin { tries_left: 8, wrong_before: false },
                Seen::Pin { tries_left: 7, wrong_before: true },
                Seen::Pin { tries_left: 6, wrong_before: true },
            ]
        );
    }
}

#[tokio::test]
async fn three_wrong_pins_block_until_the_key_is_plugged_in_again() {
    for firmware in BOTH {
        let mut key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let request = registration(BY_PIN);
        let wrong = ["000000"; 4];
        let (result, _) = with_pins(&wrong, async |p| opened.register(&request, &p).await).await;
        assert!(matches!(result, Err(OperationError::PinAuthBlocked)), "{firmware:?}: {result:?}");
        let (result, seen) = with_pins(&[PIN], async |p| opened.register(&request, &p).await).await;
        assert!(matches!(result, Err(OperationError::PinAuthBlocked)), "{firmware:?}: {result:?}");
        assert_eq!(seen, [], "no question whose answer cannot help");

        key.replug().unwrap();
        let mut opened = open(&key).await;
        let (result, seen) = with_pins(&[PIN], async |p| opened.register(&request, &p).await).await;
        assert!(result.is_ok(), "{firmware:?}: {result:?}");
        assert_eq!(seen.first(), Some(&Seen::Pin { tries_left: 5, wrong_before: false }));
    }
}

#[tokio::test]
async fn eight_wrong_pins_block_for_good() {
    for firmware in BOTH {
        let mut key = VirtualKey::start(firmware).unwrap();
        drop(open_with_pin(&key).await);
        let request = registration(BY_PIN);
        let wrong = ["000000"; 8];
        let mut outcomes = Vec::new();
        for _ in 0..3 {
            let mut opened = open(&key).await;
            outcomes.push(with_pins(&wrong, async |p| opened.register(&request, &p).await).await.0);
            key.replug().unwrap();
        }
        assert!(
            matches!(
                outcomes[..],
                [
                    Err(OperationError::PinAuthBlocked),
                    Err(OperationError::PinAuthBlocked),
                    Err(OperationError::PinBlocked)
                ]
            ),
            "{firmware:?}: {outcomes:?}"
        );
        let mut opened = open(&key).await;
        let (result, seen) = with_pins(&[PIN], async |p| opened.register(&request, &p).await).await;
        assert!(matches!(result, Err(OperationError::PinBlocked)), "{firmware:?}: {result:?}");
        assert_eq!(seen, []);
    }
}

/// Keyboards spell é with one code point or two; the key must not see the difference.
#[tokio::test]
async fn a_pin_is_the_same_on_every_keyboard() {
    const COMPOSED: &str = "caf\u{e9}";
    const DECOMPOSED: &str = "cafe\u{301}";
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open(&key).await;
        let result = opened.set_pin(&secret("ae\u{301}e")).await;
        assert!(
            matches!(result, Err(OperationError::PinTooShort { min_length: 4 })),
            "{firmware:?}: three characters, whatever they are made of: {result:?}"
        );
        opened.set_pin(&secret(DECOMPOSED)).await.unwrap();
        with_pins(&[COMPOSED], async |p| opened.list_credentials(&p).await).await.0.unwrap();
        let result = opened.change_pin(&secret(COMPOSED), &secret(DECOMPOSED)).await;
        assert!(matches!(result, Err(OperationError::PinUnchanged)), "{result:?}");
        opened.change_pin(&secret(COMPOSED), &secret(PIN)).await.unwrap();
    }
}

#[tokio::test]
async fn a_reset_gives_a_new_pin() {
    for firmware in BOTH {
        let mut key = VirtualKey::start(firmware).unwrap();
        drop(open_with_pin(&key).await);
        key.replug().unwrap();
        let mut opened = open(&key).await;
        opened.reset(&mut |_| {}).await.unwrap();
        assert!(!opened.info().has_pin());
        opened.set_pin(&secret("2468")).await.unwrap();
    }
}

#[tokio::test]
async fn nobody_to_ask_and_unwilling_are_told_apart() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open(&key).await;
        let request = registration(BY_PIN);
        let result = opened.register(&request, &Prompt::nobody()).await;
        assert!(matches!(result, Err(OperationError::PinNotSet)), "{firmware:?}: {result:?}");

        opened.set_pin(&secret(PIN)).await.unwrap();
        let result = opened.register(&request, &Prompt::nobody()).await;
        assert!(matches!(result, Err(OperationError::NobodyToAsk)), "{firmware:?}: {result:?}");
        let (result, _) = with_pins(&[], async |p| opened.register(&request, &p).await).await;
        assert!(matches!(result, Err(OperationError::NobodyToAsk)), "{firmware:?}: {result:?}");
        let result = opened.register(&registration(BY_FINGER), &Prompt::nobody()).await;
        match firmware {
            Firmware::OpenSk => {
                assert!(matches!(result, Err(OperationError::NoFingerEnrolled)), "{result:?}");
            }
            Firmware::Trussed => {
                let lacking = Feature::BuiltInUserVerification;
                assert!(matches!(result, Err(OperationError::Unsupported(f)) if f == lacking));
            }
        }

        let (prompt, mut events) = Prompt::new();
        let (result, ()) = tokio::join!(opened.register(&request, &prompt), async {
            let Some(signet_ctap::operation::Event::PinNeeded(question)) = events.next().await
            else {
                panic!("the pin is asked first");
            };
            question.decline();
        });
        assert!(matches!(result, Err(OperationError::Declined)), "{firmware:?}: {result:?}");
    }
}
