//! A lane: so many jobs at a time, the others wait and callers take turns.

use std::collections::{BTreeSet, VecDeque};

use super::stage::{CallerId, JobId};

#[derive(Debug)]
pub(super) struct Lane {
    capacity: usize,
    /// Being served, or abandoned and not yet reported back.
    busy: BTreeSet<JobId>,
    /// Callers in the order of their turns, each with its requests in the order they came.
    turns: VecDeque<(CallerId, VecDeque<JobId>)>,
}

impl Lane {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, busy: BTreeSet::new(), turns: VecDeque::new() }
    }

    pub(super) fn join(&mut self, caller: &CallerId, id: JobId) {
        match self.turns.iter_mut().find(|(other, _)| other == caller) {
            Some((_, requests)) => requests.push_back(id),
            None => self.turns.push_back((caller.clone(), [id].into())),
        }
    }

    /// Takes a waiting request out; nothing happens when it does not wait here.
    pub(super) fn leave(&mut self, id: JobId) {
        for (_, requests) in &mut self.turns {
            requests.retain(|other| *other != id);
        }
        self.turns.retain(|(_, requests)| !requests.is_empty());
    }

    /// The next request to serve, if one waits and there is room. Its caller goes to the end.
    pub(super) fn admit(&mut self) -> Option<JobId> {
        if self.busy.len() >= self.capacity {
            return None;
        }
        let (caller, mut requests) = self.turns.pop_front()?;
        let id = requests.pop_front()?;
        if !requests.is_empty() {
            self.turns.push_back((caller, requests));
        }
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

    /// Each waiting job with the number of those that are served before it.
    pub(super) fn positions(&self) -> Vec<(JobId, u32)> {
        let mut positions = Vec::new();
        for (turn, (_, requests)) in self.turns.iter().enumerate() {
            for (round, id) in requests.iter().enumerate() {
                let before = self.turns.iter().enumerate().map(|(other, (_, queue))| {
                    // Whoever has the earlier turn is served once more before this round.
                    queue.len().min(round + usize::from(other < turn))
                });
                let position = self.busy.len() + before.sum::<usize>();
                positions.push((*id, u32::try_from(position).unwrap_or(u32::MAX)));
            }
        }
        positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_take_turns_and_positions_tell_the_order() {
        let mut lane = Lane::new(1);
        let [a, b, c] = ["a", "b", "c"].map(CallerId::new);
        for (id, caller) in [(0, &a), (1, &a), (2, &a), (3, &b), (4, &c), (5, &b)] {
            lane.join(caller, JobId(id));
        }
        let mut expected = lane.positions();
        expected.sort_by_key(|(_, position)| *position);
        let mut order = Vec::new();
        while let Some(id) = lane.admit() {
            assert_eq!(lane.admit(), None);
            assert!(lane.release(id));
            order.push(id);
        }
        assert_eq!(order, [0, 3, 4, 1, 5, 2].map(JobId));
        assert_eq!(expected.iter().map(|(id, _)| *id).collect::<Vec<_>>(), order);
        assert_eq!(expected.last().map(|(_, position)| *position), Some(5));
    }
}
