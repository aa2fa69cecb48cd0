//! What can happen next.

use std::fmt;

use stateright::{Model, Property};

use crate::property;
use crate::term::{
    Action, Assertion, Audience, Certificate, Certification, Challenge, Evidence, FidoPart,
    Machine, Nonce, Operator, Purpose, Quote, Registration, SessionId, Statement, TlsKey, Token,
};
use crate::verify::Verifier;
use crate::world::{Ceremony, Host, Protocol, Session, Start, Use, World};

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Alice begins something at her honest machine: it asks for a challenge.
    Begin(Purpose, Option<SessionId>),
    /// Alice touches her key for what she began.
    Touch,
    /// Her machine has its TPM quote and sign, and sends.
    Send,
    /// What it sent arrives over its own connection, perhaps again.
    Deliver(Evidence),
    /// Mallory asks for a challenge.
    Ask(Challenge),
    /// Mallory has Alice touch for a statement of her own.
    Deceive(Statement),
    /// Mallory has the CA certify a key for a machine.
    Certify(Certificate),
    /// Mallory puts an evidence together and sends it.
    Submit(Certificate, Evidence),
    /// A token is shown to a gateway.
    Show(Use),
    /// Time passes: challenges and tokens run out.
    Wait,
    /// Alice's machine restarts.
    Restart,
    /// Mallory boots something else on it.
    BootOther,
}

