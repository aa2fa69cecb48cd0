//! The shell around the ceremony: runs what it orders, tells callers what it says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

use crate::authenticator::{Finding, KeyRing, Line, Pin, Task};
use crate::boot_log::BootLog;
use crate::bus::agent::{Conversation, Show};
use crate::bus::{Abilities, Agents, Caller};
use crate::ceremony::{
    Action, Asked, CallerId, Ceremony, JobId, Limits, Need, Outcome, RequestId, Stage,
};
use crate::config::{NumberMatching, Prompts};
use crate::failure::{ArgumentError, Bug, Failure};
use crate::platform::Platform;
use crate::presence::Answers;
use crate::prompt::{PromptText, number};
use crate::tpm::Tpm;
use crate::work::{Given, Product, Work};

/// What serves requests.
#[derive(Clone, Debug)]
pub struct Services {
    /// The TPM.
    pub tpm: Tpm,
    /// Registers to quote.
    pub pcrs: Vec<u8>,
    /// The event log of this boot.
    pub boot_log: BootLog,
    /// The security keys.
    pub keys: KeyRing,
    /// The keys of this machine that stand for people.
    pub platform: Platform,
    /// Who shows prompts.
    pub prompts: Prompts,
    /// The actions whose prompts want a number.
    pub number_matching: NumberMatching,
    /// Agents of the users.
    pub agents: Agents,
}

/// What a caller hears. After [`Told::Completed`] there is nothing more; a caller that left hears
/// nothing at all and the channel closes.
#[derive(Debug)]
pub enum Told {
    /// How far it is.
    Progress(Progress),
    /// The end.
    Completed(Result<Product, Failure>),
}

/// How far a request is.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The stage.
    pub stage: Stage,
    /// The prompt's words, while a person is asked.
    pub text: Option<PromptText>,
    /// Whether an agent shows it, and asks for what the person has to enter.
    pub agent: bool,
}

/// One job as the shell keeps it.
struct Job {
    work: Arc<Work>,
    /// Who asked first.
    caller: Caller,
    /// The TPM, on behalf of the caller's user.
    tpm: Tpm,
    /// Which of the prompts is shown.
    step: usize,
    pins: Option<mpsc::Sender<Pin>>,
    /// While a number is asked for.
    numbers: Option<mpsc::Sender<u32>>,
    /// To the agent that shows it, where one does.
    line: Option<mpsc::UnboundedSender<Show>>,
    abilities: Option<Abilities>,
    answers: Answers,
    product: Option<Product>,
    task: Option<AbortHandle>,
}

struct Inner {
    ceremony: Ceremony<Failure>,
    told: HashMap<RequestId, (JobId, mpsc::UnboundedSender<Told>)>,
    jobs: HashMap<JobId, Job>,
}

/// Takes requests and sees them through. Clones share one queue.
#[derive(Clone)]
pub struct Desk {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    services: Services,
    runtime: Handle,
    /// A deadline may have changed.
    wake: Notify,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("queue_length", &self.len()).finish_non_exhaustive()
    }
}

impl Desk {
    /// An empty desk. Needs a tokio runtime.
    pub fn new(services: Services, limits: Limits) -> Self {
        let inner =
            Inner { ceremony: Ceremony::new(limits), told: HashMap::new(), jobs: HashMap::new() };
        let shared = Arc::new(Shared {
            inner: Mutex::new(inner),
            services,
            runtime: Handle::current(),
            wake: Notify::new(),
        });
        tokio::spawn(watch_deadlines(Arc::clone(&shared)));
        Self { shared }
    }

