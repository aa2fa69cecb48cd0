//! The state machine.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::lane::Lane;
use super::stage::{
    Accepted, Action, Asked, CallerId, JobId, Need, Outcome, PersonsNo, RequestId, Stage, Waited,
};

/// How many requests and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Unfinished requests of one caller.
    pub per_caller: usize,
    /// Unfinished requests of all connections of one Unix user.
    pub per_user: usize,
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
    /// How long words that a person refused are not shown again; zero for not at all.
    pub cool_down: Duration,
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
    /// The connections of this Unix user have too many unfinished requests together.
    #[error("{limit} requests of this user are unfinished")]
    UserLimit {
        /// [`Limits::per_user`].
        limit: usize,
    },
    /// All callers together have too many.
    #[error("{limit} requests are unfinished")]
    TotalLimit {
        /// [`Limits::total`].
        limit: usize,
    },
    /// The person refused the same words just now.
    #[error("the person refused the same just now")]
    CoolingDown {
        /// How long they are not shown yet.
        left: Duration,
    },
}

/// A PIN was offered where none was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no pin was asked for")]
pub struct NotAskedForPin;

#[derive(Debug)]
struct Request {
    caller: CallerId,
    job: JobId,
    /// Position that the caller was told last.
    told: Option<u32>,
}

#[derive(Debug)]
struct Job {
    asked: Asked,
    /// The requests it is done for, in the order they came; never empty.
    members: Vec<RequestId>,
    state: State,
    deadline: Instant,
    /// What the person was shown last.
    shown: Option<Stage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    WaitsForPerson,
    Prompting { pin_asked: bool },
    WaitsForMachine,
    Proving,
}

/// Words that a person refused.
#[derive(Debug)]
struct CoolDown {
    uid: u32,
    words: [u8; 32],
    until: Instant,
}

/// See the [module](super).
#[derive(Debug)]
pub struct Ceremony<F> {
    limits: Limits,
    next: u64,
    requests: BTreeMap<RequestId, Request>,
    jobs: BTreeMap<JobId, Job>,
    /// One for each no of a person within the time; people are slow, so there are few.
    cooling: Vec<CoolDown>,
    prompts: Lane,
    proofs: Lane,
    actions: VecDeque<Action<F>>,
}

