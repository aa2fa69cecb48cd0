//! The shell around the ceremony: runs what it orders, tells callers what it says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

use crate::authenticator::{Finding, KeyRing, Line, Pin, Task};
use crate::ceremony::{Action, CallerId, Ceremony, Limits, Need, Outcome, RequestId, Stage};
use crate::config::Prompts;
use crate::failure::{ArgumentError, Bug, Failure};
use crate::platform::Platform;
use crate::presence::Answers;
use crate::prompt::PromptText;
use crate::tpm::Tpm;
use crate::work::{Given, Product, Work};

/// What serves requests.
#[derive(Clone, Debug)]
pub struct Services {
    /// The TPM.
    pub tpm: Tpm,
    /// Registers to quote.
    pub pcrs: Vec<u8>,
    /// The security keys.
    pub keys: KeyRing,
    /// The keys of this machine that stand for people.
    pub platform: Platform,
    /// Whether anybody can be asked.
    pub prompts: Prompts,
}

/// What a caller hears. After [`Told::Completed`] there is nothing more; a caller that left hears
/// nothing at all and the channel closes.
#[derive(Debug)]
pub enum Told {
    /// How far it is; with the prompt's words while a person is asked.
    Progress(Stage, Option<PromptText>),
    /// The end.
    Completed(Result<Product, Failure>),
}

/// One request as the shell keeps it.
struct Entry {
    work: Arc<Work>,
    told: mpsc::UnboundedSender<Told>,
    /// Which of the prompts is shown.
    step: usize,
    pins: Option<mpsc::Sender<Pin>>,
    answers: Answers,
    product: Option<Product>,
    task: Option<AbortHandle>,
}

struct Inner {
    ceremony: Ceremony<Failure>,
    entries: HashMap<RequestId, Entry>,
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
        let inner = Inner { ceremony: Ceremony::new(limits), entries: HashMap::new() };
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
    /// [`Failure::CannotPrompt`], [`Failure::TooManyRequests`].
    pub fn submit(
        &self,
        caller: &CallerId,
        work: Work,
        told: mpsc::UnboundedSender<Told>,
    ) -> Result<RequestId, Failure> {
        let need = work.need();
        if need != Need::Machine && self.shared.services.prompts == Prompts::None {
            return Err(Failure::CannotPrompt);
        }
        let entry = Entry {
            work: Arc::new(work),
            told,
            step: 0,
            pins: None,
            answers: Answers::default(),
            product: None,
            task: None,
        };
        self.shared.with(|inner| {
            let id = inner.ceremony.handle_request(caller, need, Instant::now())?;
            inner.entries.insert(id, entry);
            Ok(id)
        })
    }

    /// Takes a request back; nothing happens when it is over.
    pub fn cancel(&self, id: RequestId) {
        self.shared.with(|inner| inner.ceremony.handle_cancel(id, Instant::now()));
    }

    /// Drops all requests of a caller that left the bus.
    pub fn caller_gone(&self, caller: &CallerId) {
        self.shared.with(|inner| inner.ceremony.handle_caller_gone(caller, Instant::now()));
    }

