//! What may happen to an operator with two machines and two security keys, and sequences of it.

use proptest::prelude::*;

/// What is revoked. Numbers of sessions and tokens count from the first that was made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Token(usize),
    Session(usize),
    Key(usize),
    Desk(usize),
    Operator,
    Everything,
}

/// One event. `wide` asks for more scope.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A session begins.
    Touch { desk: usize, key: usize, wide: bool },
    /// Presence is proved again in a session.
    TouchAgain { desk: usize, key: usize, session: usize, wide: bool },
    /// Another token without a touch.
    Renew { desk: usize, session: usize, wide: bool },
    /// A critical action.
    Action { desk: usize, key: usize },
    /// A gateway asks about a token.
    Look { token: usize },
    /// A gateway uses a token up.
    Spend { token: usize },
    /// The authority's clock goes on.
    Wait { seconds: i64 },
    /// The reset counter changes.
    Reboot { desk: usize },
    /// A machine's certificate is renewed, for the same key.
    Certify { desk: usize },
    /// An administrator revokes.
    Revoke(Target),
    /// The token key changes by plan.
    Rotate,
    /// The token key is no longer believed.
    RotateInEmergency,
    /// The next is asked of this node.
    Node { node: usize },
    /// This node ends and starts again.
    Restart { node: usize },
}

impl Event {
    /// The same event about a session and a token that there are; `None` when there is none.
    pub(crate) fn among(self, sessions: usize, tokens: usize) -> Option<Self> {
        let of = |number: usize, all: usize| number.checked_rem(all);
        Some(match self {
            Self::TouchAgain { desk, key, session, wide } => {
                Self::TouchAgain { desk, key, session: of(session, sessions)?, wide }
            }
            Self::Renew { desk, session, wide } => {
                Self::Renew { desk, session: of(session, sessions)?, wide }
            }
            Self::Look { token } => Self::Look { token: of(token, tokens)? },
            Self::Spend { token } => Self::Spend { token: of(token, tokens)? },
            Self::Revoke(Target::Token(token)) => Self::Revoke(Target::Token(of(token, tokens)?)),
            Self::Revoke(Target::Session(session)) => {
                Self::Revoke(Target::Session(of(session, sessions)?))
            }
            other => other,
        })
    }
}

/// Mostly the first machine and key, so that a session lives for some time.
fn one_of_two() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(0_usize), 1 => Just(1)]
}

fn number() -> impl Strategy<Value = usize> {
    0..6_usize
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        4 => number().prop_map(Target::Token),
        4 => number().prop_map(Target::Session),
        2 => one_of_two().prop_map(Target::Key),
        2 => one_of_two().prop_map(Target::Desk),
        1 => Just(Target::Operator),
        1 => Just(Target::Everything),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let desk = one_of_two;
    prop_oneof![
        6 => (desk(), desk(), any::<bool>())
            .prop_map(|(desk, key, wide)| Event::Touch { desk, key, wide }),
        4 => (desk(), desk(), number(), any::<bool>())
            .prop_map(|(desk, key, session, wide)| Event::TouchAgain { desk, key, session, wide }),
        10 => (desk(), number(), prop::bool::weighted(0.2))
            .prop_map(|(desk, session, wide)| Event::Renew { desk, session, wide }),
        4 => (desk(), desk()).prop_map(|(desk, key)| Event::Action { desk, key }),
        8 => number().prop_map(|token| Event::Look { token }),
        5 => number().prop_map(|token| Event::Spend { token }),
        8 => prop::sample::select(vec![1_i64, 30, 59, 60, 64, 65, 299, 300, 304, 305, 450, 600, 601])
            .prop_map(|seconds| Event::Wait { seconds }),
        2 => desk().prop_map(|desk| Event::Reboot { desk }),
        1 => desk().prop_map(|desk| Event::Certify { desk }),
        3 => target().prop_map(Event::Revoke),
        1 => Just(Event::Rotate),
        1 => Just(Event::RotateInEmergency),
        3 => (0..3_usize).prop_map(|node| Event::Node { node }),
        1 => (0..3_usize).prop_map(|node| Event::Restart { node }),
    ]
}

/// Up to thirty events, the first of which is a touch.
pub(crate) fn sequence() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(event(), 1..30).prop_map(|mut events| {
        events.insert(0, Event::Touch { desk: 0, key: 0, wide: false });
        events
    })
}
