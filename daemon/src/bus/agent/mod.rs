//! Agents: programs in people's sessions that show prompts (`dbus/org.signet.Presence1.Agent.xml`).

mod conversation;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::watch;
use zbus::Connection;

use super::Caller;
use crate::ceremony::{CallerId, Stage};
use crate::logind::LoginSession;

pub(crate) use conversation::{Conversation, Show};

/// Most agents of one user; the oldest makes room.
const MOST_OF_ONE_USER: usize = 4;

/// What an agent can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Shows what is asked, and lets the person refuse.
    pub show: bool,
    /// Asks for PINs.
    pub pin: bool,
    /// Asks for the number that the requester shows.
    pub number: bool,
}

impl Abilities {
    /// Whether an agent that can do this serves where that is wanted.
    fn suffice(self, wanted: Self) -> bool {
        (self.show || !wanted.show) && (self.pin || !wanted.pin) && (self.number || !wanted.number)
    }

    /// Whether an agent that can do this asks the person all that this stage wants.
    pub fn cover(self, stage: Stage) -> bool {
        match stage {
            Stage::PinNeeded { .. } | Stage::NewPinNeeded { .. } => self.pin,
            Stage::NumberShown { .. } => self.number,
            _ => self.show,
        }
    }
}

/// The agents that are registered. Clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Agents {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The bus that they are on.
    connection: OnceLock<Connection>,
    registrations: AtomicU64,
    /// Oldest first; whoever is taken out lets its conversations know by the dropped sender.
    list: Mutex<Vec<(Agent, watch::Sender<()>)>>,
}

/// A registered agent.
#[derive(Clone, Debug)]
struct Agent {
    caller: Caller,
    abilities: Abilities,
    /// Which of all registrations.
    number: u64,
    /// Ends when it is registered no more.
    gone: watch::Receiver<()>,
}

impl Agents {
    /// From now on agents are called on this bus.
    pub(super) fn on(&self, connection: &Connection) {
        let _ = self.shared.connection.set(connection.clone());
    }

    /// Another agent of its user; the same one again replaces itself.
    pub(super) fn register(&self, caller: Caller, abilities: Abilities) {
        let (leaving, gone) = watch::channel(());
        let mut list = self.list();
        list.retain(|(other, _)| other.caller.id != caller.id);
        let of_user = list.iter().filter(|(other, _)| other.caller.uid == caller.uid).count();
        if of_user >= MOST_OF_ONE_USER
            && let Some(oldest) = list.iter().position(|(other, _)| other.caller.uid == caller.uid)
        {
            list.remove(oldest);
        }
        let number = self.shared.registrations.fetch_add(1, Ordering::Relaxed);
        list.push((Agent { caller, abilities, number, gone }, leaving));
    }

    /// Asks this one no more, unless it has registered anew.
    fn give_up(&self, agent: &Agent) {
        self.list().retain(|(other, _)| other.number != agent.number);
    }

    /// It left the bus.
    pub(super) fn forget(&self, id: &CallerId) {
        self.list().retain(|(agent, _)| agent.caller.id != *id);
    }

    /// Whether a user has an agent that can do what is wanted.
    pub(crate) fn has(&self, uid: u32, wanted: Abilities) -> bool {
        !self.of(uid, wanted).is_empty()
    }

    /// Whether a user has an agent.
    pub(super) fn has_any(&self, uid: u32) -> bool {
        self.has(uid, Abilities { show: false, pin: false, number: false })
    }

    /// The agents of a user that can do what is wanted, newest first. Nobody else's, ever.
    fn of(&self, uid: u32, wanted: Abilities) -> Vec<Agent> {
        let list = self.list();
        let own = list.iter().rev().map(|(agent, _)| agent);
        own.filter(|agent| agent.caller.uid == uid && agent.abilities.suffice(wanted))
            .cloned()
            .collect()
    }

    /// As [`Self::of`]: those in the session that has the screen come first.
    async fn in_order(&self, connection: &Connection, uid: u32, wanted: Abilities) -> Vec<Agent> {
        let mut agents = self.of(uid, wanted);
        if agents.len() > 1 {
            let mut active = Vec::new();
            for agent in &agents {
                let Some(pid) = agent.caller.pid else { continue };
                let session = LoginSession::of(connection, uid, pid);
                let session = tokio::time::timeout(conversation::PATIENCE, session).await;
                if session.ok().flatten().is_some_and(|session| session.active) {
                    active.push(agent.caller.id.clone());
                }
            }
            agents.sort_by_key(|agent| !active.contains(&agent.caller.id));
        }
        agents
    }

    fn list(&self) -> MutexGuard<'_, Vec<(Agent, watch::Sender<()>)>> {
        self.shared.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Abilities = Abilities { show: true, pin: true, number: true };
    const NOTHING: Abilities = Abilities { show: false, pin: false, number: false };

    fn caller(name: &str, uid: u32) -> Caller {
        let (pid, session, unit, program) = (None, None, None, None);
        Caller { id: CallerId::new(name), uid, pid, session, unit, program }
    }

    fn names(agents: &[Agent]) -> Vec<&str> {
        agents.iter().map(|agent| agent.caller.id.as_str()).collect()
    }

    #[test]
    fn a_user_has_a_few_agents_of_their_own_newest_first() {
        let agents = Agents::default();
        agents.register(caller(":1.1", 1000), ALL);
        agents.register(caller(":1.2", 1001), ALL);
        agents.register(caller(":1.3", 1000), Abilities { pin: false, ..ALL });
        assert_eq!(names(&agents.of(1000, NOTHING)), [":1.3", ":1.1"]);
        assert_eq!(names(&agents.of(1000, ALL)), [":1.1"]);
        assert!(!agents.has(0, NOTHING), "root has none of them");
        agents.register(caller(":1.1", 1000), ALL);
        assert_eq!(names(&agents.of(1000, NOTHING)), [":1.1", ":1.3"]);
        for number in 4..7 {
            agents.register(caller(&format!(":1.{number}"), 1000), ALL);
        }
        assert_eq!(names(&agents.of(1000, NOTHING)), [":1.6", ":1.5", ":1.4", ":1.1"]);
        assert_eq!(names(&agents.of(1001, NOTHING)), [":1.2"]);
    }

    #[tokio::test]
    async fn who_talks_with_an_agent_hears_that_it_left() {
        let agents = Agents::default();
        agents.register(caller(":1.1", 1000), ALL);
        let mut agent = agents.of(1000, ALL).remove(0);
        agents.forget(&agent.caller.id);
        assert!(agent.gone.changed().await.is_err());
        assert!(!agents.has(1000, NOTHING));
        // What is given up is the registration, not the program.
        agents.register(caller(":1.1", 1000), NOTHING);
        agents.give_up(&agent);
        assert!(agents.has(1000, NOTHING));
    }
}