    /// Accepts a request; everything further is told through `told`.
    ///
    /// # Errors
    /// [`Failure::CannotPrompt`], [`Failure::NoAgent`], [`Failure::NoNumber`],
    /// [`Failure::CoolingDown`], [`Failure::TooManyRequests`].
    pub fn submit(
        &self,
        caller: Caller,
        work: Work,
        told: mpsc::UnboundedSender<Told>,
    ) -> Result<RequestId, Failure> {
        let need = work.need();
        if work.asks_person() {
            self.shared.services.can_prompt(caller.uid, &work)?;
        }
        let asked = Asked {
            caller: caller.id.clone(),
            uid: caller.uid,
            need,
            whole: work.whole(),
            words: work.words(),
        };
        let tpm = self.shared.services.tpm.on_behalf_of(&caller.account(), work.urgency());
        let job = Job {
            work: Arc::new(work),
            caller,
            tpm,
            step: 0,
            pins: None,
            numbers: None,
            line: None,
            abilities: None,
            answers: Answers::default(),
            product: None,
            task: None,
        };
        self.shared.with(|inner| {
            let accepted = inner.ceremony.handle_request(&asked, Instant::now())?;
            inner.told.insert(accepted.request, (accepted.job, told));
            if !accepted.joined {
                inner.jobs.insert(accepted.job, job);
            }
            Ok(accepted.request)
        })
    }

