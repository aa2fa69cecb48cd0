//! The audit log: records, the tree over them, and what is signed of it.

use super::*;

pub(crate) async fn the_audit_log_grows_with_its_records(bench: &impl Bench) {
    let store = bench.store().await;
    let mut tasks = JoinSet::new();
    for number in 0..300 {
        let store = store.clone();
        let mut entry = allowed(Event::Authorize);
        entry.detail = format!("decision {number}");
        tasks.spawn(async move { store.append_audit(&entry).await.unwrap() });
    }
    tasks.join_all().await;
    let records = store.audit_after(0, 1000).await.unwrap();
    let sequences: Vec<i64> = records.iter().map(|record| record.sequence).collect();
    assert_eq!(sequences, (1..=300).collect::<Vec<_>>());
    let leaves: Vec<_> = records.iter().map(AuditRecord::leaf).collect();
    assert_eq!(store.log_size().await.unwrap(), 300);
    assert_eq!(store.log_hashes(0, 0..400).await.unwrap(), leaves);
    let tile = Frontier::of(&leaves[..256]).root();
    assert_eq!(store.log_hashes(1, 0..2).await.unwrap(), [tile]);
    assert_eq!(store.audit_after(15, 3).await.unwrap(), records[15..18]);
}

pub(crate) async fn audit_records_are_found_by_what_they_say(bench: &impl Bench) {
    let store = bench.store().await;
    for (number, subject) in (0..6).zip(["alice", "bob"].into_iter().cycle()) {
        let code = RejectionCode::TokenExpired;
        let decision = if number < 3 { Decision::Allowed } else { Decision::Refused(code) };
        let mut entry = AuditEntry::new(at(number), Event::Authorize, decision);
        entry.subject = Some(subject.into());
        store.append_audit(&entry).await.unwrap();
    }
    let numbers = async |filter: AuditFilter| -> Vec<i64> {
        let found = store.audit_matching(&filter, 0, 100).await.unwrap();
        found.iter().map(|record| record.sequence).collect()
    };
    let any = AuditFilter::default;
    assert_eq!(numbers(any()).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(numbers(AuditFilter { since: Some(at(2)), ..any() }).await, [3, 4, 5, 6]);
    assert_eq!(numbers(AuditFilter { until: Some(at(2)), ..any() }).await, [1, 2]);
    assert_eq!(numbers(AuditFilter { subject: Some("bob".into()), ..any() }).await, [2, 4, 6]);
    let refused = AuditFilter { code: Some("token-expired".into()), ..any() };
    assert_eq!(numbers(refused.clone()).await, [4, 5, 6]);
    let both = AuditFilter { subject: Some("bob".into()), ..refused };
    assert_eq!(numbers(both).await, [4, 6]);
    assert_eq!(numbers(AuditFilter { event: Some("revoke".into()), ..any() }).await, [0_i64; 0]);
}

pub(crate) async fn checkpoints_and_cosignatures_come_back(bench: &impl Bench) {
    let store = bench.store().await;
    assert_eq!(store.newest_checkpoint().await.unwrap(), None);
    let checkpoint =
        |size: u64| SignedCheckpoint { size, at: NOW, note: format!("note of {size}\n") };
    for size in [1, 7, 9] {
        store.add_checkpoint(&checkpoint(size)).await.unwrap();
    }
    let again = SignedCheckpoint { note: "another".into(), ..checkpoint(7) };
    store.add_checkpoint(&again).await.unwrap();
    assert_eq!(store.newest_checkpoint().await.unwrap(), Some(checkpoint(9)));
    assert_eq!(store.checkpoints_after(1, 1).await.unwrap(), [checkpoint(7)]);
    let key = NoteKey::new("mesh.example/gateway/edge", SignatureKind::Witness, [1; 32]).unwrap();
    let changed = NoteKey::new(key.name(), SignatureKind::Witness, [2; 32]).unwrap();
    for key in [&key, &changed] {
        store.pin_witness(key, &allowed(Event::Witness)).await.unwrap();
    }
    assert_eq!(store.witnesses().await.unwrap(), [WitnessRow { key: changed.clone() }]);
    let cosignature = |line: &str| Cosignature {
        size: 7,
        witness: key.name().into(),
        at: NOW,
        line: line.into(),
    };
    for line in ["first", "second"] {
        store.add_cosignature(&cosignature(line)).await.unwrap();
    }
    assert_eq!(store.cosignatures(7).await.unwrap(), [cosignature("second")]);
    assert_eq!(store.cosignatures(9).await.unwrap(), []);
    // Two pins, and what prunes itself is a record, too.
    assert_eq!(store.prune_audit(3, &allowed(Event::AuditPrune)).await.unwrap(), 2);
    assert_eq!(audit_length(&*store).await, 1);
    assert_eq!(store.log_size().await.unwrap(), 3);
    assert_eq!(store.checkpoints_after(0, 9).await.unwrap().len(), 3);
}

pub(crate) async fn a_decision_that_hangs_up_does_not_take_others_records_along(
    bench: &impl Bench,
) {
    let store = bench.store().await;
    let mut kept = JoinSet::new();
    let mut dropped = JoinSet::new();
    for number in 0..60 {
        let store = store.clone();
        let append = async move {
            let mut entry = allowed(Event::Authorize);
            entry.detail = format!("number {number}");
            store.append_audit(&entry).await.map(|()| entry.detail)
        };
        if number % 3 == 0 {
            dropped.spawn(append)
        } else {
            kept.spawn(append)
        };
        if number % 10 == 9 {
            dropped.abort_all();
            tokio::task::yield_now().await;
        }
    }
    let details: Vec<String> = kept.join_all().await.into_iter().map(Result::unwrap).collect();
    let records = store.audit_after(0, 1000).await.unwrap();
    assert!(records.windows(2).all(|pair| pair[0].sequence + 1 == pair[1].sequence));
    assert_eq!(store.log_size().await.unwrap(), records.len() as u64);
    for detail in details {
        assert!(records.iter().any(|record| record.detail == detail), "{detail}");
    }
}

pub(crate) async fn the_audit_table_refuses_changes(bench: &impl Bench) {
    let place = bench.place().await;
    let store = SqlStore::create(place.location.clone(), integrity()).await.unwrap();
    store.append_audit(&allowed(Event::Authorize)).await.unwrap();
    for statement in ["UPDATE audit SET detail = 'x'", "DELETE FROM audit"] {
        let error = place.try_execute(statement).await.unwrap_err();
        assert!(error.to_string().contains("the audit table is append-only"), "{error}");
    }
}
