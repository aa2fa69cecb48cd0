//! What is: who holds what, what the authority has on record, what lies open on the network.
//!
//! Three beginnings (docs/threat-model.md). Mallory always has the network, where she reads, keeps
//! back, replays and recombines everything (TLS shows each end the key of the other, and hides
//! nothing), a machine of her own that is enrolled, and her own security key.
//!
//! - *network*: Alice's machine runs what it should;
//! - *host*: Mallory runs as root on it, in an approved boot. She uses its TPM and TLS key as she
//!   likes; Alice's key signs whatever statement she has Alice touch for;
//! - *boot*: it runs what it should until Mallory boots something else, which its PCRs show.

use std::collections::BTreeSet;

use crate::binding::{Binding, Removed};
use crate::term::{
    Assertion, Audience, Certificate, Challenge, Evidence, Machine, Nonce, Operator, Purpose,
    SessionId, Statement, TlsKey, Token,
};

/// How a world begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// Nobody but Alice is at her machine.
    Network,
    /// Mallory is root on it.
    Host,
    /// Mallory may boot something else.
    Boot,
}

impl Start {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Network, Self::Host, Self::Boot];

    /// For the command line and the page.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Host => "host",
            Self::Boot => "boot",
        }
    }
}

/// How far the search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Challenges that are issued.
    pub challenges: usize,
    /// Alice's touches.
    pub touches: u8,
    /// Tokens and new keys.
    pub tokens: usize,
    /// Uses of a token at a gateway.
    pub uses: usize,
    /// Steps of the clock, each beyond the life of a challenge and of a token.
    pub ticks: u8,
    /// Restarts of Alice's machine.
    pub restarts: u8,
}

impl Bounds {
    /// What `make test` explores of evidence.
    pub const EVIDENCE: Self =
        Self { challenges: 2, touches: 1, tokens: 2, uses: 0, ticks: 1, restarts: 1 };
    /// What it explores of tokens at gateways.
    pub const GATEWAY: Self =
        Self { challenges: 1, touches: 1, tokens: 1, uses: 2, ticks: 1, restarts: 1 };
}

/// Who runs Alice's machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// `signetd` as it should be.
    Honest,
    /// Mallory.
    Taken,
}

/// A session's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// Its machine.
    pub device: Machine,
    /// Its operator.
    pub subject: Operator,
    /// The reset counter when it began.
    pub reset_count: u8,
    /// Not that of one action, which cannot be continued.
    pub person: bool,
    /// The last statement that presence was proved for.
    pub presence: Statement,
}

/// What a gateway let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Use {
    /// Which token; none: one that nobody minted.
    pub token: Option<usize>,
    /// The certificate of the connection.
    pub peer: Certificate,
    /// Whose gateway.
    pub audience: Audience,
    /// The request; none: one for which no touch is demanded.
    pub request: Option<crate::term::Action>,
    /// When.
    pub at: u8,
}

/// What Alice's own machine has under way while it is honest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ceremony {
    /// What it put before the key.
    pub statement: Statement,
    /// The touch.
    pub assertion: Option<Assertion>,
}

/// A state of everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// How it began.
    pub start: Start,
    /// The authority's clock.
    pub now: u8,
    /// Alice's machine.
    pub host: Host,
    /// Whether its PCRs hold the approved values.
    pub approved: bool,
    /// Its TPM's reset counter.
    pub reset_count: u8,
    /// Device certificates.
    pub certificates: BTreeSet<Certificate>,
    /// Issued so far.
    pub challenges: Vec<Challenge>,
    /// Consumed.
    pub consumed: BTreeSet<Nonce>,
    /// How often Alice touched.
    pub touches: u8,
    /// What her key signed. Mallory's signs what she likes, when she needs it.
    pub assertions: BTreeSet<Assertion>,
    /// At Alice's machine.
    pub ceremony: Option<Ceremony>,
    /// What Alice's machine sent.
    pub sent: BTreeSet<Evidence>,
    /// The sessions' rows.
    pub sessions: Vec<Session>,
    /// What was minted.
    pub tokens: Vec<Token>,
    /// Evidence by which a security key was added for the statement's operator.
    pub added: Vec<Evidence>,
    /// What gateways let pass.
    pub uses: Vec<Use>,
}

impl World {
    /// The first state.
    #[must_use]
    pub fn new(start: Start) -> Self {
        Self {
            start,
            now: 0,
            host: if start == Start::Host { Host::Taken } else { Host::Honest },
            approved: true,
            reset_count: 0,
            certificates: [Machine::Desk, Machine::Lair].map(Certificate::of).into(),
            challenges: Vec::new(),
            consumed: BTreeSet::new(),
            touches: 0,
            assertions: BTreeSet::new(),
            ceremony: None,
            sent: BTreeSet::new(),
            sessions: Vec::new(),
            tokens: Vec::new(),
            added: Vec::new(),
            uses: Vec::new(),
        }
    }

    /// Whether Mallory can have this key sign.
    #[must_use]
    pub fn mallory_uses(&self, key: TlsKey) -> bool {
        match key {
            TlsKey::Of(Machine::Desk) => self.host == Host::Taken,
            TlsKey::Of(Machine::Lair) | TlsKey::Loose => true,
        }
    }

    /// The challenge of a nonce that the authority issued.
    #[must_use]
    pub fn challenge(&self, nonce: Nonce) -> Option<&Challenge> {
        match nonce {
            Nonce::Issued(number) => self.challenges.get(usize::from(number)),
            Nonce::MadeUp => None,
        }
    }

    /// A session's row.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(usize::from(id))
    }
}

/// The model: the protocol, or the protocol with something taken away.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// How the world begins.
    pub starts: Vec<Start>,
    /// How far to look.
    pub bounds: Bounds,
    /// What evidence is made for.
    pub purposes: Vec<Purpose>,
    /// What is missing.
    pub removed: Removed,
}

impl Protocol {
    /// The whole protocol.
    #[must_use]
    pub fn whole(start: Start, bounds: Bounds) -> Self {
        let purposes = Purpose::ALL.into();
        Self { starts: vec![start], bounds, purposes, removed: Removed::default() }
    }

    /// Without these.
    #[must_use]
    pub fn without(self, bindings: &[Binding]) -> Self {
        Self { removed: Removed::these(bindings.iter().copied()), ..self }
    }
}
