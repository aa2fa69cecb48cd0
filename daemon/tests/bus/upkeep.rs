//! What a desktop's settings do with a key: fingers, PIN, stored credentials, settings.

use std::collections::HashMap;

use signet_ctap::commands::{RelyingParty, UserEntity};
use signet_ctap::operation::{Prompt, RegisterRequest, UserVerification};
use signet_ctap::{Key, Timing};
use signet_test_authenticators::{Firmware, VirtualKey};
use zbus::{OwnedVariant, Variant};

use crate::client::{Answer, Caller, Options, bytes, options, refusal, text};
use crate::world::{PIN, World, key_with_finger, untouched_key, with_pin};

const OTHER: &str = "2580-y";

async fn with_sensor() -> (World, Caller) {
    let key = with_pin(VirtualKey::start(Firmware::OpenSk).unwrap()).await;
    let world = World::with_keys(vec![key]);
    let caller = world.caller().await;
    (world, caller)
}

/// Does one thing with the key's PIN where it is asked, and expects it to go well.
async fn done(caller: &Caller, method: &str, options: &Options) -> Answer {
    caller.upkeep(method, "upkeep", options).await.unwrap().served(&[PIN]).await.ok()
}

fn dictionaries(answer: &Answer, name: &str) -> Vec<HashMap<String, Variant<'static>>> {
    answer[name].try_clone().unwrap().try_into().unwrap()
}

fn member<T: TryFrom<OwnedVariant>>(answer: &Answer, name: &str) -> T
where
    T::Error: std::fmt::Debug,
{
    T::try_from(answer[name].try_clone().unwrap()).unwrap()
}

async fn only_key(caller: &Caller) -> Answer {
    let mut listed = caller.daemon.list_authenticators().await.unwrap();
    assert_eq!(listed.len(), 1);
    listed.remove(0)
}

#[tokio::test]
async fn a_finger_is_added_touch_by_touch_and_listed_renamed_and_removed() {
    let (world, caller) = with_sensor().await;
    assert_eq!(text(&only_key(&caller).await, "fingers"), "none");
    let sensor = caller.upkeep("FingerSensor", "sensor", &Options::new()).await.unwrap();
    let sensor = { sensor }.served(&[]).await.ok();
    assert_eq!((text(&sensor, "kind"), member::<u32>(&sensor, "max_samples")), ("touch".into(), 4));

    let key = &world.keys[0];
    for finger in ["right", "dirty", "left", "right", "right", "right"] {
        if finger == "dirty" { key.dirty() } else { key.finger(finger) }.unwrap();
    }
    let name = options([("name", "right index".into())]);
    let mut pending = caller.upkeep("AddFinger", "add", &name).await.unwrap();
    let served = pending.served(&[PIN]).await;
    assert_eq!(
        served.stages(),
        [
            "pin-needed min_length=4 tries_left=8",
            "finger-needed",
            "sample remaining=3 status=good",
            "sample remaining=3 status=poor-quality",
            "sample remaining=3 status=merge-failure",
            "sample remaining=2 status=good",
            "sample remaining=1 status=good",
            "sample remaining=0 status=good",
        ]
    );
    // What a person reads is ours, never the requester's.
    assert!(served.stages.iter().all(|(_, details)| !text(details, "action").contains("index")));
    let template = bytes(&served.ok(), "template");
    assert_eq!(text(&only_key(&caller).await, "fingers"), "enrolled");

    let fingers = done(&caller, "ListFingers", &Options::new()).await;
    assert_eq!(text(&fingers, "kind"), "touch");
    let fingers = dictionaries(&fingers, "fingers");
    assert_eq!(fingers.len(), 1);
    assert_eq!(fingers[0]["name"], Variant::from("right index"));
    assert_eq!(fingers[0]["template"], Variant::from(template.clone()));

    let renamed = options([("template", template.clone().into()), ("name", "left".into())]);
    done(&caller, "RenameFinger", &renamed).await;
    let fingers = dictionaries(&done(&caller, "ListFingers", &Options::new()).await, "fingers");
    assert_eq!(fingers[0]["name"], Variant::from("left"));

    let gone = options([("template", template.into())]);
    done(&caller, "RemoveFinger", &gone).await;
    assert_eq!(text(&only_key(&caller).await, "fingers"), "none");
    let served = caller.upkeep("RemoveFinger", "again", &gone).await.unwrap().served(&[PIN]).await;
    assert_eq!(served.outcome, "FingerNotFound");
    assert!(served.words.contains("list its fingers"), "{}", served.words);
}

