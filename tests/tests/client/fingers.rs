//! `signet finger` on real firmware with a fingerprint sensor.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use signet_tests::house::{FINGER, PIN};

use crate::bench::{Bench, refused};
use crate::ceremony::until;

/// The names of the fingers that the key lists.
async fn names(bench: &Bench) -> Vec<String> {
    let ran = bench.run_with_pin(PIN, &["finger", "list"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let fingers = ran.json()["fingers"].as_array().unwrap().clone();
    fingers.iter().map(|finger| finger["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finger_is_added_with_a_word_for_every_touch() {
    // No enrolment: a key is its owner's own.
    let bench = Bench::new().await;
    let key = &bench.station.key;
    key.finger("left-thumb").unwrap();
    key.dirty().unwrap();
    key.finger(FINGER).unwrap();
    key.finger("left-index").unwrap();
    for _ in 0..3 {
        key.finger("left-thumb").unwrap();
    }
    let ran = bench.run_with_pin(PIN, &["finger", "add", "thumb"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let lines: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sample = |status: &str, remaining: u32| json!({ "event": "sample", "status": status, "remaining": remaining });
    let (added, samples) = lines.split_last().unwrap();
    let expected = [
        ("good", 3),
        ("poor-quality", 3),
        ("already-enrolled", 3),
        ("merge-failure", 3),
        ("good", 2),
        ("good", 1),
        ("good", 0),
    ];
    assert_eq!(samples, expected.map(|(status, left)| sample(status, left)));
    assert_eq!((&added["event"], &added["name"]), (&json!("added"), &json!("thumb")));
    assert_eq!(names(&bench).await, ["", "thumb"]);

    // The finger that was enrolled at the factory has no name; the next one gets the first number.
    for _ in 0..4 {
        key.finger("right-thumb").unwrap();
    }
    let ran = bench.run_with_pin(PIN, &["finger", "add"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(names(&bench).await, ["", "thumb", "finger 1"]);

    let taken = bench.run_with_pin(PIN, &["finger", "add", "thumb"]).await;
    let message = refused(&taken, 2, "failed");
    assert!(message.contains("another name"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_at_a_terminal_sees_a_bar() {
    let bench = Bench::new().await;
    let key = &bench.station.key;
    key.finger("left-thumb").unwrap();
    key.dirty().unwrap();
    for _ in 0..3 {
        key.finger("left-thumb").unwrap();
    }
    // The PIN is asked for once, although there are two requests.
    let (code, shown) = bench.typed("finger add thumb", &[("characters): ", PIN)]).await;
    assert_eq!(code, Some(0), "{shown}");
    for text in [
        "Touch the sensor of your key with the new finger, 4 times.",
        "[#---] good, 3 more touches",
        "[#---] poor image: clean your finger and the sensor, 3 more touches",
        "[###-] good, 1 more touch",
        "[####] good, done",
        "finger added: thumb",
    ] {
        assert!(shown.contains(text), "{text:?} in {shown}");
    }
    assert!(!shown.contains(PIN), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_every_touch_is_a_line() {
    let bench = Bench::new().await;
    for _ in 0..4 {
        bench.station.key.finger("left-thumb").unwrap();
    }
    let ran = bench.people_with_pin(PIN, &["finger", "add", "thumb"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let said: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("good")).collect();
    let left = ["3 more touches", "2 more touches", "1 more touch", "done"];
    assert_eq!(said, left.map(|left| format!("good, {left}")));
    assert!(ran.stdout.starts_with("finger added: thumb (id "), "{}", ran.stdout);

    let listed = bench.people_with_pin(PIN, &["finger", "list"]).await;
    assert_eq!(listed.stdout, "00000001  (unnamed)\n00000002  thumb\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn fingers_are_renamed_and_removed() {
    let bench = Bench::new().await;
    let renamed = bench.run_with_pin(PIN, &["finger", "rename", "00000001", "index"]).await;
    assert_eq!(renamed.code, Some(0), "{}", renamed.stderr);
    assert_eq!(renamed.json(), json!({ "id": "00000001", "name": "index" }));
    assert_eq!(names(&bench).await, ["index"]);

    let unknown = bench.run_with_pin(PIN, &["finger", "remove", "toe"]).await;
    let message = refused(&unknown, 2, "failed");
    assert!(message.contains("signet finger list"), "{message}");

    let removed = bench.run_with_pin(PIN, &["finger", "remove", "index"]).await;
    assert_eq!(removed.json(), json!({ "removed": "00000001", "name": "index" }));
    assert_eq!(names(&bench).await, Vec::<String>::new());
    let none = bench.people_with_pin(PIN, &["finger", "list"]).await;
    assert!(none.stdout.contains("signet finger add"), "{}", none.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sensor_is_shown_without_a_pin() {
    let bench = Bench::new().await;
    let sensor = bench.good(&["finger", "sensor"]).await;
    assert_eq!((&sensor["kind"], &sensor["max_samples"]), (&json!("touch"), &json!(4)));
    let shown = bench.station.signet(&["finger", "sensor"]).await.unwrap();
    assert!(shown.stdout.contains("the finger is laid on"), "{}", shown.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pin_is_tried_once() {
    let bench = Bench::new().await;
    let wrong = bench.run_with_pin("000000", &["finger", "list"]).await;
    let message = refused(&wrong, 1, "PinInvalid");
    assert!(message.contains("is not right"), "{message}");
    assert!(wrong.stderr.contains("Wrong PIN, 7 tries left."), "{}", wrong.stderr);
    assert_eq!(names(&bench).await, [""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_a_sensor_is_named() {
    let mut bench = Bench::new().await;
    let key = bench.plug_pin_key().await;
    let path = key.socket().display().to_string();
    bench.bad(&["finger", "list", "--key", &path], 1, "NotSupported").await;
    bench.bad(&["finger", "add", "--key", "/dev/hidraw99"], 3, "NoAuthenticator").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_an_enrolment_and_leaves_no_finger() {
    let mut bench = Bench::new().await;
    std::fs::write(bench.station.file("pin"), PIN).unwrap();
    let mut command = bench.shell(&["finger", "add", "thumb"], false);
    command.stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    bench.station.key.finger("left-thumb").unwrap();
    until(&mut child, "good, 3 more touches").await;
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::INT).unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(1));
    assert!(bench.station.signetd.log().contains("outcome=\"Cancelled\""));
    // OpenSK hears no CANCEL while it waits for a finger; unplugging helps.
    bench.station.key.restart().unwrap();
    assert_eq!(names(&bench).await, [""]);
}
