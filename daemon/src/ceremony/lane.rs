//! A lane: so many jobs at a time, the others wait. Unix users take turns, and so do the
//! connections of one user.

use std::collections::{BTreeSet, VecDeque};

use super::stage::{CallerId, JobId};

#[derive(Debug)]
pub(super) struct Lane {
    capacity: usize,
    /// Being served, or abandoned and not yet reported back.
    busy: BTreeSet<JobId>,
    waiting: Turns<u32, Turns<CallerId, VecDeque<JobId>>>,
}

/// Queues in the order of their turns; none is empty.
#[derive(Clone, Debug)]
struct Turns<K, Q>(VecDeque<(K, Q)>);

trait Queue: Default {
    /// Takes out what is next.
    fn next(&mut self) -> Option<JobId>;
    fn remove(&mut self, id: JobId);
    fn is_empty(&self) -> bool;
}

impl Queue for VecDeque<JobId> {
    fn next(&mut self) -> Option<JobId> {
        self.pop_front()
    }

    fn remove(&mut self, id: JobId) {
        self.retain(|other| *other != id);
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl<K, Q> Default for Turns<K, Q> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K: Clone + PartialEq, Q: Queue> Turns<K, Q> {
    /// The queue of this one, which gets the last turn if it had none.
    fn of(&mut self, key: &K) -> &mut Q {
        let place = self.0.iter().position(|(other, _)| other == key).unwrap_or_else(|| {
            self.0.push_back((key.clone(), Q::default()));
            self.0.len() - 1
        });
        &mut self.0[place].1
    }
}

impl<K: Clone + PartialEq, Q: Queue> Queue for Turns<K, Q> {
    /// Whose turn it was goes to the end.
    fn next(&mut self) -> Option<JobId> {
        let (key, mut queue) = self.0.pop_front()?;
        let id = queue.next();
        if !queue.is_empty() {
            self.0.push_back((key, queue));
        }
        id
    }

    fn remove(&mut self, id: JobId) {
        for (_, queue) in &mut self.0 {
            queue.remove(id);
        }
        self.0.retain(|(_, queue)| !queue.is_empty());
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Lane {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, busy: BTreeSet::new(), waiting: Turns::default() }
    }

    pub(super) fn join(&mut self, user: u32, caller: &CallerId, id: JobId) {
        self.waiting.of(&user).of(caller).push_back(id);
    }

    /// Takes a waiting request out; nothing happens when it does not wait here.
    pub(super) fn leave(&mut self, id: JobId) {
        self.waiting.remove(id);
    }

    /// The next request to serve, if one waits and there is room.
    pub(super) fn admit(&mut self) -> Option<JobId> {
        if self.busy.len() >= self.capacity {
            return None;
        }
        let id = self.waiting.next()?;
        self.busy.insert(id);
        Some(id)
    }

    /// The shell has reported back; whether the request was in service.
    pub(super) fn release(&mut self, id: JobId) -> bool {
        self.busy.remove(&id)
    }

    /// Whether it is in service, or abandoned and not yet reported back.
    pub(super) fn serves(&self, id: JobId) -> bool {
        self.busy.contains(&id)
    }

    /// Each waiting job with the number of those that are served before it, in that order.
    pub(super) fn positions(&self) -> Vec<(JobId, u32)> {
        let mut waiting = self.waiting.clone();
        let order = std::iter::from_fn(|| waiting.next());
        let positions = order.zip(self.busy.len()..);
        positions.map(|(id, place)| (id, u32::try_from(place).unwrap_or(u32::MAX))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(requests: &[(u64, u32, &str)]) -> Lane {
        let mut lane = Lane::new(1);
        for (id, user, caller) in requests {
            lane.join(*user, &CallerId::new(caller), JobId(*id));
        }
        lane
    }

    /// The order in which they are served, which the positions tell before.
    fn order(mut lane: Lane) -> Vec<u64> {
        let expected = lane.positions();
        let mut order = Vec::new();
        while let Some(id) = lane.admit() {
            assert_eq!(lane.admit(), None);
            assert!(lane.release(id));
            order.push(id);
        }
        let places = (0..).zip(&order).map(|(place, id)| (*id, place));
        assert_eq!(expected, places.collect::<Vec<_>>());
        order.into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn callers_take_turns_and_positions_tell_the_order() {
        let requests =
            [(0, 7, "a"), (1, 7, "a"), (2, 7, "a"), (3, 7, "b"), (4, 7, "c"), (5, 7, "b")];
        assert_eq!(order(lane(&requests)), [0, 3, 4, 1, 5, 2]);
    }

    #[test]
    fn a_user_with_many_connections_has_no_more_turns_than_another() {
        let requests =
            [(0, 7, "a"), (1, 7, "b"), (2, 7, "c"), (3, 8, "d"), (4, 8, "d"), (5, 7, "a")];
        assert_eq!(order(lane(&requests)), [0, 3, 1, 4, 2, 5]);
    }

    #[test]
    fn whoever_leaves_gives_up_its_turn() {
        let mut lane = lane(&[(0, 7, "a"), (1, 8, "b"), (2, 7, "c")]);
        lane.leave(JobId(1));
        lane.leave(JobId(9));
        assert_eq!(order(lane), [0, 2]);
    }
}
