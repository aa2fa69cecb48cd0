//! What every [`Store`] must do, whatever database is under it.
//!
//! Each check takes a fresh store from a [`Bench`]; a new kind of store adds a bench and one call.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

#[path = "conformance/backup.rs"]
mod backup;
#[path = "conformance/evidence.rs"]
mod evidence;
#[path = "conformance/journal.rs"]
mod journal;
#[path = "conformance/log.rs"]
mod log;
#[path = "conformance/policies.rs"]
mod policies;
mod postgres;
mod rows;
#[path = "conformance/tickets.rs"]
mod tickets;
#[path = "conformance/upgrade.rs"]
mod upgrade;
#[path = "conformance/verifiers.rs"]
mod verifiers;

use std::sync::Arc;

use signet_authority::random;
use signet_authority::store::{
    AuditEntry, AuditFilter, AuditRecord, Authorisation, CommitError, Cosignature, Decision,
    DeviceEnrolment, DeviceRow, Event, Grant, IntegrityKey, Location, MintRecord, OpenError,
    RevocationKind, RevocationTarget, SessionChange, SessionKind, SignedCheckpoint, SqlStore,
    Store, StoreError, TicketKind, WitnessRow,
};
use signet_evidence::{RejectionCode, SessionId, UnixTime};
use signet_verifier::log::{Frontier, NoteKey, SignatureKind};
use sqlx::{Connection, PgConnection, SqliteConnection};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use evidence::{evidence_goes_by_age_and_size, evidence_is_kept_with_its_record};
use journal::what_a_node_noted_is_taken_once_and_in_order;
use log::{
    a_decision_that_hangs_up_does_not_take_others_records_along,
    audit_records_are_found_by_what_they_say, checkpoints_and_cosignatures_come_back,
    the_audit_log_grows_with_its_records, the_audit_table_refuses_changes,
};
use policies::{
    of_activations_at_once_one_counts, what_policy_was_asked_comes_back,
    what_was_put_into_force_is_kept_with_its_order,
};
use upgrade::{a_node_goes_on_while_a_later_one_migrates, data_of_the_first_schema_is_still_there};

use tickets::{
    a_recovery_ticket_revokes_the_keys_that_were_lost, a_ticket_takes_two_people_at_two_machines,
    requests_that_wait_are_bounded,
    the_same_tpm_again_takes_its_place_only_by_a_ticket_that_says_so,
};

use verifiers::{
    a_decision_that_a_revocation_overtook_is_not_on_record,
    a_mint_never_takes_a_place_that_was_revoked,
    a_revoked_token_leaves_its_place_and_its_session_goes_on,
    a_tokens_standing_is_that_of_all_above_it, everything_ends_every_session_and_nothing_else,
    who_applied_what_is_on_record,
};

use rows::{
    NOW, allowed, at, challenge, clock, device, enrol_device, enrol_key, place_of, session_record,
    ticket, token,
};

/// Makes places for stores.
trait Bench {
    async fn place(&self) -> Place;

    async fn store(&self) -> Arc<dyn Store> {
        let location = self.place().await.location;
        Arc::new(SqlStore::create(location, integrity()).await.unwrap())
    }
}

/// Where a store can be made, and how to get at it past the store.
struct Place {
    location: Location,
    url: String,
}

impl Place {
    fn is_postgresql(&self) -> bool {
        self.url.starts_with("postgres")
    }

    /// The names of its tables.
    async fn tables(&self) -> Vec<String> {
        let sql = match self.is_postgresql() {
            true => "SELECT table_name::text FROM information_schema.tables
                     WHERE table_schema = 'public' AND table_name NOT LIKE '!_sqlx%' ESCAPE '!'",
            false => "SELECT name FROM sqlite_schema WHERE type = 'table'
                      AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name NOT LIKE '!_sqlx%' ESCAPE '!'",
        };
        if self.is_postgresql() {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
        } else {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
        }
    }

    async fn execute(&self, sql: &'static str) {
        self.try_execute(sql).await.unwrap();
    }

    async fn try_execute(&self, sql: &'static str) -> Result<(), sqlx::Error> {
        if self.is_postgresql() {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.map(|_| ())
        } else {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.map(|_| ())
        }
    }
}

struct Sqlite(tempfile::TempDir);

