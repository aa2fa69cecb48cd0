//! `signet agent`: shows in this session what `signetd` asks of its user, on the desktop or on the
//! terminal.

mod asked;
mod assuan;
mod console;
mod desktop;
mod link;
mod notification;
mod pinentry;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::sync::Arc;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde_json::json;
use signet_client::daemon::{Bus, DaemonError, Step};
use tokio::sync::mpsc;
use zbus::fdo::{DBusProxy, RequestNameFlags, RequestNameReply};
use zbus::{Connection, OwnedObjectPath};

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::Output;
use asked::Asked;
use desktop::Desktop;
use link::{Abilities, Event, Link, News};
use notification::Notifications;
use pinentry::Pinentry;

/// Name on the session bus, by which `signet` starts an agent.
pub(crate) const NAME: &str = "org.signet.Agent1";
/// Stages that a prompt has not shown yet.
const WAITING: usize = 32;
/// How long an agent may take to start.
const START: std::time::Duration = std::time::Duration::from_secs(5);

/// What a prompt is told.
#[derive(Debug)]
enum Note {
    Step(Step),
    Over { outcome: String, message: String },
}

/// Where prompts are shown.
#[derive(Clone)]
enum Face {
    Desktop(Desktop),
    Console(Output),
}

/// How to run.
#[derive(Debug)]
pub(crate) struct Options {
    /// Where `signetd` is.
    pub(crate) bus: Bus,
    /// Show prompts on the terminal.
    pub(crate) terminal: bool,
    /// The pinentry, where one is named.
    pub(crate) pinentry: Option<OsString>,
}

/// Runs until it is told to end, or a bus goes away.
pub(crate) async fn run(
    output: Output,
    interrupt: &Interrupt,
    options: Options,
) -> Result<(), Failure> {
    let (mut face, session) = face(output, &options).await?;
    // PINs pass through here: no core file has them, and no other program of the user reads them.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let mut link = Link::connect(&options.bus).await?;
    register(&link, output, face.abilities()).await?;
    // After that: whoever waits for the name finds an agent.
    if let Some(session) = &session {
        own_name(session).await?;
    }
    let mut prompts: HashMap<OwnedObjectPath, mpsc::Sender<Note>> = HashMap::new();
    loop {
        let event = tokio::select! {
            event = link.next() => event.ok_or(DaemonError::Vanished)?,
            () = interrupt.asked() => return Ok(()),
            () = closed(session.as_ref()) => return Err(Failure::SessionBusGone),
            () = face.pinentry_failed() => {
                // signetd has somebody else ask for the PIN then, also of the prompt that is open.
                face.forget_pinentry();
                register(&link, output, face.abilities()).await?;
                continue;
            }
        };
        match event {
            Event::Stopped => prompts.clear(),
            Event::Started => register(&link, output, face.abilities()).await?,
            Event::News(News::Asked(path, asked)) => {
                // signetd is gone already, and its prompt with it.
                let Ok(answers) = link.answers(path.clone()).await else { continue };
                let (notes, inbox) = mpsc::channel(WAITING);
                prompts.retain(|_, notes| !notes.is_closed());
                prompts.insert(path, notes);
                match face.clone() {
                    Face::Desktop(desktop) => {
                        tokio::spawn(desktop.attend(*asked, answers, inbox));
                    }
                    Face::Console(output) => {
                        tokio::spawn(console::attend(output, *asked, answers, inbox));
                    }
                }
            }
            Event::News(News::Updated(path, step)) => tell(&prompts, &path, Note::Step(step)),
            Event::News(News::Withdrawn(path, outcome, message)) => {
                tell(&prompts, &path, Note::Over { outcome, message });
                prompts.remove(&path);
            }
        }
    }
}

/// A prompt that does not keep up misses stages, and never the others' time.
fn tell(
    prompts: &HashMap<OwnedObjectPath, mpsc::Sender<Note>>,
    path: &OwnedObjectPath,
    note: Note,
) {
    if let Some(prompt) = prompts.get(path) {
        let _ = prompt.try_send(note);
    }
}

