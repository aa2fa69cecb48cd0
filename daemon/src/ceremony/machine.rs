//! The state machine.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::lane::Lane;
use super::stage::{Action, CallerId, Need, Outcome, RequestId, Stage, Waited};

/// How many requests and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Unfinished requests of one caller.
    pub per_caller: usize,
    /// Unfinished requests of all callers.
    pub total: usize,
    /// Proofs that the TPM makes at the same time.
    pub proofs: usize,
    /// Longest wait for a turn: after that the authority's challenge is stale anyway.
    pub turn: Duration,
    /// How long a person is asked; begins again when a PIN is asked for or given, and with each
    /// sample of a finger that is being enrolled.
    pub prompt: Duration,
    /// How long a proof may take.
    pub proof: Duration,
}

/// A request that was not accepted; nothing is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// This caller has too many unfinished requests.
    #[error("{limit} requests of this caller are unfinished")]
    CallerLimit {
        /// [`Limits::per_caller`].
        limit: usize,
    },
    /// All callers together have too many.
    #[error("{limit} requests are unfinished")]
    TotalLimit {
        /// [`Limits::total`].
        limit: usize,
    },
}

/// A PIN was offered where none was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no pin was asked for")]
pub struct NotAskedForPin;

#[derive(Debug)]
struct Request {
    caller: CallerId,
    need: Need,
    state: State,
    deadline: Instant,
    /// Position that the caller was told last.
    told: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    WaitsForPerson,
    Prompting { pin_asked: bool },
    WaitsForMachine,
    Proving,
}

/// See the [module](super).
#[derive(Debug)]
pub struct Ceremony<F> {
    limits: Limits,
    next: u64,
    requests: BTreeMap<RequestId, Request>,
    prompts: Lane,
    proofs: Lane,
    actions: VecDeque<Action<F>>,
}

