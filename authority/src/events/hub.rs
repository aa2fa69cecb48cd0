//! Who listens, what is sent, who has applied what.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use serde::Serialize;
use signet_evidence::UnixTime;
use signet_evidence::thumbprint::hex;
use signet_verifier::events::{Heartbeat, Place, Revocations, Revoked, Topic, name};
use thiserror::Error;
use tokio::sync::{Notify, broadcast, watch};

use super::{CHUNK, RING, SILENCE};
use crate::random;
use crate::status_list::LIST_LENGTH;
use crate::store::{Revocation, RevocationKind};
use crate::tls::Closer;

/// How many recent positions are remembered, to say how long their acknowledgements took.
const TIMED: usize = 1024;

/// The push. Clones share it.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

struct Shared {
    run: String,
    ring: broadcast::Sender<Bytes>,
    /// Held while something is sent, so that events leave in the order of their positions.
    sent: Mutex<Sent>,
    verifiers: Mutex<Verifiers>,
    changed: Notify,
    stop: watch::Sender<bool>,
}

#[derive(Default)]
struct Sent {
    position: i64,
    latest: BTreeMap<Topic, Bytes>,
    timed: VecDeque<(i64, Instant)>,
}

#[derive(Default)]
struct Verifiers {
    connected: HashMap<VerifierId, Connected>,
    /// Who left since others were last told.
    gone: Vec<Presence>,
}

/// One verifier: the gateway that it connects as, and its own name for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifierId {
    /// SPIFFE ID.
    pub gateway: String,
    /// Chosen by the verifier when it starts.
    pub instance: [u8; 16],
}

struct Connected {
    /// Tells this stream from an earlier one of the same verifier.
    stream: u64,
    position: i64,
    applied_at: Option<Duration>,
    heard: Instant,
    closer: Option<Closer>,
    /// Whether others were told of it as it is.
    noted: bool,
}

/// A connected verifier, as others may know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Who.
    pub id: VerifierId,
    /// Whether it is there.
    pub connected: bool,
    /// Applied up to here; -1 before it said so.
    pub position: i64,
    /// When that was acknowledged, since the Unix epoch.
    pub applied_at: Option<Duration>,
}

/// A gateway has as many streams as it may.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("this gateway has as many streams as it may")]
pub struct TooMany;

/// A verifier's place at the ring; it is gone when this is dropped.
pub(super) struct Seat {
    hub: Hub,
    id: VerifierId,
    stream: u64,
    pub(super) events: broadcast::Receiver<Bytes>,
    pub(super) stop: watch::Receiver<bool>,
    /// What was sent before.
    pub(super) position: i64,
    /// The latest of each topic.
    pub(super) latest: Vec<Bytes>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut verifiers = lock(&self.hub.0.verifiers);
        let this = verifiers.connected.get(&self.id).filter(|one| one.stream == self.stream);
        if let Some(one) = this {
            let gone = Presence { connected: false, ..presence((&self.id, one)) };
            verifiers.connected.remove(&self.id);
            verifiers.gone.push(gone);
            self.hub.0.changed.notify_one();
        }
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self(Arc::new(Shared {
            run: hex(&random::bytes::<8>()),
            ring: broadcast::Sender::new(RING),
            sent: Mutex::default(),
            verifiers: Mutex::default(),
            changed: Notify::new(),
            stop: watch::Sender::new(false),
        }))
    }
}

