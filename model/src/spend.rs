//! Spending once, over several nodes that crash: one evidence that is sent to all of them at once, and
//! the single-use token that it gives, shown to all of them at once (protocol §2.4 step 13, §3.3 step
//! 9). A node reads, decides, writes, answers, and may crash between any two of these.

use std::fmt;

use stateright::{Model, Property};

/// What makes it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// A challenge's random bytes are unique among those consumed.
    ConsumedOnce,
    /// The challenge is consumed in the transaction that mints.
    ConsumedWithMint,
    /// The mint's audit record is in that transaction.
    MintOnRecord,
    /// A token is marked as redeemed only where it was not, as it is when that is written.
    RedeemedOnce,
    /// All nodes have one store.
    OneStore,
    /// The redemption's audit record is in its transaction.
    RedemptionOnRecord,
    /// The answer is given after the transaction.
    WrittenBeforeAnswer,
    /// Whether it was revoked is asked in that transaction, and not only before.
    RevokedWhenWritten,
}

/// A guard with its name and what is broken without it.
pub struct Row {
    /// The guard.
    pub guard: Guard,
    /// Its name for the command line and the page.
    pub name: &'static str,
    /// What is broken without it.
    pub broken: &'static str,
}

const ONE_TOKEN: &str = "one evidence gives one token";
const MINT_RECORD: &str = "no token without its audit record";
const SPENT_ONCE: &str = "each action is done once";
const SPEND_RECORD: &str = "no redemption without its audit record";
const REVOKED: &str = "nothing is redeemed after it was revoked";

/// All of them.
pub const ROWS: [Row; 8] = [
    Row { guard: Guard::ConsumedOnce, name: "consumed-once", broken: ONE_TOKEN },
    Row { guard: Guard::ConsumedWithMint, name: "consumed-with-mint", broken: ONE_TOKEN },
    Row { guard: Guard::MintOnRecord, name: "mint-on-record", broken: MINT_RECORD },
    Row { guard: Guard::RedeemedOnce, name: "redeemed-once", broken: SPENT_ONCE },
    Row { guard: Guard::OneStore, name: "one-store", broken: SPENT_ONCE },
    Row { guard: Guard::RedemptionOnRecord, name: "redemption-on-record", broken: SPEND_RECORD },
    Row { guard: Guard::WrittenBeforeAnswer, name: "written-before-answer", broken: SPENT_ONCE },
    Row { guard: Guard::RevokedWhenWritten, name: "revoked-when-written", broken: REVOKED },
];

impl Row {
    /// The row of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ROWS.iter().find(|row| row.name == name)
    }

    /// Its line in docs/model.md.
    #[must_use]
    pub fn line(&self) -> String {
        format!("| `{}` | {} |", self.name, self.broken)
    }
}

/// The model.
#[derive(Clone, Debug)]
pub struct Nodes {
    /// How many there are.
    pub nodes: usize,
    /// How often anything is asked.
    pub asked: u8,
    /// How often a node crashes.
    pub crashes: u8,
    /// What is missing.
    pub without: Option<Guard>,
}

impl Nodes {
    /// What `make test` explores.
    #[must_use]
    pub fn small() -> Self {
        Self { nodes: 2, asked: 4, crashes: 1, without: None }
    }

    fn keeps(&self, guard: Guard) -> bool {
        self.without != Some(guard)
    }
}

/// What a node is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// The one evidence.
    Mint,
    /// The one token.
    Redeem,
}

/// How far a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It read the store, and all was well.
    Read,
    /// It wrote the first half, where one transaction was made two.
    HalfWritten,
    /// It wrote everything.
    Written,
    /// It answered first, where that is how it is done.
    Answered,
}

/// The database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rows {
    consumed: bool,
    tokens: u8,
    mints_on_record: u8,
    /// One for each store that there is.
    redeemed: Vec<bool>,
    redemptions: u8,
    redemptions_on_record: u8,
    revoked: bool,
}

/// A state of everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    rows: Rows,
    nodes: Vec<Option<(Task, Phase)>>,
    asked: u8,
    crashes: u8,
    /// How often a gateway passed the request on.
    done: u8,
    redeemed_after_revocation: bool,
}

/// One thing that happens; the number is the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Somebody asks it, and it reads.
    Ask(usize, Task),
    /// It writes.
    Write(usize),
    /// It writes the other half.
    WriteRest(usize),
    /// It answers yes.
    Answer(usize),
    /// It crashes, and starts again with nothing under way.
    Crash(usize),
    /// Somebody revokes the token.
    Revoke,
}

