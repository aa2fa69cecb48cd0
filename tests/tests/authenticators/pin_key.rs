//! A FIDO2 key that knows its user by a PIN, and has no sensor (Nitrokey 3 and Solo 2 firmware).

use serde_json::json;
use signet_test_authenticators::VirtualKey;
use signet_tests::house::PIN;

use crate::bench::{Bench, refused};
use crate::cells::{approve, blinks, done, is_as_documented, session_is_as_documented};

/// An enrolled workstation with a PIN key plugged in.
async fn desk() -> (Bench, VirtualKey) {
    let mut bench = Bench::with_models("built-in-or-pin", "pin").await;
    bench.enrol_first().await;
    let key = bench.plug_pin_key().await;
    (bench, key)
}

async fn registered() -> (Bench, VirtualKey) {
    let (bench, key) = desk().await;
    done(&bench.run_with_pin(PIN, &["key", "add", "--name", "nitro"]).await);
    (bench, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn enrols_logs_in_and_approves() {
    let (bench, _key) = desk().await;
    let added = done(&bench.run_with_pin(PIN, &["key", "add", "--name", "nitro"]).await);
    assert_eq!((&added["attestation"], &added["name"]), (&json!("packed"), &json!("nitro")));
    done(&bench.run_with_pin(PIN, &["login"]).await);
    session_is_as_documented(&bench, "PIN key").await;
    let approved = done(&bench.run_with_pin(PIN, &approve()).await);
    is_as_documented(approved["access_token"].as_str().unwrap(), "PIN key");
    // A PIN is not taken for a biometric, whatever is asked for.
    let more = done(&bench.run_with_pin(PIN, &["login", "--acr", "signet.uv-hw"]).await);
    assert_eq!(more["acr"], "signet.uv");
}

#[tokio::test(flavor = "multi_thread")]
async fn second_key_is_authorised_by_the_first() {
    let mut bench = Bench::ready().await;
    let second = bench.plug_pin_key().await;
    bench.add_second_key(&second, "nitro").await;
    let listed = bench.good(&["key", "list"]).await;
    let names: Vec<_> = listed["keys"].as_array().unwrap().iter().map(|key| &key["name"]).collect();
    assert_eq!(names, ["blue", "nitro"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_pins_block_it_until_it_is_plugged_in_again_and_then_for_good() {
    let (bench, mut key) = registered().await;
    for left in [7, 6] {
        let wrong = bench.run_with_pin("000000", &["login"]).await;
        refused(&wrong, 1, "PinInvalid");
        assert!(
            wrong.stderr.contains(&format!("Wrong PIN, {left} tries left.")),
            "{}",
            wrong.stderr
        );
    }
    let third = bench.run_with_pin("000000", &["login"]).await;
    let message = refused(&third, 1, "PinBlocked");
    assert!(message.contains("unplug the key, plug it in again"), "{message}");
    let right = bench.run_with_pin(PIN, &["login"]).await;
    refused(&right, 1, "PinBlocked");
    key.replug().unwrap();
    done(&bench.run_with_pin(PIN, &["login"]).await);

    let mut last = String::new();
    for tried in 1..=8 {
        last = bench.run_with_pin("000000", &["login"]).await.error().unwrap().0;
        if tried % 3 == 0 {
            key.replug().unwrap();
        }
    }
    assert_eq!(last, "PinBlocked");
    key.replug().unwrap();
    let message = refused(&bench.run_with_pin(PIN, &["login"]).await, 1, "PinBlocked");
    assert!(message.contains("reset the key"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn has_no_fingers() {
    let (bench, key) = registered().await;
    let path = key.socket().display().to_string();
    for command in [["finger", "list"], ["finger", "add"], ["finger", "sensor"]] {
        let [subject, verb] = command;
        bench.bad(&[subject, verb, "--key", &path], 1, "NotSupported").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn taken_away_while_it_asks() {
    let (bench, mut key) = registered().await;
    key.touch_manual().unwrap();
    std::fs::write(bench.station.file("pin"), PIN).unwrap();
    let mut command = bench.shell(&["login"], true);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    blinks(&key).await;
    key.unplug().unwrap();
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(3) && said.contains("AuthenticatorRemoved"), "{said}");
    key.replug().unwrap();
    key.touch_auto().unwrap();
    done(&bench.run_with_pin(PIN, &["login"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_pin_serves_and_the_old_one_does_not() {
    let (bench, _key) = registered().await;
    done(&bench.run_with_pin(&format!("{PIN}\n24681357\n"), &["key", "pin", "change"]).await);
    refused(&bench.run_with_pin(PIN, &["login"]).await, 1, "PinInvalid");
    done(&bench.run_with_pin("24681357", &["login"]).await);
    // What may be done with the key was asked with its PIN, not with the credential.
    session_is_as_documented(&bench, "PIN key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_a_pin_says_so() {
    let mut bench = Bench::enrolled().await;
    let _key = bench.plug_fresh_key(signet_test_authenticators::Firmware::Trussed).await;
    let message = bench.bad(&["key", "add"], 1, "PinNotSet").await;
    assert!(message.contains("signet key pin set"), "{message}");
    done(&bench.run_with_pin("135790", &["key", "pin", "set"]).await);
    done(&bench.run_with_pin("135790", &["key", "add"]).await);
}
