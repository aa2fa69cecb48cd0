//! Who is served next: urgency first, then callers in turn.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::error::TpmError;
use super::link::Connection;

/// How much it matters that a request is served soon.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Urgency {
    /// A person waits for it.
    Person,
    /// A session or a connection depends on it: renewals, TLS handshakes.
    Renewal,
    /// Nobody waits, or somebody who only looks: workloads, status.
    Background,
}

impl Urgency {
    /// Requests that may wait in all when one of this urgency comes: the less urgent leave room for
    /// the more urgent.
    const fn room(self) -> usize {
        match self {
            Self::Person => 32,
            Self::Renewal => 24,
            Self::Background => 16,
        }
    }
}

/// Requests of one caller that may wait at once.
const PER_CALLER: usize = 8;
/// One request in so many goes to the least urgent that waits, so that none starves.
const MERCY: u32 = 8;

pub(super) type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Whose requests are limited together. `None`: the daemon's own, limited by the room only.
pub(super) type Caller = Option<Arc<str>>;

/// The requests that wait for the TPM thread.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

struct Waiting {
    /// By urgency. In each line the callers in turn, each with its jobs in order.
    lines: [VecDeque<(Caller, VecDeque<Job>)>; 3],
    length: usize,
    served: u32,
    /// No handle is left: end when empty.
    closed: bool,
    /// The thread has ended.
    stopped: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        let waiting = Waiting {
            lines: Default::default(),
            length: 0,
            served: 0,
            closed: false,
            stopped: false,
        };
        Self { waiting: Mutex::new(waiting), arrived: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a request in its line.
    pub(super) fn push(&self, urgency: Urgency, caller: &Caller, job: Job) -> Result<(), TpmError> {
        let mut waiting = self.lock();
        if waiting.stopped {
            return Err(TpmError::Stopped);
        }
        if caller.is_some() && waiting.of(caller) >= PER_CALLER {
            return Err(TpmError::CallerLimit);
        }
        if waiting.length >= urgency.room() {
            return Err(TpmError::QueueFull);
        }
        waiting.add(urgency, caller.clone(), job);
        drop(waiting);
        self.arrived.notify_one();
        Ok(())
    }

    /// Puts a request behind all others, whatever waits.
    pub(super) fn push_last(&self, job: Job) -> Result<(), TpmError> {
        let mut waiting = self.lock();
        if waiting.stopped {
            return Err(TpmError::Stopped);
        }
        waiting.add(Urgency::Background, None, job);
        drop(waiting);
        self.arrived.notify_one();
        Ok(())
    }

    /// The next request; waits for one. `None` at the end.
    pub(super) fn pop(&self) -> Option<Job> {
        let mut waiting = self.lock();
        loop {
            if let Some(job) = waiting.next() {
                return Some(job);
            }
            if waiting.closed {
                return None;
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No more requests will come.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    /// Nobody serves any more: who waits hears of it.
    pub(super) fn stop(&self) {
        let mut waiting = self.lock();
        waiting.stopped = true;
        let left = std::mem::take(&mut waiting.lines);
        drop(waiting);
        drop(left);
    }
}

impl Waiting {
    fn of(&self, caller: &Caller) -> usize {
        let all = self.lines.iter().flatten();
        all.filter(|(other, _)| other == caller).map(|(_, jobs)| jobs.len()).sum()
    }

    fn add(&mut self, urgency: Urgency, caller: Caller, job: Job) {
        let line = &mut self.lines[urgency as usize];
        match line.iter_mut().find(|(other, _)| *other == caller) {
            Some((_, jobs)) => jobs.push_back(job),
            None => line.push_back((caller, VecDeque::from([job]))),
        }
        self.length += 1;
    }

    fn next(&mut self) -> Option<Job> {
        let merciful = self.served % MERCY == MERCY - 1;
        let mut full = self.lines.iter_mut().filter(|line| !line.is_empty());
        let line = if merciful { full.next_back() } else { full.next() }?;
        let (caller, mut jobs) = line.pop_front()?;
        let job = jobs.pop_front()?;
        if !jobs.is_empty() {
            line.push_back((caller, jobs));
        }
        self.length -= 1;
        self.served = self.served.wrapping_add(1);
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::tpm::TpmConfig;

    struct Bench {
        queue: Queue,
        connection: Connection,
        tell: mpsc::Sender<&'static str>,
        told: mpsc::Receiver<&'static str>,
    }

    impl Bench {
        fn new() -> Self {
            let (tell, told) = mpsc::channel();
            let connection = Connection::idle(TpmConfig::new("swtpm:port=1", [0; 32]));
            Self { queue: Queue::new(), connection, tell, told }
        }

        fn push(&self, urgency: Urgency, caller: &str, name: &'static str) -> Result<(), TpmError> {
            let tell = self.tell.clone();
            let caller = (!caller.is_empty()).then(|| Arc::from(caller));
            self.queue.push(urgency, &caller, Box::new(move |_| tell.send(name).unwrap()))
        }

        fn serve_all(&mut self) -> Vec<&'static str> {
            self.queue.close();
            while let Some(job) = self.queue.pop() {
                job(&mut self.connection);
            }
            self.told.try_iter().collect()
        }
    }

    #[test]
    fn a_person_goes_first_and_callers_take_turns() {
        let mut bench = Bench::new();
        bench.push(Urgency::Background, "", "status").unwrap();
        for _ in 0..3 {
            bench.push(Urgency::Renewal, ":1.1", "flood").unwrap();
        }
        bench.push(Urgency::Renewal, ":1.2", "handshake").unwrap();
        bench.push(Urgency::Person, ":1.2", "touch").unwrap();
        let order = ["touch", "flood", "handshake", "flood", "flood", "status"];
        assert_eq!(bench.serve_all(), order);
    }

    #[test]
    fn the_least_urgent_does_not_starve() {
        let mut bench = Bench::new();
        bench.push(Urgency::Background, "", "status").unwrap();
        for _ in 0..20 {
            bench.push(Urgency::Person, "", "touch").unwrap();
        }
        assert_eq!(bench.serve_all().iter().position(|name| *name == "status"), Some(7));
    }

    #[test]
    fn one_caller_cannot_fill_the_queue_and_the_less_urgent_leave_room() {
        let bench = Bench::new();
        for _ in 0..PER_CALLER {
            bench.push(Urgency::Renewal, ":1.1", "flood").unwrap();
        }
        for urgency in [Urgency::Person, Urgency::Renewal] {
            assert_eq!(bench.push(urgency, ":1.1", "flood"), Err(TpmError::CallerLimit));
        }
        for (urgency, room) in
            [(Urgency::Background, 8), (Urgency::Renewal, 8), (Urgency::Person, 8)]
        {
            for _ in 0..room {
                bench.push(urgency, "", "other").unwrap();
            }
            assert_eq!(bench.push(urgency, "", "other"), Err(TpmError::QueueFull), "{urgency:?}");
        }
        bench.queue.stop();
        assert_eq!(bench.push(Urgency::Person, "", "late"), Err(TpmError::Stopped));
    }
}