impl Sqlite {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

fn integrity() -> IntegrityKey {
    IntegrityKey::new(&Zeroizing::new([7; 32]))
}

impl Bench for Sqlite {
    async fn place(&self) -> Place {
        let path = self.0.path().join(format!("{}.db", SessionId(random::bytes())));
        let url = format!("sqlite:{}?mode=rwc", path.display());
        Place { location: path.as_path().into(), url }
    }
}

/// One server for all checks, a database for each store.
struct Postgresql;

impl Bench for Postgresql {
    async fn place(&self) -> Place {
        let url = postgres::shared().database().await;
        Place { location: postgres::server(&url).into(), url }
    }
}

fn rejected<T: std::fmt::Debug>(outcome: Result<T, CommitError>) -> RejectionCode {
    match outcome {
        Err(CommitError::Rejected(code)) => code,
        other => panic!("{other:?}"),
    }
}

/// Of racing outcomes exactly one is a yes, and every other is refused with `code`.
fn one_wins(outcomes: Vec<Result<(), CommitError>>, code: RejectionCode) {
    let (yes, no): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(yes.len(), 1);
    for outcome in no {
        assert_eq!(rejected(outcome), code);
    }
}

async fn audit_length(store: &dyn Store) -> usize {
    store.audit_after(0, 10_000).await.unwrap().len()
}

async fn rows_come_back_as_they_went_in(bench: &impl Bench) {
    let store = bench.store().await;
    let device = enrol_device(&*store, 1).await;
    assert_eq!(store.device(&device.id).await.unwrap(), Some(device.clone()));
    let key = enrol_key(&*store, &device, b"k1", Authorisation::Grant).await.unwrap();
    assert_eq!(store.credential(b"k1").await.unwrap(), Some(key.clone()));
    assert_eq!(store.credentials_of("alice").await.unwrap(), [key]);
    let record = session_record(&*store, &device, SessionKind::Person).await;
    store.mint(&record, &allowed(Event::TokenSession)).await.unwrap();
    let SessionChange::Start(session) = &record.session else { panic!() };
    assert_eq!(store.session(session.id).await.unwrap().as_ref(), Some(session));
    assert_eq!(store.token(&record.token.id).await.unwrap(), Some(record.token));
    assert_eq!(store.device(&device.id).await.unwrap().unwrap().clock, clock(5, 3000));
    assert_eq!(store.live_sessions(NOW).await.unwrap(), 1);
    assert_eq!(store.live_sessions(at(36_000)).await.unwrap(), 0);
}

async fn a_ticket_opens_once(bench: &impl Bench) {
    let store = bench.store().await;
    let digest = [4; 32];
    store.add_ticket(&ticket(TicketKind::Device, digest), &allowed(Event::Ticket)).await.unwrap();
    assert!(store.ticket(&digest).await.unwrap().unwrap().opens(TicketKind::Device, NOW));
    let audit = allowed(Event::DeviceEnrol);
    let enrol = async |device: DeviceRow| {
        let enrolment = DeviceEnrolment { ticket: digest, device, grant_expires: at(900) };
        store.enrol_device(&enrolment, &audit).await
    };
    let invalid = RejectionCode::TicketInvalid;
    let wrong_operator = DeviceRow { operator: "bob".into(), ..device(1) };
    assert_eq!(rejected(enrol(wrong_operator).await), invalid);
    let late = DeviceRow { enrolled_at: at(900), ..device(1) };
    assert_eq!(rejected(enrol(late).await), invalid);
    enrol(device(1)).await.unwrap();
    assert_eq!(rejected(enrol(device(2)).await), invalid);
    assert!(!store.ticket(&digest).await.unwrap().unwrap().opens(TicketKind::Device, NOW));
}

async fn of_many_holders_of_a_ticket_one_wins(bench: &impl Bench) {
    let store = bench.store().await;
    let ticket = [4; 32];
    let made = rows::ticket(TicketKind::Device, ticket);
    store.add_ticket(&made, &allowed(Event::Ticket)).await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..8 {
        let store = store.clone();
        let enrolment = DeviceEnrolment { ticket, device: device(number), grant_expires: at(900) };
        tasks.spawn(
            async move { store.enrol_device(&enrolment, &allowed(Event::DeviceEnrol)).await },
        );
    }
    one_wins(tasks.join_all().await, RejectionCode::TicketInvalid);
}

async fn a_grant_opens_for_the_first_key_only(bench: &impl Bench) {
    let store = bench.store().await;
    let device = enrol_device(&*store, 1).await;
    let grant = async |now: UnixTime| store.grant_is_open(&device.id, "alice", now).await.unwrap();
    assert_eq!((grant(NOW).await, grant(at(900)).await), (Grant::Open, Grant::Closed));
    assert_eq!(store.grant_is_open(&device.id, "bob", NOW).await.unwrap(), Grant::Closed);
    enrol_key(&*store, &device, b"k1", Authorisation::Grant).await.unwrap();
    assert_eq!(grant(NOW).await, Grant::Closed);
    let second = enrol_key(&*store, &device, b"k2", Authorisation::Grant).await;
    assert_eq!(rejected(second), RejectionCode::RegistrationNotAuthorised);
}

async fn a_further_key_needs_a_key_or_a_ticket(bench: &impl Bench) {
    let store = bench.store().await;
    let device = enrol_device(&*store, 1).await;
    enrol_key(&*store, &device, b"k1", Authorisation::Grant).await.unwrap();
    let by_key = |sign_count| Authorisation::Credential { id: b"k1".to_vec(), sign_count };
    enrol_key(&*store, &device, b"k2", by_key(2)).await.unwrap();
    assert_eq!(store.credential(b"k1").await.unwrap().unwrap().sign_count, 2);
    let digest = [8; 32];
    let made = ticket(TicketKind::Authenticator, digest);
    store.add_ticket(&made, &allowed(Event::Ticket)).await.unwrap();
    enrol_key(&*store, &device, b"k3", Authorisation::Ticket(digest)).await.unwrap();
    let used = enrol_key(&*store, &device, b"k4", Authorisation::Ticket(digest)).await;
    assert_eq!(rejected(used), RejectionCode::TicketInvalid);
    let twice = enrol_key(&*store, &device, b"k2", by_key(3)).await;
    assert_eq!(rejected(twice), RejectionCode::CredentialDuplicate);
    assert_eq!(store.credential(b"k1").await.unwrap().unwrap().sign_count, 2);
}

async fn of_many_answers_to_one_challenge_one_wins(bench: &impl Bench) {
    let store = bench.store().await;
    let device = enrol_device(&*store, 1).await;
    let challenge = challenge();
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let record = session_record(&*store, &device, SessionKind::Person).await;
        let record = MintRecord { challenge, ..record };
        let store = store.clone();
        tasks.spawn(async move { store.mint(&record, &allowed(Event::TokenSession)).await });
    }
    one_wins(tasks.join_all().await, RejectionCode::ChallengeReplayed);
    assert!(store.challenge_was_consumed(&challenge.random()).await.unwrap());
    assert_eq!(store.live_sessions(NOW).await.unwrap(), 1);
    // Ticket, enrolment, one mint: what was refused wrote nothing by itself.
    assert_eq!(audit_length(&*store).await, 3);
}

