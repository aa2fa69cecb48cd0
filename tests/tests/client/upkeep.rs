//! `signet key pin`, `credentials`, `configure`, `reset` and `list` on real firmware.

use serde_json::json;
use signet_test_authenticators::Firmware;
use signet_tests::house::PIN;

use crate::bench::{Bench, refused};
use crate::ceremony::{detached, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_is_changed_and_the_old_one_serves_no_more() {
    let bench = Bench::new().await;
    let changed = bench.run_with_pin(&format!("{PIN}\n135790\n"), &["key", "pin", "change"]).await;
    assert_eq!((changed.code, changed.json()), (Some(0), json!({ "pin": "changed" })));
    refused(&bench.run_with_pin(PIN, &["finger", "list"]).await, 1, "PinInvalid");
    let listed = bench.run_with_pin("135790", &["finger", "list"]).await;
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);

    // A wrong PIN is not answered with the line that is meant for the new one.
    let wrong = bench.run_with_pin("000000\n135790\n", &["key", "pin", "change"]).await;
    refused(&wrong, 1, "PinInvalid");
    let missing = bench.run_with_pin("135790\n", &["key", "pin", "change"]).await;
    let message = refused(&missing, 3, "could-not-ask");
    assert!(message.contains("a line of its own"), "{message}");
    let short = bench.run_with_pin("135790\n123\n", &["key", "pin", "change"]).await;
    let message = refused(&short, 1, "PinTooShort");
    assert!(message.contains("at least 4"), "{message}");
    let long = format!("135790\n{}\n", "1".repeat(64));
    refused(&bench.run_with_pin(&long, &["key", "pin", "change"]).await, 1, "PinTooLong");
    let again = bench.run_with_pin("135790\n", &["key", "pin", "set"]).await;
    let message = refused(&again, 1, "PinAlreadySet");
    assert!(message.contains("signet key pin change"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pin_is_typed_twice_at_a_terminal() {
    let mut bench = Bench::new().await;
    let _key = bench.plug_fresh_key(Firmware::Trussed).await;
    let answers = [
        ("characters): ", "13579"),
        ("once more: ", "13579x"),
        ("not the same", ""),
        ("characters): ", "13579"),
        ("once more: ", "13579"),
    ];
    let answers: Vec<_> = answers.into_iter().filter(|(_, answer)| !answer.is_empty()).collect();
    let (code, shown) = bench.typed("key pin set", &answers).await;
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("The two are not the same.") && shown.contains("PIN set"), "{shown}");
    assert!(!shown.contains("13579"), "{shown}");
    let again = bench.run_with_pin("13579\n24680\n", &["key", "pin", "change"]).await;
    assert_eq!(again.code, Some(0), "{}", again.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_keeps_is_listed_and_deleted() {
    let bench = Bench::new().await;
    let empty = bench.run_with_pin(PIN, &["key", "credentials", "list"]).await;
    assert_eq!((&empty.json()["credentials"], &empty.json()["used"]), (&json!([]), &json!(0)));
    let id = bench.keep_credential("other.example", "bob").await;

    let listed = bench.run_with_pin(PIN, &["key", "credentials", "list"]).await.json();
    assert_eq!(
        (&listed["credentials"][0]["rp_id"], &listed["credentials"][0]["user"], &listed["used"]),
        (&json!("other.example"), &json!("bob"), &json!(1))
    );
    assert_eq!(listed["credentials"][0]["id"].as_str(), Some(id.as_str()));
    let people = bench.people_with_pin(PIN, &["key", "credentials", "list"]).await;
    assert!(people.stdout.contains("other.example  bob\n1 in use"), "{}", people.stdout);

    // Nobody there to say that it is meant: nothing is deleted.
    let begin = &id[..6];
    let unsaid = bench.run_with_pin(PIN, &["key", "credentials", "remove", "ffff00"]).await;
    refused(&unsaid, 2, "failed");
    let answers = [("characters): ", PIN), ("Type delete", "no")];
    let command = format!("key credentials remove {begin}");
    let (code, shown) = bench.typed(&command, &answers).await;
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("bob of other.example"), "{shown}");
    let removed = bench.run_with_pin(PIN, &["key", "credentials", "remove", begin, "--yes"]).await;
    assert_eq!(removed.json()["removed"].as_str(), Some(id.as_str()), "{}", removed.stderr);
    let empty = bench.run_with_pin(PIN, &["key", "credentials", "list"]).await;
    assert_eq!(empty.json()["used"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_listed_enrolled_or_not_with_and_without_the_authority() {
    let mut bench = Bench::new().await;
    // Not enrolled: what is plugged in is shown all the same.
    let listed = bench.good(&["key", "list"]).await;
    assert!(listed["authority"].as_str().unwrap().contains("signet enrol"), "{listed}");
    let path = bench.station.key.socket().display().to_string();
    let key = &listed["keys"][0];
    assert_eq!((&key["plugged"], &key["path"]), (&json!("yes"), &json!(path)));
    assert_eq!((&key["status"], &key["enrolled_for"]), (&json!("not-enrolled"), &json!(null)));
    assert_eq!(key["verification"], "fingerprint and PIN");

    let ticket = bench.authority.first_ticket().to_owned();
    assert_eq!(bench.enrol(&ticket).await.code, Some(0));
    let added = bench.add_key("blue").await;
    let listed = bench.good(&["key", "list"]).await;
    let keys = listed["keys"].as_array().unwrap();
    assert_eq!((keys.len(), &listed["authority"]), (1, &json!(null)));
    assert_eq!(keys[0]["credential_id"], added["credential_id"]);
    assert_eq!(
        (&keys[0]["plugged"], &keys[0]["enrolled_for"], &keys[0]["status"]),
        (&json!("yes"), &json!("alice"), &json!("ok"))
    );
    let people = bench.station.signet(&["key", "list"]).await.unwrap();
    let line = people.stdout.lines().nth(1).unwrap();
    for text in [path.as_str(), "blue", "fingerprint and PIN", "alice: ok"] {
        assert!(line.contains(text), "{text:?} in {line}");
    }

    // A key of another model in its place: both are shown, one line each.
    let _other = bench.plug_pin_key().await;
    let people = bench.station.signet(&["key", "list"]).await.unwrap();
    let lines: Vec<&str> = people.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", people.stdout);
    assert!(lines[1].starts_with('-') && lines[1].contains("blue"), "{}", lines[1]);
    assert!(lines[2].contains("PIN") && lines[2].ends_with("not enrolled here"), "{}", lines[2]);

    bench.authority.kill();
    let away = bench.station.signet(&["key", "list"]).await.unwrap();
    assert_eq!(away.code, Some(0), "{}", away.stderr);
    assert!(away.stderr.contains("Only the keys that are plugged in are known"), "{}", away.stderr);
    assert!(away.stdout.contains("unknown whether enrolled"), "{}", away.stdout);
    assert_eq!(away.stdout.lines().count(), 2, "{}", away.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_take_effect_and_what_cannot_be_taken_back_says_so() {
    let bench = Bench::new().await;
    let set = ["key", "configure", "--always-uv", "on"];
    let ran = bench.run_with_pin(PIN, &set).await;
    assert_eq!((ran.code, &ran.json()["always_uv"]), (Some(0), &json!(true)), "{}", ran.stderr);
    let ran = bench.run_with_pin(PIN, &["key", "configure", "--always-uv", "off"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);

    let set = ["key", "configure", "--min-pin-length", "8", "--force-pin-change"];
    let ran = bench.people_with_pin(PIN, &set).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("Next: signet key pin change"), "{}", ran.stdout);
    let message =
        refused(&bench.run_with_pin(PIN, &["finger", "list"]).await, 1, "PinChangeRequired");
    assert!(message.contains("signet key pin change"), "{message}");
    let short = bench.run_with_pin(&format!("{PIN}\n1234567\n"), &["key", "pin", "change"]).await;
    refused(&short, 1, "PinTooShort");
    let good = bench.run_with_pin(&format!("{PIN}\n12345678\n"), &["key", "pin", "change"]).await;
    assert_eq!(good.code, Some(0), "{}", good.stderr);
    let shorter = ["key", "configure", "--min-pin-length", "6"];
    let message = refused(&bench.run_with_pin("12345678", &shorter).await, 1, "InvalidArgument");
    assert!(message.contains("from 8"), "{message}");
    refused_usage(&bench, &["key", "configure"]).await;
    refused_usage(&bench, &["key", "configure", "--min-pin-length", "3"]).await;
}

async fn refused_usage(bench: &Bench, arguments: &[&str]) {
    assert_eq!(bench.station.signet(arguments).await.unwrap().code, Some(2), "{arguments:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_erased_after_it_was_unplugged_and_plugged_in_again() {
    let mut bench = Bench::ready().await;
    let path = bench.station.key.socket().display().to_string();
    let unsaid = ["--json", "key", "reset", &path];
    let unsaid = detached(bench.station.command(&unsaid)).await;
    let message = refused(&unsaid, 1, "cancelled");
    assert!(message.contains("nothing was changed"), "{message}");
    let (code, shown) = bench.typed(&format!("key reset {path}"), &[("Type erase", "yes")]).await;
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("every credential on it"), "{shown}");

    let reset = ["--json", "key", "reset", &path, "--yes"];
    let mut child = bench.station.command(&reset).spawn().unwrap();
    until(&mut child, "Unplug the key").await;
    bench.station.key.unplug().unwrap();
    until(&mut child, "Plug it in again").await;
    bench.station.key.replug().unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = bench.good(&["key", "list"]).await;
    assert_eq!(listed["keys"][0]["verification"], "no finger enrolled, no PIN set", "{listed}");
    bench.bad(&["login"], 1, "PinNotSet").await;
    bench.bad(&["key", "reset", "/dev/hidraw99", "--yes"], 2, "failed").await;
}
