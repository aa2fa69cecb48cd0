//! A key of the U2F generation: a button, and nothing that knows its user.

use serde_json::json;
use signet_test_authenticators::VirtualKey;

use crate::bench::{Bench, refused};
use crate::cells::{approve, login_under_way, session_is_as_documented};

/// An enrolled workstation with a U2F key plugged in, at an authority that takes such keys.
async fn desk() -> (Bench, VirtualKey) {
    let mut bench = Bench::accepting_touch().await;
    let key = bench.plug_u2f_key().await;
    (bench, key)
}

async fn registered() -> (Bench, VirtualKey) {
    let (bench, key) = desk().await;
    bench.good(&["key", "add", "--name", "old"]).await;
    (bench, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn enrols_and_logs_in_but_approves_nothing_that_needs_more() {
    let (bench, _key) = desk().await;
    let added = bench.good(&["key", "add", "--name", "old"]).await;
    assert_eq!(added["attestation"], "fido-u2f");
    bench.good(&["login"]).await;
    session_is_as_documented(&bench, "U2F key").await;
    // The policies that come with Signet want the user verified for this.
    bench.bad(&approve(), 1, "presence-required").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_takes_it_only_where_it_says_so() {
    let mut bench = Bench::knowing_u2f(false).await;
    let _key = bench.plug_u2f_key().await;
    let ran = bench.run(&["key", "add"]).await;
    refused(&ran, 1, "touch-only-refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn lets_no_further_key_in() {
    let (mut bench, _key) = registered().await;
    // Another key in its place: nothing here may speak for the person but the touch of a button.
    let _second = bench.plug_pin_key().await;
    let ran = bench.run_with_pin(signet_tests::house::PIN, &["key", "add"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let listed = bench.good(&["key", "list"]).await;
    let enrolled = listed["keys"].as_array().unwrap().iter();
    let names: Vec<_> = enrolled.filter_map(|key| key["name"].as_str()).collect();
    assert_eq!(names, ["old"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn has_neither_pin_nor_fingers() {
    let (bench, key) = registered().await;
    let path = key.socket().display().to_string();
    for command in [["key", "pin", "set"], ["key", "credentials", "list"]] {
        bench.bad(&[&command[..], &["--key", &path]].concat(), 1, "NotSupported").await;
    }
    bench.bad(&["finger", "list", "--key", &path], 1, "NotSupported").await;
    let listed = bench.good(&["key", "list"]).await;
    assert_eq!(listed["keys"][0]["verification"], "touch only", "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cannot_answer_for_more_than_a_touch() {
    let (bench, _key) = registered().await;
    let ran = bench.run(&["login", "--acr", "signet.uv"]).await;
    let (_, message) = ran.error().unwrap();
    assert_eq!(ran.code, Some(1), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn taken_away_while_it_asks() {
    let (bench, mut key) = registered().await;
    key.touch_manual().unwrap();
    let pending = login_under_way(&bench, &key).await;
    key.unplug().unwrap();
    refused(&pending.finish().await.unwrap(), 3, "AuthenticatorRemoved");
    key.replug().unwrap();
    key.touch_auto().unwrap();
    assert_eq!(bench.good(&["login"]).await["acr"], json!("signet.touch"));
}
