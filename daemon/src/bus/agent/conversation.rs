//! One prompt at an agent: asked, kept up to date, withdrawn; handed to the next agent when one does
//! not answer, and to the caller when there is none.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use zbus::message::Header;
use zbus::names::OwnedUniqueName;
use zbus::wire::DynamicType;
use zbus::{Connection, OwnedFd, OwnedObjectPath, interface};

use super::{Abilities, Agent, Agents};
use crate::bus::refusal::{Refusal, message};
use crate::bus::request::{Results, spell, spell_words};
use crate::bus::{Caller, PATH, pin};
use crate::ceremony::{JobId, Stage};
use crate::desk::Desk;
use crate::failure::{ArgumentError, Bug, Failure};
use crate::prompt::{PromptText, choices};
use crate::work::Asking;

/// Object of every agent.
const AGENT_PATH: &str = "/org/signet/Agent";
const AGENT: &str = "org.signet.Presence1.Agent";
/// How long an agent may take to take note of something; it shows it in its own time.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// How often an agent is asked whether it is still there.
const ROUND: Duration = Duration::from_secs(5);

/// What an agent is told.
#[derive(Debug)]
pub(crate) enum Show {
    /// How far it is; with the words, where a person is asked.
    Stage(Stage, Option<PromptText>),
    /// It is over.
    Close(Result<(), Failure>),
}

/// One prompt and who shows it.
pub(crate) struct Conversation {
    agents: Agents,
    desk: Desk,
    job: JobId,
    /// The words that it begins with.
    text: PromptText,
    caller: Caller,
    asking: Asking,
    wanted: Abilities,
    /// What was shown last.
    shown: Option<(Stage, Option<PromptText>)>,
}

/// How an agent ended.
enum End {
    Closed,
    Lost,
}

impl Conversation {
    pub(crate) fn new(
        agents: &Agents,
        desk: Desk,
        job: JobId,
        text: PromptText,
        caller: Caller,
        asking: Asking,
        wanted: Abilities,
    ) -> Self {
        let agents = agents.clone();
        Self { agents, desk, job, text, caller, asking, wanted, shown: None }
    }

    /// Begins. What is sent is shown; the other channel ends when it is settled who shows it.
    pub(crate) fn start(self) -> (mpsc::UnboundedSender<Show>, oneshot::Receiver<()>) {
        let (line, shows) = mpsc::unbounded_channel();
        let (settled, settling) = oneshot::channel();
        tokio::spawn(self.run(shows, settled));
        (line, settling)
    }

    async fn run(mut self, mut shows: mpsc::UnboundedReceiver<Show>, settled: oneshot::Sender<()>) {
        let connection = self.agents.shared.connection.get().cloned();
        if let (Some(connection), true) =
            (connection, self.agents.has(self.caller.uid, self.wanted))
        {
            let place = format!("{PATH}/prompt/{}", self.job);
            let Ok(place) = OwnedObjectPath::try_from(place) else { return };
            let line = Line { connection, place };
            self.caller.describe(&line.connection).await;
            let mut settled = Some(settled);
            while let Some(agent) = self.next(&line).await {
                self.desk.shown_by(self.job, Some(agent.abilities));
                settled.take();
                let end = self.serve(&line, agent, &mut shows).await;
                line.close().await;
                if let End::Closed = end {
                    return;
                }
            }
            self.desk.shown_by(self.job, None);
        } else {
            self.desk.shown_by(self.job, None);
        }
    }

    /// The next agent that takes the prompt. One that does not is asked no more.
    async fn next(&self, line: &Line) -> Option<Agent> {
        let agents = self.agents.in_order(&line.connection, self.caller.uid, self.wanted).await;
        let mut details = self.who().await;
        spell_words(&mut details, self.text.clone());
        for agent in agents {
            if let Ok(name) = agent.caller.bus_name() {
                let object = PromptObject { desk: self.desk.clone(), job: self.job, agent: name };
                if line.open(object).await.is_ok()
                    && line.call(&agent, "Ask", &(&line.place, &details)).await
                    && self.repeat(line, &agent).await
                {
                    return Some(agent);
                }
                line.close().await;
            }
            tracing::info!(agent = %agent.caller.id, "an agent does not answer");
            self.agents.give_up(&agent);
        }
        None
    }

    /// What another agent was told already.
    async fn repeat(&self, line: &Line, agent: &Agent) -> bool {
        match &self.shown {
            Some((stage, text)) => line.update(agent, *stage, text.clone()).await,
            None => true,
        }
    }

