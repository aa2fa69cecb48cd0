//! A witness on its own disk against an authority whose log is rewritten with all of its keys.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

#[allow(dead_code)] // Each test program uses its part of the house.
mod house;

use std::path::Path;
use std::sync::atomic::Ordering;

use signet_authority::keys::{LOG_OVERLAP, Urgency, rotate_log};
use signet_authority::log;
use signet_authority::store::{AuditEntry, Decision, Event, Store};
use signet_evidence::UnixTime;
use signet_verifier::log::{Inconsistent, Note, NoteError, NoteKey};
use signet_witness::{Witness, WitnessError, WitnessState};

use house::House;

const EDGE: &str = "spiffe://mesh.example/gateway/edge";

fn open(house: &House, folder: &Path) -> Witness {
    Witness::open(folder, EDGE, house.authority.log.key()).unwrap()
}

/// Returns when everything so far is signed.
async fn signed(house: &House) -> u64 {
    let size = house.authority.store.log_size().await.unwrap();
    let mut newest = house.authority.log.newest();
    newest.wait_for(|one| one.as_ref().is_some_and(|one| one.size >= size)).await.unwrap();
    size
}

async fn append(store: &dyn Store, detail: &str) {
    let mut entry = AuditEntry::new(UnixTime(1_790_000_000), Event::Authorize, Decision::Allowed);
    entry.detail = detail.into();
    store.append_audit(&entry).await.unwrap();
}

#[tokio::test]
async fn a_witness_follows_cosigns_and_survives_its_restart() {
    let house = House::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (gateway, authority) = (house.gateway("edge"), house.gateways(""));
    let witness = open(&house, folder.path());
    assert_eq!(*witness.state().borrow(), WitnessState::New);
    append(house.authority.store.as_ref(), "one").await;
    let first = signed(&house).await;
    assert!(witness.look(&gateway, &authority).await.unwrap() >= first);
    let cosigned = house.authority.store.cosignatures(first).await.unwrap();
    assert_eq!(cosigned[0].witness, "mesh.example/gateway/edge");
    // The cosignature's pin was a record, too. After a restart it goes on from what it remembers.
    drop(witness);
    let witness = open(&house, folder.path());
    assert_eq!(*witness.state().borrow(), WitnessState::Sound(first));
    append(house.authority.store.as_ref(), "two").await;
    let second = signed(&house).await;
    assert!(second > first && witness.look(&gateway, &authority).await.unwrap() >= second);
    let kept = std::fs::read_to_string(folder.path().join("checkpoint")).unwrap();
    let kept = [Note::parse(&kept).unwrap()];
    let (store, key) = (house.authority.store.as_ref(), &house.authority.log.keys());
    let report = log::verify::verify(store, key, &kept, |_, _| {});
    assert_eq!(report.await.unwrap().findings, []);
}

#[tokio::test]
async fn a_log_that_was_rewritten_with_all_keys_raises_an_alarm_that_stays() {
    let house = House::start().await;
    let folder = tempfile::tempdir().unwrap();
    let witness = open(&house, folder.path());
    let (gateway, authority) = (house.gateway("edge"), house.gateways(""));
    for number in 0..5 {
        append(house.authority.store.as_ref(), &format!("decision {number}")).await;
    }
    signed(&house).await;
    let known = witness.look(&gateway, &authority).await.unwrap();
    // The insider stops the authority, and starts one with the same keys and another past.
    let directory = house.authority.config.keys();
    let forged = House::with_keys_of(&directory).await;
    for number in 0..known + 5 {
        append(forged.authority.store.as_ref(), &format!("made up {number}")).await;
    }
    signed(&forged).await;
    let caught = witness.look(&forged.gateway("edge"), &forged.gateways("")).await;
    let Err(WitnessError::Alarm(Inconsistent::Forked { known: from, .. })) = caught else {
        panic!("{caught:?}")
    };
    assert_eq!(from, known);
    assert!(matches!(*witness.state().borrow(), WitnessState::Alarm(_)));
    // It stays, and what is remembered stays: also where the genuine log comes back, and after a restart.
    let kept = std::fs::read(folder.path().join("checkpoint")).unwrap();
    for witness in [witness, open(&house, folder.path())] {
        let again = witness.look(&gateway, &authority).await;
        assert!(matches!(again, Err(WitnessError::Alarmed { .. })), "{again:?}");
    }
    assert_eq!(std::fs::read(folder.path().join("checkpoint")).unwrap(), kept);
    assert!(folder.path().join("alarm").exists());
    std::fs::remove_file(folder.path().join("alarm")).unwrap();
    open(&house, folder.path()).look(&gateway, &authority).await.unwrap();
}

#[tokio::test]
async fn a_log_that_shrank_raises_an_alarm() {
    let house = House::start().await;
    let folder = tempfile::tempdir().unwrap();
    let witness = open(&house, folder.path());
    for number in 0..50 {
        append(house.authority.store.as_ref(), &format!("decision {number}")).await;
    }
    signed(&house).await;
    let known = witness.look(&house.gateway("edge"), &house.gateways("")).await.unwrap();
    let forged = House::with_keys_of(&house.authority.config.keys()).await;
    append(forged.authority.store.as_ref(), "made up").await;
    signed(&forged).await;
    let caught = witness.look(&forged.gateway("edge"), &forged.gateways("")).await;
    let Err(WitnessError::Alarm(Inconsistent::Shrunk { known: from, size })) = caught else {
        panic!("{caught:?}")
    };
    assert!(from == known && size < known);
}

