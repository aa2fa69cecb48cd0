//! Backups, and what a restore makes of them, from each database into each.

use std::io::Cursor;
use std::sync::Arc;

use signet_authority::store::{
    Event, IntegrityKey, KeptEvidence, MintRecord, RestoreError, RestoreTime, RevocationTarget,
    SessionChange, SessionKind, SqlStore, Store,
};
use signet_evidence::RejectionCode;
use signet_evidence::binding::sha256;
use zeroize::Zeroizing;

use super::rows::{NOW, allowed, at, challenge, enrol_device, session_record, token};
use super::{Bench, Postgresql, Sqlite, integrity, rejected};

const TIME: RestoreTime = RestoreTime { now: at(300), refuse_challenges_until: at(420) };

async fn empty(bench: &impl Bench) -> Arc<SqlStore> {
    Arc::new(SqlStore::create(bench.place().await.location, integrity()).await.unwrap())
}

async fn back_up(store: &SqlStore) -> Vec<u8> {
    let mut file = Vec::new();
    let header = store.back_up(at(60), &mut file).await.unwrap();
    assert_eq!(header.made_at, at(60).0);
    file
}

async fn restored(store: &SqlStore, file: &[u8]) -> Result<u64, RestoreError> {
    let outcome = store.restore(&mut Cursor::new(file), TIME, &allowed(Event::Restore)).await;
    outcome.map(|restored| restored.ended)
}

async fn from_one_into_the_other(from: &impl Bench, into: &impl Bench) {
    let old = empty(from).await;
    let device = enrol_device(old.as_ref(), 1).await;
    let spent = session_record(old.as_ref(), &device, SessionKind::Action).await;
    old.mint(&spent, &allowed(Event::TokenAction)).await.unwrap();
    old.redeem(&spent.token.id, NOW, &allowed(Event::Redeem)).await.unwrap();
    let unspent = session_record(old.as_ref(), &device, SessionKind::Action).await;
    old.mint(&unspent, &allowed(Event::TokenAction)).await.unwrap();
    let person = session_record(old.as_ref(), &device, SessionKind::Person).await;
    old.mint(&person, &allowed(Event::TokenSession)).await.unwrap();
    let revoked = RevocationTarget::Token(unspent.token.id);
    old.revoke(&revoked, NOW, &allowed(Event::Revoke)).await.unwrap().unwrap();
    let mut decided = allowed(Event::TokenRenew);
    let kept = KeptEvidence { bytes: b"evidence".to_vec(), peer: b"certificate".to_vec() };
    decided.evidence = Some(sha256(&kept.bytes));
    decided.kept = Some(std::sync::Arc::new(kept.clone()));
    old.append_audit(&decided).await.unwrap();
    let records = old.audit_after(0, 100).await.unwrap();
    let file = back_up(&old).await;

    let new = empty(into).await;
    assert_eq!(restored(&new, &file).await.unwrap(), 3);
    assert_eq!(new.device(&device.id).await.unwrap(), old.device(&device.id).await.unwrap());
    assert_eq!(new.evidence(&sha256(b"evidence")).await.unwrap(), Some(kept));
    // What was spent stays spent, and what may have been spent since is spent too.
    let redeem = async |id| rejected(new.redeem(id, at(300), &allowed(Event::Redeem)).await);
    assert_eq!(redeem(&spent.token.id).await, RejectionCode::TokenRedeemed);
    assert_eq!(redeem(&unspent.token.id).await, RejectionCode::TokenRevoked);
    assert!(new.challenge_was_consumed(&spent.challenge.random()).await.unwrap());
    assert_eq!(new.live_sessions(at(300)).await.unwrap(), 0);
    let mint = async |record: &MintRecord| new.mint(record, &allowed(Event::TokenSession)).await;
    let fresh = session_record(new.as_ref(), &device, SessionKind::Person).await;
    let early = MintRecord { challenge: challenge(), ..fresh.clone() };
    assert_eq!(rejected(mint(&early).await), RejectionCode::ChallengeReplayed);
    // The trail goes on where it ended, and says so.
    let after = new.audit_after(0, 100).await.unwrap();
    assert_eq!(after[..records.len()], records[..]);
    assert_eq!(after.last().unwrap().event, "restore");
    // And so do numbers that the database gives.
    let before = new.revocations_after(0).await.unwrap();
    let device = RevocationTarget::Device(device.id);
    let more = new.revoke(&device, at(301), &allowed(Event::Revoke)).await.unwrap().unwrap();
    assert!(more[0].sequence > before.last().unwrap().sequence);
    let SessionChange::Start(session) = &person.session else { panic!() };
    assert!(before.iter().any(|one| one.target == session.id.0));
    assert_eq!(token(session.id, SessionKind::Person).session, session.id);
    // A second backup holds what the first one did.
    let again = back_up(&new).await;
    let third = empty(from).await;
    restored(&third, &again).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_sqlite_is_restored_in_either() {
    from_one_into_the_other(&Sqlite::new(), &Sqlite::new()).await;
    from_one_into_the_other(&Sqlite::new(), &Postgresql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_postgresql_is_restored_in_either() {
    from_one_into_the_other(&Postgresql, &Postgresql).await;
    from_one_into_the_other(&Postgresql, &Sqlite::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_not_whole_and_ours_changes_nothing() {
    let bench = Sqlite::new();
    let old = empty(&bench).await;
    enrol_device(old.as_ref(), 1).await;
    let file = back_up(&old).await;
    let new = empty(&bench).await;
    let mut changed = file.clone();
    let place = file.windows(7).position(|text| text == b"\"alice\"").unwrap();
    changed[place + 1] = b'm';
    assert!(matches!(restored(&new, &changed).await, Err(RestoreError::Foreign)));
    let cut = &file[..file.len() / 2];
    assert!(matches!(restored(&new, cut).await, Err(RestoreError::Malformed { .. })));
    let last = file[..file.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    let unsigned = &file[..=last];
    assert!(matches!(restored(&new, unsigned).await, Err(RestoreError::Malformed { .. })));
    assert!(matches!(restored(&new, b"").await, Err(RestoreError::Malformed { line: 1 })));
    let other = IntegrityKey::new(&Zeroizing::new([8; 32]));
    let elsewhere = SqlStore::create(bench.place().await.location, other).await.unwrap();
    assert!(matches!(restored(&elsewhere, &file).await, Err(RestoreError::Foreign)));
    // Nothing of all that was written.
    assert_eq!(new.audit_after(0, 10).await.unwrap(), []);
    restored(&new, &file).await.unwrap();
    assert!(matches!(restored(&new, &file).await, Err(RestoreError::NotEmpty)));
}
