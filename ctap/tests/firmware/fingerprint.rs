//! The fingerprint sensor (OpenSK).

use signet_ctap::commands::SampleStatus::{self, Good, MergeFailure, PoorQuality};
use signet_ctap::operation::{Feature, Prompt, UvMethod};
use signet_test_authenticators::KeyOptions;

use crate::person::{Person, Seen};
use crate::*;

pub(crate) const RIGHT: &str = "right-index";
pub(crate) const LEFT: &str = "left-thumb";

/// Runs an assertion in front of a person with these fingers and PINs.
pub(crate) async fn assert_with(
    key: &VirtualKey,
    opened: &mut Key,
    request: &AssertRequest,
    fingers: &[&str],
    pins: &[&str],
) -> (Result<Assertion, OperationError>, Vec<Seen>) {
    let person = Person {
        key: Some(key),
        fingers: fingers.iter().copied().collect(),
        pins: pins.iter().copied().collect(),
    };
    person.attend(async |p| opened.assert(request, &p).await).await
}

/// A key from the factory with one finger, a PIN and a credential.
pub(crate) async fn with_finger() -> (VirtualKey, Key, Registration) {
    let key = KeyOptions::new(Firmware::OpenSk).finger(RIGHT).start().unwrap();
    let mut opened = open_with_pin(&key).await;
    let person = Person { key: Some(&key), fingers: [RIGHT].into(), ..Person::default() };
    let request = registration(BY_FINGER);
    let (made, _) = person.attend(async |p| opened.register(&request, &p).await).await;
    (key, opened, made.unwrap())
}

#[tokio::test]
async fn a_finger_is_enrolled_listed_used_and_removed() {
    let key = VirtualKey::start(Firmware::OpenSk).unwrap();
    let mut opened = open_with_pin(&key).await;
    assert!(!opened.info().has_built_in_uv());
    assert_eq!(opened.fingerprint_sensor().await.unwrap().max_samples, Some(4));
    let person = Person {
        key: Some(&key),
        pins: [PIN].into(),
        fingers: [RIGHT, "dirty", LEFT, RIGHT, RIGHT, RIGHT].into(),
    };
    let (enrolled, seen) =
        person.attend(async |p| opened.enroll_finger(Some("right index"), &p).await).await;
    let enrolled = enrolled.unwrap();
    let samples: Vec<(SampleStatus, u32)> = seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Sample(status, remaining) => Some((*status, *remaining)),
            _ => None,
        })
        .collect();
    assert_eq!(
        samples,
        [(Good, 3), (PoorQuality, 3), (MergeFailure, 3), (Good, 2), (Good, 1), (Good, 0)]
    );
    assert!(opened.info().has_built_in_uv());

    let (fingers, _) = person::with_pins(&[PIN], async |p| opened.list_fingers(&p).await).await;
    let fingers = fingers.unwrap();
    assert_eq!(fingers.len(), 1);
    assert_eq!(
        (&fingers[0].id, fingers[0].name.as_deref()),
        (&enrolled.template, Some("right index"))
    );

    let (renamed, _) = person::with_pins(&[PIN], async |p| {
        opened.rename_finger(&enrolled.template, "le doigt", &p).await
    })
    .await;
    renamed.unwrap();
    let (fingers, _) = person::with_pins(&[PIN], async |p| opened.list_fingers(&p).await).await;
    assert_eq!(fingers.unwrap()[0].name.as_deref(), Some("le doigt"));

    let (removed, _) =
        person::with_pins(&[PIN], async |p| opened.remove_finger(&enrolled.template, &p).await)
            .await;
    removed.unwrap();
    assert!(!opened.info().has_built_in_uv());
    let (fingers, _) = person::with_pins(&[PIN], async |p| opened.list_fingers(&p).await).await;
    assert_eq!(fingers.unwrap(), []);
}

#[tokio::test]
async fn names_that_are_too_long_and_fingers_that_are_not_there_are_told() {
    let key = KeyOptions::new(Firmware::OpenSk).finger(RIGHT).start().unwrap();
    let mut opened = open_with_pin(&key).await;
    let long = "x".repeat(65);
    let nobody = Prompt::nobody();
    let result = opened.enroll_finger(Some(&long), &nobody).await.map(drop);
    assert!(matches!(result, Err(OperationError::NameTooLong { limit: 64 })), "{result:?}");
    let result = opened.rename_finger(b"any", &long, &nobody).await;
    assert!(matches!(result, Err(OperationError::NameTooLong { limit: 64 })), "{result:?}");
    let (result, _) =
        person::with_pins(&[PIN], async |p| opened.rename_finger(b"none", "a", &p).await).await;
    assert!(matches!(result, Err(OperationError::FingerNotFound)), "{result:?}");
    let (result, _) =
        person::with_pins(&[PIN], async |p| opened.remove_finger(b"none", &p).await).await;
    assert!(matches!(result, Err(OperationError::FingerNotFound)), "{result:?}");
}

