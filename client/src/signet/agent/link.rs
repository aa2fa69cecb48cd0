//! The agent's two ends on the system bus: what `signetd` tells it, and the person's answers.

// The macros write the types around these traits; their documentation is the interface's.
#![allow(missing_docs)]

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use signet_client::daemon::{Bus, DaemonError, SERVICE, Step};
use tokio::sync::mpsc;
use zbus::fdo::DBusProxy;
use zbus::message::Header;
use zbus::names::{BusName, OwnedUniqueName};
use zbus::{Connection, Fd, OwnedObjectPath, OwnedVariant, Variant, interface, proxy};
use zeroize::Zeroizing;

use super::asked::Asked;

/// Object of every agent.
const AGENT_PATH: &str = "/org/signet/Agent";
/// Messages of `signetd` that wait; it has one prompt open at a time.
const WAITING: usize = 64;

/// What `signetd` tells, each about the prompt with this object.
#[derive(Debug)]
pub(super) enum News {
    /// A prompt begins.
    Asked(OwnedObjectPath, Box<Asked>),
    /// How far it is.
    Updated(OwnedObjectPath, Step),
    /// It is over: `ok` or the name of an error, and what to do.
    Withdrawn(OwnedObjectPath, String, String),
}

/// What an agent can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Abilities {
    pub(super) show: bool,
    pub(super) pin: bool,
    pub(super) number: bool,
}

#[proxy(
    interface = "org.signet.Presence1",
    default_service = "org.signet.Presence1",
    default_path = "/org/signet/Presence1"
)]
trait Presence1 {
    fn register_agent(&self, options: &HashMap<&str, Variant<'_>>) -> zbus::Result<()>;
}

#[proxy(interface = "org.signet.Presence1.Prompt", assume_defaults = false)]
trait Prompt {
    fn refuse(&self) -> zbus::Result<()>;
    fn provide_pin(&self, pipe: Fd<'_>) -> zbus::Result<()>;
    fn confirm_number(&self, number: u32) -> zbus::Result<()>;
}

/// Who may call us: the owner of `signetd`'s name, as we asked the bus.
type Owner = Arc<Mutex<Option<OwnedUniqueName>>>;

fn locked(owner: &Owner) -> MutexGuard<'_, Option<OwnedUniqueName>> {
    owner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves `org.signet.Presence1.Agent`.
struct AgentObject {
    owner: Owner,
    news: mpsc::Sender<News>,
}

#[interface(name = "org.signet.Presence1.Agent", introspection_docs = false)]
impl AgentObject {
    async fn ask(
        &self,
        prompt: OwnedObjectPath,
        details: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
    ) -> zbus::fdo::Result<()> {
        self.only_signetd(&header)?;
        let asked = Asked::read(details).ok_or_else(|| invalid("title and action are needed"))?;
        self.tell(News::Asked(prompt, Box::new(asked))).await
    }

    async fn update(
        &self,
        prompt: OwnedObjectPath,
        stage: String,
        details: HashMap<String, OwnedVariant>,
        #[zbus(header)] header: Header<'_>,
    ) -> zbus::fdo::Result<()> {
        self.only_signetd(&header)?;
        let step = Step::from_parts(&stage, details);
        let step = step.map_err(|error| invalid(&error.to_string()))?;
        self.tell(News::Updated(prompt, step)).await
    }

    async fn withdraw(
        &self,
        prompt: OwnedObjectPath,
        outcome: String,
        message: String,
        #[zbus(header)] header: Header<'_>,
    ) -> zbus::fdo::Result<()> {
        self.only_signetd(&header)?;
        self.tell(News::Withdrawn(prompt, outcome, message)).await
    }
}

impl AgentObject {
    fn only_signetd(&self, header: &Header<'_>) -> zbus::fdo::Result<()> {
        match (header.sender(), &*locked(&self.owner)) {
            (Some(sender), Some(owner)) if *sender == **owner => Ok(()),
            _ => Err(zbus::fdo::Error::AccessDenied("only signetd may ask".into())),
        }
    }

