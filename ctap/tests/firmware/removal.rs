//! Keys that vanish.

use std::path::Path;

use signet_ctap::OpenError;
use signet_ctap::operation::{Event, Prompt};

use crate::*;

pub(crate) async fn remove_at_touch(
    opened: &mut Key,
    request: &AssertRequest,
    remove: impl FnOnce(),
) -> Result<Assertion, OperationError> {
    let (prompt, mut events) = Prompt::new();
    let (result, ()) = tokio::join!(opened.assert(request, &prompt), async {
        while !matches!(events.next().await, Some(Event::TouchNeeded)) {}
        remove();
    });
    result
}

#[tokio::test]
async fn a_key_killed_while_it_waits_is_told_and_works_after_restart() {
    for firmware in BOTH {
        let mut key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let made = register_touch_only(&mut opened).await;
        key.touch_manual().unwrap();
        let request = assertion(&made, UserVerification::Discouraged);
        let result = remove_at_touch(&mut opened, &request, || key.kill()).await;
        assert!(matches!(result, Err(OperationError::KeyRemoved(_))), "{firmware:?}: {result:?}");
        let result = opened.assert(&request, &Prompt::nobody()).await;
        assert!(matches!(result, Err(OperationError::KeyRemoved(_))), "{firmware:?}: {result:?}");

        key.restart().unwrap();
        open(&key).await.assert(&request, &Prompt::nobody()).await.unwrap();
    }
}

#[tokio::test]
async fn a_key_pulled_out_while_it_waits_is_told_and_works_when_plugged_in() {
    for firmware in BOTH {
        let mut key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let made = register_touch_only(&mut opened).await;
        key.touch_manual().unwrap();
        let request = assertion(&made, UserVerification::Discouraged);
        let result = remove_at_touch(&mut opened, &request, || key.unplug().unwrap()).await;
        assert!(matches!(result, Err(OperationError::KeyRemoved(_))), "{firmware:?}: {result:?}");
        let result = Key::open_path(&key.socket(), timing()).await;
        assert!(matches!(result, Err(OpenError::Device(_))), "{firmware:?}: {result:?}");

        key.replug().unwrap();
        open(&key).await.assert(&request, &Prompt::nobody()).await.unwrap();
    }
}

#[tokio::test]
async fn a_key_pulled_out_while_the_pin_is_asked_ends_the_question() {
    for firmware in BOTH {
        let key = VirtualKey::start(firmware).unwrap();
        let mut opened = open_with_pin(&key).await;
        let request = registration(BY_PIN);
        let (prompt, mut events) = Prompt::new();
        let (result, question) = tokio::join!(opened.register(&request, &prompt), async {
            let Some(Event::PinNeeded(question)) = events.next().await else {
                panic!("the pin is asked first");
            };
            key.unplug().unwrap();
            question
        });
        assert!(matches!(result, Err(OperationError::KeyRemoved(_))), "{firmware:?}: {result:?}");
        question.answer(secret(PIN));
    }
}

#[tokio::test]
async fn what_is_no_key_is_not_opened() {
    for path in ["/nonexistent", "/dev/null/x", "/dev/null", "/etc/hostname"] {
        let result = Key::open_path(Path::new(path), timing()).await;
        assert!(matches!(result, Err(OpenError::Device(_))), "{path}: {result:?}");
    }
}