impl Hub {
    /// Names this run: positions of another are not comparable.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.0.run
    }

    /// Sends what was revoked after position `after`, in order.
    pub(crate) fn revoked(&self, mut after: i64, revocations: &[Revocation]) {
        let mut sent = lock(&self.0.sent);
        for chunk in revocations.chunks(CHUNK) {
            let event = event_of(after, chunk);
            after = event.position;
            self.send(name::REVOCATION, event.position, &event);
            sent.position = event.position;
            sent.timed.push_back((event.position, committed(chunk)));
            if sent.timed.len() > TIMED {
                sent.timed.pop_front();
            }
        }
    }

    /// Sends the latest of a topic, now and to every stream that begins later.
    pub fn publish(&self, topic: Topic, value: &impl Serialize) {
        let mut sent = lock(&self.0.sent);
        let bytes = self.send(topic.as_str(), sent.position, value);
        sent.latest.insert(topic, bytes);
    }

    /// Says that nothing was missed, and cuts off who has been silent for too long.
    pub(crate) fn beat(&self, time: UnixTime) {
        let sent = lock(&self.0.sent);
        let heartbeat = Heartbeat { position: sent.position, time: time.0 };
        self.send(name::HEARTBEAT, sent.position, &heartbeat);
        drop(sent);
        for one in lock(&self.0.verifiers).connected.values_mut() {
            if one.heard.elapsed() > SILENCE
                && let Some(closer) = one.closer.take()
            {
                closer.close();
            }
        }
    }

    /// A place for a verifier; an earlier stream of the same one is forgotten.
    pub(super) fn join(
        &self,
        id: VerifierId,
        most: usize,
        closer: Option<Closer>,
    ) -> Result<Seat, TooMany> {
        let sent = lock(&self.0.sent);
        let mut verifiers = lock(&self.0.verifiers);
        let others = verifiers.connected.keys();
        let others = others.filter(|one| one.gateway == id.gateway && **one != id);
        if others.count() >= most {
            return Err(TooMany);
        }
        let earlier = verifiers.connected.get(&id);
        let stream = earlier.map_or(0, |earlier| earlier.stream.wrapping_add(1));
        let connected = Connected {
            stream,
            position: -1,
            applied_at: None,
            heard: Instant::now(),
            closer,
            noted: false,
        };
        verifiers.connected.insert(id.clone(), connected);
        verifiers.gone.retain(|one| one.id != id);
        self.0.changed.notify_one();
        Ok(Seat {
            hub: self.clone(),
            id,
            stream,
            events: self.0.ring.subscribe(),
            stop: self.0.stop.subscribe(),
            position: sent.position,
            latest: sent.latest.values().cloned().collect(),
        })
    }

    /// Records that a verifier has applied everything up to `position`; returns how long each
    /// revocation took that it had not acknowledged before. `None` when it is not connected here.
    pub(super) fn acknowledge(
        &self,
        id: &VerifierId,
        position: i64,
        at: Duration,
    ) -> Option<Vec<Duration>> {
        let sent = lock(&self.0.sent);
        let mut verifiers = lock(&self.0.verifiers);
        let one = verifiers.connected.get_mut(id)?;
        one.heard = Instant::now();
        let before = one.position;
        // A position that was never sent proves nothing.
        if position <= before || position > sent.position {
            return Some(Vec::new());
        }
        (one.position, one.applied_at, one.noted) = (position, Some(at), false);
        self.0.changed.notify_one();
        // What was there before the stream began was not pushed over it.
        let pushed = sent.timed.iter().filter(|(sent, _)| before >= 0 && *sent > before);
        Some(
            pushed
                .filter(|(sent, _)| *sent <= position)
                .map(|(_, since)| one.heard.saturating_duration_since(*since))
                .collect(),
        )
    }

    /// Everyone who is connected.
    #[must_use]
    pub fn connected(&self) -> Vec<Presence> {
        let verifiers = lock(&self.0.verifiers);
        let mut all: Vec<Presence> = verifiers.connected.iter().map(presence).collect();
        all.sort_by(|left, right| left.id.cmp(&right.id));
        all
    }

    /// Those whose state others were not told yet; they count as told from now on.
    pub(crate) fn unnoted(&self) -> Vec<Presence> {
        let mut verifiers = lock(&self.0.verifiers);
        let mut changed = std::mem::take(&mut verifiers.gone);
        for (id, one) in verifiers.connected.iter_mut().filter(|(_, one)| !one.noted) {
            one.noted = true;
            changed.push(presence((id, one)));
        }
        changed
    }

    /// Has others told of everyone again.
    pub(crate) fn renote(&self) {
        lock(&self.0.verifiers).connected.values_mut().for_each(|one| one.noted = false);
        self.0.changed.notify_one();
    }

    /// Returns when somebody came, went or acknowledged since the last call.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Ends every stream.
    pub(crate) fn close(&self) {
        self.0.stop.send_replace(true);
    }

    fn send(&self, name: &str, position: i64, value: &impl Serialize) -> Bytes {
        let bytes = encode(&self.0.run, name, position, value);
        // Nobody may be listening.
        let _ = self.0.ring.send(bytes.clone());
        bytes
    }
}

/// When the earliest of these was committed, by the clocks of the nodes; now where nobody says.
fn committed(revocations: &[Revocation]) -> Instant {
    let now = Instant::now();
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let earliest = revocations.iter().filter_map(|one| one.committed_ms).min();
    let earliest = earliest.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    let ago = earliest.map_or(Duration::ZERO, |earliest| elapsed.saturating_sub(earliest));
    now.checked_sub(ago).unwrap_or(now)
}

fn presence((id, one): (&VerifierId, &Connected)) -> Presence {
    let (position, applied_at) = (one.position, one.applied_at);
    Presence { id: id.clone(), connected: true, position, applied_at }
}

/// One event in the format of HTML §9.2. JSON has no line breaks of its own.
pub(super) fn encode(run: &str, name: &str, position: i64, value: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(value).unwrap_or_default();
    Bytes::from(format!("id: {run}-{position}\nevent: {name}\ndata: {data}\n\n"))
}

/// The event that says that these were revoked, none between them and `after`.
pub(super) fn event_of(after: i64, revocations: &[Revocation]) -> Revocations {
    let position = revocations.last().map_or(after, |last| last.sequence);
    Revocations { after, position, revoked: revocations.iter().map(revoked).collect() }
}

fn revoked(revocation: &Revocation) -> Revoked {
    let all = revocation.kind == RevocationKind::All;
    Revoked {
        kind: revocation.kind.as_str().to_owned(),
        id: if all { String::new() } else { hex(&revocation.target) },
        place: revocation.status_index.map(place),
    }
}

