//! Missing, dying and locked devices: the caller gets a clear error and the next request works.

use signet_test_authenticators::{Firmware, VirtualKey};

use crate::client::{Options, bytes, refusal, text};
use crate::world::{
    PIN, World, key_with_pin, ready, register, registration, renewal, session, untouched_key,
};

#[tokio::test]
async fn a_missing_tpm_is_named_and_found_when_it_comes_back() {
    let mut world = World::enrolled(vec![], "").await;
    let caller = world.caller().await;
    world.tpm.kill().unwrap();
    let status = caller.daemon.status().await.unwrap();
    assert!(text(&status, "tpm").contains("does not answer"), "{status:?}");
    let mut pending = caller.presence("one", &renewal()).await.unwrap();
    let (outcome, words) = pending.outcome().await;
    assert_eq!(outcome, "TpmUnavailable");
    assert!(words.contains("check that it is running"), "{words}");
    let (name, _) = refusal(caller.daemon.begin_enrolment().await.unwrap_err());
    assert_eq!(name, "TpmUnavailable");
    world.tpm.restart().unwrap();
    let mut pending = caller.presence("two", &renewal()).await.unwrap();
    pending.results().await;
    assert_eq!(text(&caller.daemon.status().await.unwrap(), "tpm"), "ok");
}

#[tokio::test]
async fn a_machine_without_tpm_says_so() {
    let mut world = World::with_keys(vec![]);
    let missing = signet_tests::signetd::SignetdOptions {
        bus: world.bus.address().to_owned(),
        tcti: "device:/dev/tpmrm-none".to_owned(),
        authenticators: vec![],
        extra: String::new(),
    };
    world.signetd.configure(&missing).unwrap();
    world.signetd.restart().unwrap();
    let caller = world.caller().await;
    let (name, words) = refusal(caller.daemon.begin_enrolment().await.unwrap_err());
    assert_eq!(name, "TpmMissing");
    assert!(words.contains("enabled in the firmware"), "{words}");
}

#[tokio::test]
async fn a_tpm_killed_in_the_middle_of_a_request_is_survived() {
    let (mut world, caller, credential) = ready(untouched_key().await, "").await;
    let mut pending = caller.presence("one", &session(&credential)).await.unwrap();
    pending.stage("pin-needed").await;
    world.tpm.kill().unwrap();
    pending.give_pin(PIN).await.unwrap();
    assert_eq!(pending.outcome().await.0, "TpmUnavailable");
    world.tpm.restart().unwrap();
    let mut again = caller.presence("two", &session(&credential)).await.unwrap();
    again.stage("pin-needed").await;
    again.give_pin(PIN).await.unwrap();
    again.results().await;
}

#[tokio::test]
async fn a_tpm_that_hangs_does_not_hold_the_caller() {
    let world = World::enrolled(vec![], "[timeouts]\ntpm = 4").await;
    let caller = world.caller().await;
    world.tpm.pause().unwrap();
    let mut pending = caller.presence("one", &renewal()).await.unwrap();
    let (outcome, words) = pending.outcome().await;
    assert_eq!(outcome, "TpmUnavailable");
    assert!(words.contains("in time"), "{words}");
    let context = b"TLS 1.3, client CertificateVerify\0";
    let message = [&[0x20; 64][..], context, &[7; 32]].concat();
    let (name, _) = refusal(caller.daemon.sign_tls(&message).await.unwrap_err());
    assert_eq!(name, "TpmUnavailable");
    world.tpm.resume().unwrap();
    let mut pending = caller.presence("two", &renewal()).await.unwrap();
    pending.results().await;
}