    async fn tell(&self, news: News) -> zbus::fdo::Result<()> {
        let gone = |_| zbus::fdo::Error::Failed("the agent ends".into());
        self.news.send(news).await.map_err(gone)
    }
}

fn invalid(text: &str) -> zbus::fdo::Error {
    zbus::fdo::Error::InvalidArgs(text.to_owned())
}

/// The agent on `signetd`'s bus.
pub(super) struct Link {
    connection: Connection,
    owner: Owner,
    news: mpsc::Receiver<News>,
    owners: BoxStream<'static, Option<OwnedUniqueName>>,
}

/// What a link brings.
#[derive(Debug)]
pub(super) enum Event {
    News(News),
    /// `signetd` stopped: its prompts are over.
    Stopped,
    /// `signetd` started.
    Started,
}

impl Link {
    /// Connects to `signetd`'s bus; nothing is asked of us before [`Self::register`].
    pub(super) async fn connect(bus: &Bus) -> Result<Self, DaemonError> {
        let connection = bus.connect().await?;
        let owner = Owner::default();
        let (sender, news) = mpsc::channel(WAITING);
        let object = AgentObject { owner: Arc::clone(&owner), news: sender };
        connection.object_server().at(AGENT_PATH, object).await?;
        let dbus = DBusProxy::new(&connection).await?;
        let changes = dbus.receive_name_owner_changed_with_args(&[(0, SERVICE)]).await?;
        let owners = changes.filter_map(|change| async move {
            let owner = change.args().ok()?.new_owner().as_ref().cloned();
            Some(owner.map(OwnedUniqueName::from))
        });
        Ok(Self { connection, owner, news, owners: owners.boxed() })
    }

    /// Registers; the bus starts `signetd` where it knows how.
    pub(super) async fn register(&self, abilities: Abilities) -> Result<(), DaemonError> {
        let options: HashMap<&str, Variant<'_>> = HashMap::from([
            ("show", abilities.show.into()),
            ("pin", abilities.pin.into()),
            ("number", abilities.number.into()),
        ]);
        let dbus = DBusProxy::new(&self.connection).await?;
        let service = BusName::try_from(SERVICE)?;
        if !dbus.name_has_owner(service.clone()).await.map_err(zbus::Error::from)? {
            let name = zbus::names::WellKnownName::try_from(SERVICE)?;
            dbus.start_service_by_name(name, 0).await.map_err(zbus::Error::from)?;
        }
        let owner = dbus.get_name_owner(service).await.map_err(zbus::Error::from)?;
        *locked(&self.owner) = Some(owner.clone());
        let daemon = Presence1Proxy::builder(&self.connection).destination(owner.into_inner());
        let daemon = daemon.cache_properties(zbus::proxy::CacheProperties::No).build().await?;
        Ok(daemon.register_agent(&options).await?)
    }

    /// Waits for what comes next; `None` when the bus is gone.
    pub(super) async fn next(&mut self) -> Option<Event> {
        loop {
            let owner = tokio::select! {
                // What signetd said before it went comes before that it went.
                biased;
                news = self.news.recv() => return news.map(Event::News),
                owner = self.owners.next() => owner?,
            };
            match owner {
                // The one that we had the bus start, and are registered with.
                Some(owner) if locked(&self.owner).as_ref() == Some(&owner) => {}
                Some(_) => return Some(Event::Started),
                None => {
                    *locked(&self.owner) = None;
                    return Some(Event::Stopped);
                }
            }
        }
    }

    /// The way back for the answers to a prompt.
    pub(super) async fn answers(&self, prompt: OwnedObjectPath) -> Result<Answers, DaemonError> {
        let owner = locked(&self.owner).clone().ok_or(DaemonError::NotRunning)?;
        let proxy = PromptProxy::builder(&self.connection).destination(owner.into_inner());
        let proxy = proxy.path(prompt).cache_properties(zbus::proxy::CacheProperties::No);
        Ok(Answers(proxy.build().await?))
    }
}

/// The person's answers to one prompt. That a prompt is over is no error: `signetd` has said so, or
/// is about to.
#[derive(Clone)]
pub(super) struct Answers(PromptProxy<'static>);

impl Answers {
    pub(super) async fn refuse(&self) -> Result<(), DaemonError> {
        Ok(self.0.refuse().await?)
    }

    pub(super) async fn number(&self, number: u32) -> Result<(), DaemonError> {
        Ok(self.0.confirm_number(number).await?)
    }

    /// Hands the PIN over through a pipe, so that it stands in no message that a bus monitor sees.
    pub(super) async fn pin(&self, pin: &Zeroizing<String>) -> Result<(), DaemonError> {
        let (reader, mut writer) = std::io::pipe().map_err(DaemonError::PinPipe)?;
        // Any pipe holds more without a reader than a secret may have.
        writer.write_all(pin.as_bytes()).map_err(DaemonError::PinPipe)?;
        drop(writer);
        Ok(self.0.provide_pin(reader.as_fd().into()).await?)
    }
}
