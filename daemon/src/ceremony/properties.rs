//! The ceremony under random orders of requests, answers, refusals, late answers, unplugging, cancels,
//! vanished callers, PINs and time-outs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use signet_ctap::commands::SampleStatus;

use super::*;

const LIMITS: Limits = Limits {
    per_caller: 5,
    per_user: 8,
    total: 16,
    proofs: 2,
    turn: Duration::from_secs(120),
    prompt: Duration::from_secs(60),
    proof: Duration::from_secs(20),
    cool_down: Duration::from_secs(30),
};
/// Callers; each two of them belong to one user.
const CALLERS: u8 = 6;

/// Why a device failed; the ceremony only passes it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Unplugged,
    TpmDead,
    /// The person pressed no on the key.
    Declined,
}

impl PersonsNo for Fault {
    fn is_persons_no(&self) -> bool {
        *self == Self::Declined
    }
}

#[derive(Clone, Debug)]
enum Event {
    Request {
        caller: u8,
        need: Need,
        /// What is asked; the words are the same for each two of these.
        what: u8,
    },
    Cancel {
        which: usize,
    },
    CallerGone {
        caller: u8,
    },
    Notice {
        which: usize,
        stage: Stage,
    },
    Pin {
        which: usize,
    },
    /// The person says no at the agent's prompt; also to what is over.
    Refused {
        which: usize,
    },
    /// Another agent, or the caller, shows the prompt.
    ShownElsewhere {
        which: usize,
    },
    /// Nobody can show it any more.
    NotShown {
        which: usize,
    },
    /// The person touches, declines, or pulls the key out; also of an abandoned prompt: a late reply.
    Prompted {
        answer: Result<(), Fault>,
    },
    Proved {
        which: usize,
        ok: bool,
    },
    /// A report that nobody waits for any more.
    Repeated {
        which: usize,
        ok: bool,
    },
    Seconds(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let which = any::<usize>();
    let need = prop_oneof![
        3 => Just(Need::Person),
        2 => Just(Need::PersonAlone),
        1 => Just(Need::Machine),
    ];
    let answer = prop_oneof![
        4 => Just(Ok(())),
        3 => Just(Err(Fault::Unplugged)),
        1 => Just(Err(Fault::Declined)),
    ];
    let stage = prop_oneof![
        Just(Stage::TouchNeeded),
        Just(Stage::WrongFinger { tries_left: 3 }),
        Just(Stage::PinNeeded { tries_left: 8, min_length: 4 }),
        Just(Stage::NewPinNeeded { min_length: 4, max_length: 63 }),
        Just(Stage::Sample { status: SampleStatus::Good, remaining: 3 }),
        Just(Stage::Sample { status: SampleStatus::NoActivity, remaining: 3 }),
        Just(Stage::KeyNeeded),
    ];
    prop_oneof![
        6 => (0..CALLERS, need, 0u8..12)
            .prop_map(|(caller, need, what)| Event::Request { caller, need, what }),
        2 => which.prop_map(|which| Event::Cancel { which }),
        1 => (0..CALLERS).prop_map(|caller| Event::CallerGone { caller }),
        1 => which.prop_map(|which| Event::Refused { which }),
        1 => which.prop_map(|which| Event::ShownElsewhere { which }),
        1 => which.prop_map(|which| Event::NotShown { which }),
        2 => (which, stage).prop_map(|(which, stage)| Event::Notice { which, stage }),
        1 => which.prop_map(|which| Event::Pin { which }),
        4 => answer.prop_map(|answer| Event::Prompted { answer }),
        4 => (which, any::<bool>()).prop_map(|(which, ok)| Event::Proved { which, ok }),
        1 => (which, any::<bool>()).prop_map(|(which, ok)| Event::Repeated { which, ok }),
        2 => (0u64..90).prop_map(Event::Seconds),
    ]
}

/// Everything about a request but who asks: equal for equal things that are asked.
fn asked(caller: &CallerId, number: usize, need: Need, what: u8) -> Asked {
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
struct Shell {
    ceremony: Ceremony<Fault>,
    now: Instant,
    callers: Vec<CallerId>,
    accepted: BTreeMap<RequestId, (Asked, JobId)>,
    completed: BTreeMap<RequestId, Outcome<Fault>>,
    /// What was begun, by whoever asked first.
    jobs: BTreeMap<JobId, Asked>,
    closed: BTreeMap<JobId, Outcome<Fault>>,
    /// Asked and not yet reported, abandoned ones included.
    prompts: BTreeSet<JobId>,
    proofs: BTreeSet<JobId>,
    /// When a user said no to words.
    refused: BTreeMap<(u32, [u8; 32]), Instant>,
    /// How often one was served while another waited: users, and callers of one user.
    overtaken: BTreeMap<(Party, Party), u32>,
    /// Jobs that have not had their turn yet.
    waiting: BTreeSet<JobId>,
}

impl Shell {
    fn new() -> Self {
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

    fn apply(&mut self, event: &Event) {
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

    fn request(&mut self, caller: usize, need: Need, what: u8) {
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
    fn refuse(&mut self, job: JobId) {
        if self.prompts.contains(&job) && !self.closed.contains_key(&job) {
            self.note_refusal(job);
        }
        self.ceremony.handle_refused(job, self.now);
    }

    fn note_refusal(&mut self, job: JobId) {
        let asked = &self.jobs[&job];
        self.refused.insert((asked.uid, asked.words), self.now);
    }

    fn repeat(&mut self, which: usize, ok: bool) {
        let Some((_, id)) = self.any_accepted(which) else { return };
        let now = self.now;
        if !self.prompts.contains(&id) {
            self.ceremony.handle_prompted(id, ok.then_some(()).ok_or(Fault::Declined), now);
        }
        if !self.proofs.contains(&id) {
            self.ceremony.handle_proved(id, ok.then_some(()).ok_or(Fault::TpmDead), now);
        }
    }

    fn any_accepted(&self, which: usize) -> Option<(RequestId, JobId)> {
        let found = self.accepted.iter().nth(which % self.accepted.len().max(1));
        found.map(|(id, (_, job))| (*id, *job))
    }

    fn obey(&mut self) {
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
    fn settle(&mut self) {
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
    fn ids(&self) -> Vec<RequestId> {
        self.accepted.keys().copied().collect()
    }

    /// The jobs in the order in which they were begun.
    fn job_ids(&self) -> Vec<JobId> {
        self.jobs.keys().copied().collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_request_completes_once_and_one_prompt_is_open(
        events in prop::collection::vec(event(), 0..120),
    ) {
        let mut shell = Shell::new();
        for event in &events {
            shell.apply(event);
        }
        shell.settle();
    }

    #[test]
    fn time_alone_ends_every_request(events in prop::collection::vec(event(), 0..60)) {
        let mut shell = Shell::new();
        for event in &events {
            shell.apply(event);
        }
        // Devices never answer again: the callers still get their answers.
        while let Some(due) = shell.ceremony.poll_timeout() {
            shell.now = shell.now.max(due);
            shell.ceremony.handle_timeout(shell.now);
            shell.obey();
        }
        prop_assert_eq!(shell.accepted.len(), shell.completed.len());
    }
}

#[test]
fn a_renewal_does_not_wait_behind_a_prompt() {
    let mut shell = Shell::new();
    shell.request(0, Need::Person, 0);
    shell.obey();
    shell.request(1, Need::Machine, 0);
    shell.obey();
    assert_eq!((shell.prompts.len(), shell.proofs.len()), (1, 1));
    shell.apply(&Event::Proved { which: 0, ok: true });
    assert_eq!(shell.completed.values().collect::<Vec<_>>(), [&Outcome::Done]);
    assert_eq!(shell.prompts.len(), 1);
}

#[test]
fn an_abandoned_prompt_keeps_the_next_waiting_until_the_key_is_free() {
    let mut shell = Shell::new();
    shell.request(0, Need::Person, 0);
    shell.request(1, Need::Person, 2);
    shell.obey();
    shell.apply(&Event::Cancel { which: 0 });
    let (ids, jobs) = (shell.ids(), shell.job_ids());
    assert_eq!(shell.completed, [(ids[0], Outcome::Cancelled)].into());
    assert!(shell.prompts.contains(&jobs[0]) && !shell.prompts.contains(&jobs[1]));
    // The touch that comes too late is nobody's.
    shell.apply(&Event::Prompted { answer: Ok(()) });
    assert!(shell.prompts.contains(&jobs[1]) && shell.proofs.is_empty());
}

#[test]
fn upkeep_of_a_key_ends_with_the_prompt_and_makes_room() {
    let mut shell = Shell::new();
    shell.request(0, Need::PersonAlone, 0);
    shell.request(1, Need::Person, 2);
    shell.obey();
    let (ids, jobs) = (shell.ids(), shell.job_ids());
    shell.apply(&Event::Prompted { answer: Ok(()) });
    assert_eq!(shell.completed, [(ids[0], Outcome::Done)].into());
    assert!(shell.proofs.is_empty() && shell.prompts.contains(&jobs[1]));
}

#[test]
fn samples_of_a_finger_keep_the_prompt_open_and_an_empty_sensor_does_not() {
    let mut shell = Shell::new();
    shell.request(0, Need::PersonAlone, 0);
    shell.obey();
    let sample = |status| Event::Notice { which: 0, stage: Stage::Sample { status, remaining: 3 } };
    for _ in 0..3 {
        shell.apply(&Event::Seconds(50));
        shell.apply(&sample(SampleStatus::TooShort));
    }
    assert!(shell.completed.is_empty());
    shell.apply(&Event::Seconds(50));
    shell.apply(&sample(SampleStatus::NoActivity));
    shell.apply(&Event::Seconds(10));
    assert_eq!(shell.completed.values().collect::<Vec<_>>(), [&Outcome::TimedOut(Waited::Person)]);
}

#[test]
fn a_pin_is_taken_once_for_each_question_also_for_a_new_one() {
    let mut shell = Shell::new();
    shell.request(0, Need::PersonAlone, 0);
    shell.obey();
    let (id, now) = (shell.job_ids()[0], shell.now);
    assert_eq!(shell.ceremony.handle_pin(id, now), Err(NotAskedForPin));
    for stage in [
        Stage::PinNeeded { tries_left: 8, min_length: 4 },
        Stage::NewPinNeeded { min_length: 4, max_length: 63 },
    ] {
        shell.apply(&Event::Notice { which: 0, stage });
        assert_eq!(shell.ceremony.handle_pin(id, now), Ok(()));
        assert_eq!(shell.ceremony.handle_pin(id, now), Err(NotAskedForPin));
    }
}

#[test]
fn the_same_of_one_user_is_asked_once_and_outlives_whoever_asked_first() {
    let mut shell = Shell::new();
    // Callers 0 and 1 are one user, caller 2 is another.
    for caller in [0, 1, 2] {
        shell.request(caller, Need::Person, 7);
    }
    shell.obey();
    assert_eq!((shell.accepted.len(), shell.jobs.len()), (3, 2));
    shell.apply(&Event::Cancel { which: 0 });
    let ids = shell.ids();
    assert_eq!(shell.completed, [(ids[0], Outcome::Cancelled)].into());
    shell.apply(&Event::Prompted { answer: Ok(()) });
    shell.apply(&Event::Proved { which: 0, ok: true });
    assert_eq!(shell.completed.get(&ids[1]), Some(&Outcome::Done));
    assert_eq!(shell.completed.get(&ids[2]), None);
}

#[test]
fn who_joins_hears_what_is_asked_now_and_a_pin_that_was_given_is_not_asked_again() {
    let mut shell = Shell::new();
    shell.request(0, Need::Person, 7);
    shell.obey();
    let pin = Stage::PinNeeded { tries_left: 8, min_length: 4 };
    shell.apply(&Event::Notice { which: 0, stage: pin });
    let joins = |shell: &mut Shell| {
        shell.request(1, Need::Person, 7);
        let told = shell.ceremony.poll_action();
        shell.obey();
        match told {
            Some(Action::Progress(_, stage)) => stage,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(joins(&mut shell), pin);
    shell.ceremony.handle_pin(shell.job_ids()[0], shell.now).unwrap();
    assert_eq!(joins(&mut shell), Stage::Processing);
}

#[test]
fn a_refusal_cools_down_the_same_words_of_the_same_user_alone() {
    let mut shell = Shell::new();
    // 6 and 7 have the same words; callers 0 and 1 are one user.
    for (caller, what) in [(0, 6), (1, 7), (1, 9), (2, 6)] {
        shell.request(caller, Need::Person, what);
    }
    shell.obey();
    let ids = shell.ids();
    shell.apply(&Event::Refused { which: 0 });
    let cooling = Outcome::CoolingDown(LIMITS.cool_down);
    assert_eq!(shell.completed, [(ids[0], Outcome::Refused), (ids[1], cooling)].into());
    shell.now += Duration::from_secs(10);
    let again = asked(&shell.callers[1].clone(), 1, Need::Person, 6);
    let left = Duration::from_secs(20);
    let refused = shell.ceremony.handle_request(&again, shell.now);
    assert_eq!(refused, Err(Refused::CoolingDown { left }));
    shell.now += left;
    shell.request(1, Need::Person, 6);
    assert_eq!(shell.accepted.len(), 5);
}

#[test]
fn a_refusal_of_what_waits_or_is_over_is_nothing() {
    let mut shell = Shell::new();
    shell.request(0, Need::Person, 0);
    shell.request(0, Need::Person, 2);
    shell.obey();
    shell.apply(&Event::Refused { which: 1 });
    assert!(shell.completed.is_empty());
    shell.apply(&Event::Prompted { answer: Ok(()) });
    shell.apply(&Event::Refused { which: 0 });
    assert!(shell.completed.is_empty(), "the touch was the answer");
}