#[tokio::test]
async fn a_pin_is_set_and_changed_and_a_wrong_one_asked_again() {
    for firmware in [Firmware::OpenSk, Firmware::Trussed] {
        let world = World::with_keys(vec![VirtualKey::start(firmware).unwrap()]);
        let caller = world.caller().await;
        let ask = async |method: &str, pins: &[&str]| {
            caller.upkeep(method, "pin", &Options::new()).await.unwrap().served(pins).await
        };
        assert_eq!(ask("ChangePin", &[]).await.outcome, "PinNotSet");
        let short = ask("SetPin", &["12"]).await;
        assert_eq!(short.outcome, "PinTooShort", "{firmware:?}");
        assert!(short.words.contains("at least 4 characters"), "{}", short.words);

        let mut pending = caller.upkeep("SetPin", "pin", &Options::new()).await.unwrap();
        let asked = pending.stage("new-pin-needed").await;
        assert_eq!((member::<u32>(&asked, "min_length"), member(&asked, "max_length")), (4, 63u32));
        let long = pending.give_pin(&"x".repeat(64)).await.unwrap_err();
        assert_eq!(refusal(long).0, "PinTooLong");
        pending.give_pin(PIN).await.unwrap();
        pending.results().await;
        assert_eq!(only_key(&caller).await["pin_set"], Variant::from(true).try_into().unwrap());
        assert_eq!(ask("SetPin", &[]).await.outcome, "PinAlreadySet");

        let changed = ask("ChangePin", &["0000", OTHER, PIN]).await;
        assert_eq!(
            changed.stages(),
            [
                "pin-needed min_length=4 tries_left=8",
                "new-pin-needed max_length=63 min_length=4",
                "pin-needed min_length=4 tries_left=7",
            ]
        );
        changed.ok();
        assert_eq!(ask("ChangePin", &[OTHER, OTHER]).await.outcome, "PinPolicy");
        ask("ChangePin", &[OTHER, PIN]).await.ok();
        assert!(!world.signetd.log().contains(OTHER), "a pin was logged");
    }
}

/// Puts a discoverable credential on the key, as another service would.
async fn store_credential(key: &VirtualKey) -> Vec<u8> {
    let mut opened = Key::open_path(&key.socket(), Timing::default()).await.unwrap();
    let request = RegisterRequest {
        rp: RelyingParty { id: "shop.example".into(), name: "Shop".into() },
        user: UserEntity { id: vec![7], name: "alice".into(), display_name: "Alice".into() },
        client_data_hash: [3; 32],
        algorithms: vec![-7],
        exclude_list: vec![],
        resident_key: true,
        min_pin_length: false,
        enterprise_attestation: None,
        protection: None,
        user_verification: UserVerification::Required { pin_fallback: true },
    };
    let (prompt, mut events) = Prompt::new();
    let (made, ()) = tokio::join!(opened.register(&request, &prompt), async {
        loop {
            match events.next().await {
                Some(signet_ctap::operation::Event::PinNeeded(question)) => {
                    return question.answer(zeroize::Zeroizing::new(PIN.to_owned()));
                }
                Some(_) => {}
                None => return,
            }
        }
    });
    made.unwrap().credential_id
}

