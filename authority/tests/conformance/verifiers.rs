//! Revocations as verifiers see them: places in the status lists, and who has applied what.

use signet_authority::store::{
    Appended, CommitError, Event, MintRecord, RevocationKind, RevocationTarget, SessionChange,
    SessionKind, Store, TokenStanding, VerifierRow,
};
use signet_evidence::UnixTime;

use super::Bench;
use super::rows::{NOW, allowed, at, challenge, enrol_device, session_record, token};

pub(super) async fn a_revoked_token_leaves_its_place_and_its_session_goes_on(bench: &impl Bench) {
    let store = bench.store().await;
    let device = enrol_device(&*store, 1).await;
    let record = session_record(&*store, &device, SessionKind::Person).await;
    store.mint(&record, &allowed(Event::TokenSession)).await.unwrap();
    let SessionChange::Start(row) = &record.session else { panic!() };
    let target = RevocationTarget::Token(record.token.id);
    let revoked = store.revoke(&target, NOW, &allowed(Event::Revoke)).await.unwrap().unwrap();
    let [one] = revoked.as_slice() else { panic!("{revoked:?}") };
    assert_eq!((one.kind, one.status_index), (RevocationKind::Token, Some(row.status_index)));
    let session = store.session(record.token.session).await.unwrap().unwrap();
    assert!(!session.ended);
    assert_ne!(session.status_index, row.status_index);
    // Nobody else gets the new place.
    assert_eq!(store.reserve_status_indices(1).await.unwrap().start, session.status_index + 1);
}

pub(super) async fn a_tokens_standing_is_that_of_all_above_it(bench: &impl Bench) {
    let store = bench.store().await;
    assert_eq!(store.token_standing(&[0; 16]).await.unwrap(), None);
    for number in 0..5 {
        let device = enrol_device(&*store, number).await;
        let kind = if number == 3 { SessionKind::Action } else { SessionKind::Person };
        let record = session_record(&*store, &device, kind).await;
        store.mint(&record, &allowed(Event::TokenSession)).await.unwrap();
        let token = record.token.id;
        let standing = async || store.token_standing(&token).await.unwrap().unwrap();
        let SessionChange::Start(session) = &record.session else { panic!() };
        let mut good = TokenStanding {
            session: session.id,
            session_expires: Some(session.expires),
            action: record.token.action,
            redeemed: false,
            revoked: false,
            revocations: last(&*store).await,
        };
        assert_eq!(standing().await, good);
        let target = match number {
            0 => RevocationTarget::Token(token),
            1 => RevocationTarget::Session(session.id),
            2 => RevocationTarget::Device(device.id),
            4 => RevocationTarget::Operator(device.operator),
            _ => {
                store.redeem(&token, NOW, &allowed(Event::Redeem)).await.unwrap();
                assert_eq!(standing().await, TokenStanding { redeemed: true, ..good });
                continue;
            }
        };
        store.revoke(&target, NOW, &allowed(Event::Revoke)).await.unwrap().unwrap();
        good.revocations = last(&*store).await;
        assert_eq!(standing().await, TokenStanding { revoked: true, ..good }, "{number}");
    }
}

/// Number of the last revocation.
async fn last(store: &dyn Store) -> i64 {
    store.revocations_after(0).await.unwrap().last().map_or(0, |last| last.sequence)
}

/// Whatever takes the standing of a token away has a number in the feed: what was decided before it and
/// is not on record by then does not get there.
pub(super) async fn a_decision_that_a_revocation_overtook_is_not_on_record(bench: &impl Bench) {
    let store = bench.store().await;
    for number in 0..5 {
        let device = enrol_device(&*store, number).await;
        let record = session_record(&*store, &device, SessionKind::Person).await;
        store.mint(&record, &allowed(Event::TokenSession)).await.unwrap();
        let token = record.token.id;
        let good = store.token_standing(&token).await.unwrap().unwrap();
        let entry = allowed(Event::Authorize);
        let written = store.append_as_of(&entry, good.revocations).await.unwrap();
        assert_eq!(written, Appended::Written);
        let target = match number {
            0 => RevocationTarget::Token(token),
            1 => RevocationTarget::Session(good.session),
            2 => RevocationTarget::Device(device.id),
            3 => RevocationTarget::Everything,
            _ => RevocationTarget::Operator(device.operator),
        };
        store.revoke(&target, NOW, &allowed(Event::Revoke)).await.unwrap().unwrap();
        let length = store.log_size().await.unwrap();
        // Others of the same commit are written.
        let (overtaken, other) =
            tokio::join!(store.append_as_of(&entry, good.revocations), store.append_audit(&entry));
        assert_eq!(overtaken.unwrap(), Appended::Overtaken, "{number}");
        other.unwrap();
        assert_eq!(store.log_size().await.unwrap(), length + 1);
    }
}

