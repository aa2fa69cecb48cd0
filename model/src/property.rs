//! What must hold in every state, and what must be possible.

use stateright::Property;

use crate::term::{Audience, Certificate, Purpose, Quote, TlsKey, Token};
use crate::world::{Protocol, Use, World};

/// A property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// Its operator touched for this very statement.
    Touched,
    /// No two tokens of one touch.
    OneTouchOneToken,
    /// The token's key lives in the TPM of the machine that the statement names.
    Bound,
    /// That machine's TPM quoted this statement, assertion and registration, in an approved boot.
    Quoted,
    /// Touch and quote are no older than the challenge.
    Fresh,
    /// A session goes on with its operator, on its machine, in its boot.
    Continued,
    /// The statement is for this authority.
    ForUs,
    /// A key is added by a touch for it.
    Added,
    /// A token serves over its connection, at its audience, for its action, in its time.
    Served,
    /// An action is spent once.
    SpentOnce,
}

impl Name {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Touched,
        Self::OneTouchOneToken,
        Self::Bound,
        Self::Quoted,
        Self::Fresh,
        Self::Continued,
        Self::ForUs,
        Self::Added,
        Self::Served,
        Self::SpentOnce,
    ];

    /// In words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Touched => "no token without the operator's touch for that statement",
            Self::OneTouchOneToken => "one touch gives one token",
            Self::Bound => "a token is bound to the key in its machine's TPM",
            Self::Quoted => "that TPM quoted this very evidence in an approved boot",
            Self::Fresh => "no touch and no quote is older than its challenge",
            Self::Continued => "a session goes on with its operator, machine and boot",
            Self::ForUs => "evidence for another authority gives no token",
            Self::Added => "a key is added by a touch for that key's statement",
            Self::Served => "a token serves its connection, audience, action and time",
            Self::SpentOnce => "each action is spent once",
        }
    }

    fn check(self) -> fn(&Protocol, &World) -> bool {
        match self {
            Self::Touched => |_, world| world.tokens.iter().all(touched),
            Self::OneTouchOneToken => |_, world| one_touch_one_token(world),
            Self::Bound => |_, world| world.tokens.iter().all(bound),
            Self::Quoted => |_, world| world.tokens.iter().all(quoted),
            Self::Fresh => |_, world| world.tokens.iter().all(fresh),
            Self::Continued => |_, world| world.tokens.iter().all(|token| continued(world, token)),
            Self::ForUs => |_, world| {
                let here = |token: &Token| token.evidence.statement.audience == Audience::Mesh;
                world.tokens.iter().all(here)
            },
            Self::Added => |_, world| added(world),
            Self::Served => |_, world| world.uses.iter().all(|used| served(world, used)),
            Self::SpentOnce => |_, world| spent_once(world),
        }
    }
}

/// The name of each thing that honest people can do.
pub const POSSIBLE: [&str; 5] = [
    "Alice starts a session",
    "Alice renews it",
    "Alice's action is done",
    "Alice adds a key",
    "Mallory has a session of her own",
];

/// For the checker.
#[must_use]
pub fn properties() -> Vec<Property<Protocol>> {
    let never = Name::ALL.into_iter().map(|name| Property::always(name.text(), name.check()));
    let possible: [fn(&Protocol, &World) -> bool; 5] = [
        |_, world| world.tokens.iter().any(|token| of_alice(token, Purpose::Session)),
        |_, world| world.tokens.iter().any(|token| of_alice(token, Purpose::Renew)),
        |_, world| {
            let done = |used: &Use| used.request.is_some() && used.peer == Certificate::of(DESK);
            world.uses.iter().any(done)
        },
        |_, world| world.added.iter().any(|evidence| evidence.statement.device == DESK),
        |_, world| world.tokens.iter().any(|token| token.evidence.statement.device != DESK),
    ];
    let sometimes = POSSIBLE.into_iter().zip(possible);
    never.chain(sometimes.map(|(name, check)| Property::sometimes(name, check))).collect()
}

const DESK: crate::term::Machine = crate::term::Machine::Desk;

fn of_alice(token: &Token, purpose: Purpose) -> bool {
    let statement = &token.evidence.statement;
    (statement.device, statement.purpose) == (DESK, purpose)
}

fn touched(token: &Token) -> bool {
    let statement = &token.evidence.statement;
    match token.evidence.assertion {
        None => !statement.purpose.needs_touch(),
        Some(part) => part.assertion.by == statement.subject && part.assertion.over == *statement,
    }
}

fn one_touch_one_token(world: &World) -> bool {
    let touch = |token: &Token| token.evidence.assertion.map(|part| part.assertion);
    let all = &world.tokens;
    all.iter().enumerate().all(|(number, token)| {
        touch(token).is_none() || all[..number].iter().all(|earlier| touch(earlier) != touch(token))
    })
}

fn bound(token: &Token) -> bool {
    let device = token.evidence.statement.device;
    token.bound_to == Certificate { device, key: TlsKey::Of(device) }
}

fn quoted(token: &Token) -> bool {
    let evidence = &token.evidence;
    let over_this = |quote: &Quote| {
        quote.ak == evidence.statement.device
            && quote.statement == evidence.statement
            && quote.assertion == evidence.assertion
            && quote.registration == evidence.registration
    };
    let certification = evidence.certification.as_ref();
    evidence.quote.approved
        && over_this(&evidence.quote)
        && certification.is_none_or(|made| over_this(&made.by))
}

fn fresh(token: &Token) -> bool {
    let assertion = token.evidence.assertion.map(|part| part.assertion.at);
    token.evidence.quote.at == token.issued && assertion.is_none_or(|at| at == token.issued)
}

/// What is renewed is what its presence was proved for.
fn continued(world: &World, token: &Token) -> bool {
    let statement = &token.evidence.statement;
    let Some(session) = statement.session.and_then(|id| world.session(id)) else { return true };
    session.presence.subject == statement.subject
        && session.presence.device == statement.device
        && session.reset_count == token.evidence.quote.reset_count
}

fn added(world: &World) -> bool {
    world.added.iter().all(|evidence| {
        let statement = &evidence.statement;
        let touch = evidence.assertion.is_some_and(|part| {
            part.assertion.by == statement.subject && part.assertion.over == *statement
        });
        let new = evidence.registration.is_some_and(|new| new.over == *statement);
        let quote = &evidence.quote;
        let quoted = quote.registration == evidence.registration
            && quote.statement == *statement
            && quote.ak == statement.device
            && quote.approved;
        touch && new && quoted && statement.audience == Audience::Mesh
    })
}

fn served(world: &World, used: &Use) -> bool {
    let Some(token) = used.token.and_then(|number| world.tokens.get(number)) else { return false };
    token.bound_to == used.peer
        && token.audience == used.audience
        && token.action == used.request
        && token.issued == used.at
}

fn spent_once(world: &World) -> bool {
    world.uses.iter().enumerate().all(|(number, used)| {
        used.request.is_none()
            || world.uses[..number].iter().all(|earlier| earlier.token != used.token)
    })
}
