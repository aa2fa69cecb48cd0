//! Versions of the action policy: what was put into force stays, and of two at once one counts.

use signet_authority::store::{AuditEntry, Decision, NewActivation, PolicySlot};
use signet_evidence::binding::Sha256;

use super::*;

fn activation(after: i64, slot: PolicySlot, set: Option<(Sha256, &str)>) -> NewActivation<'_> {
    NewActivation { after, slot, set, at: at(after), by: "root (uid 0)", reason: "a test" }
}

pub(crate) async fn what_was_put_into_force_is_kept_with_its_order(bench: &impl Bench) {
    let store = bench.store().await;
    let audit = allowed(Event::PolicyActivate);
    assert_eq!(store.policy_position().await.unwrap(), 0);
    assert_eq!(store.policy_history().await.unwrap(), []);
    assert_eq!(store.policy_set(&[1; 32]).await.unwrap(), None);
    let order = [
        (PolicySlot::Live, Some(([1; 32], "{\"a\":\"\u{fc}\"}"))),
        (PolicySlot::Shadow, Some(([2; 32], "{}"))),
        (PolicySlot::Shadow, None),
        (PolicySlot::Live, Some(([2; 32], "{}"))),
        // A roll back: the texts are there already.
        (PolicySlot::Live, Some(([1; 32], "{\"a\":\"\u{fc}\"}"))),
    ];
    for (after, (slot, set)) in (0..).zip(order) {
        let number = store.activate_policy(&activation(after, slot, set), &audit).await.unwrap();
        assert_eq!(number, Some(after + 1));
    }
    assert_eq!(store.policy_position().await.unwrap(), 5);
    let history = store.policy_history().await.unwrap();
    let found: Vec<_> = history.iter().rev().map(|one| (one.slot, one.version)).collect();
    let expected: Vec<_> =
        order.iter().map(|(slot, set)| (*slot, set.map(|(version, _)| version))).collect();
    assert_eq!(found, expected);
    assert_eq!((history[0].number, history[0].at), (5, at(4)));
    assert_eq!((history[0].by.as_str(), history[0].reason.as_str()), ("root (uid 0)", "a test"));
    assert_eq!(store.policy_set(&[1; 32]).await.unwrap().as_deref(), Some("{\"a\":\"\u{fc}\"}"));
    assert_eq!(audit_length(&*store).await, 5);
}

pub(crate) async fn of_activations_at_once_one_counts(bench: &impl Bench) {
    let store = bench.store().await;
    let mut racing = JoinSet::new();
    for number in 0..16 {
        let store = store.clone();
        racing.spawn(async move {
            let set = Some(([number; 32], "{}"));
            let new = activation(0, PolicySlot::Live, set);
            store.activate_policy(&new, &allowed(Event::PolicyActivate)).await.unwrap()
        });
    }
    let outcomes = racing.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Some(1)).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_none()).count(), 15);
    assert_eq!(store.policy_history().await.unwrap().len(), 1);
    assert_eq!(audit_length(&*store).await, 1);
}

pub(crate) async fn what_policy_was_asked_comes_back(bench: &impl Bench) {
    let store = bench.store().await;
    let mut entry = AuditEntry::new(NOW, Event::Authorize, Decision::Allowed);
    entry.policy = Some("ab".repeat(32));
    entry.request = Some("{\"subject\":\"\u{fc}nal\"}".into());
    store.append_audit(&entry).await.unwrap();
    store.append_audit(&allowed(Event::Authorize)).await.unwrap();
    let records = store.audit_after(0, 10).await.unwrap();
    assert_eq!((&records[0].policy, &records[0].request), (&entry.policy, &entry.request));
    assert_eq!((&records[1].policy, &records[1].request), (&None, &None));
}
