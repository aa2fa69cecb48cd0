//! What can go wrong with a key, by the firmware's own answer: each has its name and its advice.

use signet_test_authenticators::{Firmware, KeyOptions, VirtualKey};

use crate::client::{Options, bytes, options, text};
use crate::world::{
    PIN, World, key_with_pin, ready, register, registration, session, untouched_key, with, with_pin,
};

#[tokio::test]
async fn the_touched_key_that_is_not_enrolled_is_told_from_no_enrolled_key() {
    let world = World::enrolled(vec![untouched_key().await, untouched_key().await], "").await;
    let caller = world.caller().await;
    world.keys[1].unplug().unwrap();
    world.keys[0].touch_auto().unwrap();
    let credential = bytes(&register(&caller, "register", Options::new()).await, "credential_id");
    world.keys[0].touch_manual().unwrap();
    let mut world = world;
    world.keys[1].restart().unwrap();
    world.keys[1].touch_manual().unwrap();
    // The credential is hidden until its owner is verified: both keys blink.
    let mut pending = caller.presence("wrong", &session(&credential)).await.unwrap();
    pending.stage("touch-needed").await;
    // One touch chooses; the other lets the key say that it has nothing (CTAP 2.1 §6.2.2 step 7).
    (0..2).for_each(|_| world.keys[1].touch().unwrap());
    let served = pending.served(&[PIN]).await;
    assert_eq!(served.outcome, "WrongAuthenticator");
    assert!(served.words.contains("touch that one"), "{}", served.words);

    world.keys[0].unplug().unwrap();
    world.keys[1].touch_auto().unwrap();
    let mut pending = caller.presence("alone", &session(&credential)).await.unwrap();
    let served = pending.served(&[PIN]).await;
    assert_eq!(served.outcome, "NoCredential");
    assert!(served.words.contains("plug in the key you enrolled"), "{}", served.words);
}

#[tokio::test]
async fn a_refusal_on_the_key_is_a_refusal() {
    let key = with_pin(VirtualKey::start(Firmware::OpenSk).unwrap()).await;
    let (world, caller, credential) = ready(key, "").await;
    world.keys[0].touch_manual().unwrap();
    world.keys[0].deny().unwrap();
    let mut pending = caller.presence("no", &session(&credential)).await.unwrap();
    let served = pending.served(&[PIN]).await;
    assert_eq!(served.outcome, "Cancelled");
    assert!(served.words.contains("declined on it"), "{}", served.words);
}

#[tokio::test]
async fn a_pin_that_must_be_changed_is_good_for_nothing_else() {
    let key = with_pin(VirtualKey::start(Firmware::OpenSk).unwrap()).await;
    let (_world, caller, credential) = ready(key, "").await;
    let force = options([("force_pin_change", true.into())]);
    let mut pending = caller.upkeep("ConfigureAuthenticator", "force", &force).await.unwrap();
    pending.served(&[PIN]).await.ok();
    let mut pending = caller.presence("old", &session(&credential)).await.unwrap();
    let served = pending.served(&[]).await;
    assert_eq!(served.outcome, "PinChangeRequired");
    assert!(served.words.contains("change it"), "{}", served.words);
}

#[tokio::test]
async fn the_sixth_finger_finds_no_room() {
    let mut key = KeyOptions::new(Firmware::OpenSk);
    for finger in ["one", "two", "three", "four", "five"] {
        key = key.finger(finger);
    }
    let world = World::with_keys(vec![with_pin(key.start().unwrap()).await]);
    let caller = world.caller().await;
    (0..4).for_each(|_| world.keys[0].finger("six").unwrap());
    let name = options([("name", "six".into())]);
    let mut pending = caller.upkeep("AddFinger", "six", &name).await.unwrap();
    let served = pending.served(&[PIN]).await;
    assert_eq!(served.outcome, "FingerprintsFull");
    assert!(served.words.contains("remove one first"), "{}", served.words);
}