/// A status index as a place in the lists.
pub(super) fn place(index: u64) -> Place {
    Place { list: index / LIST_LENGTH, idx: index % LIST_LENGTH }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(gateway: &str, instance: u8) -> VerifierId {
        VerifierId { gateway: gateway.into(), instance: [instance; 16] }
    }

    fn revocation(sequence: i64) -> Revocation {
        let (kind, target) = (RevocationKind::Session, vec![7; 16]);
        Revocation { sequence, kind, target, status_index: Some(65_536 + 9), committed_ms: None }
    }

    fn text(bytes: Bytes) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn an_event_names_run_position_and_what_is_revoked() {
        let hub = Hub::default();
        let mut seat = hub.join(id("edge", 1), 1, None).unwrap();
        hub.revoked(4, &[revocation(5)]);
        let expected = format!(
            "id: {}-5\nevent: revocation\ndata: {{\"after\":4,\"position\":5,\"revoked\":[{{\"kind\":\
             \"session\",\"id\":\"{}\",\"place\":{{\"list\":1,\"idx\":9}}}}]}}\n\n",
            hub.run(),
            "07".repeat(16)
        );
        assert_eq!(text(seat.events.try_recv().unwrap()), expected);
    }

    #[test]
    fn long_lists_of_revocations_travel_in_pieces_without_a_gap() {
        let hub = Hub::default();
        let mut seat = hub.join(id("edge", 1), 1, None).unwrap();
        let many: Vec<_> = (1..=600).map(revocation).collect();
        hub.revoked(0, &many);
        let mut at = 0;
        while let Ok(event) = seat.events.try_recv() {
            let event = text(event);
            let data = event.split_once("data: ").unwrap().1;
            let event: Revocations = serde_json::from_str(data).unwrap();
            assert_eq!(event.after, at);
            at = event.position;
        }
        assert_eq!(at, 600);
    }

    #[test]
    fn a_slow_reader_falls_out_of_the_ring_and_holds_nothing() {
        let hub = Hub::default();
        let mut slow = hub.join(id("edge", 1), 2, None).unwrap();
        for sequence in 1..=i64::try_from(RING).unwrap() + 1 {
            hub.revoked(sequence - 1, &[revocation(sequence)]);
        }
        let lagged = slow.events.try_recv();
        assert_eq!(lagged, Err(broadcast::error::TryRecvError::Lagged(1)));
    }

    #[test]
    fn streams_of_a_gateway_are_bounded_and_a_verifier_replaces_itself() {
        let hub = Hub::default();
        let first = hub.join(id("edge", 1), 2, None).unwrap();
        let _second = hub.join(id("edge", 2), 2, None).unwrap();
        assert_eq!(hub.join(id("edge", 3), 2, None).err(), Some(TooMany));
        let _elsewhere = hub.join(id("core", 3), 2, None).unwrap();
        let again = hub.join(id("edge", 1), 2, None).unwrap();
        // The end of the earlier stream does not take the later one away.
        drop(first);
        assert_eq!(hub.connected().len(), 3);
        drop(again);
        assert_eq!(hub.connected().len(), 2);
    }

    #[test]
    fn an_acknowledgement_counts_once_and_never_for_what_was_not_sent() {
        let hub = Hub::default();
        let one = id("edge", 1);
        let seat = hub.join(one.clone(), 1, None).unwrap();
        let at = Duration::from_secs(1_800_000_000);
        assert_eq!(hub.acknowledge(&id("edge", 9), 0, at), None);
        assert_eq!(hub.acknowledge(&one, 0, at), Some(Vec::new()));
        hub.revoked(0, &[revocation(3)]);
        assert_eq!(hub.acknowledge(&one, 4, at), Some(Vec::new()));
        assert_eq!(hub.connected()[0].position, 0);
        assert_eq!(hub.acknowledge(&one, 3, at).unwrap().len(), 1);
        assert_eq!(hub.acknowledge(&one, 3, at), Some(Vec::new()));
        let presence = Presence { id: one, connected: true, position: 3, applied_at: Some(at) };
        let known = std::slice::from_ref(&presence);
        assert_eq!(hub.connected(), known);
        assert_eq!(hub.unnoted(), known);
        assert_eq!(hub.unnoted(), []);
        hub.renote();
        assert_eq!(hub.unnoted(), known);
        drop(seat);
        assert_eq!(hub.unnoted(), [Presence { connected: false, ..presence }]);
    }

    #[test]
    fn who_comes_later_hears_the_latest_of_each_topic() {
        let hub = Hub::default();
        hub.publish(Topic::Policy, &1);
        hub.publish(Topic::Policy, &2);
        hub.publish(Topic::Keys, &3);
        let seat = hub.join(id("edge", 1), 1, None).unwrap();
        let latest: Vec<String> = seat.latest.iter().cloned().map(text).collect();
        let run = hub.run();
        assert_eq!(
            latest,
            [
                format!("id: {run}-0\nevent: policy\ndata: 2\n\n"),
                format!("id: {run}-0\nevent: keys\ndata: 3\n\n")
            ]
        );
    }
}