    /// Hands a PIN to the key that asked for it.
    ///
    /// # Errors
    /// [`ArgumentError::PinNotAsked`].
    pub fn provide_pin(&self, id: RequestId, pin: Pin) -> Result<(), Failure> {
        self.shared.with(|inner| {
            let asked = inner.ceremony.handle_pin(id, Instant::now());
            asked.map_err(|_| ArgumentError::PinNotAsked)?;
            if let Some(pins) = inner.entries.get(&id).and_then(|entry| entry.pins.as_ref()) {
                // One PIN per question, and room for one: it cannot be full.
                let _ = pins.try_send(pin);
            }
            Ok(())
        })
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
                let entry = inner.entries.get_mut(&id)?;
                let (pins, inbox) = mpsc::channel(1);
                entry.pins = Some(pins);
                let work = prompt(Arc::clone(self), id, Arc::clone(&entry.work), inbox);
                entry.task = Some(self.runtime.spawn(work).abort_handle());
            }
            Action::Prove(id) => {
                let entry = inner.entries.get_mut(&id)?;
                let answers = std::mem::take(&mut entry.answers);
                let work = prove(Arc::clone(self), id, Arc::clone(&entry.work), answers);
                entry.task = Some(self.runtime.spawn(work).abort_handle());
            }
            Action::StopPrompt(id) | Action::StopProof(id) => {
                return inner.entries.get_mut(&id)?.task.take();
            }
            Action::Progress(id, stage) => {
                let entry = inner.entries.get(&id)?;
                let text = match stage {
                    Stage::Queued { .. } | Stage::Quoting => None,
                    _ => entry.work.prompt(entry.step),
                };
                let _ = entry.told.send(Told::Progress(stage, text));
            }
            Action::Complete(id, outcome) => {
                let entry = inner.entries.remove(&id)?;
                let result = match outcome {
                    Outcome::Done => entry.product.ok_or(Failure::Internal(Bug::TaskLost)),
                    Outcome::Failed(failure) => Err(failure),
                    Outcome::Cancelled => Err(Failure::Cancelled),
                    Outcome::TimedOut(waited) => Err(Failure::TimedOut(waited)),
                    Outcome::CallerGone => return None,
                };
                if let Err(failure) = &result {
                    tracing::info!(request = %id, outcome = failure.name(), "request failed");
                }
                let _ = entry.told.send(Told::Completed(result));
            }
        }
        None
    }

    fn notice(self: &Arc<Self>, id: RequestId, stage: Stage) {
        self.with(|inner| inner.ceremony.handle_notice(id, stage, Instant::now()));
    }

    fn step(&self, id: RequestId, step: usize) {
        if let Some(entry) = self.lock().entries.get_mut(&id) {
            entry.step = step;
        }
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
    id: RequestId,
    owed: Owed,
    answer: Option<Result<(), Failure>>,
}

impl Report {
    fn new(shared: Arc<Shared>, id: RequestId, owed: Owed) -> Self {
        Self { shared, id, owed, answer: None }
    }

    /// Keeps what the task made and reports when this is dropped.
    fn finish<T>(mut self, result: Result<T, Failure>, keep: impl FnOnce(&mut Entry, T)) {
        self.answer = Some(result.map(|made| {
            if let Some(entry) = self.shared.lock().entries.get_mut(&self.id) {
                keep(entry, made);
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

async fn prompt(
    shared: Arc<Shared>,
    id: RequestId,
    work: Arc<Work>,
    mut pins: mpsc::Receiver<Pin>,
) {
    let report = Report::new(Arc::clone(&shared), id, Owed::Prompt);
    let mut notice = |stage| shared.notice(id, stage);
    let mut line = Line { notice: &mut notice, pins: &mut pins };
    let step = |step| shared.step(id, step);
    let result = ask(&shared.services, &work, &step, &mut line).await;
    report.finish(result, |entry, given| match given {
        Given::Answers(answers) => entry.answers = answers,
        Given::Finding(finding) => entry.product = Some(Product::Finding(finding)),
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
            answers.map(Given::Answers)
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

async fn prove(shared: Arc<Shared>, id: RequestId, work: Arc<Work>, answers: Answers) {
    let report = Report::new(Arc::clone(&shared), id, Owed::Proof);
    let Services { tpm, pcrs, .. } = &shared.services;
    let result = match &*work {
        Work::Presence { prepared, .. } => prepared.prove(tpm, pcrs, answers).await,
        // The ceremony orders no proof for it.
        Work::Upkeep(_) | Work::ChangePin(_) => Err(Failure::Internal(Bug::TaskLost)),
    };
    report.finish(result, |entry, produced| {
        entry.product = Some(Product::Evidence(Box::new(produced)));
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