impl<F> Ceremony<F> {
    /// An empty ceremony.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            next: 0,
            requests: BTreeMap::new(),
            prompts: Lane::new(1),
            proofs: Lane::new(limits.proofs.max(1)),
            actions: VecDeque::new(),
        }
    }

    /// Accepts a request, or refuses it when there are too many.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn handle_request(
        &mut self,
        caller: &CallerId,
        need: Need,
        now: Instant,
    ) -> Result<RequestId, Refused> {
        if self.requests.len() >= self.limits.total {
            return Err(Refused::TotalLimit { limit: self.limits.total });
        }
        let own = self.requests.values().filter(|request| request.caller == *caller).count();
        if own >= self.limits.per_caller {
            return Err(Refused::CallerLimit { limit: self.limits.per_caller });
        }
        let id = RequestId(self.next);
        self.next += 1;
        let (lane, state) = match need {
            Need::Person | Need::PersonAlone => (&mut self.prompts, State::WaitsForPerson),
            Need::Machine => (&mut self.proofs, State::WaitsForMachine),
        };
        lane.join(caller, id);
        let deadline = now + self.limits.turn;
        let request = Request { caller: caller.clone(), need, state, deadline, told: None };
        self.requests.insert(id, request);
        self.serve(now);
        Ok(id)
    }

    /// The caller takes its request back. Too late is no error: it has completed then.
    pub fn handle_cancel(&mut self, id: RequestId, now: Instant) {
        self.complete(id, Outcome::Cancelled);
        self.serve(now);
    }

    /// A caller left the bus: all its requests are dropped.
    pub fn handle_caller_gone(&mut self, caller: &CallerId, now: Instant) {
        let own = self.requests.iter().filter(|(_, request)| request.caller == *caller);
        let own: Vec<RequestId> = own.map(|(id, _)| *id).collect();
        for id in own {
            self.complete(id, Outcome::CallerGone);
        }
        self.serve(now);
    }

    /// The authenticator says how far it is. Passed on unless the request is over.
    pub fn handle_notice(&mut self, id: RequestId, stage: Stage, now: Instant) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let State::Prompting { .. } = request.state else { return };
        let pin_asked = stage.asks_pin();
        request.state = State::Prompting { pin_asked };
        if pin_asked || stage.shows_person() {
            request.deadline = now + self.limits.prompt;
        }
        self.actions.push_back(Action::Progress(id, stage));
    }

    /// The caller offers a PIN; on success the shell hands it to the authenticator.
    ///
    /// # Errors
    /// [`NotAskedForPin`], also when the request is over.
    pub fn handle_pin(&mut self, id: RequestId, now: Instant) -> Result<(), NotAskedForPin> {
        let request = self.requests.get_mut(&id).ok_or(NotAskedForPin)?;
        let State::Prompting { pin_asked: true } = request.state else {
            return Err(NotAskedForPin);
        };
        request.state = State::Prompting { pin_asked: false };
        request.deadline = now + self.limits.prompt;
        Ok(())
    }

    /// The authenticator is free again, with an answer or without. Late and repeated reports are
    /// passed over.
    pub fn handle_prompted(&mut self, id: RequestId, answer: Result<(), F>, now: Instant) {
        if self.prompts.release(id) {
            match (self.requests.get_mut(&id), answer) {
                (None, _) => {}
                (Some(_), Err(failure)) => self.complete(id, Outcome::Failed(failure)),
                (Some(Request { need: Need::PersonAlone, .. }), Ok(())) => {
                    self.complete(id, Outcome::Done);
                }
                (Some(request), Ok(())) => {
                    request.state = State::WaitsForMachine;
                    request.deadline = now + self.limits.turn;
                    self.proofs.join(&request.caller, id);
                }
            }
        }
        self.serve(now);
    }

    /// The TPM has answered. Late and repeated reports are passed over.
    pub fn handle_proved(&mut self, id: RequestId, answer: Result<(), F>, now: Instant) {
        if self.proofs.release(id) && self.requests.contains_key(&id) {
            let outcome = answer.map_or_else(Outcome::Failed, |()| Outcome::Done);
            self.complete(id, outcome);
        }
        self.serve(now);
    }

    /// Ends what has run out of time.
    pub fn handle_timeout(&mut self, now: Instant) {
        let late = self.requests.iter().filter(|(_, request)| request.deadline <= now);
        let late: Vec<(RequestId, Waited)> =
            late.map(|(id, request)| (*id, request.state.waits_for())).collect();
        for (id, waited) in late {
            self.complete(id, Outcome::TimedOut(waited));
        }
        self.serve(now);
    }

    /// When [`Self::handle_timeout`] is due next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.requests.values().map(|request| request.deadline).min()
    }

    /// What to do next; call until there is nothing.
    pub fn poll_action(&mut self) -> Option<Action<F>> {
        self.actions.pop_front()
    }

    /// Unfinished requests.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether nothing is asked of us.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The one place where a request ends: it is forgotten here, so it cannot end twice.
    fn complete(&mut self, id: RequestId, outcome: Outcome<F>) {
        let Some(request) = self.requests.remove(&id) else { return };
        let reported = matches!(outcome, Outcome::Done | Outcome::Failed(_));
        match request.state {
            State::WaitsForPerson => self.prompts.leave(id),
            State::WaitsForMachine => self.proofs.leave(id),
            State::Prompting { .. } if !reported => self.actions.push_back(Action::StopPrompt(id)),
            State::Proving if !reported => self.actions.push_back(Action::StopProof(id)),
            State::Prompting { .. } | State::Proving => {}
        }
        self.actions.push_back(Action::Complete(id, outcome));
    }

    /// Lets in who can be served now, and tells the others where they stand.
    fn serve(&mut self, now: Instant) {
        while let Some(id) = self.prompts.admit() {
            if let Some(request) = self.requests.get_mut(&id) {
                request.state = State::Prompting { pin_asked: false };
                request.deadline = now + self.limits.prompt;
                self.actions.push_back(Action::Prompt(id));
            }
        }
        while let Some(id) = self.proofs.admit() {
            if let Some(request) = self.requests.get_mut(&id) {
                request.state = State::Proving;
                request.deadline = now + self.limits.proof;
                self.actions.push_back(Action::Progress(id, Stage::Quoting));
                self.actions.push_back(Action::Prove(id));
            }
        }
        for (id, position) in self.prompts.positions() {
            let Some(request) = self.requests.get_mut(&id) else { continue };
            if request.told.replace(position) != Some(position) {
                self.actions.push_back(Action::Progress(id, Stage::Queued { position }));
            }
        }
    }
}

impl State {
    fn waits_for(self) -> Waited {
        match self {
            Self::WaitsForPerson => Waited::Turn,
            Self::Prompting { .. } => Waited::Person,
            Self::WaitsForMachine | Self::Proving => Waited::Machine,
        }
    }
}