pub(super) async fn everything_ends_every_session_and_nothing_else(bench: &impl Bench) {
    let store = bench.store().await;
    let device = enrol_device(&*store, 1).await;
    for _ in 0..3 {
        let record = session_record(&*store, &device, SessionKind::Person).await;
        store.mint(&record, &allowed(Event::TokenSession)).await.unwrap();
    }
    let next = store.reserve_status_indices(1).await.unwrap().end;
    let audit = allowed(Event::Revoke);
    let everything = RevocationTarget::Everything;
    let revoked = store.revoke(&everything, NOW, &audit).await.unwrap().unwrap();
    let [one] = revoked.as_slice() else { panic!("{revoked:?}") };
    assert_eq!((one.kind, one.status_index), (RevocationKind::All, Some(next)));
    assert_eq!(store.revocations_after(0).await.unwrap(), revoked);
    assert_eq!(store.live_sessions(NOW).await.unwrap(), 0);
    assert!(!store.device(&device.id).await.unwrap().unwrap().revoked);
    let after = session_record(&*store, &device, SessionKind::Person).await;
    store.mint(&after, &allowed(Event::TokenSession)).await.unwrap();
    let SessionChange::Start(row) = &after.session else { panic!() };
    assert!(row.status_index >= next);
    assert_eq!(store.live_sessions(NOW).await.unwrap(), 1);
}

/// What chose its place before it was revoked is not written, and nothing is used up by it.
pub(super) async fn a_mint_never_takes_a_place_that_was_revoked(bench: &impl Bench) {
    let store = bench.store().await;
    let device = enrol_device(&*store, 1).await;
    let early = session_record(&*store, &device, SessionKind::Person).await;
    let audit = allowed(Event::TokenSession);
    let revoke = allowed(Event::Revoke);
    store.revoke(&RevocationTarget::Everything, NOW, &revoke).await.unwrap().unwrap();
    let records = store.log_size().await.unwrap();
    let outcome = store.mint(&early, &audit).await;
    assert!(matches!(outcome, Err(CommitError::PlaceRevoked)), "{outcome:?}");
    assert_eq!(store.log_size().await.unwrap(), records);
    assert_eq!(store.session(early.token.session).await.unwrap(), None);
    // With another place the same evidence is good.
    let mut again = early;
    let SessionChange::Start(session) = &mut again.session else { panic!() };
    session.status_index = store.reserve_status_indices(1).await.unwrap().start;
    let (id, place) = (session.id, session.status_index);
    store.mint(&again, &audit).await.unwrap();

    // A renewal that began before a token of its session was revoked.
    let renewal = |place| MintRecord {
        challenge: challenge(),
        session: SessionChange::Renew { id, scope: None, place },
        token: token(id, SessionKind::Person),
        ..again.clone()
    };
    let late = renewal(place);
    let target = RevocationTarget::Token(again.token.id);
    store.revoke(&target, NOW, &revoke).await.unwrap().unwrap();
    let outcome = store.mint(&late, &audit).await;
    assert!(matches!(outcome, Err(CommitError::PlaceRevoked)), "{outcome:?}");
    let now = store.session(id).await.unwrap().unwrap().status_index;
    store.mint(&renewal(now), &audit).await.unwrap();
}

pub(super) async fn who_applied_what_is_on_record(bench: &impl Bench) {
    let store = bench.store().await;
    let row = |instance: u8, position: i64, seen_at: UnixTime| VerifierRow {
        gateway: "spiffe://mesh.example/gateway/edge".into(),
        instance: [instance; 16],
        node: "a".into(),
        connected: true,
        position,
        applied_at: (position >= 0).then_some(1_790_000_000_123),
        seen_at,
    };
    let (first, second) = (row(1, -1, NOW), row(2, 7, at(5)));
    store.note_verifiers(&[first.clone(), second.clone()]).await.unwrap();
    assert_eq!(store.verifiers(NOW).await.unwrap(), [first, second.clone()]);
    assert_eq!(store.verifiers(at(1)).await.unwrap(), std::slice::from_ref(&second));
    let applied = row(1, 8, at(6));
    store.note_verifiers(std::slice::from_ref(&applied)).await.unwrap();
    assert_eq!(store.verifiers(NOW).await.unwrap(), [applied.clone(), second.clone()]);
    // It is connected to another node by now: the end of its earlier stream is no news.
    let elsewhere = VerifierRow { node: "b".into(), ..applied.clone() };
    let gone = VerifierRow { connected: false, ..applied };
    store.note_verifiers(&[elsewhere.clone(), gone]).await.unwrap();
    assert_eq!(store.verifiers(NOW).await.unwrap(), [elsewhere.clone(), second]);
    let gone = VerifierRow { connected: false, seen_at: at(700), ..elsewhere };
    store.note_verifiers(std::slice::from_ref(&gone)).await.unwrap();
    // Those that were not seen for ten minutes are forgotten.
    assert_eq!(store.verifiers(NOW).await.unwrap(), [gone]);
}
