//! What can happen to a ceremony, in any order.

use proptest::prelude::*;
use signet_ctap::commands::SampleStatus;

use super::{CALLERS, Fault};
use crate::ceremony::{Need, Stage};

#[derive(Clone, Debug)]
pub(super) enum Event {
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

pub(super) fn event() -> impl Strategy<Value = Event> {
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
