//! A caller: its own bus connection, requests with their signals.

use std::collections::HashMap;
use std::io::Write;
use std::num::NonZeroUsize;

use futures_util::StreamExt;
use signet_tests::bus::PrivateBus;
use zbus::{Connection, MessageStream, OwnedVariant, Variant, connection};

use crate::authority::PATIENCE;

/// An `a{sv}` that goes out.
pub type Options = HashMap<&'static str, Variant<'static>>;
/// An `a{sv}` that came.
pub type Answer = HashMap<String, OwnedVariant>;

#[zbus::proxy(
    interface = "org.signet.Presence1",
    default_service = "org.signet.Presence1",
    default_path = "/org/signet/Presence1"
)]
pub trait Presence1 {
    fn begin_enrolment(&self) -> zbus::Result<Answer>;
    fn activate_enrolment(&self, options: &Options) -> zbus::Result<Answer>;
    fn complete_enrolment(&self, options: &Options) -> zbus::Result<()>;
    fn renew_certificates(&self, options: &Options) -> zbus::Result<()>;
    fn request_presence(
        &self,
        handle_token: &str,
        options: &Options,
    ) -> zbus::Result<zbus::OwnedObjectPath>;
    fn register_authenticator(
        &self,
        handle_token: &str,
        options: &Options,
    ) -> zbus::Result<zbus::OwnedObjectPath>;
    fn register_agent(&self, options: &Options) -> zbus::Result<()>;
    fn sign_tls(&self, message: &[u8]) -> zbus::Result<Vec<u8>>;
    fn list_authenticators(&self) -> zbus::Result<Vec<Answer>>;
    fn list_sessions(&self, options: &Options) -> zbus::Result<Vec<Answer>>;
    fn end_sessions(&self, options: &Options) -> zbus::Result<()>;
    fn status(&self) -> zbus::Result<Answer>;
    #[zbus(property)]
    fn enrolled(&self) -> zbus::Result<bool>;
    #[zbus(property)]
    fn device_certificates(&self) -> zbus::Result<Vec<Vec<u8>>>;
    #[zbus(property)]
    fn authority_certificates(&self) -> zbus::Result<Vec<Vec<u8>>>;
}

#[zbus::proxy(interface = "org.signet.Presence1.Request", default_service = "org.signet.Presence1")]
pub trait Request {
    fn cancel(&self) -> zbus::Result<()>;
    fn provide_pin(&self, pipe: zbus::Fd<'_>) -> zbus::Result<()>;
}

#[zbus::proxy(interface = "org.signet.Presence1.Prompt", default_service = "org.signet.Presence1")]
pub trait Prompt {
    fn refuse(&self) -> zbus::Result<()>;
    fn provide_pin(&self, pipe: zbus::Fd<'_>) -> zbus::Result<()>;
    fn confirm_number(&self, number: u32) -> zbus::Result<()>;
}

pub fn options<const N: usize>(members: [(&'static str, Variant<'static>); N]) -> Options {
    HashMap::from(members)
}

pub fn bytes(answer: &Answer, name: &str) -> Vec<u8> {
    answer[name].try_clone().unwrap().try_into().unwrap()
}

pub fn text(answer: &Answer, name: &str) -> String {
    answer[name].try_clone().unwrap().try_into().unwrap()
}

/// Last part of a D-Bus error's name, and its message.
pub fn refusal(error: zbus::Error) -> (String, String) {
    match error {
        zbus::Error::MethodError(name, message, _) => {
            let name = name.as_str().rsplit('.').next().unwrap().to_owned();
            (name, message.unwrap_or_default())
        }
        // What the bus itself says has names of the bus.
        other => (other.to_string(), String::new()),
    }
}

/// A signal of a request.
#[derive(Debug, PartialEq)]
pub enum Signal {
    Progress(String, Answer),
    Completed(String, String, Answer),
}

pub struct Caller {
    pub connection: Connection,
    pub daemon: Presence1Proxy<'static>,
}

/// A request that was accepted, with every signal of it.
pub struct Pending {
    pub path: zbus::OwnedObjectPath,
    pub request: RequestProxy<'static>,
    signals: MessageStream,
}

impl Caller {
    pub async fn new(bus: &PrivateBus) -> Self {
        Self::of(connection::Builder::address(bus.address()).build().await.unwrap()).await
    }

    /// A caller with this connection.
    pub async fn of(connection: Connection) -> Self {
        let daemon = Presence1Proxy::builder(&connection)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .unwrap();
        Self { connection, daemon }
    }

    /// Path of this caller's request with `token`, known before it exists.
    pub fn path(&self, token: &str) -> String {
        let sender = self.connection.unique_name().unwrap().as_str();
        let sender = sender.trim_start_matches(':').replace('.', "_");
        format!("/org/signet/Presence1/request/{sender}/{token}")
    }

    /// RequestPresence, listening first.
    pub async fn presence(&self, token: &str, options: &Options) -> zbus::Result<Pending> {
        let signals = self.listen(token).await;
        let path = self.daemon.request_presence(token, options).await?;
        self.pending(token, path, signals).await
    }

    /// RegisterAuthenticator, listening first.
    pub async fn register(&self, token: &str, options: &Options) -> zbus::Result<Pending> {
        let signals = self.listen(token).await;
        let path = self.daemon.register_authenticator(token, options).await?;
        self.pending(token, path, signals).await
    }