    /// From now on these limits count; how many proofs are made at once stays as it was.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.with(|inner| inner.ceremony.set_limits(limits));
    }

    /// Takes a request back; nothing happens when it is over.
    pub fn cancel(&self, id: RequestId) {
        self.shared.with(|inner| inner.ceremony.handle_cancel(id, Instant::now()));
    }

    /// Drops all requests of a caller that left the bus.
    pub fn caller_gone(&self, caller: &CallerId) {
        self.shared.with(|inner| inner.ceremony.handle_caller_gone(caller, Instant::now()));
    }

    /// Hands a caller's PIN to the key that asked for it.
    ///
    /// # Errors
    /// [`ArgumentError::PinNotAsked`]; [`Failure::AgentAsks`] where only agents ask.
    pub fn provide_pin(&self, id: RequestId, pin: Pin) -> Result<(), Failure> {
        if self.shared.services.prompts == Prompts::Agent {
            return Err(Failure::AgentAsks);
        }
        let job = self.shared.lock().ceremony.job_of(id).ok_or(ArgumentError::PinNotAsked)?;
        self.provide_agents_pin(job, pin)
    }

    /// Hands the PIN that an agent asked for to the key.
    ///
    /// # Errors
    /// [`ArgumentError::PinNotAsked`].
    pub fn provide_agents_pin(&self, id: JobId, pin: Pin) -> Result<(), Failure> {
        self.shared.with(|inner| {
            let asked = inner.ceremony.handle_pin(id, Instant::now());
            asked.map_err(|_| ArgumentError::PinNotAsked)?;
            if let Some(pins) = inner.jobs.get(&id).and_then(|job| job.pins.as_ref()) {
                // One PIN per question, and room for one: it cannot be full.
                let _ = pins.try_send(pin);
            }
            Ok(())
        })
    }

    /// The person says no.
    pub fn refuse(&self, id: JobId) {
        self.shared.with(|inner| inner.ceremony.handle_refused(id, Instant::now()));
    }

    /// The person gives the number that the caller shows.
    ///
    /// # Errors
    /// [`ArgumentError::NumberNotAsked`]. A wrong number is no error here: it ends the request.
    pub fn confirm_number(&self, id: JobId, number: u32) -> Result<(), Failure> {
        let mut inner = self.shared.lock();
        // Taken: there is one try.
        let numbers = inner.jobs.get_mut(&id).and_then(|job| job.numbers.take());
        let _ = numbers.ok_or(ArgumentError::NumberNotAsked)?.try_send(number);
        Ok(())
    }

    /// From now on this agent shows the prompt; without one its caller does, where it may.
    pub(crate) fn shown_by(&self, id: JobId, agent: Option<Abilities>) {
        let failure = match agent {
            Some(_) => None,
            None => self.shared.services.cannot_do_without_agent(),
        };
        self.shared.with(|inner| {
            let Some(job) = inner.jobs.get_mut(&id) else { return };
            let number = agent.is_none() && job.numbers.is_some();
            job.abilities = agent;
            match failure.or(number.then_some(Failure::NoNumber)) {
                Some(failure) => inner.ceremony.handle_not_shown(id, failure, Instant::now()),
                None => inner.ceremony.handle_shown_elsewhere(id),
            }
        });
    }

    /// The agents of the users.
    pub(crate) fn agents(&self) -> &Agents {
        &self.shared.services.agents
    }

    /// The event log of this boot.
    pub fn boot_log(&self) -> &BootLog {
        &self.shared.services.boot_log
    }

    /// Unfinished requests.
    pub fn len(&self) -> usize {
        self.shared.lock().ceremony.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Feeds the ceremony and does what it then says.
    fn with<T>(self: &Arc<Self>, event: impl FnOnce(&mut Inner) -> T) -> T {
        let mut stopped = Vec::new();
        let result = {
            let mut inner = self.lock();
            let result = event(&mut inner);
            while let Some(action) = inner.ceremony.poll_action() {
                stopped.extend(self.obey(&mut inner, action));
            }
            result
        };
        // Not under the lock: a task that ends reports back.
        for task in stopped {
            task.abort();
        }
        self.wake.notify_one();
        result
    }

    fn obey(self: &Arc<Self>, inner: &mut Inner, action: Action<Failure>) -> Option<AbortHandle> {
        match action {
            Action::Prompt(id) => {
                let job = inner.jobs.get_mut(&id)?;
                let (pins, inbox) = mpsc::channel(1);
                job.pins = Some(pins);
                self.prepare(job);
                let work = prompt(Arc::clone(self), id, Arc::clone(&job.work), inbox);
                job.task = Some(self.runtime.spawn(work).abort_handle());
            }
            Action::Prove(id) => {
                let job = inner.jobs.get_mut(&id)?;
                let answers = std::mem::take(&mut job.answers);
                let (work, tpm) = (Arc::clone(&job.work), job.tpm.clone());
                let work = prove(Arc::clone(self), id, work, tpm, answers);
                job.task = Some(self.runtime.spawn(work).abort_handle());
            }
            Action::StopPrompt(id) | Action::StopProof(id) => {
                return inner.jobs.get_mut(&id)?.task.take();
            }
            Action::Show(id, stage) => {
                let job = inner.jobs.get(&id)?;
                if let Some(line) = &job.line {
                    let _ = line.send(Show::Stage(stage, job.text(stage)));
                }
            }
            Action::Close(id, outcome) => {
                let job = inner.jobs.remove(&id)?;
                if let Some(line) = job.line {
                    let _ = line.send(Show::Close(ended(outcome)));
                }
            }
            Action::Progress(id, stage) => {
                let (job, told) = inner.told.get(&id)?;
                let job = inner.jobs.get(job)?;
                let agent = job.abilities.is_some_and(|abilities| abilities.cover(stage));
                let progress = Progress { stage, text: job.text(stage), agent };
                let _ = told.send(Told::Progress(progress));
            }
            Action::Complete(id, outcome) => {
                let (job, told) = inner.told.remove(&id)?;
                if outcome == Outcome::CallerGone {
                    return None;
                }
                let product = inner.jobs.get(&job).and_then(|job| job.product.clone());
                let result =
                    ended(outcome).and_then(|()| product.ok_or(Failure::Internal(Bug::TaskLost)));
                if let Err(failure) = &result {
                    tracing::info!(request = %id, outcome = failure.name(), "request failed");
                }
                let _ = told.send(Told::Completed(result));
            }
        }
        None
    }

    /// While the person reaches for the key, the TPM does what does not depend on the touch
    /// (protocol §2.2 fixes the order of the rest), and the event log is read.
    fn prepare(&self, job: &Job) {
        if job.work.need() == Need::PersonAlone {
            return;
        }
        let Services { pcrs, boot_log, .. } = &self.services;
        let (tpm, pcrs, boot_log) = (job.tpm.clone(), pcrs.clone(), boot_log.clone());
        self.runtime.spawn(async move {
            // What is wrong is told when the proof is made.
            let _ = tpm.prepare(&pcrs).await;
            boot_log.gather();
        });
    }

    fn notice(self: &Arc<Self>, id: JobId, stage: Stage) {
        self.with(|inner| inner.ceremony.handle_notice(id, stage, Instant::now()));
    }

    fn step(&self, id: JobId, step: usize) {
        if let Some(job) = self.lock().jobs.get_mut(&id) {
            job.step = step;
        }
    }

    /// Has an agent of the user show the prompt, where there is one.
    async fn present(self: &Arc<Self>, id: JobId, work: &Work) -> Result<(), Failure> {
        let Some(text) = work.prompt(0).filter(|_| work.asks_person()) else { return Ok(()) };
        let caller = self.lock().jobs.get(&id).map(|job| job.caller.clone());
        let caller = caller.ok_or(Failure::Internal(Bug::TaskLost))?;
        let desk = Desk { shared: Arc::clone(self) };
        let (agents, wanted) = (&self.services.agents, self.services.wanted_of_agent(work));
        let asking = work.asking();
        let conversation = Conversation::new(agents, desk, id, text, caller, asking, wanted);
        let (line, settled) = conversation.start();
        if let Some(job) = self.lock().jobs.get_mut(&id) {
            job.line = Some(line);
        }
        // The channel ends without a word.
        let _ = settled.await;
        Ok(())
    }

    /// Has the person give the number that the caller shows, where the action wants it.
    async fn match_number(self: &Arc<Self>, id: JobId, work: &Work) -> Result<(), Failure> {
        if !self.services.wants_number(work) {
            return Ok(());
        }
        let shown = number()?;
        let (numbers, mut given) = mpsc::channel(1);
        match self.lock().jobs.get_mut(&id) {
            Some(job) if job.abilities.is_some_and(|abilities| abilities.number) => {
                job.numbers = Some(numbers);
            }
            _ => return Err(Failure::NoNumber),
        }
        self.notice(id, Stage::NumberShown { number: shown });
        match given.recv().await {
            Some(number) if number == shown => Ok(()),
            Some(_) => Err(Failure::WrongNumber),
            None => Err(Failure::NoNumber),
        }
    }
}

