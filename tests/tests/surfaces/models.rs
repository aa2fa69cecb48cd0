//! Keys by what is known of their model: those that can only be touched, and those that metadata
//! speaks against.

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use serde_json::{Value, json};
use signet_authority::caller::over_connection;
use signet_authority::router;
use signet_authority::store::{AuditEntry, Decision, Event, StoredMetadata};
use signet_authority::tls::PeerCertificate;
use signet_evidence::UnixTime;
use signet_tests::fixture::{self, Fixture};
use signet_tests::world::{Change, World};

use super::seat::Seat;
use super::{Answer, ask, audited, send};

fn recorded(name: &str, with: &[Change]) -> Fixture {
    let path = fixture::folder().join(name);
    Fixture { with: with.to_vec(), ..Fixture::read(&path).unwrap() }
}

async fn request(seat: &Seat, world: &World, request: Request) -> Answer {
    let peer = PeerCertificate::new(world.peers["workstation"].0.clone().into());
    send(router::clients(seat.authority.clone()), over_connection(request, peer)).await
}

async fn challenge(seat: &Seat, world: &World, body: Value) -> Value {
    let asked = Request::post("/v1/challenge")
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    let answer = request(seat, world, asked).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

/// How many keys are asked to verify, and how many to be touched.
fn asked_for(answer: &Value) -> (usize, usize) {
    let count = |member: &str| answer[member].as_array().unwrap().len();
    (count("allow_credentials"), count("touch_credentials"))
}

#[tokio::test]
async fn a_touch_only_key_is_enrolled_where_the_settings_say_so() {
    let world = fixture::world().unwrap();
    let with = [Change::ModelTouchOnly, Change::TouchOnlyAccepted];
    let fixture = recorded("accepted/registration.fixture", &with);
    let seat = Seat::for_fixture(&world, &fixture).await;
    let answer = ask(&seat, &world, &fixture).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let key: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((&key["touch_only"], &key["uv_capable"]), (&json!(true), &json!("none")));
    assert_eq!(key["status"], "ok");
    // The operator now has one key that verifies and one that can be touched: what is asked for
    // decides which of them are worth asking.
    let ask = async |body| asked_for(&challenge(&seat, &world, body).await);
    assert_eq!(ask(json!({ "purpose": "session" })).await, (1, 1));
    assert_eq!(ask(json!({ "purpose": "session", "acr": "signet.touch" })).await, (1, 1));
    assert_eq!(ask(json!({ "purpose": "session", "acr": "signet.uv" })).await, (1, 0));
    assert_eq!(ask(json!({ "purpose": "session", "acr": "signet.uv signet.uv-hw" })).await, (1, 0));
    assert_eq!(ask(json!({ "purpose": "enrol-key" })).await, (1, 0));
}

#[tokio::test]
async fn a_touch_only_key_proves_a_touch_whatever_its_flags_say() {
    let world = fixture::world().unwrap();
    // Its assertion has UV set, as if it had learnt to verify since.
    let fixture = recorded("accepted/session.fixture", &[Change::CredentialTouchOnly]);
    let seat = Seat::for_fixture(&world, &fixture).await;
    let answer = ask(&seat, &world, &fixture).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(answer["acr"], "signet.touch");
}

#[tokio::test]
async fn a_copied_key_raises_an_alert_of_its_own() {
    let world = fixture::world().unwrap();
    let name = "rejected/counter-regressed/genuine.fixture";
    let fixture = recorded(name, &[Change::CounterAhead]);
    let seat = Seat::for_fixture(&world, &fixture).await;
    let answer = ask(&seat, &world, &fixture).await;
    assert!(answer.status.is_client_error(), "{}", answer.body);
    assert_eq!(audited(&seat).await, "counter-regressed");
    let records = seat.authority.store.audit_after(0, 1000).await.unwrap();
    let [.., refusal, alert] = &records[..] else { panic!("{records:?}") };
    assert_eq!((refusal.event.as_str(), alert.event.as_str()), ("token-session", "alert"));
    assert_eq!((&refusal.subject, &refusal.device), (&alert.subject, &alert.device));
    assert!(alert.detail.contains("signature counter went from"), "{}", alert.detail);
    let metrics = seat.authority.metrics.render(0, 0);
    assert!(metrics.contains("signet_alerts_total{code=\"counter-regressed\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_reported_key_is_listed_as_such_and_counts_again_when_that_is_lifted() {
    let world = fixture::world().unwrap();
    let fixture = recorded("accepted/session.fixture", &[Change::ModelReported]);
    let seat = Seat::for_fixture(&world, &fixture).await;
    let list = async || {
        let asked = Request::get("/v1/authenticators").body(Body::empty()).unwrap();
        let answer = request(&seat, &world, asked).await;
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        answer["authenticators"][0].clone()
    };
    let key = list().await;
    assert_eq!((&key["status"], &key["model"]), (&json!("REVOKED"), &json!("Software key")));
    let asked = challenge(&seat, &world, json!({ "purpose": "session" })).await;
    assert_eq!(asked_for(&asked), (0, 0), "nobody touches a key for nothing");
    assert!(ask(&seat, &world, &fixture).await.status.is_client_error());
    assert_eq!(audited(&seat).await, "authenticator-status");
    // The same BLOB without the report.
    let metadata = world.metadata(&[Change::ModelHasCredProtect]).unwrap().unwrap();
    let now = UnixTime(world.now);
    let import = StoredMetadata { digest: [8; 32], metadata, imported_at: now };
    let audit = AuditEntry::new(now, Event::Metadata, Decision::Allowed);
    seat.authority.store.import_metadata(&import, &audit).await.unwrap();
    assert_eq!(list().await["status"], "ok");
    let answer = ask(&seat, &world, &fixture).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}
