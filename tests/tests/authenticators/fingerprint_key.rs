//! A FIDO2 key with a fingerprint sensor, and a PIN beside it (OpenSK).

use serde_json::json;
use signet_tests::house::{FINGER, PIN};

use crate::bench::{Bench, refused};
use crate::cells::{approve, done, is_as_documented, login_under_way, session_is_as_documented};

#[tokio::test(flavor = "multi_thread")]
async fn enrols_logs_in_and_approves() {
    let bench = Bench::enrolled().await;
    let added = bench.add_key("blue").await;
    assert_eq!(added["attestation"], "packed");
    bench.station.put_finger().unwrap();
    bench.good(&["login"]).await;
    session_is_as_documented(&bench, "Fingerprint key").await;
    bench.station.put_finger().unwrap();
    let approved = bench.good(&approve()).await;
    is_as_documented(approved["access_token"].as_str().unwrap(), "Fingerprint key");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pin_can_stand_in_where_the_model_has_none() {
    // As if metadata said so of this model: the verdict follows from the model, not from the host.
    let bench = Bench::with_models("built-in", "pin").await;
    bench.enrol_first().await;
    bench.add_key("blue").await;
    bench.station.put_finger().unwrap();
    bench.good(&["login"]).await;
    session_is_as_documented(&bench, "Fingerprint key whose model has no PIN").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn second_key_is_authorised_by_the_first() {
    let mut bench = Bench::enrolled().await;
    let first = bench.plug_pin_key().await;
    done(&bench.run_with_pin(PIN, &["key", "add", "--name", "nitro"]).await);
    bench.station.plug(vec![first.socket(), bench.station.key.socket()]).unwrap();
    // Both blink for the authorisation, and the person touches the one that is enrolled.
    bench.station.key.touch_manual().unwrap();
    bench.station.put_finger().unwrap();
    done(&bench.run_with_pin(PIN, &["key", "add", "--name", "blue"]).await);
    assert_eq!(bench.good(&["key", "list"]).await["keys"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_and_dirty_fingers_are_told_and_the_right_one_serves() {
    let bench = Bench::ready().await;
    bench.station.key.finger("left-thumb").unwrap();
    bench.station.key.dirty().unwrap();
    bench.station.put_finger().unwrap();
    let ran = bench.station.signet(&["login"]).await.unwrap();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("Wrong finger, 4 tries left."), "{}", ran.stderr);
    assert!(ran.stderr.contains("Wrong finger, 3 tries left."), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_too_many_wrong_fingers_the_pin_unlocks_it() {
    let bench = Bench::ready().await;
    for _ in 0..5 {
        bench.station.key.finger("left-thumb").unwrap();
    }
    let ran = bench.run_with_pin(PIN, &["login"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("PIN needed"), "{}", ran.stderr);
    // The PIN gave new tries to the finger.
    bench.station.put_finger().unwrap();
    bench.good(&["login", "--new"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn taken_away_while_it_asks() {
    let mut bench = Bench::ready().await;
    let pending = login_under_way(&bench, &bench.station.key).await;
    bench.station.key.unplug().unwrap();
    refused(&pending.finish().await.unwrap(), 3, "AuthenticatorRemoved");
    bench.station.key.replug().unwrap();
    bench.station.put_finger().unwrap();
    bench.good(&["login"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_pin_serves_and_the_old_one_does_not() {
    let bench = Bench::ready().await;
    done(&bench.run_with_pin(&format!("{PIN}\n24681357\n"), &["key", "pin", "change"]).await);
    refused(&bench.run_with_pin(PIN, &["finger", "list"]).await, 1, "PinInvalid");
    done(&bench.run_with_pin("24681357", &["finger", "list"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_finger_serves_and_a_removed_one_does_not() {
    let bench = Bench::ready().await;
    for _ in 0..4 {
        bench.station.key.finger("left-thumb").unwrap();
    }
    let added = bench.run_with_pin(PIN, &["finger", "add", "thumb"]).await;
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    bench.station.key.finger("left-thumb").unwrap();
    bench.good(&["login"]).await;

    let listed = done(&bench.run_with_pin(PIN, &["finger", "list"]).await);
    assert_eq!(listed["fingers"][0], json!({ "id": "00000001", "name": "" }));
    done(&bench.run_with_pin(PIN, &["finger", "remove", "00000001"]).await);
    bench.station.key.finger(FINGER).unwrap();
    bench.station.key.finger("left-thumb").unwrap();
    let ran = bench.station.signet(&["login", "--new"]).await.unwrap();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("Wrong finger, 4 tries left."), "{}", ran.stderr);
}