impl Job {
    /// The words that belong to a stage.
    fn text(&self, stage: Stage) -> Option<PromptText> {
        match stage {
            Stage::Queued { .. } | Stage::Quoting => None,
            _ => self.work.prompt(self.step),
        }
    }
}

impl Services {
    fn wants_number(&self, work: &Work) -> bool {
        work.action_names().iter().any(|name| self.number_matching.covers(name))
    }

    /// What an agent must be able to do for this.
    fn wanted_of_agent(&self, work: &Work) -> Abilities {
        let only_agents = self.prompts == Prompts::Agent;
        Abilities { show: only_agents, pin: only_agents, number: self.wants_number(work) }
    }

    /// Whether there is anybody who could ask this user.
    fn can_prompt(&self, uid: u32, work: &Work) -> Result<(), Failure> {
        if self.prompts == Prompts::None {
            return Err(Failure::CannotPrompt);
        }
        if self.agents.has(uid, self.wanted_of_agent(work)) {
            return Ok(());
        }
        if self.wants_number(work) {
            return Err(Failure::NoNumber);
        }
        self.cannot_do_without_agent().map_or(Ok(()), Err)
    }

    fn cannot_do_without_agent(&self) -> Option<Failure> {
        match self.prompts {
            Prompts::Caller => None,
            Prompts::Agent => Some(Failure::NoAgent),
            Prompts::None => Some(Failure::CannotPrompt),
        }
    }
}

/// What the caller is told of the end.
fn ended(outcome: Outcome<Failure>) -> Result<(), Failure> {
    match outcome {
        Outcome::Done => Ok(()),
        Outcome::Failed(failure) => Err(failure),
        Outcome::Cancelled | Outcome::CallerGone => Err(Failure::Cancelled),
        Outcome::TimedOut(waited) => Err(Failure::TimedOut(waited)),
        Outcome::Refused => Err(Failure::Refused),
        Outcome::CoolingDown(left) => Err(Failure::CoolingDown { left }),
    }
}

/// Which report a task owes to the ceremony.
#[derive(Clone, Copy)]
enum Owed {
    Prompt,
    Proof,
}

/// Reports to the ceremony when a task ends, however it ends: a lane is never left occupied.
struct Report {
    shared: Arc<Shared>,
    id: JobId,
    owed: Owed,
    answer: Option<Result<(), Failure>>,
}

impl Report {
    fn new(shared: Arc<Shared>, id: JobId, owed: Owed) -> Self {
        Self { shared, id, owed, answer: None }
    }