#[tokio::test]
async fn a_finger_too_many_and_one_twice_are_told() {
    let mut options = KeyOptions::new(Firmware::OpenSk);
    for finger in ["one", "two", "three", "four", "five"] {
        options = options.finger(finger);
    }
    let key = options.start().unwrap();
    let mut opened = open_with_pin(&key).await;
    let (result, _) =
        person::with_pins(&[PIN], async |p| opened.enroll_finger(None, &p).await).await;
    assert!(matches!(result, Err(OperationError::FingersFull)), "{result:?}");

    let (fingers, _) = person::with_pins(&[PIN], async |p| opened.list_fingers(&p).await).await;
    let last = fingers.unwrap().pop().unwrap().id;
    person::with_pins(&[PIN], async |p| opened.remove_finger(&last, &p).await).await.0.unwrap();
    let person = Person {
        key: Some(&key),
        pins: [PIN].into(),
        fingers: ["one", "five", "five", "five", "five"].into(),
    };
    let (enrolled, seen) = person.attend(async |p| opened.enroll_finger(None, &p).await).await;
    enrolled.unwrap();
    assert!(seen.contains(&Seen::Sample(SampleStatus::AlreadyEnrolled, 4)), "{seen:?}");
}

#[tokio::test]
async fn a_reset_takes_the_fingers_too() {
    let (mut key, opened, _) = with_finger().await;
    drop(opened);
    key.replug().unwrap();
    let mut opened = open(&key).await;
    opened.reset_to_factory(&Prompt::nobody()).await.unwrap();
    assert!(!opened.info().has_built_in_uv());
    opened.set_pin(&secret(PIN)).await.unwrap();
    let person = Person { key: Some(&key), pins: [PIN].into(), fingers: [RIGHT; 4].into() };
    person.attend(async |p| opened.enroll_finger(None, &p).await).await.0.unwrap();
}

#[tokio::test]
async fn the_right_finger_signs_with_built_in_uv() {
    let (key, mut opened, made) = with_finger().await;
    assert_eq!(made.uv_method, Some(UvMethod::BuiltIn));
    let request = assertion(&made, BY_FINGER);
    let (signed, seen) = assert_with(&key, &mut opened, &request, &[RIGHT], &[]).await;
    assert_eq!(signed.unwrap().uv_method, Some(UvMethod::BuiltIn));
    assert_eq!(seen, [Seen::Finger], "the finger is the touch");
}

#[tokio::test]
async fn a_wrong_finger_is_told_and_the_right_one_taken() {
    let (key, mut opened, made) = with_finger().await;
    let request = assertion(&made, BY_FINGER);
    let (signed, seen) =
        assert_with(&key, &mut opened, &request, &[LEFT, "dirty", RIGHT], &[]).await;
    signed.unwrap();
    assert_eq!(
        seen,
        [Seen::Finger, Seen::WrongFinger(4), Seen::Finger, Seen::WrongFinger(3), Seen::Finger]
    );
    assert_eq!(opened.uv_retries().await.unwrap(), 5, "the right finger gives the tries back");
}

#[tokio::test]
async fn blocked_fingers_fall_back_to_the_pin_only_where_allowed() {
    let (key, mut opened, made) = with_finger().await;
    let request = assertion(&made, BY_FINGER);
    let (result, seen) = assert_with(&key, &mut opened, &request, &[LEFT; 5], &[PIN]).await;
    assert!(matches!(result, Err(OperationError::UvBlocked)), "{result:?}");
    assert!(!seen.iter().any(|seen| matches!(seen, Seen::Pin { .. })));

    let request = assertion(&made, BY_PIN);
    let (signed, seen) = assert_with(&key, &mut opened, &request, &[], &[PIN]).await;
    assert_eq!(signed.unwrap().uv_method, Some(UvMethod::Pin));
    assert_eq!(
        seen[..2],
        [Seen::FingerBlocked, Seen::Pin { tries_left: 8, wrong_before: false }],
        "a blocked finger is not asked for"
    );

    // The PIN unblocked the finger.
    let request = assertion(&made, BY_FINGER);
    let (signed, _) = assert_with(&key, &mut opened, &request, &[RIGHT], &[]).await;
    assert_eq!(signed.unwrap().uv_method, Some(UvMethod::BuiltIn));
}

#[tokio::test]
async fn a_key_without_a_sensor_says_so() {
    let key = VirtualKey::start(Firmware::Trussed).unwrap();
    let mut opened = open_with_pin(&key).await;
    let result = opened.enroll_finger(None, &Prompt::nobody()).await;
    assert!(
        matches!(result, Err(OperationError::Unsupported(Feature::FingerEnrolment))),
        "{result:?}"
    );
    let result = opened.fingerprint_sensor().await.map(drop);
    assert!(
        matches!(result, Err(OperationError::Unsupported(Feature::FingerEnrolment))),
        "{result:?}"
    );
}

#[tokio::test]
async fn fingers_outlive_a_kill() {
    let (mut key, opened, made) = with_finger().await;
    drop(opened);
    key.restart().unwrap();
    let mut opened = open(&key).await;
    let request = assertion(&made, BY_FINGER);
    let (signed, _) = assert_with(&key, &mut opened, &request, &[RIGHT], &[]).await;
    signed.unwrap();
}