#[tokio::test]
async fn what_a_witness_did_not_write_it_does_not_believe() {
    let house = House::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("checkpoint"), "nothing").unwrap();
    let refused = Witness::open(folder.path(), EDGE, house.authority.log.key()).err();
    assert!(matches!(refused, Some(WitnessError::Malformed { .. })), "{refused:?}");
    // A checkpoint of another authority's log says nothing about this one.
    let other = House::start().await;
    let folder = tempfile::tempdir().unwrap();
    append(other.authority.store.as_ref(), "one").await;
    signed(&other).await;
    let witness = open(&house, folder.path());
    let foreign = witness.look(&other.gateway("edge"), &other.gateways("")).await;
    assert!(matches!(foreign, Err(WitnessError::Answer(_))), "{foreign:?}");
    assert_eq!(*witness.state().borrow(), WitnessState::New);
}

/// Makes another key of the log, and returns when the authority signs with it.
async fn rotate(house: &House, urgency: Urgency) -> NoteKey {
    let authority = &house.authority;
    let (directory, name) = (authority.config.keys(), authority.log.name().to_owned());
    let rotated = rotate_log(&directory, &name, authority.now(), urgency).unwrap().unwrap();
    while authority.log.key() != rotated.key {
        tokio::task::yield_now().await;
    }
    rotated.key
}

async fn newest_note(house: &House) -> Note {
    append(house.authority.store.as_ref(), "another").await;
    signed(house).await;
    let newest = house.authority.store.newest_checkpoint().await.unwrap().unwrap();
    Note::parse(&newest.note).unwrap()
}

#[tokio::test]
async fn a_log_whose_key_is_rotated_is_followed_by_those_who_know_either_key() {
    let (house, ahead) = House::in_time().await;
    let (gateway, authority) = (house.gateway("edge"), house.gateways(""));
    let (awake, asleep) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (follower, sleeper) = (open(&house, awake.path()), open(&house, asleep.path()));
    newest_note(&house).await;
    follower.look(&gateway, &authority).await.unwrap();
    sleeper.look(&gateway, &authority).await.unwrap();

    let before = house.authority.log.key();
    let after = rotate(&house, Urgency::Scheduled).await;
    let name = house.authority.log.name();
    let directory = house.authority.config.keys();
    let again = rotate_log(&directory, name, house.authority.now(), Urgency::Scheduled).unwrap();
    assert_eq!(again, None, "two sign already");
    // Both sign: who knows either of them can check it.
    let note = newest_note(&house).await;
    before.verify(&note).unwrap();
    after.verify(&note).unwrap();
    follower.look(&gateway, &authority).await.unwrap();
    let new = tempfile::tempdir().unwrap();
    open(&house, new.path()).look(&gateway, &authority).await.unwrap();

    let overlap = i64::try_from(LOG_OVERLAP.as_secs()).unwrap();
    ahead.fetch_add(overlap + 1, Ordering::SeqCst);
    let note = newest_note(&house).await;
    assert_eq!(before.verify(&note), Err(NoteError::Unsigned(name.to_owned())));
    after.verify(&note).unwrap();
    // One learned of it during the overlap, one slept through it, and one starts anew with the old file.
    follower.look(&gateway, &authority).await.unwrap();
    sleeper.look(&gateway, &authority).await.unwrap();
    drop(follower);
    let restarted = Witness::open(awake.path(), EDGE, before.clone()).unwrap();
    restarted.look(&gateway, &authority).await.unwrap();
    // What the earlier key signed is still checked, and the next rotation deletes its secret.
    let (store, keys) = (house.authority.store.as_ref(), house.authority.log.keys());
    assert_eq!(keys, [before, after]);
    assert_eq!(log::verify::verify(store, &keys, &[], |_, _| {}).await.unwrap().findings, []);
    rotate(&house, Urgency::Scheduled).await;
    assert!(!directory.join("log.key").exists());
    sleeper.look(&gateway, &authority).await.unwrap();
}

#[tokio::test]
async fn after_an_emergency_a_witness_believes_the_key_that_a_person_gives_it() {
    let house = House::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (gateway, authority) = (house.gateway("edge"), house.gateways(""));
    let witness = open(&house, folder.path());
    newest_note(&house).await;
    let known = witness.look(&gateway, &authority).await.unwrap();
    let stolen = house.authority.log.key();
    rotate(&house, Urgency::Emergency).await;
    let note = newest_note(&house).await;
    assert!(matches!(stolen.verify(&note), Err(NoteError::Unsigned(_))));
    let refused = witness.look(&gateway, &authority).await;
    assert!(matches!(refused, Err(WitnessError::Answer(_))), "{refused:?}");
    drop(witness);
    // It still remembers the log by what the stolen key signed.
    let witness = open(&house, folder.path());
    assert_eq!(*witness.state().borrow(), WitnessState::Sound(known));
    assert!(witness.look(&gateway, &authority).await.unwrap() > known);
    let again = open(&house, folder.path());
    again.look(&gateway, &authority).await.unwrap();
}