#[tokio::test]
async fn what_a_key_lacks_is_named() {
    let world = World::with_keys(vec![key_with_pin().await]);
    let caller = world.caller().await;
    let name = options([("name", "right".into())]);
    let mut pending = caller.upkeep("AddFinger", "t", &name).await.unwrap();
    let served = pending.served(&[]).await;
    assert_eq!(served.outcome, "NotSupported");
    assert!(served.words.contains("does not support fingerprints"), "{}", served.words);
    let long = options([("name", "x".repeat(65).into())]);
    let refused = caller.upkeep("AddFinger", "t", &long).await.map(drop);
    assert_eq!(crate::client::refusal(refused.unwrap_err()).0, "InvalidArgument");
}

#[tokio::test]
async fn wrong_fingers_on_a_key_without_a_pin_block_it() {
    let key = KeyOptions::new(Firmware::OpenSk).finger("right").start().unwrap();
    let world = World::enrolled(vec![key], "").await;
    let caller = world.caller().await;
    (0..5).for_each(|_| world.keys[0].finger("left").unwrap());
    let mut pending = caller.register("t", &registration()).await.unwrap();
    let served = pending.served(&[]).await;
    let wrong = served.stages().into_iter().filter(|stage| stage.starts_with("wrong"));
    let expected = [4, 3, 2, 1].map(|left| format!("wrong-finger tries_left={left}"));
    assert_eq!(wrong.collect::<Vec<_>>(), expected);
    assert_eq!(served.outcome, "UvBlocked");
    assert!(served.words.contains("locked after wrong tries"), "{}", served.words);
}

#[tokio::test]
async fn eight_wrong_pins_lock_the_key_and_the_words_differ_from_three() {
    let mut world = World::with_keys(vec![key_with_pin().await]);
    let caller = world.caller().await;
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        let mut pending = caller.upkeep("ListCredentials", "t", &Options::new()).await.unwrap();
        let served = pending.served(&["0000"; 4]).await;
        outcomes.push((served.outcome, served.words));
        world.keys[0].replug().unwrap();
    }
    assert!(outcomes.iter().all(|(outcome, _)| outcome == "PinBlocked"), "{outcomes:?}");
    let words: Vec<&str> = outcomes.iter().map(|(_, words)| words.as_str()).collect();
    assert!(words[0].contains("plug it in again") && words[1].contains("plug it in again"));
    assert!(words[2].contains("reset the key (this erases it)"), "{}", words[2]);
}

#[tokio::test]
async fn a_key_that_can_only_be_touched_registers_and_asserts_and_says_what_it_is() {
    for firmware in [Firmware::OpenSk, Firmware::Trussed] {
        let key = KeyOptions::new(firmware).u2f_only().start().unwrap();
        let world = World::enrolled(vec![key], "").await;
        let caller = world.caller().await;
        let listed = caller.daemon.list_authenticators().await.unwrap();
        for member in ["u2f_only", "touch_only"] {
            assert_eq!(listed[0][member], zbus::Variant::from(true).try_into().unwrap());
        }
        assert_eq!(text(&listed[0], "built_in_uv"), "none");
        let mut pending = caller.register("new", &registration()).await.unwrap();
        let made = pending.served(&[]).await.ok();
        let credential = bytes(&made, "credential_id");

        let touch = with(session(&credential), "user_verification", "discouraged".into());
        let mut pending = caller.presence("discouraged", &touch).await.unwrap();
        let answer = pending.served(&[]).await.ok();
        assert_eq!(bytes(&answer, "credential_id"), credential);
        assert!(!answer.contains_key("observed"), "nobody was verified");
        // Beside a key that must verify its user, in a list of its own.
        let mixed = with(session(&[1; 16]), "touch_credentials", vec![credential.clone()].into());
        let mut pending = caller.presence("mixed", &mixed).await.unwrap();
        assert_eq!(bytes(&pending.served(&[]).await.ok(), "credential_id"), credential);

        let mut pending = caller.presence("required", &session(&credential)).await.unwrap();
        let served = pending.served(&[]).await;
        assert_eq!(served.outcome, "NotSupported", "{firmware:?}");
        assert!(served.words.contains("a touch is all it takes"), "{}", served.words);
        let mut pending = caller.upkeep("SetPin", "pin", &Options::new()).await.unwrap();
        assert_eq!(pending.served(&[]).await.outcome, "NotSupported");
    }
}