async fn a_refused_mint_changes_nothing(bench: &impl Bench) {
    let store = bench.store().await;
    let device = enrol_device(&*store, 1).await;
    enrol_key(&*store, &device, b"k1", Authorisation::Grant).await.unwrap();
    let before = audit_length(&*store).await;
    let audit = allowed(Event::TokenSession);
    let good = session_record(&*store, &device, SessionKind::Person).await;
    let with_credential =
        |id: &[u8], count| MintRecord { credential: Some((id.to_vec(), count)), ..good.clone() };
    let unknown_session = SessionChange::Renew { id: SessionId([0; 16]), scope: None, place: 0 };
    let cases = [
        (MintRecord { clock: clock(4, 9000), ..good.clone() }, RejectionCode::TpmClockRegressed),
        (with_credential(b"k1", 1), RejectionCode::CounterRegressed),
        (with_credential(b"k9", 9), RejectionCode::CredentialUnknown),
        (MintRecord { session: unknown_session, ..good.clone() }, RejectionCode::SessionEnded),
    ];
    for (record, code) in cases {
        assert_eq!(rejected(store.mint(&record, &audit).await), code);
        assert!(!store.challenge_was_consumed(&record.challenge.random()).await.unwrap());
        assert_eq!(store.token(&record.token.id).await.unwrap(), None);
    }
    assert_eq!(audit_length(&*store).await, before);
    store.mint(&good, &audit).await.unwrap();
    // A quote of the same boot that lost the race keeps the later clock.
    let late = session_record(&*store, &device, SessionKind::Person).await;
    store.mint(&MintRecord { clock: clock(5, 10), ..late }, &audit).await.unwrap();
    assert_eq!(store.device(&device.id).await.unwrap().unwrap().clock, clock(5, 3000));
}