    async fn serve(
        &mut self,
        line: &Line,
        mut agent: Agent,
        shows: &mut mpsc::UnboundedReceiver<Show>,
    ) -> End {
        let mut round = tokio::time::interval(ROUND);
        round.reset();
        loop {
            let here = tokio::select! {
                show = shows.recv() => match show {
                    Some(Show::Stage(stage, text)) => {
                        self.shown = Some((stage, text.clone()));
                        line.update(&agent, stage, text).await
                    }
                    Some(Show::Close(end)) => {
                        line.withdraw(&agent, end).await;
                        return End::Closed;
                    }
                    None => {
                        line.withdraw(&agent, Err(Failure::Cancelled)).await;
                        return End::Closed;
                    }
                },
                _ = agent.gone.changed() => false,
                _ = round.tick() => line.ping(&agent).await,
            };
            if !here {
                tracing::info!(agent = %agent.caller.id, "an agent left a prompt");
                self.agents.give_up(&agent);
                return End::Lost;
            }
        }
    }

    /// Who asks, and in which words of their own.
    async fn who(&self) -> Results {
        let caller = &self.caller;
        let mut details = Results::from([("uid", caller.uid.into())]);
        let texts = [
            ("user", caller.user_name().await.ok()),
            ("program", caller.program.clone()),
            ("unit", caller.unit.clone()),
            ("session", caller.session.as_ref().map(|session| session.id.clone())),
            ("reason", self.asking.reason.as_ref().map(ToString::to_string)),
            ("remote", self.asking.remote.as_ref().map(ToString::to_string)),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                details.insert(name, text.into());
            }
        }
        if let Some(pid) = caller.pid {
            details.insert("pid", pid.into());
        }
        if let Some(session) = &caller.session {
            details.insert("remote_session", session.remote.into());
        }
        details
    }
}

/// The way to agents, and the object on which they answer.
struct Line {
    connection: Connection,
    place: OwnedObjectPath,
}

impl Line {
    async fn open(&self, object: PromptObject) -> Result<(), Failure> {
        match self.connection.object_server().at(&self.place, object).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(_) => Err(Failure::Internal(Bug::Bus)),
        }
    }

    async fn close(&self) {
        let removed = self.connection.object_server().remove::<PromptObject, _>(&self.place).await;
        if let Err(error) = removed {
            tracing::warn!(%error, "cannot remove a prompt object");
        }
    }

    async fn update(&self, agent: &Agent, stage: Stage, text: Option<PromptText>) -> bool {
        let (name, mut details) = match stage {
            // The number itself is the person's to bring.
            Stage::NumberShown { number } => match choices(number) {
                Ok(choices) => ("number-needed", Results::from([("choices", choices.into())])),
                Err(_) => return false,
            },
            stage => spell(stage),
        };
        if let Some(text) = text {
            spell_words(&mut details, text);
        }
        self.call(agent, "Update", &(&self.place, name, details)).await
    }

    async fn withdraw(&self, agent: &Agent, end: Result<(), Failure>) {
        let (outcome, words) = match &end {
            Ok(()) => ("ok", String::new()),
            Err(failure) => (failure.name(), message(failure)),
        };
        self.call(agent, "Withdraw", &(&self.place, outcome, words)).await;
    }

    async fn ping(&self, agent: &Agent) -> bool {
        self.call_on(agent, "org.freedesktop.DBus.Peer", "Ping", &()).await
    }

    async fn call(
        &self,
        agent: &Agent,
        method: &str,
        body: &(impl serde::Serialize + DynamicType + Sync),
    ) -> bool {
        self.call_on(agent, AGENT, method, body).await
    }

    /// Whether the agent took note in time.
    async fn call_on(
        &self,
        agent: &Agent,
        interface: &str,
        method: &str,
        body: &(impl serde::Serialize + DynamicType + Sync),
    ) -> bool {
        let name = agent.caller.id.as_str();
        let call =
            self.connection.call_method(Some(name), AGENT_PATH, Some(interface), method, body);
        matches!(tokio::time::timeout(PATIENCE, call).await, Ok(Ok(_)))
    }
}

/// Serves `org.signet.Presence1.Prompt`: the person's answers, from the agent that was asked.
struct PromptObject {
    desk: Desk,
    job: JobId,
    agent: OwnedUniqueName,
}

#[interface(name = "org.signet.Presence1.Prompt", introspection_docs = false)]
impl PromptObject {
    async fn refuse(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Refusal> {
        self.only_agent(&header)?;
        self.desk.refuse(self.job);
        Ok(())
    }

    async fn provide_pin(
        &self,
        pipe: OwnedFd,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Refusal> {
        self.only_agent(&header)?;
        let pin = pin::read(pipe.into()).await?;
        Ok(self.desk.provide_agents_pin(self.job, pin)?)
    }

    async fn confirm_number(
        &self,
        number: u32,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Refusal> {
        self.only_agent(&header)?;
        if !(10..=99).contains(&number) {
            return Err(ArgumentError::Value("number").into());
        }
        Ok(self.desk.confirm_number(self.job, number)?)
    }
}

impl PromptObject {
    fn only_agent(&self, header: &Header<'_>) -> Result<(), Failure> {
        match header.sender() {
            Some(sender) if *sender == *self.agent => Ok(()),
            _ => Err(Failure::NotAsked),
        }
    }
}
