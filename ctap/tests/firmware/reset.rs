//! Back to the factory's state, and the safety around it.

use signet_ctap::operation::{Event, Prompt};

use crate::person::{Person, Seen};
use crate::*;

#[tokio::test]
async fn a_reset_forgets_everything() {
    for firmware in BOTH {
        let mut key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let made = register_touch_only(&mut opened).await;
        drop(opened);
        key.replug().unwrap();
        key.touch_manual().unwrap();
        let mut opened = open(&key).await;
        let person = Person { key: Some(&key), ..Person::default() };
        let (done, seen) = person.attend(async |p| opened.reset_to_factory(&p).await).await;
        done.unwrap();
        assert_eq!(seen, [Seen::Touch], "{firmware:?}");
        assert!(!opened.info().has_pin());
        key.touch_auto().unwrap();
        let request = assertion(&made, UserVerification::Discouraged);
        let result = opened.assert(&request, &Prompt::nobody()).await;
        assert!(matches!(result, Err(OperationError::NoCredentials)), "{firmware:?}: {result:?}");
        opened.set_pin(&secret("2468")).await.unwrap();
    }
}

/// OpenSK by the letter: only as the first command after power-up.
#[tokio::test]
async fn a_key_that_was_used_is_not_reset_before_it_is_plugged_in_again() {
    let mut key = VirtualKey::start(Firmware::OpenSk).unwrap();
    let mut opened = open_with_pin(&key).await;
    let result = opened.reset_to_factory(&Prompt::nobody()).await;
    assert!(matches!(result, Err(OperationError::NotJustPlugged)), "{result:?}");
    opened.refresh().await.unwrap();
    assert!(opened.info().has_pin());
    drop(opened);
    key.replug().unwrap();
    open(&key).await.reset_to_factory(&Prompt::nobody()).await.unwrap();
}

#[tokio::test]
async fn a_reset_dropped_before_the_touch_changes_nothing() {
    for firmware in BOTH {
        let mut key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let made = register_touch_only(&mut opened).await;
        drop(opened);
        key.replug().unwrap();
        key.touch_manual().unwrap();
        let mut opened = open(&key).await;
        let (prompt, mut events) = Prompt::new();
        {
            let mut reset = std::pin::pin!(opened.reset_to_factory(&prompt));
            loop {
                tokio::select! {
                    result = &mut reset => panic!("ended before it was dropped: {result:?}"),
                    Some(event) = events.next() => if matches!(event, Event::TouchNeeded) { break },
                }
            }
        }
        // It answers when it has heard that the reset is off; no touch before that.
        opened.refresh().await.unwrap();
        key.touch_auto().unwrap();
        assert!(opened.info().has_pin(), "{firmware:?}");
        let request = assertion(&made, UserVerification::Discouraged);
        opened.assert(&request, &Prompt::nobody()).await.unwrap();
    }
}
