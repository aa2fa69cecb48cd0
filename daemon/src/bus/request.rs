//! Request objects: one for each unfinished request, usable by its maker only.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use signet_ctap::commands::SampleStatus;
use tokio::sync::mpsc;
use zbus::message::Header;
use zbus::names::OwnedUniqueName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedFd, OwnedObjectPath, Variant, interface};

use super::refusal::{Refusal, message};
use super::{PATH, pin};
use crate::ceremony::{RequestId, Stage};
use crate::desk::{Desk, Progress, Told};
use crate::failure::{ArgumentError, Bug, Failure};
use crate::presence::Produced;
use crate::prompt::PromptText;
use crate::work::Product;

/// Members of an `a{sv}` that goes out.
pub(super) type Results = HashMap<&'static str, Variant<'static>>;

/// Serves `org.signet.Presence1.Request`.
pub(super) struct RequestObject {
    desk: Desk,
    id: RequestId,
    owner: OwnedUniqueName,
}

#[interface(name = "org.signet.Presence1.Request", introspection_docs = false)]
impl RequestObject {
    async fn cancel(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Refusal> {
        self.only_owner(&header)?;
        self.desk.cancel(self.id);
        Ok(())
    }

    async fn provide_pin(
        &self,
        pipe: OwnedFd,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Refusal> {
        self.only_owner(&header)?;
        let pin = pin::read(pipe.into()).await?;
        Ok(self.desk.provide_pin(self.id, pin)?)
    }

    #[zbus(signal)]
    async fn progress(
        emitter: &SignalEmitter<'_>,
        stage: &str,
        details: Results,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn completed(
        emitter: &SignalEmitter<'_>,
        outcome: &str,
        message: &str,
        results: Results,
    ) -> zbus::Result<()>;
}

impl RequestObject {
    fn only_owner(&self, header: &Header<'_>) -> Result<(), Failure> {
        match header.sender() {
            Some(sender) if *sender == *self.owner => Ok(()),
            _ => Err(Failure::NotAllowed),
        }
    }
}

/// Path of the request with this token: predictable, so that its maker can listen first.
pub(super) fn path(sender: &str, token: &str) -> Result<OwnedObjectPath, Failure> {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !(1..=64).contains(&token.len()) || !token.bytes().all(sound) {
        return Err(ArgumentError::HandleToken.into());
    }
    let sender = sender.trim_start_matches(':').replace('.', "_");
    let path = format!("{PATH}/request/{sender}/{token}");
    OwnedObjectPath::try_from(path).map_err(|_| Failure::Internal(Bug::Bus))
}

/// A path that is taken until this is dropped.
pub(super) struct Reserved {
    places: Arc<Mutex<HashSet<OwnedObjectPath>>>,
    path: OwnedObjectPath,
}

impl Reserved {
    pub(super) fn new(
        places: Arc<Mutex<HashSet<OwnedObjectPath>>>,
        path: OwnedObjectPath,
    ) -> Result<Self, Failure> {
        let free = places.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
        if free { Ok(Self { places, path }) } else { Err(ArgumentError::HandleTokenInUse.into()) }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
}

/// A request's place on the bus.
pub(super) struct Place {
    pub(super) connection: Connection,
    pub(super) path: OwnedObjectPath,
    pub(super) owner: OwnedUniqueName,
}

impl Place {
    /// Puts the object there.
    pub(super) async fn open(&self, desk: Desk, id: RequestId) -> Result<(), Failure> {
        let object = RequestObject { desk, id, owner: self.owner.clone() };
        match self.connection.object_server().at(&self.path, object).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(_) => Err(Failure::Internal(Bug::Bus)),
        }
    }

    /// Tells the owner, and nobody else, what the desk says; closes the place before the last word,
    /// so that the token is free when the owner hears it. `closed` is told how it ended, if the owner
    /// is still there.
    pub(super) async fn relay(
        self,
        mut told: mpsc::UnboundedReceiver<Told>,
        closed: impl FnOnce(Option<&Result<Product, Failure>>),
    ) {
        let mut last = None;
        while let Some(news) = told.recv().await {
            match news {
                Told::Progress(progress) => self.tell_progress(progress).await,
                Told::Completed(result) => {
                    last = Some(result);
                    break;
                }
            }
        }
        let removed = self.connection.object_server().remove::<RequestObject, _>(&self.path).await;
        if let Err(error) = removed {
            tracing::warn!(%error, "cannot remove a request object");
        }
        closed(last.as_ref());
        if let Some(result) = last {
            self.tell_completed(result).await;
        }
    }

    fn emitter(&self) -> SignalEmitter<'_> {
        SignalEmitter::from_parts(self.connection.clone(), self.path.as_ref())
            .set_destination(self.owner.as_ref().into())
    }

    async fn tell_progress(&self, progress: Progress) {
        let (name, mut details) = spell(progress.stage);
        if let Some(text) = progress.text {
            spell_words(&mut details, text);
        }
        if progress.agent {
            details.insert("agent", true.into());
        }
        log(RequestObject::progress(&self.emitter(), name, details).await);
    }

    async fn tell_completed(&self, result: Result<Product, Failure>) {
        let emitter = self.emitter();
        let sent = match result {
            Ok(product) => RequestObject::completed(&emitter, "ok", "", results(product)).await,
            Err(failure) => {
                let words = message(&failure);
                RequestObject::completed(&emitter, failure.name(), &words, Results::new()).await
            }
        };
        log(sent);
    }
}

fn log(sent: zbus::Result<()>) {
    if let Err(error) = sent {
        tracing::warn!(%error, "cannot send a signal");
    }
}

/// Adds the words of a prompt.
pub(super) fn spell_words(details: &mut Results, text: PromptText) {
    details.insert("title", text.title.into());
    details.insert("action", text.action.into());
    if let Some(method) = text.method {
        details.insert("method", method.name().into());
    }
}

/// The name of a stage and its members.
pub(super) fn spell(stage: Stage) -> (&'static str, Results) {
    let mut details = Results::new();
    let name = match stage {
        Stage::Queued { position } => {
            details.insert("position", position.into());
            "queued"
        }
        Stage::NumberShown { number } => {
            details.insert("number", number.into());
            "number-shown"
        }
        Stage::KeyNeeded => "key-needed",
        Stage::TouchNeeded => "touch-needed",
        Stage::FingerNeeded => "finger-needed",
        Stage::WrongFinger { tries_left } => {
            details.insert("tries_left", tries_left.into());
            "wrong-finger"
        }
        Stage::FingerRetry(retry) => {
            details.insert("reason", retry.name().into());
            "finger-retry"
        }
        Stage::PinNeeded { tries_left, min_length } => {
            details.insert("tries_left", tries_left.into());
            details.insert("min_length", min_length.into());
            "pin-needed"
        }
        Stage::NewPinNeeded { min_length, max_length } => {
            details.insert("min_length", min_length.into());
            details.insert("max_length", max_length.into());
            "new-pin-needed"
        }
        Stage::Sample { status, remaining } => {
            details.insert("status", sample(status).into());
            details.insert("remaining", remaining.into());
            "sample"
        }
        Stage::Processing => "processing",
        Stage::Quoting => "quoting",
    };
    (name, details)
}

/// How a sample of a finger came out, as CTAP names it.
fn sample(status: SampleStatus) -> &'static str {
    use SampleStatus as S;
    match status {
        S::Good => "good",
        S::TooHigh => "too-high",
        S::TooLow => "too-low",
        S::TooLeft => "too-left",
        S::TooRight => "too-right",
        S::TooFast => "too-fast",
        S::TooSlow => "too-slow",
        S::PoorQuality => "poor-quality",
        S::TooSkewed => "too-skewed",
        S::TooShort => "too-short",
        S::MergeFailure => "merge-failure",
        S::AlreadyEnrolled => "already-enrolled",
        S::NoActivity => "no-activity",
        S::NoLift => "not-lifted",
        _ => "unknown",
    }
}

fn results(product: Product) -> Results {
    match product {
        Product::Evidence(produced) => evidence(*produced),
        Product::Finding(finding) => super::keys::finding(finding),
    }
}

fn evidence(produced: Produced) -> Results {
    use signet_evidence::ObservedVerification as Observed;
    let mut results = Results::from([("evidence", produced.evidence.into())]);
    if let Some(registered) = produced.registered {
        results.insert("credential_id", registered.credential_id.into());
        if let Some(aaguid) = registered.aaguid {
            results.insert("aaguid", aaguid.to_vec().into());
        }
    } else if let Some(asserted) = produced.asserted {
        results.insert("credential_id", asserted.credential_id().to_vec().into());
        let observed = match asserted.security_key().and_then(|key| key.observed) {
            Some(Observed::BuiltIn) => Some("built-in"),
            Some(Observed::Pin) => Some("pin"),
            Some(Observed::Other) | None => None,
        };
        if let Some(observed) = observed {
            results.insert("observed", observed.into());
        }
    }
    results
}