async fn only_a_persons_session_is_continued(bench: &impl Bench) {
    let store = bench.store().await;
    let device = enrol_device(&*store, 1).await;
    for kind in [SessionKind::Person, SessionKind::Action, SessionKind::Workload] {
        let start = session_record(&*store, &device, kind).await;
        store.mint(&start, &allowed(Event::TokenSession)).await.unwrap();
        let id = start.token.session;
        let place = place_of(&start);
        let renew = MintRecord {
            challenge: challenge(),
            session: SessionChange::Renew { id, scope: None, place },
            token: token(id, SessionKind::Person),
            ..start
        };
        let outcome = store.mint(&renew, &allowed(Event::TokenRenew)).await;
        match kind {
            SessionKind::Person => outcome.unwrap(),
            _ => assert_eq!(rejected(outcome), RejectionCode::SessionEnded),
        }
    }
}

async fn an_action_token_is_redeemed_once(bench: &impl Bench) {
    let store = bench.store().await;
    let device = enrol_device(&*store, 1).await;
    let audit = allowed(Event::Redeem);
    let action = session_record(&*store, &device, SessionKind::Action).await;
    store.mint(&action, &allowed(Event::TokenAction)).await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (store, id, audit) = (store.clone(), action.token.id, audit.clone());
        tasks.spawn(async move { store.redeem(&id, NOW, &audit).await });
    }
    one_wins(tasks.join_all().await, RejectionCode::TokenRedeemed);
    let unknown = store.redeem(&[0; 16], NOW, &audit).await;
    assert_eq!(rejected(unknown), RejectionCode::TokenRevoked);
    let session = session_record(&*store, &device, SessionKind::Person).await;
    store.mint(&session, &allowed(Event::TokenSession)).await.unwrap();
    let not_single_use = store.redeem(&session.token.id, NOW, &audit).await;
    assert_eq!(rejected(not_single_use), RejectionCode::TokenRevoked);
}

async fn revocation_reaches_everything_below(bench: &impl Bench) {
    let store = bench.store().await;
    let device = enrol_device(&*store, 1).await;
    enrol_key(&*store, &device, b"k1", Authorisation::Grant).await.unwrap();
    let audit = allowed(Event::Revoke);
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let record = session_record(&*store, &device, SessionKind::Person).await;
        store.mint(&record, &allowed(Event::TokenSession)).await.unwrap();
        sessions.push(record);
    }
    let revoke = async |target: RevocationTarget| store.revoke(&target, NOW, &audit).await.unwrap();
    let session = sessions[0].token.session;
    let first = revoke(RevocationTarget::Session(session)).await.unwrap();
    let [one] = first.as_slice() else { panic!("{first:?}") };
    let SessionChange::Start(row) = &sessions[0].session else { panic!() };
    assert_eq!((one.kind, one.status_index), (RevocationKind::Session, Some(row.status_index)));
    assert_eq!(revoke(RevocationTarget::Session(session)).await, None);
    assert_eq!(store.revocations_after(0).await.unwrap(), first);
    assert_eq!(revoke(RevocationTarget::Credential(b"unknown".to_vec())).await, None);
    assert_eq!(revoke(RevocationTarget::Token(sessions[1].token.id)).await.unwrap().len(), 1);
    assert!(store.token(&sessions[1].token.id).await.unwrap().unwrap().revoked);
    let all = revoke(RevocationTarget::Operator("alice".into())).await.unwrap();
    let kinds: Vec<RevocationKind> = all.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [RevocationKind::Device, RevocationKind::Session, RevocationKind::Session]);
    assert_eq!(store.live_sessions(NOW).await.unwrap(), 0);
    assert!(store.device(&device.id).await.unwrap().unwrap().revoked);
    assert!(store.credential(b"k1").await.unwrap().unwrap().revoked);
    let record = session_record(&*store, &device, SessionKind::Person).await;
    let refused = store.mint(&record, &allowed(Event::TokenSession)).await;
    assert_eq!(rejected(refused), RejectionCode::DeviceRevoked);
    assert_eq!(store.revocations_after(all[0].sequence).await.unwrap(), all[1..]);
}

