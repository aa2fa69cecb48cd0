//! What nodes noted in their journals.

use signet_authority::journal::Noted;

use super::*;

fn noted(number: u64) -> Arc<Noted> {
    let mut entry = AuditEntry::new(NOW, Event::Authorize, Decision::Allowed);
    entry.detail = format!("noted as {number}");
    let record = entry.into_record(0);
    Arc::new(Noted { number, leaf: record.leaf(), record })
}

pub(crate) async fn what_a_node_noted_is_taken_once_and_in_order(bench: &impl Bench) {
    let store = bench.store().await;
    let (one, other) = ([1; 16], [2; 16]);
    assert_eq!(store.journal_taken(&one).await.unwrap(), 0);
    store.take_journal(&one, &[]).await.unwrap();
    let first: Vec<Arc<Noted>> = (1..=300).map(noted).collect();
    store.take_journal(&one, &first).await.unwrap();
    store.append_audit(&allowed(Event::Ticket)).await.unwrap();
    // Whose answer was lost comes again, with what was noted since.
    let again: Vec<Arc<Noted>> = (200..=310).map(noted).collect();
    store.take_journal(&one, &again).await.unwrap();
    store.take_journal(&one, &first).await.unwrap();
    // Another node counts by itself.
    store.take_journal(&other, &first[..2]).await.unwrap();
    let taken =
        [store.journal_taken(&one).await.unwrap(), store.journal_taken(&other).await.unwrap()];
    assert_eq!(taken, [310, 2]);
    let records = store.audit_after(0, 1000).await.unwrap();
    let details: Vec<&str> = records.iter().map(|record| record.detail.as_str()).collect();
    let name = |number| format!("noted as {number}");
    let mut expected: Vec<String> = (1..=300).map(name).collect();
    expected.push(String::new());
    expected.extend((301..=310).chain(1..=2).map(name));
    assert_eq!(details, expected);
    assert!(records.iter().zip(1..).all(|(record, number)| record.sequence == number));
    let leaves: Vec<_> = records.iter().map(AuditRecord::leaf).collect();
    assert_eq!(store.log_hashes(0, 0..1000).await.unwrap(), leaves);
    assert_eq!(store.log_hashes(1, 0..10).await.unwrap(), [Frontier::of(&leaves[..256]).root()]);
}