const DESK: Certificate = Certificate { device: Machine::Desk, key: TlsKey::Of(Machine::Desk) };
/// A key in a file, certified as that of Alice's machine.
const LOOSE: Certificate = Certificate { device: Machine::Desk, key: TlsKey::Loose };

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        self.starts.iter().map(|start| World::new(*start)).collect()
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.ceremony.is_none() && world.host == Host::Honest {
            self.beginnings(world, steps);
        }
        if let Some(ceremony) = &world.ceremony {
            let due = ceremony.statement.purpose.needs_touch();
            match due && ceremony.assertion.is_none() {
                true if world.touches < self.bounds.touches => steps.push(Step::Touch),
                true => {}
                false => steps.push(Step::Send),
            }
        }
        self.attempts(world, steps);
        self.shown(world, steps);
        if usize::from(world.now) < usize::from(self.bounds.ticks) {
            steps.push(Step::Wait);
        }
        if world.reset_count < self.bounds.restarts && world.host == Host::Honest {
            steps.push(match world.start {
                Start::Boot => Step::BootOther,
                _ => Step::Restart,
            });
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        match step {
            Step::Begin(purpose, session) => self.begin(&mut world, purpose, session),
            Step::Touch => {
                let ceremony = world.ceremony.as_mut()?;
                let assertion =
                    Assertion { by: Operator::Alice, over: ceremony.statement, at: world.now };
                ceremony.assertion = Some(assertion);
                world.assertions.insert(assertion);
                world.touches += 1;
            }
            Step::Send => {
                let ceremony = world.ceremony.take()?;
                let evidence = honest_evidence(&world, &ceremony);
                world.sent.insert(evidence);
            }
            Step::Deliver(evidence) => take(&mut world, DESK, evidence),
            Step::Submit(peer, evidence) => take(&mut world, peer, evidence),
            Step::Ask(challenge) => world.challenges.push(challenge),
            Step::Deceive(statement) => {
                let touch = Assertion { by: Operator::Alice, over: statement, at: world.now };
                world.assertions.insert(touch);
                world.touches += 1;
            }
            Step::Certify(certificate) => {
                world.certificates.insert(certificate);
            }
            Step::Show(used) => world.uses.push(used),
            Step::Wait => world.now += 1,
            Step::Restart => {
                world.reset_count += 1;
                world.ceremony = None;
            }
            Step::BootOther => {
                world.reset_count += 1;
                world.ceremony = None;
                world.host = Host::Taken;
                world.approved = false;
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        property::properties()
    }
}

/// What the authority writes when evidence is good.
fn take(world: &mut World, peer: Certificate, evidence: Evidence) {
    let statement = evidence.statement;
    world.consumed.insert(statement.challenge);
    if statement.purpose == Purpose::EnrolKey {
        world.added.push(evidence);
        return;
    }
    let session = match statement.session {
        Some(id) => {
            if let (Some(row), Purpose::Session) =
                (world.sessions.get_mut(usize::from(id)), statement.purpose)
            {
                row.presence = statement;
            }
            id
        }
        None => {
            world.sessions.push(Session {
                device: statement.device,
                subject: statement.subject,
                reset_count: evidence.quote.reset_count,
                person: statement.purpose == Purpose::Session,
                presence: statement,
            });
            u8::try_from(world.sessions.len() - 1).unwrap_or(u8::MAX)
        }
    };
    world.tokens.push(Token {
        evidence,
        bound_to: peer,
        audience: Audience::Mesh,
        session,
        action: statement.action,
        issued: world.now,
    });
}

/// As `signetd` and the client make it.
fn honest_evidence(world: &World, ceremony: &Ceremony) -> Evidence {
    let statement = ceremony.statement;
    let assertion = ceremony.assertion.map(|assertion| FidoPart { assertion, observed: false });
    let registration = (statement.purpose == Purpose::EnrolKey)
        .then_some(Registration { holder: Operator::Alice, over: statement });
    let quote = Quote {
        ak: Machine::Desk,
        statement,
        assertion,
        registration,
        approved: world.approved,
        reset_count: world.reset_count,
        at: world.now,
    };
    let certification = (statement.purpose == Purpose::Session)
        .then_some(Certification { key: DESK.key, by: quote });
    Evidence { statement, chain: DESK, assertion, registration, quote, certification }
}

impl Protocol {
    /// What Alice may begin.
    fn beginnings(&self, world: &World, steps: &mut Vec<Step>) {
        if world.challenges.len() >= self.bounds.challenges {
            return;
        }
        let mut begin = |purpose, session| {
            if self.purposes.contains(&purpose) {
                steps.push(Step::Begin(purpose, session));
            }
        };
        for purpose in [Purpose::Session, Purpose::Action, Purpose::EnrolKey] {
            begin(purpose, None);
        }
        for (id, session) in (0..).zip(&world.sessions) {
            if session.person && session.device == Machine::Desk {
                begin(Purpose::Renew, Some(id));
                begin(Purpose::Session, Some(id));
            }
        }
    }

    fn begin(&self, world: &mut World, purpose: Purpose, session: Option<SessionId>) {
        let action = (purpose == Purpose::Action).then_some(Action::Meant);
        let number = u8::try_from(world.challenges.len()).unwrap_or(u8::MAX);
        world.challenges.push(Challenge {
            issued: world.now,
            peer: DESK,
            purpose,
            action,
            session,
        });
        let statement = Statement {
            challenge: Nonce::Issued(number),
            audience: Audience::Mesh,
            confirmation: DESK.key,
            device: Machine::Desk,
            subject: Operator::Alice,
            purpose,
            action,
            session,
        };
        world.ceremony = Some(Ceremony { statement, assertion: None });
    }

    /// What Mallory may do, and what the network may deliver.
    fn attempts(&self, world: &World, steps: &mut Vec<Step>) {
        let verifier = Verifier::new(&self.removed, world);
        if !world.certificates.contains(&LOOSE)
            && world.mallory_uses(DESK.key)
            && verifier.certifies(LOOSE)
        {
            steps.push(Step::Certify(LOOSE));
        }
        let peers: Vec<_> = world
            .certificates
            .iter()
            .copied()
            .filter(|certificate| verifier.connects(*certificate))
            .collect();
        if world.challenges.len() < self.bounds.challenges {
            for peer in &peers {
                steps.extend(contexts(&self.purposes, world).map(|(purpose, action, session)| {
                    let issued = world.now;
                    Step::Ask(Challenge { issued, peer: *peer, purpose, action, session })
                }));
            }
        }
        if world.host == Host::Taken && world.touches < self.bounds.touches {
            let touchable = |statement: &Statement| statement.purpose.needs_touch();
            steps.extend(self.statements(world).filter(touchable).map(Step::Deceive));
        }
        if world.tokens.len() + world.added.len() >= self.bounds.tokens {
            return;
        }
        if world.host == Host::Honest {
            let arrives = |evidence: &&Evidence| verifier.accepts(DESK, evidence);
            steps.extend(world.sent.iter().filter(arrives).copied().map(Step::Deliver));
        }
        for peer in peers {
            for statement in self.statements(world) {
                if verifier.fits_connection(peer, &statement) && verifier.session_fits(&statement) {
                    self.compose(world, peer, statement, steps);
                }
            }
        }
    }

    /// Every accepted evidence over `statement` that Mallory can put together.
    fn compose(
        &self,
        world: &World,
        peer: Certificate,
        statement: Statement,
        steps: &mut Vec<Step>,
    ) {
        let verifier = Verifier::new(&self.removed, world);
        for chain in world.certificates.iter().copied() {
            if !verifier.chain_fits(peer, chain, &statement) {
                continue;
            }
            for (assertion, registration) in people(world, statement) {
                let mut evidence = Evidence {
                    statement,
                    chain,
                    assertion,
                    registration,
                    quote: quotes_of(world, &statement, assertion, registration)[0],
                    certification: None,
                };
                if !verifier.touched(&evidence) {
                    continue;
                }
                for quote in quotes(world, &statement, assertion, registration) {
                    evidence.quote = quote;
                    if !verifier.quoted(&evidence) {
                        continue;
                    }
                    for certification in certifications(world, &evidence) {
                        evidence.certification = certification;
                        let step = Step::Submit(peer, evidence);
                        if verifier.accepts(peer, &evidence)
                            && verifier.can_be_signed_by_mallory(&evidence)
                            && !steps.contains(&step)
                        {
                            steps.push(step);
                        }
                    }
                }
            }
        }
    }

    /// Every statement that could make sense to anybody.
    fn statements(&self, world: &World) -> impl Iterator<Item = Statement> {
        let nonces = Verifier::new(&self.removed, world).known_nonces();
        let contexts: Vec<_> = contexts(&self.purposes, world).collect();
        let mut keys = vec![TlsKey::Of(Machine::Desk), TlsKey::Of(Machine::Lair)];
        keys.extend(world.certificates.contains(&LOOSE).then_some(TlsKey::Loose));
        let mut all = Vec::new();
        for challenge in nonces {
            for (purpose, action, session) in contexts.iter().copied() {
                for audience in [Audience::Mesh, Audience::Staging] {
                    for device in [Machine::Desk, Machine::Lair] {
                        for subject in [Operator::Alice, Operator::Mallory] {
                            all.extend(keys.iter().map(|confirmation| Statement {
                                challenge,
                                audience,
                                confirmation: *confirmation,
                                device,
                                subject,
                                purpose,
                                action,
                                session,
                            }));
                        }
                    }
                }
            }
        }
        all.into_iter()
    }

    /// Requests at gateways.
    fn shown(&self, world: &World, steps: &mut Vec<Step>) {
        if world.uses.len() >= self.bounds.uses {
            return;
        }
        let verifier = Verifier::new(&self.removed, world);
        let tokens = (0..world.tokens.len()).map(Some).chain([None]);
        for token in tokens {
            for peer in world.certificates.iter().copied() {
                for audience in [Audience::Mesh, Audience::Staging] {
                    for request in [None, Some(Action::Meant), Some(Action::Wanted)] {
                        let used = Use { token, peer, audience, request, at: world.now };
                        let own = token.and_then(|number| world.tokens.get(number));
                        // Alice's machine shows its own tokens for what they are for.
                        let honest = own.is_some_and(|own| {
                            own.bound_to == peer
                                && (own.audience, own.action) == (audience, request)
                        });
                        if (world.mallory_uses(peer.key) || honest) && verifier.lets_pass(&used) {
                            steps.push(Step::Show(used));
                        }
                    }
                }
            }
        }
    }
}

/// Purposes with what they demand (protocol §2.1).
fn contexts(
    purposes: &[Purpose],
    world: &World,
) -> impl Iterator<Item = (Purpose, Option<Action>, Option<SessionId>)> {
    let ids = (0..).zip(&world.sessions).filter(|(_, session)| session.person);
    let ids: Vec<SessionId> = ids.map(|(id, _)| id).collect();
    let continued = ids
        .into_iter()
        .flat_map(|id| [(Purpose::Session, None, Some(id)), (Purpose::Renew, None, Some(id))]);
    let fixed = [
        (Purpose::Session, None, None),
        (Purpose::Action, Some(Action::Meant), None),
        (Purpose::Action, Some(Action::Wanted), None),
        (Purpose::EnrolKey, None, None),
    ];
    let all: Vec<_> = fixed.into_iter().chain(continued).collect();
    all.into_iter().filter(|(purpose, ..)| purposes.contains(purpose))
}

/// The parts that people make: what Mallory recorded, and what she makes for this statement.
fn people(
    world: &World,
    statement: Statement,
) -> impl Iterator<Item = (Option<FidoPart>, Option<Registration>)> {
    let own = Assertion { by: Operator::Mallory, over: statement, at: world.now };
    let recorded = world.assertions.iter().copied();
    let parts: Vec<_> = recorded
        .chain([own])
        // The hint is the host's word: Mallory says what serves her most.
        .map(|assertion| Some(FidoPart { assertion, observed: true }))
        .chain(world.sent.iter().map(|sent| sent.assertion))
        .chain([None])
        .collect();
    let new_keys: Vec<_> = match statement.purpose {
        Purpose::EnrolKey => world
            .sent
            .iter()
            .filter_map(|sent| sent.registration)
            .chain([Registration { holder: Operator::Mallory, over: statement }])
            .map(Some)
            .collect(),
        _ => vec![None],
    };
    parts
        .into_iter()
        .flat_map(move |part| new_keys.clone().into_iter().map(move |new_key| (part, new_key)))
}

/// What the TPMs that Mallory has quote for her now.
fn quotes_of(
    world: &World,
    statement: &Statement,
    assertion: Option<FidoPart>,
    registration: Option<Registration>,
) -> Vec<Quote> {
    let quote = |ak, approved, reset_count| Quote {
        ak,
        statement: *statement,
        assertion,
        registration,
        approved,
        reset_count,
        at: world.now,
    };
    let mut quotes = vec![quote(Machine::Lair, true, 0)];
    if world.host == Host::Taken {
        quotes.push(quote(Machine::Desk, world.approved, world.reset_count));
    }
    quotes
}

fn quotes(
    world: &World,
    statement: &Statement,
    assertion: Option<FidoPart>,
    registration: Option<Registration>,
) -> Vec<Quote> {
    let mut quotes = quotes_of(world, statement, assertion, registration);
    quotes.extend(world.sent.iter().map(|sent| sent.quote));
    quotes
}

fn certifications(world: &World, evidence: &Evidence) -> Vec<Option<Certification>> {
    let Evidence { statement, assertion, registration, .. } = evidence;
    let made = quotes_of(world, statement, *assertion, *registration).into_iter();
    let made = made.map(|by| Certification { key: TlsKey::Of(by.ak), by });
    let recorded = world.sent.iter().filter_map(|sent| sent.certification);
    made.chain(recorded).map(Some).chain([None]).collect()
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(purpose, None) => write!(f, "Alice begins at her machine: {purpose:?}"),
            Self::Begin(purpose, Some(id)) => {
                write!(f, "Alice's machine begins: {purpose:?} of session {id}")
            }
            Self::Touch => write!(f, "Alice touches her key for it"),
            Self::Send => write!(f, "her machine quotes, signs and sends"),
            Self::Deliver(evidence) => {
                write!(f, "the authority accepts from her machine\n      {evidence}")
            }
            Self::Ask(challenge) => {
                let Challenge { peer, purpose, action, session, .. } = challenge;
                write!(
                    f,
                    "Mallory asks for a challenge over the connection of {:?}: {purpose:?}",
                    peer.device
                )?;
                if let Some(action) = action {
                    write!(f, ", action {action:?}")?;
                }
                session.map_or(Ok(()), |id| write!(f, ", session {id}"))
            }
            Self::Deceive(statement) => {
                write!(f, "deceived by Mallory, Alice touches her key for {statement}")
            }
            Self::Certify(Certificate { device, key }) => {
                write!(f, "the CA certifies {key:?} as the key of {device:?}")
            }
            Self::Submit(peer, evidence) => write!(
                f,
                "the authority accepts from Mallory, over a connection of {:?} with key {:?}\n      {evidence}",
                peer.device, peer.key
            ),
            Self::Show(used) => {
                let Use { token, peer, audience, request, .. } = used;
                match token {
                    Some(number) => write!(f, "token {number}")?,
                    None => write!(f, "a token that nobody minted")?,
                }
                let Certificate { device, key } = peer;
                write!(
                    f,
                    " passes a gateway of {audience:?} over a connection of {device:?} with key {key:?}"
                )?;
                request.map_or(Ok(()), |request| write!(f, ", for the request {request:?}"))
            }
            Self::Wait => write!(f, "time passes: challenges and tokens run out"),
            Self::Restart => write!(f, "Alice's machine restarts"),
            Self::BootOther => write!(f, "Mallory boots something else on Alice's machine"),
        }
    }
}