async fn status_indices_are_given_once(bench: &impl Bench) {
    let store = bench.store().await;
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        tasks.spawn(async move { store.reserve_status_indices(10).await.unwrap() });
    }
    let mut all: Vec<u64> = tasks.join_all().await.into_iter().flatten().collect();
    all.sort_unstable();
    assert_eq!(all, (0..80).collect::<Vec<u64>>());
}

async fn what_ran_out_is_forgotten_and_the_rest_stays(bench: &impl Bench) {
    let store = bench.store().await;
    let device = enrol_device(&*store, 1).await;
    let record = session_record(&*store, &device, SessionKind::Person).await;
    store.mint(&record, &allowed(Event::TokenSession)).await.unwrap();
    let random = record.challenge.random();
    store.forget_expired(at(120)).await.unwrap();
    assert!(store.challenge_was_consumed(&random).await.unwrap());
    let before = audit_length(&*store).await;
    store.forget_expired(at(600)).await.unwrap();
    assert!(!store.challenge_was_consumed(&random).await.unwrap());
    assert_eq!(store.token(&record.token.id).await.unwrap(), None);
    assert_eq!(audit_length(&*store).await, before);
}

async fn another_store_hears_of_a_revocation(bench: &impl Bench) {
    let place = bench.place().await;
    let here = SqlStore::create(place.location.clone(), integrity()).await.unwrap();
    let there = SqlStore::open(place.location, integrity()).await.unwrap();
    let device = enrol_device(&here, 1).await;
    let mut news = there.news();
    // Whoever begins to listen is told once that it does.
    news.changed().await.unwrap();
    let target = RevocationTarget::Device(device.id);
    here.revoke(&target, NOW, &allowed(Event::Revoke)).await.unwrap().unwrap();
    while there.revocations_after(0).await.unwrap().is_empty() {
        news.changed().await.unwrap();
    }
}

/// Every check, for every database.
macro_rules! conformance {
    ($($check:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::$check(&super::Sqlite::new()).await;
            })*
        }

        mod on_postgresql {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::$check(&super::Postgresql).await;
            })*
        }
    };
}

conformance! {
    rows_come_back_as_they_went_in
    a_tokens_standing_is_that_of_all_above_it
    a_decision_that_a_revocation_overtook_is_not_on_record
    what_a_node_noted_is_taken_once_and_in_order
    a_ticket_opens_once
    of_many_holders_of_a_ticket_one_wins
    the_same_tpm_again_takes_its_place_only_by_a_ticket_that_says_so
    a_recovery_ticket_revokes_the_keys_that_were_lost
    a_ticket_takes_two_people_at_two_machines
    requests_that_wait_are_bounded
    a_grant_opens_for_the_first_key_only
    a_further_key_needs_a_key_or_a_ticket
    of_many_answers_to_one_challenge_one_wins
    a_refused_mint_changes_nothing
    only_a_persons_session_is_continued
    an_action_token_is_redeemed_once
    revocation_reaches_everything_below
    a_revoked_token_leaves_its_place_and_its_session_goes_on
    everything_ends_every_session_and_nothing_else
    a_mint_never_takes_a_place_that_was_revoked
    who_applied_what_is_on_record
    status_indices_are_given_once
    the_audit_log_grows_with_its_records
    audit_records_are_found_by_what_they_say
    checkpoints_and_cosignatures_come_back
    evidence_is_kept_with_its_record
    evidence_goes_by_age_and_size
    a_decision_that_hangs_up_does_not_take_others_records_along
    what_ran_out_is_forgotten_and_the_rest_stays
    what_was_put_into_force_is_kept_with_its_order
    of_activations_at_once_one_counts
    what_policy_was_asked_comes_back
    the_audit_table_refuses_changes
    another_store_hears_of_a_revocation
    data_of_the_first_schema_is_still_there
    a_node_goes_on_while_a_later_one_migrates
}

