//! `insufficient_user_authentication` in each of its forms (RFC 9470 §3), and what `signet request` makes
//! of it: one touch, one more request, never a third. `max_age = 0` is in `gateway.rs`.

use std::time::Duration;

use signet_tests::house::House;

use crate::gateway::{logged_in, status};

const STAGING: &str = "/v1/namespaces/sandbox/routes/web";

/// Puts the example set into force with one file changed, and returns once the node decides by it.
pub(crate) async fn with_policy(house: &House, file: &str, change: impl Fn(&str) -> String) {
    let config = house.authority.config();
    let folder = config.parent().unwrap().join("policies");
    let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
    std::fs::write(folder.join(file), change(&text)).unwrap();
    // Its tests are those of the example set.
    let _ = std::fs::remove_file(folder.join("tests.toml"));
    let ran = house.authority.ran(&["--json", "policy", "activate"]).unwrap();
    assert_eq!(ran.0, Some(0), "{}", ran.2);
    let activated: serde_json::Value = serde_json::from_str(&ran.1).unwrap();
    let version = activated["version"].as_str().unwrap();
    while !house.authority.log().contains(&format!("live={version}")) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn challenge(ran: &signet_tests::house::Ran) -> String {
    let headers = &ran.json()["headers"];
    headers["www-authenticate"].as_str().unwrap_or_else(|| panic!("{ran:?}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_that_is_too_old_is_proved_anew_and_the_request_goes_through() {
    let house = logged_in().await;
    with_policy(&house, "routes.cedar", |rules| rules.replace("<= 14400", "<= 15")).await;
    // Until the login is too long ago.
    let refused = loop {
        let ran = house.request(&house.alice, "GET", STAGING, &["--no-step-up"]).await.unwrap();
        if status(&ran) != 200 {
            break ran;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!((status(&refused), refused.code), (401, Some(1)), "{refused:?}");
    let asked = challenge(&refused);
    for part in [
        "error=\"insufficient_user_authentication\"",
        "acr_values=\"signet.uv signet.uv-hw\"",
        "max_age=\"15\"",
        "scope=\"mesh.route.view\"",
    ] {
        assert!(asked.contains(part), "{asked}");
    }
    let before = house.upstream.received().len();
    house.alice.put_finger().unwrap();
    let ran = house.request(&house.alice, "GET", STAGING, &[]).await.unwrap();
    assert_eq!((status(&ran), ran.code), (200, Some(0)), "{ran:?}");
    assert!(ran.stderr.contains("prove your presence anew"), "{}", ran.stderr);
    assert_eq!(house.upstream.received().len(), before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_touch_that_does_not_satisfy_is_asked_for_once() {
    let house = logged_in().await;
    // No level says this, and this key cannot do it: the gateway goes on asking.
    let rule =
        "@id(\"a-finger\") forbid (principal, action == Action::\"mesh.route.view\", resource)
        when { context.pin_can_stand_in };";
    with_policy(&house, "finger.cedar", |_| rule.to_owned()).await;
    let last = house.authority.audit().unwrap().last().unwrap().sequence;
    house.alice.put_finger().unwrap();
    let ran = house.request(&house.alice, "GET", STAGING, &[]).await.unwrap();
    assert_eq!((status(&ran), ran.code), (401, Some(1)), "{ran:?}");
    let asked = challenge(&ran);
    for part in [
        "error=\"insufficient_user_authentication\"",
        "acr_values=\"signet.uv-hw\"",
        "max_age=\"14400\"",
        "with a key on which no PIN can stand in for your finger",
    ] {
        assert!(asked.contains(part), "{asked}");
    }
    assert!(ran.stderr.contains("no PIN can stand in for your finger"), "{}", ran.stderr);
    let decisions = house.authority.audit_after(last).unwrap();
    let decisions = decisions.iter().filter(|record| record.event == "authorize").count();
    assert_eq!(decisions, 2, "the request is sent twice and no more");
    assert_eq!(house.upstream.received(), []);
}
