//! The tasks behind the push: heartbeats, and the record of who has applied what, for other nodes and for
//! `signet-authority revoke --wait`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use signet_verifier::events::Topic;
use tokio::sync::watch;

use super::{HEARTBEAT, Presence};
use crate::revocation::STALE_AFTER;
use crate::rounds::Rounds;
use crate::state::Authority;
use crate::store::VerifierRow;

/// What comes within this time is written together: fifty verifiers that acknowledge one revocation are one
/// transaction or two, and do not keep the next revocation waiting.
const TOGETHER: Duration = Duration::from_millis(25);
/// Everyone who is connected is written again after so many heartbeats.
const AGAIN: u32 = 30;

/// Says to connected verifiers that nothing was missed, as long as this node itself knows; until `stop`
/// becomes true, then ends every stream.
pub async fn beat(authority: Arc<Authority>, stop: watch::Receiver<bool>) {
    let hub = &authority.events;
    let mut rounds = Rounds::every(HEARTBEAT, stop);
    let mut beats: u32 = 0;
    let mut told = None;
    while rounds.next().await {
        if authority.revocations.age().is_some_and(|age| age < STALE_AFTER) {
            hub.beat(authority.now());
        }
        let version = authority.in_force.sets().live.version();
        if told.replace(version) != Some(version) {
            hub.publish(Topic::Policy, &json!({"version": version.to_string()}));
        }
        authority.metrics.verifiers_connected(hub.connected().len());
        beats = beats.wrapping_add(1);
        if beats.is_multiple_of(AGAIN) {
            hub.renote();
        }
    }
    hub.close();
}

/// Writes who is connected and what each has applied, as it changes, until `stop` becomes true.
pub async fn record(authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = authority.events.changed() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        tokio::time::sleep(TOGETHER).await;
        let now = authority.now();
        let row = |one: Presence| VerifierRow {
            gateway: one.id.gateway,
            instance: one.id.instance,
            node: authority.events.run().to_owned(),
            connected: one.connected,
            position: one.position,
            applied_at: one.applied_at.and_then(|at| i64::try_from(at.as_millis()).ok()),
            seen_at: now,
        };
        let rows: Vec<VerifierRow> = authority.events.unnoted().into_iter().map(row).collect();
        if rows.is_empty() {
            continue;
        }
        if let Err(error) = authority.store.note_verifiers(&rows).await {
            tracing::warn!(%error, "cannot record which verifiers applied what");
            // With the next heartbeats, so that a store that is away is not asked all the time.
            tokio::time::sleep(HEARTBEAT).await;
            authority.events.renote();
        }
    }
}