mod sqlite {
    use super::*;

    async fn store(directory: &tempfile::TempDir) -> (SqlStore, sqlx::SqlitePool) {
        let path = directory.path().join("a.db");
        let store = SqlStore::create(&path, integrity()).await.unwrap();
        let raw = sqlx::SqlitePool::connect(&format!("sqlite:{}", path.display())).await.unwrap();
        (store, raw)
    }

    /// What a caller that hangs up does to its request, at each point where it can.
    #[tokio::test]
    async fn a_mint_that_is_dropped_at_any_point_is_whole_or_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = store(&directory).await;
        let device = enrol_device(&store, 1).await;
        let (mut whole, mut nothing) = (0, 0);
        for polls in (0..400).step_by(4) {
            let record = session_record(&store, &device, SessionKind::Person).await;
            let before = audit_length(&store).await;
            let audit = allowed(Event::TokenSession);
            let mut mint = Box::pin(store.mint(&record, &audit));
            for _ in 0..polls {
                let polled = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(mint.as_mut().poll(context).is_ready())
                });
                if polled.await {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(mint);
            // Any later write comes after what was under way.
            store.append_audit(&allowed(Event::Authorize)).await.unwrap();
            let token = store.token(&record.token.id).await.unwrap().is_some();
            let session = store.session(record.token.session).await.unwrap().is_some();
            let consumed = store.challenge_was_consumed(&record.challenge.random()).await.unwrap();
            let audited = audit_length(&store).await - before == 2;
            assert_eq!([token, session, consumed, audited], [token; 4], "after {polls} polls");
            *(if token { &mut whole } else { &mut nothing }) += 1;
        }
        assert!(nothing > 0, "{whole} whole, {nothing} nothing");
    }

    #[tokio::test]
    async fn rows_of_another_writer_are_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let (store, raw) = store(&directory).await;
        let device = enrol_device(&store, 1).await;
        enrol_key(&store, &device, b"k1", Authorisation::Grant).await.unwrap();
        for statement in [
            "UPDATE devices SET pcrs = '{}'",
            "UPDATE credentials SET name = 'red key'",
            "DROP TRIGGER audit_is_append_only_update",
            "UPDATE audit SET detail = 'x' WHERE sequence = 2",
        ] {
            sqlx::query(statement).execute(&raw).await.unwrap();
        }
        let table = |error| match error {
            StoreError::Corrupt { table } => table,
            other => panic!("{other}"),
        };
        assert_eq!(table(store.device(&device.id).await.unwrap_err()), "devices");
        assert_eq!(table(store.credential(b"k1").await.unwrap_err()), "credentials");
        assert_eq!(table(store.audit_after(0, 10).await.unwrap_err()), "audit");
    }

    #[tokio::test]
    async fn a_full_disk_is_told_and_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = store(&directory).await;
        let device = enrol_device(&store, 1).await;
        let good = session_record(&store, &device, SessionKind::Person).await;
        // No more pages than there are.
        store.limit_size(0).await.unwrap();
        let mut entry = allowed(Event::TokenSession);
        entry.detail = "more than the pages that exist can hold".repeat(1000);
        let full = store.mint(&good, &entry).await;
        assert!(matches!(full, Err(CommitError::Store(StoreError::Full))), "{full:?}");
        let full = store.append_audit(&entry).await;
        assert!(matches!(full, Err(StoreError::Full)), "{full:?}");
        assert_eq!(store.token(&good.token.id).await.unwrap(), None);
        assert_eq!(store.session(good.token.session).await.unwrap(), None);
        assert!(!store.challenge_was_consumed(&good.challenge.random()).await.unwrap());
        store.limit_size(1 << 30).await.unwrap();
        store.mint(&good, &entry).await.unwrap();
    }

    #[tokio::test]
    async fn an_existing_database_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let missing = SqlStore::open(&path, integrity()).await.map(|_| ()).unwrap_err();
        assert!(matches!(missing, OpenError::Missing { .. }), "{missing}");
        SqlStore::create(&path, integrity()).await.unwrap().close().await;
        let exists = SqlStore::create(&path, integrity()).await.map(|_| ()).unwrap_err();
        assert!(matches!(exists, OpenError::Exists { .. }), "{exists}");
    }
}
