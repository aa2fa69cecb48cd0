//! A rotation of the token key under a serving authority: no valid token is refused on the way.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

#[allow(dead_code)] // Each test program uses its part of the house.
mod house;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use signet_authority::keys::{self, AHEAD, OVERLAP, Urgency, rotate};
use signet_authority::store::SessionKind;
use signet_evidence::UnixTime;

use house::House;

struct Seat {
    house: House,
    ahead: Arc<AtomicI64>,
    gateway: reqwest::Client,
}

impl Seat {
    async fn new() -> Self {
        let (house, ahead) = House::in_time().await;
        let gateway = house.gateway("edge");
        Self { house, ahead, gateway }
    }

    fn pass(&self, time: Duration) {
        self.ahead.fetch_add(i64::try_from(time.as_secs()).unwrap(), Ordering::SeqCst);
    }

    async fn active(&self, token: &str) -> bool {
        let request = self.gateway.post(self.house.gateways("/v1/introspect"));
        let answer = request.form(&[("token", token)]).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["active"] == json!(true)
    }

    async fn published(&self) -> usize {
        let answer = self.gateway.get(self.house.gateways("/jwks.json")).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["keys"].as_array().unwrap().len()
    }

    /// Makes another key and returns when the authority has it.
    async fn rotate(&self, urgency: Urgency, expected: usize) {
        let authority = &self.house.authority;
        let before = authority.keys.token.list(authority.now());
        rotate(&authority.config.keys(), authority.now(), urgency).unwrap().unwrap();
        while authority.keys.token.list(authority.now()) == before {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.published().await, expected);
    }
}

fn kid(token: &str) -> String {
    use base64::Engine;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let header = engine.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].to_string()
}

#[tokio::test]
async fn a_rotation_refuses_no_valid_token() {
    let seat = Seat::new().await;
    let machine = seat.house.machine("alice").await;
    let first = seat.house.token(&machine, SessionKind::Person).await;
    seat.rotate(Urgency::Scheduled, 2).await;
    assert!(seat.active(&first).await);
    // The last token of the old key.
    seat.pass(AHEAD - Duration::from_secs(5));
    let last = seat.house.token(&machine, SessionKind::Person).await;
    assert_eq!(kid(&last), kid(&first));
    assert!(seat.active(&last).await);
    seat.pass(Duration::from_secs(6));
    let next = seat.house.token(&machine, SessionKind::Person).await;
    assert_ne!(kid(&next), kid(&first));
    for token in [&last, &next] {
        assert!(seat.active(token).await);
    }
    assert_eq!(seat.published().await, 2);
    seat.pass(OVERLAP);
    assert_eq!(seat.published().await, 1);
    let token = seat.house.token(&machine, SessionKind::Person).await;
    assert_eq!(kid(&token), kid(&next));
    assert!(seat.active(&token).await);
}

#[tokio::test]
async fn in_an_emergency_tokens_of_the_stolen_key_end_at_once() {
    let seat = Seat::new().await;
    let machine = seat.house.machine("alice").await;
    let stolen = seat.house.token(&machine, SessionKind::Person).await;
    assert!(seat.active(&stolen).await);
    seat.rotate(Urgency::Emergency, 1).await;
    assert!(!seat.active(&stolen).await);
    let token = seat.house.token(&machine, SessionKind::Person).await;
    assert!(seat.active(&token).await);
}

#[test]
fn gateways_with_files_have_the_next_key_before_it_signs_and_the_last_one_after() {
    let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (directory, now) = (folder.path().join("keys"), UnixTime(1_800_000_000));
    keys::create(&directory, now).unwrap();
    let write = |at: Duration| {
        let loaded = keys::load(&directory).unwrap();
        keys::write_token_keys(out.path(), &loaded.token, now.plus(at)).unwrap()
    };
    let file = |name: &str| std::fs::read_to_string(out.path().join(name)).unwrap();
    let files = || [file("token-key.pem"), file("token-key-other.pem")];
    assert!(write(Duration::ZERO));
    let [first, other] = files();
    assert!(first == other && first.starts_with("-----BEGIN PUBLIC KEY-----\n"));
    assert!(!write(Duration::ZERO));
    rotate(&directory, now, Urgency::Scheduled).unwrap().unwrap();
    assert!(write(Duration::ZERO));
    let [signing, next] = files();
    assert!(signing == first && next != first);
    assert!(write(AHEAD));
    assert_eq!(files(), [next.clone(), first]);
    assert!(write(AHEAD + OVERLAP));
    assert_eq!(files(), [next.clone(), next]);
}
