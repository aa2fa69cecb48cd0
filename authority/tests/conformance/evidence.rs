//! Evidence by its hash.

use std::sync::Arc;

use signet_authority::store::{AuditEntry, Decision, Event, KeptEvidence, Store};
use signet_evidence::UnixTime;
use signet_evidence::binding::{Sha256, sha256};

use super::Bench;
use super::rows::NOW;

/// Puts `size` bytes of evidence on record at `at`; returns their hash.
async fn keep(store: &dyn Store, size: usize, at: UnixTime) -> Sha256 {
    let bytes = signet_authority::random::bytes::<8>().repeat(size / 8);
    let hash = sha256(&bytes);
    let mut entry = AuditEntry::new(at, Event::Token, Decision::Allowed);
    entry.evidence = Some(hash);
    entry.kept = Some(Arc::new(KeptEvidence { bytes, peer: Vec::new() }));
    store.append_audit(&entry).await.unwrap();
    hash
}

pub(super) async fn evidence_is_kept_with_its_record(bench: &impl Bench) {
    let store = bench.store().await;
    let mut entry = AuditEntry::new(NOW, Event::Token, Decision::Allowed);
    let kept = KeptEvidence { bytes: b"evidence".to_vec(), peer: b"certificate".to_vec() };
    let hash = sha256(&kept.bytes);
    entry.evidence = Some(hash);
    store.append_audit(&entry).await.unwrap();
    assert_eq!(store.evidence(&hash).await.unwrap(), None, "only the hash");
    entry.kept = Some(Arc::new(kept.clone()));
    // Twice, as a decision and the alarm that it raises.
    for _ in 0..2 {
        store.append_audit(&entry).await.unwrap();
    }
    assert_eq!(store.evidence(&hash).await.unwrap(), Some(kept));
    let record = store.audit_after(0, 10).await.unwrap().pop().unwrap();
    assert_eq!(record.evidence, Some(signet_evidence::thumbprint::hex(&hash)));
}

pub(super) async fn evidence_goes_by_age_and_size(bench: &impl Bench) {
    let store = bench.store().await;
    let mut hashes = Vec::new();
    for second in 0..4 {
        hashes.push(keep(&*store, 1000, UnixTime(NOW.0 + second)).await);
    }
    let left = async || {
        let mut left = Vec::new();
        for hash in &hashes {
            left.push(store.evidence(hash).await.unwrap().is_some());
        }
        left
    };
    assert_eq!(store.forget_evidence(NOW, 4000).await.unwrap(), 0);
    assert_eq!(left().await, [true; 4]);
    assert_eq!(store.forget_evidence(UnixTime(NOW.0 + 1), 4000).await.unwrap(), 1);
    assert_eq!(left().await, [false, true, true, true]);
    // The oldest of what is too much.
    assert_eq!(store.forget_evidence(NOW, 2999).await.unwrap(), 1);
    assert_eq!(left().await, [false, false, true, true]);
    assert_eq!(store.forget_evidence(UnixTime(i64::MAX), 0).await.unwrap(), 2);
    assert_eq!(left().await, [false; 4]);
}