#[tokio::test]
async fn stored_credentials_are_listed_and_deleted() {
    for firmware in [Firmware::OpenSk, Firmware::Trussed] {
        let key = with_pin(VirtualKey::start(firmware).unwrap()).await;
        let id = store_credential(&key).await;
        let world = World::with_keys(vec![key]);
        let caller = world.caller().await;
        let listed = done(&caller, "ListCredentials", &Options::new()).await;
        assert_eq!(member::<u32>(&listed, "used"), 1, "{firmware:?}");
        assert!(member::<u32>(&listed, "left") > 0);
        let stored = dictionaries(&listed, "credentials");
        assert_eq!(stored.len(), 1);
        assert_eq!(stored[0]["id"], Variant::from(id.clone()));
        assert_eq!(stored[0]["rp_id"], Variant::from("shop.example"));
        assert_eq!(stored[0]["user"], Variant::from("alice"));
        let gone = options([("id", id.into())]);
        done(&caller, "RemoveCredential", &gone).await;
        let listed = done(&caller, "ListCredentials", &Options::new()).await;
        assert_eq!(member::<u32>(&listed, "used"), 0);
        let again = caller.upkeep("RemoveCredential", "t", &gone).await.unwrap();
        let served = { again }.served(&[PIN]).await;
        assert_eq!(served.outcome, "NoCredential");
        assert!(served.words.contains("stores no such credential"), "{}", served.words);
    }
}

#[tokio::test]
async fn a_key_is_meant_by_its_path_or_by_a_touch() {
    let keys: Vec<VirtualKey> =
        (0..2).map(|_| VirtualKey::start(Firmware::OpenSk).unwrap()).collect();
    keys.iter().for_each(|key| key.touch_manual().unwrap());
    let world = World::with_keys(keys);
    let caller = world.caller().await;
    let pins_set = async || {
        let listed = caller.daemon.list_authenticators().await.unwrap();
        let mut set: Vec<(String, bool)> =
            listed.iter().map(|key| (text(key, "path"), member(key, "pin_set"))).collect();
        set.sort();
        set
    };
    let [first, second] = [0, 1].map(|n| world.keys[n].socket().display().to_string());
    let mut pending = caller.upkeep("SetPin", "touch", &Options::new()).await.unwrap();
    pending.stage("touch-needed").await;
    world.keys[1].touch().unwrap();
    pending.served(&[PIN]).await.ok();
    let mut expected = vec![(first.clone(), false), (second.clone(), true)];
    expected.sort();
    assert_eq!(pins_set().await, expected);
    // A path asks for no touch.
    let named = options([("path", first.clone().into())]);
    caller.upkeep("SetPin", "path", &named).await.unwrap().served(&[PIN]).await.ok();
    let mut expected = vec![(first, true), (second, true)];
    expected.sort();
    assert_eq!(pins_set().await, expected);
    let nowhere = options([("path", "/dev/hidraw-none".into())]);
    let served = caller.upkeep("SetPin", "no", &nowhere).await.unwrap().served(&[]).await;
    assert_eq!(served.outcome, "NoAuthenticator");
}

#[tokio::test]
async fn the_only_key_with_a_sensor_is_meant_where_fingers_are() {
    let sensor = with_pin(VirtualKey::start(Firmware::OpenSk).unwrap()).await;
    let world = World::with_keys(vec![untouched_key().await, sensor]);
    let caller = world.caller().await;
    let fingers = done(&caller, "ListFingers", &Options::new()).await;
    assert!(dictionaries(&fingers, "fingers").is_empty());
}