/// What there is to show prompts with.
async fn face(output: Output, options: &Options) -> Result<(Face, Option<Connection>), Failure> {
    if options.terminal {
        if !std::io::stderr().is_terminal() || std::fs::File::open("/dev/tty").is_err() {
            return Err(Failure::NoTerminal);
        }
        return Ok((Face::Console(output), None));
    }
    let session = Connection::session().await.map_err(Failure::NoSessionBus)?;
    let notifications = Notifications::find(&session).await;
    let pinentry = Pinentry::find(options.pinentry.clone()).await;
    if notifications.is_none() && pinentry.is_none() {
        // Where systemd starts us for the bus, the bus waits two minutes for a name that never comes,
        // and whoever asked waits with it; nor would it start another agent.
        let _ = own_name(&session).await;
        return Err(Failure::NothingToAskWith);
    }
    let desktop = Desktop { notifications, pinentry, failed: Arc::default() };
    Ok((Face::Desktop(desktop), Some(session)))
}

impl Face {
    /// Resolves when the pinentry turned out not to work.
    async fn pinentry_failed(&self) {
        match self {
            Self::Desktop(desktop) => desktop.failed.notified().await,
            Self::Console(_) => std::future::pending().await,
        }
    }

    fn forget_pinentry(&mut self) {
        if let Self::Desktop(desktop) = self {
            desktop.pinentry = None;
        }
    }

    fn abilities(&self) -> Abilities {
        match self {
            Self::Desktop(desktop) => desktop.abilities(),
            Self::Console(_) => Abilities { show: true, pin: true, number: true },
        }
    }
}

/// Says what works here and what does not.
fn announce(output: Output, abilities: Abilities) -> Result<(), Failure> {
    if output.is_json() {
        let Abilities { show, pin, number } = abilities;
        return output
            .json_line(&json!({ "registered": true, "show": show, "pin": pin, "number": number }));
    }
    say("registered: prompts are shown here");
    if !abilities.show {
        say(
            "there is no notification server: what asks only for a touch is shown by the program that asks",
        );
    }
    if !abilities.pin {
        say("there is no pinentry that can be used: the program that asks asks for PINs too");
    }
    Ok(())
}

/// Registers; an agent waits for a `signetd` that does not run and cannot be started.
async fn register(link: &Link, output: Output, abilities: Abilities) -> Result<(), Failure> {
    match link.register(abilities).await {
        Err(DaemonError::NotRunning | DaemonError::Vanished) => {
            say("signetd does not run: waiting for it");
            Ok(())
        }
        Ok(()) => announce(output, abilities),
        Err(error) => Err(error.into()),
    }
}

/// Lets `signet` know that an agent runs here; a second one in the same session ends.
async fn own_name(session: &Connection) -> Result<(), Failure> {
    let flags = RequestNameFlags::DO_NOT_QUEUE;
    match session.request_name_with_flags(NAME, flags).await {
        Ok(RequestNameReply::PrimaryOwner | RequestNameReply::AlreadyOwner) => Ok(()),
        Ok(_) | Err(zbus::Error::NameTaken) => Err(Failure::AgentRuns),
        Err(error) => Err(Failure::NoSessionBus(error)),
    }
}

/// Resolves when the session is over.
async fn closed(session: Option<&Connection>) {
    match session {
        Some(session) => session.closed().await,
        None => std::future::pending().await,
    }
}

/// Starts the session's agent, where the session bus knows one; nothing else ever comes of it.
pub(crate) async fn wake() {
    let started = async {
        let session = Connection::session().await.ok()?;
        let dbus = DBusProxy::new(&session).await.ok()?;
        let name = zbus::names::WellKnownName::try_from(NAME).ok()?;
        dbus.start_service_by_name(name, 0).await.ok()
    };
    let _ = tokio::time::timeout(START, started).await;
}

/// Title and words of how a prompt ended.
fn ending(asked: &Asked, outcome: &str, message: &str) -> (String, String) {
    match outcome {
        "ok" => ("Done".to_owned(), asked::visible(&asked.prompt.action)),
        _ => (format!("Not done: {}", asked.title()), asked::visible(message)),
    }
}

/// The journal and the terminal read this.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "signet agent: {text}");
}