#[tokio::test]
async fn handshakes_of_one_user_are_counted_together_whatever_their_connections() {
    let world = World::enrolled(vec![], "").await;
    let message = [&[0x20; 64][..], b"TLS 1.3, client CertificateVerify\0", &[7; 32][..]].concat();
    world.tpm.pause().unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let caller = world.caller().await;
        for _ in 0..4 {
            let (daemon, message) = (caller.daemon.clone(), message.clone());
            calls.spawn(async move { daemon.sign_tls(&message).await });
        }
    }
    // One is with the TPM at most, eight wait; nobody else's place is taken by the others.
    for _ in 0..7 {
        let refused = calls.join_next().await.unwrap().unwrap().unwrap_err();
        assert_eq!(refusal(refused).0, "TooManyRequests");
    }
    world.tpm.resume().unwrap();
    let mut signed = 0;
    while let Some(call) = calls.join_next().await {
        signed += usize::from(call.unwrap().is_ok());
    }
    assert!((8..=9).contains(&signed), "{signed}");
}

#[tokio::test]
async fn a_daemon_killed_in_the_middle_of_a_request_is_survived() {
    let (mut world, caller, credential) = ready(untouched_key().await, "").await;
    let mut pending = caller.presence("one", &session(&credential)).await.unwrap();
    pending.stage("pin-needed").await;
    world.signetd.kill();
    let gone = caller.daemon.status().await.unwrap_err();
    assert!(refusal(gone).0.contains("ServiceUnknown"));
    world.signetd.restart().unwrap();
    let mut again = caller.presence("one", &session(&credential)).await.unwrap();
    again.stage("pin-needed").await;
    again.give_pin(PIN).await.unwrap();
    again.results().await;
}

#[tokio::test]
async fn no_key_is_told_from_a_foreign_key() {
    let (mut world, caller, credential) = ready(key_with_pin().await, "").await;
    world.keys[0].unplug().unwrap();
    let mut pending = caller.presence("none", &session(&credential)).await.unwrap();
    let (outcome, words) = pending.outcome().await;
    assert_eq!(outcome, "NoAuthenticator");
    assert!(words.contains("plug in"), "{words}");
    world.keys[0].restart().unwrap();
    let mut pending = caller.presence("back", &session(&credential)).await.unwrap();
    pending.stage("pin-needed").await;
    pending.give_pin(PIN).await.unwrap();
    pending.results().await;
    let (name, words) = refusal(
        caller
            .daemon
            .request_presence(
                "x",
                &crate::world::with(
                    session(&[1]),
                    "allow_credentials",
                    Vec::<Vec<u8>>::new().into(),
                ),
            )
            .await
            .unwrap_err(),
    );
    assert_eq!(name, "NoCredential");
    assert!(words.contains("signet key add"), "{words}");
}

#[tokio::test]
async fn a_key_pulled_out_or_killed_in_the_middle_is_survived() {
    let (mut world, caller, credential) = ready(untouched_key().await, "").await;
    for (token, kill) in [("unplugged", false), ("killed", true)] {
        world.keys[0].touch_manual().unwrap();
        let mut pending = caller.presence(token, &session(&credential)).await.unwrap();
        pending.stage("pin-needed").await;
        pending.give_pin(PIN).await.unwrap();
        pending.stage("touch-needed").await;
        if kill {
            world.keys[0].kill();
        } else {
            world.keys[0].unplug().unwrap();
        }
        let (outcome, words) = pending.outcome().await;
        assert_eq!(outcome, "AuthenticatorRemoved", "{token}");
        assert!(words.contains("plug it in again"), "{words}");
        world.keys[0].restart().unwrap();
        world.keys[0].touch_auto().unwrap();
        let mut again = caller.presence("again", &session(&credential)).await.unwrap();
        again.stage("pin-needed").await;
        again.give_pin(PIN).await.unwrap();
        again.results().await;
    }
}

#[tokio::test]
async fn a_key_pulled_out_while_its_pin_is_asked_for_ends_the_question() {
    let (mut world, caller, credential) = ready(untouched_key().await, "").await;
    let mut pending = caller.presence("one", &session(&credential)).await.unwrap();
    pending.stage("pin-needed").await;
    world.keys[0].unplug().unwrap();
    assert_eq!(pending.outcome().await.0, "AuthenticatorRemoved");
    world.keys[0].restart().unwrap();
    let mut again = caller.presence("two", &session(&credential)).await.unwrap();
    again.stage("pin-needed").await;
}

