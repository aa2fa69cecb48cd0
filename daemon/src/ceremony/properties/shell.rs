//! A shell around a ceremony that believes nothing and counts everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::events::Event;
use super::{CALLERS, Fault, LIMITS};
use crate::ceremony::*;

/// Everything about a request but who asks: equal for equal things that are asked.
pub(super) fn asked(caller: &CallerId, number: usize, need: Need, what: u8) -> Asked {
    let uid = u32::try_from(number / 2).unwrap();
    Asked { caller: caller.clone(), uid, need, whole: [what; 32], words: [what / 2; 32] }
}

/// Who takes turns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Party {
    User(u32),
    Caller(CallerId),
}

fn parties(asked: &Asked) -> [Party; 2] {
    [Party::User(asked.uid), Party::Caller(asked.caller.clone())]
}

/// A shell that believes nothing and counts everything.
pub(super) struct Shell {
    pub(super) ceremony: Ceremony<Fault>,
    pub(super) now: Instant,
    pub(super) callers: Vec<CallerId>,
    pub(super) accepted: BTreeMap<RequestId, (Asked, JobId)>,
    pub(super) completed: BTreeMap<RequestId, Outcome<Fault>>,
    /// What was begun, by whoever asked first.
    pub(super) jobs: BTreeMap<JobId, Asked>,
    pub(super) closed: BTreeMap<JobId, Outcome<Fault>>,
    /// Asked and not yet reported, abandoned ones included.
    pub(super) prompts: BTreeSet<JobId>,
    pub(super) proofs: BTreeSet<JobId>,
    /// When a user said no to words.
    pub(super) refused: BTreeMap<(u32, [u8; 32]), Instant>,
    /// How often one was served while another waited: users, and callers of one user.
    overtaken: BTreeMap<(Party, Party), u32>,
    /// Jobs that have not had their turn yet.
    pub(super) waiting: BTreeSet<JobId>,
}

impl Shell {
    pub(super) fn new() -> Self {
        Self {
            ceremony: Ceremony::new(LIMITS),
            now: Instant::now(),
            callers: (0..CALLERS).map(|n| CallerId::new(&format!(":1.{n}"))).collect(),
            accepted: BTreeMap::new(),
            completed: BTreeMap::new(),
            jobs: BTreeMap::new(),
            closed: BTreeMap::new(),
            prompts: BTreeSet::new(),
            proofs: BTreeSet::new(),
            refused: BTreeMap::new(),
            overtaken: BTreeMap::new(),
            waiting: BTreeSet::new(),
        }
    }

    pub(super) fn apply(&mut self, event: &Event) {
        let now = self.now;
        match event {
            Event::Request { caller, need, what } => {
                self.request(usize::from(*caller), *need, *what);
            }
            Event::Cancel { which } => {
                if let Some((id, _)) = self.any_accepted(*which) {
                    self.ceremony.handle_cancel(id, now);
                }
            }
            Event::CallerGone { caller } => {
                let caller = self.callers[usize::from(*caller)].clone();
                self.ceremony.handle_caller_gone(&caller, now);
            }
            Event::Notice { which, stage } => {
                if let Some((_, job)) = self.any_accepted(*which) {
                    self.ceremony.handle_notice(job, *stage, now);
                }
            }
            Event::Pin { which } => {
                if let Some((_, job)) = self.any_accepted(*which) {
                    let taken = self.ceremony.handle_pin(job, now).is_ok();
                    assert!(!taken || self.prompts.contains(&job), "pin without a prompt");
                }
            }
            Event::Refused { which } => {
                if let Some((_, job)) = self.any_accepted(*which) {
                    self.refuse(job);
                }
            }
            Event::ShownElsewhere { which } => {
                if let Some((_, job)) = self.any_accepted(*which) {
                    self.ceremony.handle_shown_elsewhere(job);
                }
            }
            Event::NotShown { which } => {
                if let Some((_, job)) = self.any_accepted(*which) {
                    self.ceremony.handle_not_shown(job, Fault::Unplugged, now);
                }
            }
            Event::Prompted { answer } => {
                if let Some(id) = self.prompts.pop_first() {
                    if *answer == Err(Fault::Declined) && !self.closed.contains_key(&id) {
                        self.note_refusal(id);
                    }
                    self.ceremony.handle_prompted(id, *answer, now);
                }
            }
            Event::Proved { which, ok } => {
                let id = self.proofs.iter().nth(which % self.proofs.len().max(1)).copied();
                if let Some(id) = id {
                    self.proofs.remove(&id);
                    let answer = if *ok { Ok(()) } else { Err(Fault::TpmDead) };
                    self.ceremony.handle_proved(id, answer, now);
                }
            }
            Event::Repeated { which, ok } => self.repeat(*which, *ok),
            Event::Seconds(seconds) => {
                self.now += Duration::from_secs(*seconds);
                if self.ceremony.poll_timeout().is_some_and(|due| due <= self.now) {
                    self.ceremony.handle_timeout(self.now);
                }
            }
        }
        self.obey();
    }

