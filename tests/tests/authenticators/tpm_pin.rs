//! A key of the machine's own, set free by a PIN that its TPM checks and counts.

use serde_json::json;

use crate::bench::{Bench, refused};
use crate::cells::{approve, done, session_is_as_documented};

const PIN: &str = "271828";

/// An enrolled workstation, its operator's first key being the machine's own.
async fn registered() -> Bench {
    let bench = Bench::enrolled().await;
    let added = ["key", "add", "--platform", "pin", "--name", "laptop"];
    let added = done(&bench.run_with_pin(PIN, &added).await);
    assert_eq!(added["name"], "laptop");
    bench
}

fn login() -> [&'static str; 3] {
    ["login", "--method", "tpm-pin"]
}

#[tokio::test(flavor = "multi_thread")]
async fn enrols_and_logs_in_but_approves_nothing_that_needs_more() {
    let bench = registered().await;
    done(&bench.run_with_pin(PIN, &login()).await);
    session_is_as_documented(&bench, "TPM PIN").await;
    let approve = [&approve()[..], &["--method", "tpm-pin"]].concat();
    let ran = bench.run_with_pin(PIN, &approve).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let listed = bench.good(&["key", "list"]).await;
    let laptop = &listed["keys"][0];
    assert_eq!(
        (&laptop["kind"], &laptop["plugged"], &laptop["status"]),
        (&json!("tpm-pin"), &json!("built-in"), &json!("ok")),
        "{listed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_pins_lock_the_tpm() {
    let bench = registered().await;
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(bench.run_with_pin("000000", &login()).await.error().unwrap().0);
    }
    assert_eq!(codes, ["PinInvalid", "PinInvalid", "TpmLockout"]);
    let message = refused(&bench.run_with_pin(PIN, &login()).await, 3, "TpmLockout");
    assert!(message.contains("tpm2_dictionarylockout"), "{message}");
    bench.station.tpm.run_tool("tpm2_dictionarylockout", &["--clear-lockout"]).unwrap();
    done(&bench.run_with_pin(PIN, &login()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn lets_no_further_key_in() {
    let bench = registered().await;
    bench.station.put_finger().unwrap();
    let ran = bench.run(&["key", "add"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn is_a_second_key_beside_a_security_key() {
    let bench = Bench::ready().await;
    bench.station.put_finger().unwrap();
    let added = ["key", "add", "--platform", "pin", "--name", "laptop"];
    done(&bench.run_with_pin(PIN, &added).await);
    done(&bench.run_with_pin(PIN, &login()).await);
    session_is_as_documented(&bench, "TPM PIN").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_that_is_too_short_makes_no_key() {
    let bench = Bench::enrolled().await;
    let ran = bench.run_with_pin("12345", &["key", "add", "--platform", "pin"]).await;
    let message = refused(&ran, 1, "PinTooShort");
    assert!(message.contains("at least 6"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_alone_is_enough() {
    let mut bench = registered().await;
    bench.station.key.unplug().unwrap();
    // Nobody names the method: no security key is plugged in, so it is the machine's own.
    done(&bench.run_with_pin(PIN, &["login"]).await);
    session_is_as_documented(&bench, "TPM PIN").await;
    bench.station.key.replug().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_pin_serves_and_the_old_one_does_not() {
    const OTHER: &str = "314159";
    let change = ["key", "pin", "change", "--platform"];
    let bench = Bench::enrolled().await;
    let message = refused(&bench.run_with_pin(PIN, &change).await, 1, "NoCredential");
    assert!(message.contains("signet key add --platform pin"), "{message}");
    done(&bench.run_with_pin(PIN, &["key", "add", "--platform", "pin"]).await);
    refused(&bench.run_with_pin(&format!("000000\n{OTHER}\n"), &change).await, 1, "PinInvalid");
    done(&bench.run_with_pin(&format!("{PIN}\n{OTHER}\n"), &change).await);
    done(&bench.run_with_pin(OTHER, &login()).await);
    session_is_as_documented(&bench, "TPM PIN").await;
    refused(&bench.run_with_pin(PIN, &login()).await, 1, "PinInvalid");
}
