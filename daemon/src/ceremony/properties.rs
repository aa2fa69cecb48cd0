//! The ceremony under random orders of requests, answers, late answers, unplugging, cancels,
//! vanished callers, PINs and time-outs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use signet_ctap::commands::SampleStatus;

use super::*;

const LIMITS: Limits = Limits {
    per_caller: 5,
    total: 16,
    proofs: 2,
    turn: Duration::from_secs(120),
    prompt: Duration::from_secs(60),
    proof: Duration::from_secs(20),
};

/// Why a device failed; the ceremony only passes it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Unplugged,
    TpmDead,
}

#[derive(Clone, Debug)]
enum Event {
    Request {
        caller: u8,
        need: Need,
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
    /// The person touches, or the key is pulled out; also of an abandoned prompt: a late reply.
    Prompted {
        ok: bool,
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
        6 => (0u8..5, need).prop_map(|(caller, need)| Event::Request { caller, need }),
        2 => which.prop_map(|which| Event::Cancel { which }),
        1 => (0u8..5).prop_map(|caller| Event::CallerGone { caller }),
        2 => (which, stage).prop_map(|(which, stage)| Event::Notice { which, stage }),
        1 => which.prop_map(|which| Event::Pin { which }),
        4 => any::<bool>().prop_map(|ok| Event::Prompted { ok }),
        4 => (which, any::<bool>()).prop_map(|(which, ok)| Event::Proved { which, ok }),
        1 => (which, any::<bool>()).prop_map(|(which, ok)| Event::Repeated { which, ok }),
        2 => (0u64..90).prop_map(Event::Seconds),
    ]
}

/// A shell that believes nothing and counts everything.
struct Shell {
    ceremony: Ceremony<Fault>,
    now: Instant,
    callers: Vec<CallerId>,
    accepted: BTreeMap<RequestId, (CallerId, Need)>,
    completed: BTreeMap<RequestId, Outcome<Fault>>,
    /// Asked and not yet reported, abandoned ones included.
    prompts: BTreeSet<RequestId>,
    proofs: BTreeSet<RequestId>,
    /// How often a caller was served while another waited.
    overtaken: BTreeMap<(CallerId, CallerId), u32>,
    /// Requests that have not had their turn yet.
    waiting: BTreeSet<RequestId>,
}

impl Shell {
    fn new() -> Self {
        Self {
            ceremony: Ceremony::new(LIMITS),
            now: Instant::now(),
            callers: (0..5).map(|n| CallerId::new(&format!(":1.{n}"))).collect(),
            accepted: BTreeMap::new(),
            completed: BTreeMap::new(),
            prompts: BTreeSet::new(),
            proofs: BTreeSet::new(),
            overtaken: BTreeMap::new(),
            waiting: BTreeSet::new(),
        }
    }