impl Model for Nodes {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let rows = Rows { redeemed: vec![false; self.nodes], ..Rows::default() };
        let nodes = vec![None; self.nodes];
        vec![State { rows, nodes, asked: 0, crashes: 0, done: 0, redeemed_after_revocation: false }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        for (number, node) in state.nodes.iter().enumerate() {
            match node {
                None if state.asked < self.asked => {
                    let tasks = [Task::Mint, Task::Redeem].into_iter();
                    let fine = tasks.filter(|task| self.reads_well(state, number, *task));
                    steps.extend(fine.map(|task| Step::Ask(number, task)));
                }
                None => {}
                Some((Task::Redeem, Phase::Read)) if !self.keeps(Guard::WrittenBeforeAnswer) => {
                    steps.push(Step::Answer(number));
                }
                Some((_, Phase::Read | Phase::Answered)) => steps.push(Step::Write(number)),
                Some((_, Phase::HalfWritten)) => steps.push(Step::WriteRest(number)),
                Some((_, Phase::Written)) => steps.push(Step::Answer(number)),
            }
            if node.is_some() && state.crashes < self.crashes {
                steps.push(Step::Crash(number));
            }
        }
        if state.rows.tokens > 0 && !state.rows.revoked {
            steps.push(Step::Revoke);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Ask(node, task) => {
                state.asked += 1;
                state.nodes[node] = Some((task, Phase::Read));
            }
            Step::Write(node) => self.write(&mut state, node)?,
            Step::WriteRest(node) => self.write_rest(&mut state, node)?,
            Step::Answer(node) => {
                let (task, phase) = state.nodes[node]?;
                state.done += u8::from(task == Task::Redeem);
                state.nodes[node] = (phase == Phase::Read).then_some((task, Phase::Answered));
            }
            Step::Crash(node) => {
                state.crashes += 1;
                state.nodes[node] = None;
            }
            Step::Revoke => state.rows.revoked = true,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always(ONE_TOKEN, |_, state| state.rows.tokens <= 1),
            Property::<Self>::always(MINT_RECORD, |_, state| {
                state.rows.tokens <= state.rows.mints_on_record
            }),
            Property::<Self>::always(SPENT_ONCE, |_, state| state.done <= 1),
            Property::<Self>::always(SPEND_RECORD, |_, state| {
                state.rows.redemptions <= state.rows.redemptions_on_record
            }),
            Property::<Self>::always(REVOKED, |_, state| !state.redeemed_after_revocation),
            Property::<Self>::sometimes("an action is done", |_, state| state.done == 1),
            Property::<Self>::sometimes("an action is done after a crash", |_, state| {
                state.done == 1 && state.crashes > 0
            }),
            // At most once, and not exactly once: docs/model.md.
            Property::<Self>::sometimes("an answer is lost with its action", |model, state| {
                let idle = state.nodes.iter().all(Option::is_none);
                idle && state.done == 0 && model.store(state, 0)
            }),
        ]
    }
}

impl Nodes {
    /// Which store a node has.
    fn place(&self, node: usize) -> usize {
        if self.keeps(Guard::OneStore) { 0 } else { node }
    }

    fn store(&self, state: &State, node: usize) -> bool {
        state.rows.redeemed[self.place(node)]
    }

    /// What is looked at before anything is judged.
    fn reads_well(&self, state: &State, node: usize, task: Task) -> bool {
        match task {
            Task::Mint => !state.rows.consumed,
            Task::Redeem => {
                state.rows.tokens > 0 && !state.rows.revoked && !self.store(state, node)
            }
        }
    }

    /// The transaction: it finds the world changed, or writes.
    fn write(&self, state: &mut State, node: usize) -> Option<()> {
        let (task, phase) = state.nodes[node]?;
        let refused = match task {
            Task::Mint => self.keeps(Guard::ConsumedOnce) && state.rows.consumed,
            Task::Redeem => {
                let revoked = self.keeps(Guard::RevokedWhenWritten) && state.rows.revoked;
                revoked || self.keeps(Guard::RedeemedOnce) && self.store(state, node)
            }
        };
        if refused {
            state.nodes[node] = None;
            return Some(());
        }
        let whole = match task {
            Task::Mint => {
                state.rows.tokens += 1;
                let consumed = self.keeps(Guard::ConsumedWithMint);
                let on_record = self.keeps(Guard::MintOnRecord);
                state.rows.consumed |= consumed;
                state.rows.mints_on_record += u8::from(on_record);
                consumed && on_record
            }
            Task::Redeem => {
                let place = self.place(node);
                state.rows.redeemed[place] = true;
                state.rows.redemptions += 1;
                state.redeemed_after_revocation |= state.rows.revoked;
                let on_record = self.keeps(Guard::RedemptionOnRecord);
                state.rows.redemptions_on_record += u8::from(on_record);
                on_record
            }
        };
        state.nodes[node] = match (phase, whole) {
            (Phase::Answered, _) => None,
            (_, true) => Some((task, Phase::Written)),
            (_, false) => Some((task, Phase::HalfWritten)),
        };
        Some(())
    }

    /// What was taken out of the transaction; the answer does not wait for it.
    fn write_rest(&self, state: &mut State, node: usize) -> Option<()> {
        let (task, _) = state.nodes[node]?;
        state.nodes[node] = Some((task, Phase::Written));
        match task {
            Task::Mint => {
                state.rows.consumed = true;
                if !self.keeps(Guard::MintOnRecord) {
                    state.rows.mints_on_record += 1;
                }
            }
            Task::Redeem => state.rows.redemptions_on_record += 1,
        }
        Some(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask(node, Task::Mint) => {
                write!(
                    f,
                    "node {node} is sent the evidence, and reads that it was not answered yet"
                )
            }
            Self::Ask(node, Task::Redeem) => {
                write!(f, "node {node} is shown the token, and reads that it was not used yet")
            }
            Self::Write(node) => write!(f, "node {node} writes, or finds that it is too late"),
            Self::WriteRest(node) => write!(f, "node {node} writes the rest"),
            Self::Answer(node) => write!(f, "node {node} answers yes"),
            Self::Crash(node) => write!(f, "node {node} crashes and starts again"),
            Self::Revoke => write!(f, "the token is revoked"),
        }
    }
}
