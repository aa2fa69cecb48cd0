//! Follows the authority: connects, reads what counts, applies events, acknowledges, and begins anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use signet_evidence::thumbprint::hex;
use signet_verifier::events::{
    Acknowledged, Acknowledgement, Heartbeat, Hello, Revocations, Topic, name,
};
use signet_verifier::status_list::{JWT_MEDIA_TYPE, Scope, StatusListToken, TokenFault};
use signet_verifier::token::{Jwk, VerifyingKey};
use thiserror::Error;
use tokio::sync::Notify;

use crate::clock::Moment;
use crate::events::{Event, EventFault, Events};
use crate::knowledge::{Gap, Knowledge};
use crate::settings::{Settings, SettingsError};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// Longest pause between two attempts to connect; the first one is a fraction of it.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Tokens with a signature that no known key made have the keys read anew at most this often.
const KEYS_AGAIN: Duration = Duration::from_secs(2);
/// Largest document that is read, in bytes.
const LARGEST: usize = 4 << 20;

/// The way to the authority.
pub(crate) struct Link {
    http: reqwest::Client,
    authority: String,
    instance: String,
    keys_wanted: Notify,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// Why a connection ended.
#[derive(Debug, Error)]
enum Ended {
    #[error("the authority cannot be reached")]
    Http(#[from] reqwest::Error),
    #[error("the authority answered {path} with {status}")]
    Status { path: &'static str, status: StatusCode },
    #[error("the authority did not answer in time")]
    Silent,
    #[error("the authority ended the stream")]
    Closed,
    #[error("a document is larger than any should be")]
    TooLarge,
    #[error(transparent)]
    Event(#[from] EventFault),
    #[error("what the authority said is not understood")]
    Json(#[from] serde_json::Error),
    #[error("the stream did not begin with hello")]
    NoHello,
    #[error("the authority has no key that can be used")]
    NoKey,
    #[error("a status list is not to be believed")]
    List(#[from] TokenFault),
    #[error(transparent)]
    Gap(#[from] Gap),
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Jwk>,
}

/// Where the last connection stopped.
#[derive(Default)]
struct Resume {
    /// The `id` of the last event that was applied.
    after: Option<String>,
    /// Names the keys that are known.
    keys: Option<String>,
}

impl Link {
    pub(crate) fn new(settings: Settings) -> Result<Self, SettingsError> {
        let mut instance = [0; 16];
        rand::fill(&mut instance).map_err(|_| SettingsError::Random)?;
        Ok(Self {
            authority: settings.authority.trim_end_matches('/').to_owned(),
            instance: hex(&instance),
            http: settings.client()?,
            keys_wanted: Notify::new(),
        })
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn ask_for_keys(&self) {
        self.keys_wanted.notify_one();
    }

    async fn get(&self, path: &'static str, url: String) -> Result<Response, Ended> {
        let request = self.http.get(url).header("accept", accepted(path));
        let sent = tokio::time::timeout(ANSWER, request.send()).await;
        let response = sent.map_err(|_| Ended::Silent)??;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(Ended::Status { path, status }),
        }
    }

    async fn document(&self, path: &'static str, url: String) -> Result<Vec<u8>, Ended> {
        let mut response = self.get(path, url).await?;
        let mut bytes = Vec::new();
        loop {
            let chunk = tokio::time::timeout(ANSWER, response.chunk()).await;
            let Some(chunk) = chunk.map_err(|_| Ended::Silent)?? else { return Ok(bytes) };
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LARGEST {
                return Err(Ended::TooLarge);
            }
        }
    }

    async fn read_keys(&self, knowledge: &Knowledge) -> Result<(), Ended> {
        let bytes = self.document("/jwks.json", format!("{}/jwks.json", self.authority)).await?;
        let set: KeySet = serde_json::from_slice(&bytes)?;
        let keys: Vec<_> = set.keys.iter().filter_map(VerifyingKey::from_jwk).collect();
        if keys.is_empty() {
            return Err(Ended::NoKey);
        }
        knowledge.set_keys(keys);
        Ok(())
    }

    /// Reads every list that holds a revoked place. Their signatures are checked although they come over
    /// mutual TLS: what terminates it need not be the authority.
    async fn read_lists(&self, hello: &Hello, knowledge: &Knowledge) -> Result<(), Ended> {
        let checker = knowledge.checker().ok_or(Ended::NoKey)?;
        let mut lists = HashMap::new();
        for number in &hello.lists {
            let url = format!("{}/status/{number}", self.authority);
            let bytes = self.document("/status", url).await?;
            let uri = format!("{}/status/{number}", knowledge.issuer());
            let scope = Scope { keys: &checker.keys, uri: &uri, now: knowledge.now() };
            let text = std::str::from_utf8(&bytes).map_err(|_| TokenFault::Malformed)?;
            lists.insert(*number, StatusListToken::from_jwt(text, scope)?.list);
        }
        knowledge.reset(hello.position, hello.below, lists);
        Ok(())
    }

    async fn acknowledge(&self, position: i64) -> Result<Acknowledged, Ended> {
        let path = "/v1/events/ack";
        let body = Acknowledgement { instance: self.instance.clone(), position };
        let request = self.http.post(format!("{}{path}", self.authority)).json(&body);
        let sent = tokio::time::timeout(ANSWER, request.send()).await;
        let response = sent.map_err(|_| Ended::Silent)??;
        match response.status() {
            StatusCode::OK => Ok(response.json().await?),
            status => Err(Ended::Status { path, status }),
        }
    }
}

/// Follows the authority for as long as the task lives.
pub(crate) async fn follow(link: Arc<Link>, knowledge: Arc<Knowledge>) {
    let mut resume = Resume::default();
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Moment::now();
        let Err(ended) = connection(&link, &knowledge, &mut resume).await;
        if let Ended::Gap(_) = ended {
            // What is known does not lead to what is there: begin from nothing.
            resume.after = None;
        }
        let cause = std::error::Error::source(&ended).map(ToString::to_string);
        tracing::warn!(error = %ended, cause, "lost the authority; connecting again");
        knowledge.set_trouble(Some(ended.to_string()));
        let lasted = Moment::now().since(began) > LONGEST_PAUSE;
        pause = if lasted { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::time::sleep(jittered(pause)).await;
    }
}

/// Half of it to all of it, so that many that lost the same authority do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    let _ = rand::fill(&mut byte);
    pause / 2 + pause / 512 * u32::from(byte[0])
}

async fn connection(
    link: &Link,
    knowledge: &Knowledge,
    resume: &mut Resume,
) -> Result<std::convert::Infallible, Ended> {
    let mut url = format!("{}/v1/events?instance={}", link.authority, link.instance);
    if let Some(after) = &resume.after {
        url.push_str("&after=");
        url.push_str(after);
    }
    let mut stream = Stream {
        response: link.get("/v1/events", url).await?,
        events: Events::default(),
        patience: ANSWER,
    };
    let first = stream.next().await?;
    if first.name != name::HELLO {
        return Err(Ended::NoHello);
    }
    let hello: Hello = parse(&first)?;
    let interval = Duration::from_millis(hello.heartbeat_ms);
    stream.patience = interval * 3 + Duration::from_secs(1);
    knowledge.heard_time(hello.time);
    if knowledge.checker().is_none() {
        link.read_keys(knowledge).await?;
    }
    if hello.reset {
        link.read_lists(&hello, knowledge).await?;
    }
    resume.after = Some(first.id);
    let Resume { after, keys } = resume;
    tokio::select! {
        ended = read(&mut stream, link, knowledge, after) => ended,
        ended = prove(link, knowledge, interval, keys) => ended,
        ended = renew_keys(link, knowledge) => ended,
    }
}

/// Applies what comes.
async fn read(
    stream: &mut Stream,
    link: &Link,
    knowledge: &Knowledge,
    after: &mut Option<String>,
) -> Result<std::convert::Infallible, Ended> {
    loop {
        let event = stream.next().await?;
        match event.name.as_str() {
            name::REVOCATION => knowledge.apply(&parse::<Revocations>(&event)?)?,
            name::HEARTBEAT => knowledge.beat(parse::<Heartbeat>(&event)?)?,
            other => {
                let Some(topic) = Topic::from_name(other) else { continue };
                if topic == Topic::Keys {
                    link.ask_for_keys();
                }
                knowledge.hear(topic, parse(&event)?);
            }
        }
        *after = Some(event.id);
    }
}

/// Says what is in force here as soon as that changes, and hears whether it is all there is.
async fn prove(
    link: &Link,
    knowledge: &Knowledge,
    interval: Duration,
    keys: &mut Option<String>,
) -> Result<std::convert::Infallible, Ended> {
    let mut positions = knowledge.positions();
    loop {
        let position = *positions.borrow_and_update();
        let asked = Moment::now();
        let answer = link.acknowledge(position).await?;
        knowledge.heard_time(answer.time);
        if keys.as_deref() != Some(answer.keys.as_str()) {
            link.read_keys(knowledge).await?;
            *keys = Some(answer.keys);
        }
        knowledge.prove(answer.position, asked.before(answer.age_ms));
        knowledge.set_trouble(None);
        // The sender lives as long as `knowledge`.
        let _ = tokio::time::timeout(interval, positions.changed()).await;
    }
}

async fn renew_keys(link: &Link, knowledge: &Knowledge) -> Result<std::convert::Infallible, Ended> {
    loop {
        link.keys_wanted.notified().await;
        link.read_keys(knowledge).await?;
        tokio::time::sleep(KEYS_AGAIN).await;
    }
}

struct Stream {
    response: Response,
    events: Events,
    patience: Duration,
}

impl Stream {
    async fn next(&mut self) -> Result<Event, Ended> {
        loop {
            if let Some(event) = self.events.next()? {
                return Ok(event);
            }
            let chunk = tokio::time::timeout(self.patience, self.response.chunk()).await;
            let chunk = chunk.map_err(|_| Ended::Silent)??.ok_or(Ended::Closed)?;
            self.events.push(&chunk)?;
        }
    }
}

fn parse<T: DeserializeOwned>(event: &Event) -> Result<T, Ended> {
    Ok(serde_json::from_str(&event.data)?)
}

fn accepted(path: &str) -> &'static str {
    match path {
        "/status" => JWT_MEDIA_TYPE,
        "/v1/events" => "text/event-stream",
        _ => "application/json",
    }
}