    pub(super) fn request(&mut self, caller: usize, need: Need, what: u8) {
        let asked = asked(&self.callers[caller], caller, need, what);
        let live = self.accepted.iter().filter(|(id, _)| !self.completed.contains_key(id));
        let live: Vec<&Asked> = live.map(|(_, (other, _))| other).collect();
        let own = live.iter().filter(|other| other.caller == asked.caller).count();
        let of_user = live.iter().filter(|other| other.uid == asked.uid).count();
        let live = live.len();
        // One person is asked one thing once: the same of the same user is under way already.
        let same = self.jobs.iter().filter(|(id, job)| {
            (job.uid, job.need, job.whole) == (asked.uid, need, asked.whole)
                && need != Need::Machine
                && !self.closed.contains_key(id)
        });
        let same: Vec<JobId> = same.map(|(id, _)| *id).collect();
        assert!(same.len() <= 1, "one thing is asked twice");
        let refused = self.refused.get(&(asked.uid, asked.words));
        let cools =
            need != Need::Machine && refused.is_some_and(|at| *at + LIMITS.cool_down > self.now);
        match self.ceremony.handle_request(&asked, self.now) {
            Ok(Accepted { request, job, joined }) => {
                assert!(own < LIMITS.per_caller && live < LIMITS.total && !cools);
                assert!(of_user < LIMITS.per_user);
                assert_eq!(same, if joined { vec![job] } else { Vec::new() });
                if !joined {
                    assert!(self.jobs.insert(job, asked.clone()).is_none(), "job id used twice");
                    if need != Need::Machine {
                        self.waiting.insert(job);
                    }
                }
                assert!(self.accepted.insert(request, (asked, job)).is_none(), "id used twice");
            }
            Err(Refused::CallerLimit { .. }) => assert_eq!(own, LIMITS.per_caller),
            Err(Refused::UserLimit { .. }) => assert_eq!(of_user, LIMITS.per_user),
            Err(Refused::TotalLimit { .. }) => assert_eq!(live, LIMITS.total),
            Err(Refused::CoolingDown { left }) => {
                assert!(cools && left <= LIMITS.cool_down && !left.is_zero());
            }
        }
    }

    /// The person says no at the agent's prompt.
    pub(super) fn refuse(&mut self, job: JobId) {
        if self.prompts.contains(&job) && !self.closed.contains_key(&job) {
            self.note_refusal(job);
        }
        self.ceremony.handle_refused(job, self.now);
    }

    fn note_refusal(&mut self, job: JobId) {
        let asked = &self.jobs[&job];
        self.refused.insert((asked.uid, asked.words), self.now);
    }

    pub(super) fn repeat(&mut self, which: usize, ok: bool) {
        let Some((_, id)) = self.any_accepted(which) else { return };
        let now = self.now;
        if !self.prompts.contains(&id) {
            self.ceremony.handle_prompted(id, ok.then_some(()).ok_or(Fault::Declined), now);
        }
        if !self.proofs.contains(&id) {
            self.ceremony.handle_proved(id, ok.then_some(()).ok_or(Fault::TpmDead), now);
        }
    }

    pub(super) fn any_accepted(&self, which: usize) -> Option<(RequestId, JobId)> {
        let found = self.accepted.iter().nth(which % self.accepted.len().max(1));
        found.map(|(id, (_, job))| (*id, *job))
    }

