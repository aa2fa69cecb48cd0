//! `signet request` through real Envoy: the token, and the touch that the gateway asks for.

use serde_json::Value;
use signet_tests::house::{House, Ran};

const STAGING: &str = "/v1/namespaces/sandbox/routes/web";
const PRODUCTION: &str = "/v1/namespaces/payments/routes/api";

pub(crate) async fn logged_in() -> House {
    let house = House::start().await.unwrap();
    log_in(&house).await;
    house
}

/// Enrols the workstation and its operator's key, and logs in.
pub(crate) async fn log_in(house: &House) {
    let ran = house.enrol(&house.alice, house.authority.first_ticket()).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for arguments in [&["key", "add"][..], &["login"]] {
        house.alice.put_finger().unwrap();
        let ran = house.alice.signet(arguments).await.unwrap();
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
}

pub(crate) fn status(ran: &Ran) -> u64 {
    ran.json()["status"].as_u64().unwrap_or_else(|| panic!("{ran:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_critical_request_asks_for_its_touch_and_goes_through_once() {
    let house = logged_in().await;
    let ran = house.request(&house.alice, "GET", STAGING, &[]).await.unwrap();
    assert_eq!((status(&ran), ran.code), (200, Some(0)), "{ran:?}");

    std::fs::write(house.alice.file("body"), "{\"weight\": 10}").unwrap();
    let body = ["--body", "body", "--header", "content-type: application/json"];
    house.alice.put_finger().unwrap();
    let ran = house.request(&house.alice, "PUT", PRODUCTION, &body).await.unwrap();
    assert_eq!((status(&ran), ran.code), (200, Some(0)), "{ran:?}");
    for said in ["wants a touch for this very request", "You approve mesh.route.update"] {
        assert!(ran.stderr.contains(said), "{said:?} in {}", ran.stderr);
    }
    let received = house.upstream.received().pop().unwrap();
    assert_eq!((received.method.as_str(), received.body.as_str()), ("PUT", "{\"weight\": 10}"));
    assert_eq!(received.header("content-type"), ["application/json"]);

    // Without leave to ask, the gateway's answer stands.
    let before = house.upstream.received().len();
    let refused = [&body[..], &["--no-step-up"]].concat();
    let ran = house.request(&house.alice, "PUT", PRODUCTION, &refused).await.unwrap();
    assert_eq!((status(&ran), ran.code), (401, Some(1)), "{ran:?}");
    let ran = house.request(&house.alice, "GET", STAGING, &["--no-token"]).await.unwrap();
    assert_eq!((status(&ran), ran.code), (401, Some(1)), "{ran:?}");
    assert_eq!(house.upstream.received().len(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_made_beforehand_serves_once() {
    let house = logged_in().await;
    std::fs::write(house.alice.file("body"), "{}").unwrap();
    let url = house.url(PRODUCTION);
    let approve =
        ["approve", "PUT", &url, "--body", "body", "--action", "mesh.route.update", "-o", "token"];
    house.alice.put_finger().unwrap();
    let ran = house.alice.signet(&approve).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(house.alice.file("token")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let more = ["--body", "body", "--action-token", "token"];
    for (expected, exit) in [(200, 0), (401, 1)] {
        let ran = house.request(&house.alice, "PUT", PRODUCTION, &more).await.unwrap();
        assert_eq!((status(&ran), ran.code), (expected, Some(exit)), "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_of_another_ca_hears_nothing() {
    let house = logged_in().await;
    let ran = house.alice.signet(&["--json", "request", "GET", &house.url(STAGING)]).await.unwrap();
    let (_, message) = ran.error().unwrap();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(message.contains("give its CA with --cacert"), "{message}");
    assert_eq!(ran.json(), Value::Null);
    assert_eq!(house.upstream.received(), []);
}

/// Each token with a certificate of its own; one of each kind is kept, and whoever alternates renews neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_shows_a_certificate_of_their_own() {
    let house = logged_in().await;
    let last = house.authority.audit().unwrap().last().unwrap().sequence;
    let as_operator = ["--as-operator"];
    for _ in 0..2 {
        let ran = house.request(&house.alice, "GET", STAGING, &as_operator).await.unwrap();
        assert_eq!((status(&ran), ran.code), (200, Some(0)), "{ran:?}");
    }
    std::fs::write(house.alice.file("body"), "{}").unwrap();
    house.alice.put_finger().unwrap();
    let body = ["--as-operator", "--body", "body"];
    let ran = house.request(&house.alice, "PUT", PRODUCTION, &body).await.unwrap();
    assert_eq!((status(&ran), ran.code), (200, Some(0)), "{ran:?}");
    for more in [&[][..], &as_operator, &[], &as_operator] {
        let ran = house.request(&house.alice, "GET", STAGING, more).await.unwrap();
        assert_eq!((status(&ran), ran.code), (200, Some(0)), "{ran:?}");
    }
    let records = house.authority.audit_after(last).unwrap();
    let tokens: Vec<_> =
        records.iter().filter(|record| record.event.starts_with("token-")).collect();
    let events: Vec<&str> = tokens.iter().map(|record| record.event.as_str()).collect();
    assert_eq!(events, ["token-renew", "token-action"]);
    let issued: Vec<bool> =
        tokens.iter().map(|record| record.detail.ends_with(" of operator alice")).collect();
    assert_eq!(issued, [true, true]);
}
