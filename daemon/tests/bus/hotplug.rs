//! Keys that come and go: signals, requests that wait, and erasing.

use futures_util::StreamExt;
use signet_test_authenticators::{Firmware, VirtualKey};

use crate::authority::PATIENCE;
use crate::client::{Caller, Options, options, refusal};
use crate::world::{PIN, World, key_with_pin, ready, session, with, with_pin};

/// The next signal of the daemon's object: its name and its path.
async fn next(signals: &mut zbus::MessageStream) -> (String, String) {
    let message = tokio::time::timeout(PATIENCE, signals.next()).await;
    let message = message.expect("a signal was due").unwrap().unwrap();
    let member = message.header().member().unwrap().to_string();
    (member, message.body().deserialize().unwrap())
}

#[tokio::test]
async fn everybody_hears_of_keys_that_come_and_go() {
    let mut world = World::with_keys(vec![key_with_pin().await]);
    let caller = world.caller().await;
    let mut signals = caller.overhear("/org/signet/Presence1").await;
    let path = world.keys[0].socket().display().to_string();
    world.keys[0].unplug().unwrap();
    assert_eq!(next(&mut signals).await, ("AuthenticatorRemoved".into(), path.clone()));
    assert!(caller.daemon.list_authenticators().await.unwrap().is_empty());
    world.keys[0].restart().unwrap();
    assert_eq!(next(&mut signals).await, ("AuthenticatorAdded".into(), path.clone()));
    assert_eq!(caller.daemon.list_authenticators().await.unwrap().len(), 1);
    world.keys[0].replug().unwrap();
    assert_eq!(next(&mut signals).await, ("AuthenticatorRemoved".into(), path.clone()));
    assert_eq!(next(&mut signals).await, ("AuthenticatorAdded".into(), path));
}

#[tokio::test]
async fn a_request_waits_for_a_key_when_its_caller_wants_it_to() {
    let (mut world, caller, credential) = ready(key_with_pin().await, "").await;
    world.keys[0].unplug().unwrap();
    let patient = with(session(&credential), "wait", true.into());
    let mut pending = caller.presence("wait", &patient).await.unwrap();
    let details = pending.stage("key-needed").await;
    assert_eq!(crate::client::text(&details, "title"), "Sign in");
    // Somebody else is not kept from asking what is plugged in.
    assert!(world.caller().await.daemon.list_authenticators().await.unwrap().is_empty());
    world.keys[0].restart().unwrap();
    pending.served(&[PIN]).await.ok();

    world.keys[0].unplug().unwrap();
    let mut pending = caller.presence("cancel", &patient).await.unwrap();
    pending.stage("key-needed").await;
    pending.request.cancel().await.unwrap();
    assert_eq!(pending.outcome().await.0, "Cancelled");
    let mut pending = caller.presence("once", &session(&credential)).await.unwrap();
    assert_eq!(pending.outcome().await.0, "NoAuthenticator");
}

#[tokio::test]
async fn the_wait_for_a_key_ends_with_the_prompts_time() {
    let (world, caller, credential) = ready(key_with_pin().await, "[timeouts]\nprompt = 5").await;
    world.keys[0].unplug().unwrap();
    let patient = with(session(&credential), "wait", true.into());
    let mut pending = caller.presence("wait", &patient).await.unwrap();
    pending.stage("key-needed").await;
    assert_eq!(pending.outcome().await.0, "TimedOut");
}

async fn erase(caller: &Caller, key: &VirtualKey) -> crate::client::Served {
    let path = options([("path", key.socket().display().to_string().into())]);
    caller.upkeep("ResetAuthenticator", "erase", &path).await.unwrap().served(&[]).await
}

#[tokio::test]
async fn a_key_is_erased_only_by_name_when_just_plugged_in_and_by_a_touch() {
    for firmware in [Firmware::OpenSk, Firmware::Trussed] {
        let mut world =
            World::with_keys(vec![with_pin(VirtualKey::start(firmware).unwrap()).await]);
        let caller = world.caller().await;
        let unnamed = caller.upkeep("ResetAuthenticator", "t", &Options::new()).await.map(drop);
        assert!(refusal(unnamed.unwrap_err()).1.contains("member path is missing"));
        let early = erase(&caller, &world.keys[0]).await;
        assert_eq!(early.outcome, "NotJustPlugged", "{firmware:?}: it was there at the start");
        assert!(early.words.contains("plug it in again and repeat at once"), "{}", early.words);

        let mut signals = caller.overhear("/org/signet/Presence1").await;
        world.keys[0].replug().unwrap();
        world.keys[0].touch_manual().unwrap();
        while next(&mut signals).await.0 != "AuthenticatorAdded" {}
        let path = options([("path", world.keys[0].socket().display().to_string().into())]);
        let mut pending = caller.upkeep("ResetAuthenticator", "t", &path).await.unwrap();
        pending.stage("touch-needed").await;
        world.keys[0].touch().unwrap();
        pending.results().await;
        let listed = caller.daemon.list_authenticators().await.unwrap();
        assert_eq!(listed[0]["pin_set"], zbus::Variant::from(false).try_into().unwrap());
    }
}

#[tokio::test]
async fn a_person_who_refuses_keeps_the_key_as_it_was() {
    let key = with_pin(VirtualKey::start(Firmware::OpenSk).unwrap()).await;
    let mut world = World::with_keys(vec![key]);
    let caller = world.caller().await;
    let mut signals = caller.overhear("/org/signet/Presence1").await;
    world.keys[0].replug().unwrap();
    world.keys[0].touch_manual().unwrap();
    while next(&mut signals).await.0 != "AuthenticatorAdded" {}
    world.keys[0].deny().unwrap();
    let served = erase(&caller, &world.keys[0]).await;
    assert_eq!(served.outcome, "Cancelled");
    assert!(served.words.contains("declined on it"), "{}", served.words);
    let listed = caller.daemon.list_authenticators().await.unwrap();
    assert_eq!(listed[0]["pin_set"], zbus::Variant::from(true).try_into().unwrap());
}