#[tokio::test]
async fn it_ends_when_told_to_and_when_the_bus_ends() {
    let mut world = World::with_keys(vec![]);
    assert_eq!(world.signetd.stop().unwrap().code(), Some(0));
    world.signetd.restart().unwrap();
    world.bus.kill();
    assert_eq!(world.signetd.wait().unwrap().code(), Some(1));
    assert!(world.signetd.log().contains("the bus closed the connection"));
}

#[tokio::test]
async fn a_key_without_pin_says_how_to_set_one() {
    let world = World::enrolled(vec![VirtualKey::start(Firmware::Trussed).unwrap()], "").await;
    let caller = world.caller().await;
    let mut pending = caller.register("register", &registration()).await.unwrap();
    let (outcome, words) = pending.outcome().await;
    assert_eq!(outcome, "PinNotSet");
    assert!(words.contains("set a PIN first"), "{words}");
}

#[tokio::test]
async fn wrong_pins_are_counted_and_then_blocked_until_the_key_is_plugged_in_anew() {
    let (mut world, caller, credential) = ready(key_with_pin().await, "").await;
    let mut pending = caller.presence("wrong", &session(&credential)).await.unwrap();
    let mut tries = Vec::new();
    let outcome = loop {
        match pending.next().await {
            crate::client::Signal::Progress(stage, details) if stage == "pin-needed" => {
                let left: u32 = details["tries_left"].try_clone().unwrap().try_into().unwrap();
                tries.push(left);
                pending.give_pin("0000-wrong").await.unwrap();
            }
            crate::client::Signal::Progress(..) => {}
            crate::client::Signal::Completed(outcome, words, _) => break (outcome, words),
        }
    };
    assert_eq!(tries, [8, 7, 6]);
    assert_eq!(outcome.0, "PinBlocked");
    assert!(outcome.1.contains("plug it in again"), "{}", outcome.1);
    world.keys[0].replug().unwrap();
    world.keys[0].touch_auto().unwrap();
    let mut pending = caller.presence("right", &session(&credential)).await.unwrap();
    pending.stage("pin-needed").await;
    pending.give_pin(PIN).await.unwrap();
    pending.results().await;
}

#[tokio::test]
async fn a_pin_that_was_not_asked_for_is_refused() {
    let (_world, caller, credential) = ready(untouched_key().await, "").await;
    let mut pending = caller.presence("one", &session(&credential)).await.unwrap();
    pending.stage("pin-needed").await;
    pending.give_pin(PIN).await.unwrap();
    let second = pending.give_pin(PIN).await;
    let (name, _) = match second {
        Err(error) => refusal(error),
        Ok(()) => panic!("a pin was taken twice"),
    };
    // Refused because it is not asked for, or because the request is over by then.
    assert!(["InvalidArgument", "UnknownObject"].contains(&name.as_str()), "{name}");
    pending.results().await;
}

#[tokio::test]
async fn where_nobody_can_be_asked_nobody_is() {
    let world = World::enrolled(vec![], "prompts = \"none\"").await;
    let caller = world.caller().await;
    let error = caller.daemon.request_presence("one", &session(&[1])).await.unwrap_err();
    let (name, words) = refusal(error);
    assert_eq!(name, "CannotPrompt");
    assert!(words.contains("prompts"), "{words}");
}

#[tokio::test]
async fn the_pin_is_nowhere_in_the_log() {
    let (world, caller, _credential) = ready(key_with_pin().await, "").await;
    let made = register(&caller, "another", Options::new()).await;
    assert!(!bytes(&made, "evidence").is_empty());
    assert!(!world.signetd.log().contains(PIN), "the pin was logged");
}
