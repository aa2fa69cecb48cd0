//! The ceremony under random orders of requests, answers, refusals, late answers, unplugging, cancels,
//! vanished callers, PINs and time-outs.

mod events;
mod shell;

use std::time::Duration;

use proptest::prelude::*;
use signet_ctap::commands::SampleStatus;

use super::*;
use events::{Event, event};
use shell::{Shell, asked};

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
