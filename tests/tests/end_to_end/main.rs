//! The whole house: the demonstration's steps, parts killed in the middle of a request, and parts
//! that are missing from the start.

#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

mod demonstration;
mod killed;
mod missing;
mod secrets;

use signet_tests::house::{House, Pending, Ran, Station};

/// A house with alice's workstation enrolled.
async fn enrolled() -> House {
    let house = House::start().await.unwrap();
    let ran = house.enrol(&house.alice, house.authority.first_ticket()).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    house
}

/// A house with alice's workstation and key enrolled.
async fn ready() -> House {
    let house = enrolled().await;
    house.alice.put_finger().unwrap();
    let ran = house.alice.signet(&["--json", "key", "add"]).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    house
}

/// A login that waits for the finger: the challenge is issued, the key's light is on.
async fn login_under_way(station: &Station) -> Pending {
    let pending = station.begin(&["--json", "login"], b"").await.unwrap();
    light_is_on(station).await;
    pending
}

/// Waits until the key waits for its person.
async fn light_is_on(station: &Station) {
    let control = station.key.control_socket();
    tokio::task::spawn_blocking(move || {
        signet_test_authenticators::command(&control, "wait").unwrap();
    })
    .await
    .unwrap();
}

/// The command failed with exactly this.
#[track_caller]
fn failed(ran: &Ran, exit: i32, code: &str, message: &str) {
    let found = ran.error().map(|(code, message)| (ran.code, code, message));
    assert_eq!(found, Some((Some(exit), code.to_owned(), message.to_owned())), "{}", ran.stderr);
}

/// A login by finger works.
async fn login_works(house: &House) {
    house.alice.put_finger().unwrap();
    let ran = house.alice.signet(&["--json", "login"]).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}\n{}", house.alice.signetd.log());
}

/// How many records of this event with this code (none: allowed) the trail holds.
fn recorded(house: &House, event: &str, code: Option<&str>) -> usize {
    let trail = house.authority.audit().unwrap();
    trail.iter().filter(|record| record.event == event && record.code.as_deref() == code).count()
}