#[tokio::test]
async fn a_key_is_told_what_to_demand() {
    let (_world, caller) = with_sensor().await;
    let setting = options([("always_uv", true.into())]);
    done(&caller, "ConfigureAuthenticator", &setting).await;
    assert!(member::<bool>(&only_key(&caller).await, "always_uv"));
    let length = options([("min_pin_length", 6u32.into()), ("force_pin_change", true.into())]);
    done(&caller, "ConfigureAuthenticator", &length).await;
    let key = only_key(&caller).await;
    assert_eq!(
        (member::<u32>(&key, "min_pin_length"), member(&key, "force_pin_change")),
        (6, true)
    );
    let served =
        caller.upkeep("ListFingers", "late", &Options::new()).await.unwrap().served(&[]).await;
    assert_eq!(served.outcome, "PinChangeRequired");
    let pins = [PIN, "246810"];
    caller.upkeep("ChangePin", "new", &Options::new()).await.unwrap().served(&pins).await.ok();
    let lower = options([("min_pin_length", 4u32.into())]);
    let served = caller.upkeep("ConfigureAuthenticator", "low", &lower).await.unwrap();
    let served = { served }.served(&[]).await;
    assert_eq!(served.outcome, "InvalidArgument");
    assert!(served.words.contains("from 6"), "{}", served.words);
    for (name, value) in
        [("enterprise_attestation", Variant::from(false)), ("force_pin_change", false.into())]
    {
        let options = options([(name, value)]);
        let error = caller.upkeep("ConfigureAuthenticator", "no", &options).await.map(drop);
        assert_eq!(refusal(error.unwrap_err()).0, "InvalidArgument", "{name}");
    }
    let none = caller.upkeep("ConfigureAuthenticator", "no", &Options::new()).await.map(drop);
    assert!(refusal(none.unwrap_err()).1.contains("name one setting"));
}

#[tokio::test]
async fn nobody_else_sees_feeds_or_cancels_an_enrolment_of_a_finger() {
    let (world, owner) = with_sensor().await;
    let name = options([("name", "right".into())]);
    let mut pending = owner.upkeep("AddFinger", "mine", &name).await.unwrap();
    pending.stage("pin-needed").await;
    let stranger = world.caller().await;
    let mut overheard = stranger.overhear(pending.path.as_str()).await;
    let foreign = stranger.request_at(pending.path.as_str()).await;
    assert_eq!(refusal(foreign.cancel().await.unwrap_err()).0, "NotAllowed");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(writer);
    let pin = foreign.provide_pin(std::os::fd::OwnedFd::from(reader).into()).await;
    assert_eq!(refusal(pin.unwrap_err()).0, "NotAllowed");
    (0..4).for_each(|_| world.keys[0].finger("right").unwrap());
    pending.give_pin(PIN).await.unwrap();
    pending.results().await;
    stranger.daemon.enrolled().await.unwrap();
    assert!(!crate::client::is_ready(&mut overheard), "a stranger heard a signal");
}

#[tokio::test]
async fn a_cancelled_enrolment_of_a_finger_leaves_none_and_frees_the_key() {
    let (world, caller) = with_sensor().await;
    let name = options([("name", "right".into())]);
    let mut pending = caller.upkeep("AddFinger", "one", &name).await.unwrap();
    pending.stage("pin-needed").await;
    pending.give_pin(PIN).await.unwrap();
    world.keys[0].finger("right").unwrap();
    pending.stage("sample").await;
    pending.request.cancel().await.unwrap();
    assert_eq!(pending.outcome().await.0, "Cancelled");
    // The firmware does not hear CANCEL while it waits for a finger; this ends the wait.
    world.keys[0].finger("right").unwrap();
    let fingers = done(&caller, "ListFingers", &Options::new()).await;
    assert!(dictionaries(&fingers, "fingers").is_empty());
}

#[tokio::test]
async fn where_nobody_can_be_asked_no_key_is_touched() {
    for prompts in ["none", "agent"] {
        let config = format!("prompts = \"{prompts}\"");
        let world = World::with(vec![key_with_finger("right").await], &config);
        let caller = world.caller().await;
        let asked = caller.upkeep("ListCredentials", "t", &Options::new()).await.map(drop);
        assert_eq!(refusal(asked.unwrap_err()).0, "CannotPrompt");
        // What a key tells without anybody needs nobody.
        let sensor = done(&caller, "FingerSensor", &Options::new()).await;
        assert_eq!(text(&sensor, "kind"), "touch");
    }
}