    /// A method for the upkeep of a key, listening first.
    pub async fn upkeep(
        &self,
        method: &str,
        token: &str,
        options: &Options,
    ) -> zbus::Result<Pending> {
        let signals = self.listen(token).await;
        let path: zbus::OwnedObjectPath =
            self.daemon.inner().call(method, &(token, options)).await?;
        self.pending(token, path, signals).await
    }

    async fn listen(&self, token: &str) -> MessageStream {
        self.overhear(&self.path(token)).await
    }

    /// All signals of this object that reach us.
    pub async fn overhear(&self, path: &str) -> MessageStream {
        let rule = zbus::MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .path(path.to_owned())
            .build()
            .unwrap();
        MessageStream::for_match_rule(rule, &self.connection, NonZeroUsize::new(1024))
            .await
            .unwrap()
    }

    async fn pending(
        &self,
        token: &str,
        path: zbus::OwnedObjectPath,
        signals: MessageStream,
    ) -> zbus::Result<Pending> {
        assert_eq!(path.as_str(), self.path(token));
        Ok(Pending { request: self.request_at(path.as_str()).await, path, signals })
    }

    /// A proxy for any request, also a foreign one.
    pub async fn request_at(&self, path: &str) -> RequestProxy<'static> {
        RequestProxy::builder(&self.connection).path(path.to_owned()).build().await.unwrap()
    }
}

/// The read end of a pipe that holds a PIN.
pub fn pipe_with(pin: &str) -> zbus::Fd<'static> {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writeln!(writer, "{pin}").unwrap();
    std::os::fd::OwnedFd::from(reader).into()
}

/// Everything that was told about a request.
#[derive(Debug)]
pub struct Served {
    pub stages: Vec<(String, Answer)>,
    pub outcome: String,
    pub words: String,
    pub results: Answer,
}

impl Served {
    /// The results of a request that went well.
    pub fn ok(self) -> Answer {
        assert_eq!((self.outcome.as_str(), self.words.as_str()), ("ok", ""));
        self.results
    }

    /// The stages, without the words that a person reads and without computing.
    pub fn stages(&self) -> Vec<String> {
        let shown = self.stages.iter().filter(|(stage, _)| stage != "processing");
        shown
            .map(|(stage, details)| {
                let mut members: Vec<String> = details
                    .iter()
                    .filter(|(name, _)| !["title", "action"].contains(&name.as_str()))
                    .map(|(name, value)| {
                        match (u32::try_from(value.clone()), String::try_from(value.clone())) {
                            (Ok(number), _) => format!("{name}={number}"),
                            (_, Ok(text)) => format!("{name}={text}"),
                            _ => panic!("{name} of {stage}: {value:?}"),
                        }
                    })
                    .collect();
                members.sort();
                members.insert(0, stage.clone());
                members.join(" ")
            })
            .collect()
    }
}

/// Whether a message lies there already.
pub fn is_ready(stream: &mut MessageStream) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    stream.poll_next_unpin(&mut context).is_ready()
}

impl Pending {
    pub async fn next(&mut self) -> Signal {
        let message = tokio::time::timeout(PATIENCE, self.signals.next()).await;
        let message = message.expect("a signal was due").unwrap().unwrap();
        let header = message.header();
        let member = header.member().unwrap().as_str().to_owned();
        match member.as_str() {
            "Progress" => {
                let (stage, details) = message.body().deserialize().unwrap();
                Signal::Progress(stage, details)
            }
            "Completed" => {
                let (outcome, words, results) = message.body().deserialize().unwrap();
                Signal::Completed(outcome, words, results)
            }
            other => panic!("unknown signal {other}"),
        }
    }

    /// Waits for the stage and returns its details; a completion before it is a failure.
    pub async fn stage(&mut self, awaited: &str) -> Answer {
        loop {
            match self.next().await {
                Signal::Progress(stage, details) if stage == awaited => return details,
                Signal::Progress(..) => {}
                Signal::Completed(outcome, words, _) => {
                    panic!("completed before {awaited}: {outcome} {words}")
                }
            }
        }
    }

    /// Serves the request to its end, with these PINs for the questions in their order. Returns
    /// the stages with their numbers and words, the outcome, the message, and the results.
    pub async fn served(&mut self, pins: &[&str]) -> Served {
        let mut pins = pins.iter();
        let mut stages = Vec::new();
        loop {
            match self.next().await {
                Signal::Progress(stage, details) => {
                    if stage.ends_with("pin-needed") {
                        self.give_pin(pins.next().expect("a pin too many was asked"))
                            .await
                            .unwrap();
                    }
                    stages.push((stage, details));
                }
                Signal::Completed(outcome, words, results) => {
                    return Served { stages, outcome, words, results };
                }
            }
        }
    }

    /// Waits for the end: outcome and message.
    pub async fn outcome(&mut self) -> (String, String) {
        loop {
            if let Signal::Completed(outcome, words, _) = self.next().await {
                return (outcome, words);
            }
        }
    }

    /// Waits for a good end.
    pub async fn results(&mut self) -> Answer {
        loop {
            if let Signal::Completed(outcome, words, results) = self.next().await {
                assert_eq!((outcome.as_str(), words.as_str()), ("ok", ""));
                return results;
            }
        }
    }

    /// Whether a signal lies there already.
    pub fn has_more(&mut self) -> bool {
        is_ready(&mut self.signals)
    }

    pub async fn give_pin(&self, pin: &str) -> zbus::Result<()> {
        self.request.provide_pin(pipe_with(pin)).await
    }
}