    /// Keeps what the task made and reports when this is dropped.
    fn finish<T>(mut self, result: Result<T, Failure>, keep: impl FnOnce(&mut Job, T)) {
        self.answer = Some(result.map(|made| {
            if let Some(job) = self.shared.lock().jobs.get_mut(&self.id) {
                keep(job, made);
            }
        }));
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        // Aborted or panicked: the request is over already, or this tells its caller.
        let answer = self.answer.take().unwrap_or(Err(Failure::Internal(Bug::TaskLost)));
        let (id, now) = (self.id, Instant::now());
        self.shared.with(|inner| match self.owed {
            Owed::Prompt => inner.ceremony.handle_prompted(id, answer, now),
            Owed::Proof => inner.ceremony.handle_proved(id, answer, now),
        });
    }
}

async fn prompt(shared: Arc<Shared>, id: JobId, work: Arc<Work>, mut pins: mpsc::Receiver<Pin>) {
    let report = Report::new(Arc::clone(&shared), id, Owed::Prompt);
    let mut notice = |stage| shared.notice(id, stage);
    let mut line = Line { notice: &mut notice, pins: &mut pins };
    let step = |step| shared.step(id, step);
    let result = async {
        shared.present(id, &work).await?;
        shared.match_number(id, &work).await?;
        ask(&shared.services, &work, &step, &mut line).await
    };
    report.finish(result.await, |job, given| match given {
        Given::Answers(answers) => job.answers = *answers,
        Given::Finding(finding) => job.product = Some(Product::Finding(finding)),
    });
}

/// The person's part of a request.
async fn ask(
    services: &Services,
    work: &Work,
    step: &(dyn Fn(usize) + Send + Sync),
    line: &mut Line<'_>,
) -> Result<Given, Failure> {
    match work {
        Work::Presence { prepared, wait } => {
            let taken = match (prepared.needs_security_key(), wait) {
                (false, _) => None,
                (true, true) => Some(services.keys.take_when_plugged(line).await?),
                (true, false) => Some(services.keys.take(None).await?),
            };
            let (_taken, mut keys) = taken.unzip();
            let answers = prepared.ask(keys.as_mut(), &services.platform, step, line).await;
            answers.map(|answers| Given::Answers(Box::new(answers)))
        }
        Work::Upkeep(upkeep) => {
            let only = upkeep.path.as_deref();
            let (_taken, mut keys) = services.keys.take(only).await?;
            if upkeep.task == Task::Reset
                && !only.is_some_and(|path| services.keys.is_just_plugged(path))
            {
                return Err(Failure::NotJustPlugged);
            }
            upkeep.run(&mut keys, line).await.map(Given::Finding)
        }
        Work::ChangePin(key) => {
            services.platform.change_pin(key, line).await?;
            Ok(Given::Finding(Finding::Done))
        }
    }
}

async fn prove(shared: Arc<Shared>, id: JobId, work: Arc<Work>, tpm: Tpm, answers: Answers) {
    let report = Report::new(Arc::clone(&shared), id, Owed::Proof);
    let Services { pcrs, boot_log, .. } = &shared.services;
    let result = match &*work {
        Work::Presence { prepared, .. } => prepared.prove(&tpm, pcrs, boot_log, answers).await,
        // The ceremony orders no proof for it.
        Work::Upkeep(_) | Work::ChangePin(_) => Err(Failure::Internal(Bug::TaskLost)),
    };
    report.finish(result, |job, produced| {
        job.product = Some(Product::Evidence(Box::new(produced)));
    });
}

/// Sleeps until the next deadline, or without end while there is none.
async fn watch_deadlines(shared: Arc<Shared>) {
    loop {
        let due = shared.lock().ceremony.poll_timeout();
        match due {
            None => shared.wake.notified().await,
            Some(due) => {
                let sleep = tokio::time::sleep_until(due.into());
                tokio::select! {
                    () = shared.wake.notified() => {}
                    () = sleep => {
                        shared.with(|inner| inner.ceremony.handle_timeout(Instant::now()));
                    }
                }
            }
        }
    }
}