impl<F: Clone + PersonsNo> Ceremony<F> {
    /// An empty ceremony.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            next: 0,
            requests: BTreeMap::new(),
            jobs: BTreeMap::new(),
            cooling: Vec::new(),
            prompts: Lane::new(1),
            proofs: Lane::new(limits.proofs.max(1)),
            actions: VecDeque::new(),
        }
    }

    /// From now on these limits count; how many proofs are made at once stays as it was.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Accepts a request, or refuses it when there are too many or the person just did.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn handle_request(&mut self, asked: &Asked, now: Instant) -> Result<Accepted, Refused> {
        if self.requests.len() >= self.limits.total {
            return Err(Refused::TotalLimit { limit: self.limits.total });
        }
        let own = self.requests.values().filter(|request| request.caller == asked.caller).count();
        if own >= self.limits.per_caller {
            return Err(Refused::CallerLimit { limit: self.limits.per_caller });
        }
        let jobs = self.jobs.values().filter(|job| job.asked.uid == asked.uid);
        if jobs.map(|job| job.members.len()).sum::<usize>() >= self.limits.per_user {
            return Err(Refused::UserLimit { limit: self.limits.per_user });
        }
        if let Some(left) = self.cools(asked, now) {
            return Err(Refused::CoolingDown { left });
        }
        let request = RequestId(self.next);
        self.next += 1;
        let (job, joined) = match self.same(asked) {
            Some(job) => (job, true),
            None => (self.begin(asked, now), false),
        };
        let caller = asked.caller.clone();
        self.requests.insert(request, Request { caller, job, told: None });
        if let Some(found) = self.jobs.get_mut(&job) {
            found.members.push(request);
            if let Some(stage) = found.stage_now().filter(|_| joined) {
                self.actions.push_back(Action::Progress(request, stage));
            }
        }
        self.serve(now);
        Ok(Accepted { request, job, joined })
    }

    /// The caller takes its request back. Too late is no error: it has completed then.
    pub fn handle_cancel(&mut self, id: RequestId, now: Instant) {
        self.leave(id, Outcome::Cancelled);
        self.serve(now);
    }

    /// A caller left the bus: all its requests are dropped.
    pub fn handle_caller_gone(&mut self, caller: &CallerId, now: Instant) {
        let own = self.requests.iter().filter(|(_, request)| request.caller == *caller);
        let own: Vec<RequestId> = own.map(|(id, _)| *id).collect();
        for id in own {
            self.leave(id, Outcome::CallerGone);
        }
        self.serve(now);
    }

    /// The person says no to what is asked now.
    pub fn handle_refused(&mut self, id: JobId, now: Instant) {
        let Some(job) = self.jobs.get(&id) else { return };
        if let State::Prompting { .. } = job.state {
            let asked = job.asked.clone();
            self.end(id, Outcome::Refused);
            self.cool_down(&asked, now);
        }
        self.serve(now);
    }

    /// Nobody can show the prompt any more, for this reason.
    pub fn handle_not_shown(&mut self, id: JobId, failure: F, now: Instant) {
        if let Some(State::Prompting { .. }) = self.jobs.get(&id).map(|job| job.state) {
            self.end(id, Outcome::Failed(failure));
        }
        self.serve(now);
    }

    /// The authenticator says how far it is. Passed on unless the job is over.
    pub fn handle_notice(&mut self, id: JobId, stage: Stage, now: Instant) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let State::Prompting { .. } = job.state else { return };
        let pin_asked = stage.asks_pin();
        job.state = State::Prompting { pin_asked };
        if pin_asked || stage.shows_person() {
            job.deadline = now + self.limits.prompt;
        }
        self.show(id, stage);
    }

    /// Somebody else shows the prompt from now on: the callers are told once more what is asked.
    pub fn handle_shown_elsewhere(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        if let (State::Prompting { .. }, Some(stage)) = (job.state, job.stage_now()) {
            let told = job.members.iter().map(|request| Action::Progress(*request, stage));
            self.actions.extend(told);
        }
    }

    /// A PIN is offered; on success the shell hands it to the authenticator.
    ///
    /// # Errors
    /// [`NotAskedForPin`], also when the job is over.
    pub fn handle_pin(&mut self, id: JobId, now: Instant) -> Result<(), NotAskedForPin> {
        let job = self.jobs.get_mut(&id).ok_or(NotAskedForPin)?;
        let State::Prompting { pin_asked: true } = job.state else {
            return Err(NotAskedForPin);
        };
        job.state = State::Prompting { pin_asked: false };
        job.deadline = now + self.limits.prompt;
        Ok(())
    }

    /// The authenticator is free again, with an answer or without. Late and repeated reports are
    /// passed over.
    pub fn handle_prompted(&mut self, id: JobId, answer: Result<(), F>, now: Instant) {
        if self.prompts.release(id) {
            match (self.jobs.get_mut(&id), answer) {
                (None, _) => {}
                (Some(job), Err(failure)) => {
                    let refused = failure.is_persons_no().then(|| job.asked.clone());
                    self.end(id, Outcome::Failed(failure));
                    if let Some(asked) = refused {
                        self.cool_down(&asked, now);
                    }
                }
                (Some(job), Ok(())) if job.asked.need == Need::PersonAlone => {
                    self.end(id, Outcome::Done);
                }
                (Some(job), Ok(())) => {
                    job.state = State::WaitsForMachine;
                    job.deadline = now + self.limits.turn;
                    self.proofs.join(job.asked.uid, &job.asked.caller, id);
                }
            }
        }
        self.serve(now);
    }

    /// The TPM has answered. Late and repeated reports are passed over.
    pub fn handle_proved(&mut self, id: JobId, answer: Result<(), F>, now: Instant) {
        if self.proofs.release(id) && self.jobs.contains_key(&id) {
            let outcome = answer.map_or_else(Outcome::Failed, |()| Outcome::Done);
            self.end(id, outcome);
        }
        self.serve(now);
    }

    /// Ends what has run out of time.
    pub fn handle_timeout(&mut self, now: Instant) {
        let late = self.jobs.iter().filter(|(_, job)| job.deadline <= now);
        let late: Vec<(JobId, Waited)> =
            late.map(|(id, job)| (*id, job.state.waits_for())).collect();
        for (id, waited) in late {
            self.end(id, Outcome::TimedOut(waited));
        }
        self.serve(now);
    }

    /// When [`Self::handle_timeout`] is due next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.jobs.values().map(|job| job.deadline).min()
    }

    /// What to do next; call until there is nothing.
    pub fn poll_action(&mut self) -> Option<Action<F>> {
        self.actions.pop_front()
    }

    /// What is done for a request; `None` when it is over.
    pub fn job_of(&self, id: RequestId) -> Option<JobId> {
        self.requests.get(&id).map(|request| request.job)
    }

    /// Unfinished requests.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether nothing is asked of us.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The job that does exactly this for the same user, where a person is asked.
    fn same(&self, asked: &Asked) -> Option<JobId> {
        let same = |job: &Job| {
            let other = &job.asked;
            (other.uid, other.need, other.whole) == (asked.uid, asked.need, asked.whole)
        };
        let mut jobs = self.jobs.iter().filter(|_| asked.need != Need::Machine);
        jobs.find(|(_, job)| same(job)).map(|(id, _)| *id)
    }

    fn begin(&mut self, asked: &Asked, now: Instant) -> JobId {
        let id = JobId(self.next);
        self.next += 1;
        let (lane, state) = match asked.need {
            Need::Person | Need::PersonAlone => (&mut self.prompts, State::WaitsForPerson),
            Need::Machine => (&mut self.proofs, State::WaitsForMachine),
        };
        lane.join(asked.uid, &asked.caller, id);
        let deadline = now + self.limits.turn;
        let (asked, members) = (asked.clone(), Vec::new());
        self.jobs.insert(id, Job { asked, members, state, deadline, shown: None });
        id
    }

    /// One request ends before its job; the job goes on while another one wants it.
    fn leave(&mut self, id: RequestId, outcome: Outcome<F>) {
        let Some(Request { job, .. }) = self.requests.remove(&id) else { return };
        self.actions.push_back(Action::Complete(id, outcome));
        let Some(found) = self.jobs.get_mut(&job) else { return };
        found.members.retain(|member| *member != id);
        if found.members.is_empty() {
            self.end(job, Outcome::Cancelled);
        }
    }

    /// The one place where a job ends, with all requests that wait for it: they are forgotten here,
    /// so they cannot end twice.
    fn end(&mut self, id: JobId, outcome: Outcome<F>) {
        let Some(job) = self.jobs.remove(&id) else { return };
        self.prompts.leave(id);
        self.proofs.leave(id);
        if self.prompts.serves(id) {
            self.actions.push_back(Action::StopPrompt(id));
        }
        if self.proofs.serves(id) {
            self.actions.push_back(Action::StopProof(id));
        }
        for member in job.members {
            self.requests.remove(&member);
            self.actions.push_back(Action::Complete(member, outcome.clone()));
        }
        self.actions.push_back(Action::Close(id, outcome));
    }

    /// How long these words are not shown to this user.
    fn cools(&mut self, asked: &Asked, now: Instant) -> Option<Duration> {
        self.cooling.retain(|cooling| cooling.until > now);
        let same = |cooling: &&CoolDown| (cooling.uid, cooling.words) == (asked.uid, asked.words);
        let cooling = self.cooling.iter().filter(|_| asked.need != Need::Machine).find(same)?;
        Some(cooling.until - now)
    }

    /// The person said no: not these words again for a while, nor those that wait already.
    fn cool_down(&mut self, asked: &Asked, now: Instant) {
        let left = self.limits.cool_down;
        if left.is_zero() {
            return;
        }
        let (uid, words) = (asked.uid, asked.words);
        self.cooling
            .retain(|cooling| cooling.until > now && (cooling.uid, cooling.words) != (uid, words));
        self.cooling.push(CoolDown { uid, words, until: now + left });
        let waits = |job: &Job| {
            job.state == State::WaitsForPerson && (job.asked.uid, job.asked.words) == (uid, words)
        };
        let waiting = self.jobs.iter().filter(|(_, job)| waits(job));
        let waiting: Vec<JobId> = waiting.map(|(id, _)| *id).collect();
        for id in waiting {
            self.end(id, Outcome::CoolingDown(left));
        }
    }

    /// Shows the person a stage, and tells it to everybody who asked.
    fn show(&mut self, id: JobId, stage: Stage) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.shown = Some(stage);
        self.actions.push_back(Action::Show(id, stage));
        self.actions.extend(job.members.iter().map(|member| Action::Progress(*member, stage)));
    }

    /// Lets in who can be served now, and tells the others where they stand.
    fn serve(&mut self, now: Instant) {
        while let Some(id) = self.prompts.admit() {
            if let Some(job) = self.jobs.get_mut(&id) {
                job.state = State::Prompting { pin_asked: false };
                job.deadline = now + self.limits.prompt;
                self.actions.push_back(Action::Prompt(id));
            }
        }
        while let Some(id) = self.proofs.admit() {
            if let Some(job) = self.jobs.get_mut(&id) {
                job.state = State::Proving;
                job.deadline = now + self.limits.proof;
                self.show(id, Stage::Quoting);
                self.actions.push_back(Action::Prove(id));
            }
        }
        for (id, position) in self.prompts.positions() {
            let Some(job) = self.jobs.get(&id) else { continue };
            for member in &job.members {
                let Some(request) = self.requests.get_mut(member) else { continue };
                if request.told.replace(position) != Some(position) {
                    self.actions.push_back(Action::Progress(*member, Stage::Queued { position }));
                }
            }
        }
    }
}

impl Job {
    /// What is asked of the person now: a PIN that was given is not asked for any more.
    fn stage_now(&self) -> Option<Stage> {
        match (self.shown?, self.state) {
            (stage, State::Prompting { pin_asked: false }) if stage.asks_pin() => {
                Some(Stage::Processing)
            }
            (stage, _) => Some(stage),
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