    fn apply(&mut self, event: &Event) {
        let now = self.now;
        match event {
            Event::Request { caller, need } => self.request(usize::from(*caller), *need),
            Event::Cancel { which } => {
                if let Some(id) = self.any_accepted(*which) {
                    self.ceremony.handle_cancel(id, now);
                }
            }
            Event::CallerGone { caller } => {
                let caller = self.callers[usize::from(*caller)].clone();
                self.ceremony.handle_caller_gone(&caller, now);
            }
            Event::Notice { which, stage } => {
                if let Some(id) = self.any_accepted(*which) {
                    self.ceremony.handle_notice(id, *stage, now);
                }
            }
            Event::Pin { which } => {
                if let Some(id) = self.any_accepted(*which) {
                    let taken = self.ceremony.handle_pin(id, now).is_ok();
                    assert!(!taken || self.prompts.contains(&id), "pin without a prompt");
                }
            }
            Event::Prompted { ok } => {
                if let Some(id) = self.prompts.pop_first() {
                    let answer = if *ok { Ok(()) } else { Err(Fault::Unplugged) };
                    self.ceremony.handle_prompted(id, answer, now);
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

    fn request(&mut self, caller: usize, need: Need) {
        let caller = self.callers[caller].clone();
        let live = self.accepted.len() - self.completed.len();
        let own = self
            .accepted
            .iter()
            .filter(|(id, (other, _))| *other == caller && !self.completed.contains_key(id));
        let own = own.count();
        match self.ceremony.handle_request(&caller, need, self.now) {
            Ok(id) => {
                assert!(own < LIMITS.per_caller && live < LIMITS.total);
                assert!(self.accepted.insert(id, (caller, need)).is_none(), "id used twice");
                if need != Need::Machine {
                    self.waiting.insert(id);
                }
            }
            Err(Refused::CallerLimit { .. }) => assert_eq!(own, LIMITS.per_caller),
            Err(Refused::TotalLimit { .. }) => assert_eq!(live, LIMITS.total),
        }
    }

    fn repeat(&mut self, which: usize, ok: bool) {
        let Some(id) = self.any_accepted(which) else { return };
        let now = self.now;
        if !self.prompts.contains(&id) {
            self.ceremony.handle_prompted(id, ok.then_some(()).ok_or(Fault::Unplugged), now);
        }
        if !self.proofs.contains(&id) {
            self.ceremony.handle_proved(id, ok.then_some(()).ok_or(Fault::TpmDead), now);
        }
    }

    fn any_accepted(&self, which: usize) -> Option<RequestId> {
        self.accepted.keys().nth(which % self.accepted.len().max(1)).copied()
    }

    fn obey(&mut self) {
        while let Some(action) = self.ceremony.poll_action() {
            match action {
                Action::Prompt(id) => {
                    assert!(!self.completed.contains_key(&id));
                    assert_ne!(self.accepted[&id].1, Need::Machine, "a prompt nobody wants");
                    self.note_turn(id);
                    assert!(self.prompts.insert(id));
                    assert_eq!(self.prompts.len(), 1, "two prompts at a time");
                }
                Action::StopPrompt(id) => assert!(self.prompts.contains(&id)),
                Action::Prove(id) => {
                    assert!(!self.completed.contains_key(&id));
                    assert_ne!(self.accepted[&id].1, Need::PersonAlone, "a proof nobody wants");
                    assert!(self.proofs.insert(id));
                    assert!(self.proofs.len() <= LIMITS.proofs);
                }
                Action::StopProof(id) => assert!(self.proofs.contains(&id)),
                Action::Progress(id, _) => {
                    assert!(!self.completed.contains_key(&id), "progress after completion");
                }
                Action::Complete(id, outcome) => {
                    assert!(self.accepted.contains_key(&id));
                    self.waiting.remove(&id);
                    self.forget_who_stopped_waiting();
                    let first = self.completed.insert(id, outcome).is_none();
                    assert!(first, "completed twice");
                }
            }
        }
    }

    /// Between two turns of one caller, each other caller that waited all the time had one.
    fn note_turn(&mut self, id: RequestId) {
        self.waiting.remove(&id);
        let served = self.accepted[&id].0.clone();
        self.overtaken.retain(|(waiter, _), _| *waiter != served);
        for waiter in self.waiters().into_iter().filter(|waiter| *waiter != served) {
            let count = self.overtaken.entry((waiter, served.clone())).or_default();
            *count += 1;
            assert_eq!(*count, 1, "a caller had two turns while another waited");
        }
    }

    fn waiters(&self) -> BTreeSet<CallerId> {
        self.waiting.iter().map(|id| self.accepted[id].0.clone()).collect()
    }

    /// Whoever takes back all its requests gives up its place.
    fn forget_who_stopped_waiting(&mut self) {
        let waiters = self.waiters();
        self.overtaken.retain(|(waiter, _), _| waiters.contains(waiter));
    }

    /// Lets everything come to its end by answers alone, without cancels or time-outs.
    fn settle(&mut self) {
        while !self.prompts.is_empty() || !self.proofs.is_empty() {
            self.apply(&Event::Prompted { ok: true });
            self.apply(&Event::Proved { which: 0, ok: true });
        }
        assert!(self.ceremony.is_empty());
        assert_eq!(self.ceremony.poll_timeout(), None);
        assert_eq!(
            self.accepted.keys().collect::<Vec<_>>(),
            self.completed.keys().collect::<Vec<_>>(),
            "a request was lost"
        );
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
    shell.request(0, Need::Person);
    shell.obey();
    shell.request(1, Need::Machine);
    shell.obey();
    assert_eq!((shell.prompts.len(), shell.proofs.len()), (1, 1));
    shell.apply(&Event::Proved { which: 0, ok: true });
    assert_eq!(shell.completed.values().collect::<Vec<_>>(), [&Outcome::Done]);
    assert_eq!(shell.prompts.len(), 1);
}

#[test]
fn an_abandoned_prompt_keeps_the_next_waiting_until_the_key_is_free() {
    let mut shell = Shell::new();
    shell.request(0, Need::Person);
    shell.request(1, Need::Person);
    shell.obey();
    shell.apply(&Event::Cancel { which: 0 });
    let ids: Vec<RequestId> = shell.accepted.keys().copied().collect();
    assert_eq!(shell.completed, [(ids[0], Outcome::Cancelled)].into());
    assert!(shell.prompts.contains(&ids[0]) && !shell.prompts.contains(&ids[1]));
    // The touch that comes too late is nobody's.
    shell.apply(&Event::Prompted { ok: true });
    assert!(shell.prompts.contains(&ids[1]) && shell.proofs.is_empty());
}

#[test]
fn upkeep_of_a_key_ends_with_the_prompt_and_makes_room() {
    let mut shell = Shell::new();
    shell.request(0, Need::PersonAlone);
    shell.request(1, Need::Person);
    shell.obey();
    let ids: Vec<RequestId> = shell.accepted.keys().copied().collect();
    shell.apply(&Event::Prompted { ok: true });
    assert_eq!(shell.completed, [(ids[0], Outcome::Done)].into());
    assert!(shell.proofs.is_empty() && shell.prompts.contains(&ids[1]));
}

#[test]
fn samples_of_a_finger_keep_the_prompt_open_and_an_empty_sensor_does_not() {
    let mut shell = Shell::new();
    shell.request(0, Need::PersonAlone);
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
    shell.request(0, Need::PersonAlone);
    shell.obey();
    let id = *shell.accepted.keys().next().unwrap();
    let now = shell.now;
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