    pub(super) fn obey(&mut self) {
        while let Some(action) = self.ceremony.poll_action() {
            match action {
                Action::Prompt(id) => {
                    assert!(!self.closed.contains_key(&id));
                    assert_ne!(self.jobs[&id].need, Need::Machine, "a prompt nobody wants");
                    self.note_turn(id);
                    assert!(self.prompts.insert(id));
                    assert_eq!(self.prompts.len(), 1, "two prompts at a time");
                }
                Action::StopPrompt(id) => assert!(self.prompts.contains(&id)),
                Action::Prove(id) => {
                    assert!(!self.closed.contains_key(&id));
                    assert_ne!(self.jobs[&id].need, Need::PersonAlone, "a proof nobody wants");
                    assert!(self.proofs.insert(id));
                    assert!(self.proofs.len() <= LIMITS.proofs);
                }
                Action::StopProof(id) => assert!(self.proofs.contains(&id)),
                Action::Show(id, _) => {
                    assert!(!self.closed.contains_key(&id), "shown after it was closed");
                }
                Action::Close(id, outcome) => self.close(id, outcome),
                Action::Progress(id, _) => {
                    assert!(!self.completed.contains_key(&id), "progress after completion");
                }
                Action::Complete(id, outcome) => {
                    let first = self.completed.insert(id, outcome).is_none();
                    assert!(first, "completed twice");
                }
            }
        }
    }

    fn close(&mut self, id: JobId, outcome: Outcome<Fault>) {
        let members = self.accepted.iter().filter(|(_, (_, job))| *job == id);
        for (request, (asked, _)) in members {
            let end = &self.completed[request];
            let left = matches!(end, Outcome::Cancelled | Outcome::CallerGone);
            assert!(left || *end == outcome, "a request ended otherwise than its job");
            assert_eq!(asked.uid, self.jobs[&id].uid, "one job for two users");
        }
        if let Outcome::CoolingDown(_) = outcome {
            let asked = &self.jobs[&id];
            assert_eq!(self.refused.get(&(asked.uid, asked.words)), Some(&self.now));
        }
        self.waiting.remove(&id);
        self.forget_who_stopped_waiting();
        assert!(self.closed.insert(id, outcome).is_none(), "closed twice");
    }

    /// Between two turns of one user, each other user that waited all the time had one; so for the
    /// callers of one user.
    fn note_turn(&mut self, id: JobId) {
        self.waiting.remove(&id);
        let served = self.jobs[&id].clone();
        let [user, caller] = parties(&served);
        self.overtaken.retain(|(waiter, _), _| *waiter != user && *waiter != caller);
        let mut overtaken = BTreeSet::new();
        for waiter in self.waiting.iter().map(|id| &self.jobs[id]) {
            let [other_user, other_caller] = parties(waiter);
            if other_user != user {
                overtaken.insert((other_user, user.clone()));
            } else if other_caller != caller {
                overtaken.insert((other_caller, caller.clone()));
            }
        }
        for pair in overtaken {
            let count = self.overtaken.entry(pair).or_default();
            *count += 1;
            assert_eq!(*count, 1, "one had two turns while another waited");
        }
    }

    /// Whoever takes back all its requests gives up its place.
    fn forget_who_stopped_waiting(&mut self) {
        let waiting = self.waiting.iter().flat_map(|id| parties(&self.jobs[id]));
        let waiting: BTreeSet<Party> = waiting.collect();
        self.overtaken.retain(|(waiter, _), _| waiting.contains(waiter));
    }

    /// Lets everything come to its end by answers alone, without cancels or time-outs.
    pub(super) fn settle(&mut self) {
        while !self.prompts.is_empty() || !self.proofs.is_empty() {
            self.apply(&Event::Prompted { answer: Ok(()) });
            self.apply(&Event::Proved { which: 0, ok: true });
        }
        assert!(self.ceremony.is_empty());
        assert_eq!(self.ceremony.poll_timeout(), None);
        assert_eq!(
            self.accepted.keys().collect::<Vec<_>>(),
            self.completed.keys().collect::<Vec<_>>(),
            "a request was lost"
        );
        assert_eq!(
            self.jobs.keys().collect::<Vec<_>>(),
            self.closed.keys().collect::<Vec<_>>(),
            "a job was lost"
        );
    }

    /// The requests in the order in which they were accepted.
    pub(super) fn ids(&self) -> Vec<RequestId> {
        self.accepted.keys().copied().collect()
    }

    /// The jobs in the order in which they were begun.
    pub(super) fn job_ids(&self) -> Vec<JobId> {
        self.jobs.keys().copied().collect()
    }
}
