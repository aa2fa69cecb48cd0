//! fprintd over D-Bus (`net.reactivated.Fprint`): a finger on the reader of this machine.
//!
//! Results come as broadcast signals, which any local user can send as well. Only what the owner of
//! the service's name sent is heard, and only from a verification that was started here, by a
//! connection of its own, which is closed when it is over: whatever happens to us, fprintd gives the
//! reader free.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use signet_evidence::FingerFacts;
use signet_evidence::facts::finger_set_digest;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;
use zbus::{Connection, OwnedObjectPath, connection};

use super::Match;
use crate::config::Bus;

/// Prefix of its errors.
const ERRORS: &str = "net.reactivated.Fprint.Error.";
/// Longest wait for an answer of fprintd; a finger is waited for as long as the request lives.
const PATIENCE: Duration = Duration::from_secs(10);
/// Fingers that do not match before a verification fails.
const TRIES: u32 = 3;

/// Why no finger matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReaderError {
    /// The bus cannot be reached.
    #[error(
        "the bus of the fingerprint service cannot be reached: check fprintd_bus in signetd's configuration"
    )]
    NoBus,
    /// fprintd is not installed or did not start.
    #[error("the fingerprint service does not run: install and start fprintd, then try again")]
    NoService,
    /// fprintd knows of no reader.
    #[error(
        "this machine has no fingerprint reader that fprintd supports: use the TPM's PIN or a security key"
    )]
    NoReader,
    /// The reader is one of libfprint's test devices.
    #[error(
        "the fingerprint reader is a virtual test device, whose matches mean nothing: remove it from fprintd's environment"
    )]
    Virtual,
    /// Another program has claimed the reader.
    #[error("another program uses the fingerprint reader: let it finish, then repeat")]
    Busy,
    /// fprintd or polkit do not let us.
    #[error(
        "signetd may not use the fingerprint reader: install its polkit rule for net.reactivated.fprint.device.verify and .setusername"
    )]
    Denied,
    /// The person has no enrolled finger.
    #[error(
        "no finger is enrolled for you at this machine: enrol one with fprintd-enroll, then try again"
    )]
    NoFingers,
    /// The enrolled fingers or the reader changed after the statement was fixed.
    #[error("the enrolled fingers or the reader changed just now: repeat the request")]
    Changed,
    /// None of the fingers matched.
    #[error("the finger does not match: repeat with an enrolled finger, or use another method")]
    NoMatch,
    /// The reader went away.
    #[error("the fingerprint reader was removed: plug it in again and repeat")]
    Removed,
    /// fprintd ended or was restarted in the middle.
    #[error("the fingerprint service ended in the middle: repeat the request")]
    ServiceEnded,
    /// The reader or fprintd failed.
    #[error("the fingerprint reader failed: repeat; if this stays, look into fprintd's journal")]
    Failed,
    /// fprintd did not answer.
    #[error("the fingerprint service did not answer in time: try again, or restart fprintd")]
    Silent,
}

/// Why a finger has to be put on the reader again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The scan was of no use.
    ScanAgain,
    /// The swipe was too short.
    SwipeTooShort,
    /// The finger was not in the middle.
    NotCentered,
    /// The finger stayed on the reader.
    RemoveAndRetry,
}

impl Retry {
    /// fprintd's word for it, without its prefix.
    pub fn name(self) -> &'static str {
        match self {
            Self::ScanAgain => "retry-scan",
            Self::SwipeTooShort => "swipe-too-short",
            Self::NotCentered => "finger-not-centered",
            Self::RemoveAndRetry => "remove-and-retry",
        }
    }
}

/// What a person is told during a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The reader waits for a finger.
    FingerNeeded,
    /// The scan was of no use: again.
    Retry(Retry),
    /// Not an enrolled finger.
    NoMatch {
        /// Fingers left until the verification fails.
        tries_left: u32,
    },
}

/// The fingerprint reader of this machine. Clones share it: one verification at a time.
#[derive(Clone, Debug)]
pub struct Reader {
    bus: Bus,
    accept_virtual: bool,
    turn: Arc<Mutex<()>>,
}

#[zbus::proxy(
    interface = "net.reactivated.Fprint.Manager",
    default_service = "net.reactivated.Fprint",
    default_path = "/net/reactivated/Fprint/Manager"
)]
trait Manager {
    fn get_default_device(&self) -> zbus::Result<OwnedObjectPath>;
}

#[zbus::proxy(
    interface = "net.reactivated.Fprint.Device",
    default_service = "net.reactivated.Fprint"
)]
trait Device {
    fn list_enrolled_fingers(&self, username: &str) -> zbus::Result<Vec<String>>;
    fn claim(&self, username: &str) -> zbus::Result<()>;
    fn release(&self) -> zbus::Result<()>;
    fn verify_start(&self, finger_name: &str) -> zbus::Result<()>;
    fn verify_stop(&self) -> zbus::Result<()>;
    #[zbus(signal)]
    fn verify_status(&self, result: &str, done: bool) -> zbus::Result<()>;
    #[zbus(property, name = "name")]
    fn name(&self) -> zbus::Result<String>;
}

impl Reader {
    /// The default reader of the fprintd on this bus; with `accept_virtual` also libfprint's test
    /// devices, which let anybody in.
    pub fn new(bus: Bus, accept_virtual: bool) -> Self {
        Self { bus, accept_virtual, turn: Arc::default() }
    }

    /// Name of the reader's driver.
    ///
    /// # Errors
    /// Why there is none to use.
    pub async fn driver(&self) -> Result<String, ReaderError> {
        let session = Session::open(self).await?;
        let driver = session.driver.clone();
        session.close().await;
        Ok(driver)
    }

    /// The reader's driver and the fingers that `user` has enrolled.
    ///
    /// # Errors
    /// See [`ReaderError`].
    pub async fn facts(&self, user: &str) -> Result<FingerFacts, ReaderError> {
        let session = Session::open(self).await?;
        let facts = session.facts(user).await;
        session.close().await;
        facts
    }

    /// Waits for a finger that `user` has enrolled. `digest` is what a match will release, and
    /// `facts` what was told about reader and fingers; both are fixed by now. Dropping the future
    /// gives the reader free.
    ///
    /// # Errors
    /// See [`ReaderError`].
    pub async fn verify(
        &self,
        user: &str,
        facts: &FingerFacts,
        digest: [u8; 32],
        notice: &mut (dyn FnMut(Notice) + Send),
    ) -> Result<Match, ReaderError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let session = Session::open(self).await?;
        let mut claimed = Claimed::new(session, user, turn).await?;
        let result = claimed.verify(user, facts, notice).await;
        claimed.give_back().await;
        result.map(|()| Match::for_digest(digest))
    }
}

/// A connection to fprintd, and the default reader.
struct Session {
    connection: Connection,
    device: DeviceProxy<'static>,
    driver: String,
}

impl Session {
    async fn open(reader: &Reader) -> Result<Self, ReaderError> {
        let builder = match &reader.bus {
            Bus::System => connection::Builder::system(),
            Bus::Address(address) => connection::Builder::address(address.as_str()),
        };
        let connection = timeout(PATIENCE, builder.build()).await;
        let connection = connection.map_err(|_| ReaderError::Silent)?;
        let connection = connection.map_err(|_| ReaderError::NoBus)?;
        let manager = ManagerProxy::new(&connection).await.map_err(|error| explain(&error))?;
        let path = answer(manager.get_default_device()).await?;
        let device = DeviceProxy::builder(&connection)
            .path(path)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .map_err(|error| explain(&error))?;
        let driver = answer(device.name()).await?;
        // So libfprint calls its test devices: "Virtual device for debugging".
        let is_virtual = driver.to_ascii_lowercase().starts_with("virtual");
        if is_virtual && !reader.accept_virtual {
            return Err(ReaderError::Virtual);
        }
        Ok(Self { connection, device, driver })
    }

    async fn facts(&self, user: &str) -> Result<FingerFacts, ReaderError> {
        let fingers = answer(self.device.list_enrolled_fingers(user)).await?;
        if fingers.is_empty() {
            return Err(ReaderError::NoFingers);
        }
        let fingers = finger_set_digest(fingers.iter().map(String::as_str));
        Ok(FingerFacts { driver: self.driver.clone(), fingers })
    }

    async fn close(self) {
        let Self { connection, device, .. } = self;
        drop(device);
        // Closed or not, nothing more comes of it.
        let _ = connection.close().await;
    }
}

/// The reader while it is ours. Given back when dropped, at the latest.
struct Claimed {
    held: Option<(Session, OwnedMutexGuard<()>)>,
}

impl Claimed {
    async fn new(
        session: Session,
        user: &str,
        turn: OwnedMutexGuard<()>,
    ) -> Result<Self, ReaderError> {
        // From here on the reader may be ours, also when we never hear the answer.
        let claimed = Self { held: Some((session, turn)) };
        match answer(claimed.device()?.claim(user)).await {
            Ok(()) => Ok(claimed),
            Err(error) => {
                claimed.give_back().await;
                Err(error)
            }
        }
    }

    fn session(&self) -> Result<&Session, ReaderError> {
        self.held.as_ref().map(|(session, _)| session).ok_or(ReaderError::Failed)
    }

    fn device(&self) -> Result<&DeviceProxy<'static>, ReaderError> {
        self.session().map(|session| &session.device)
    }

    async fn verify(
        &mut self,
        user: &str,
        facts: &FingerFacts,
        notice: &mut (dyn FnMut(Notice) + Send),
    ) -> Result<(), ReaderError> {
        let session = self.session()?;
        if session.facts(user).await? != *facts {
            return Err(ReaderError::Changed);
        }
        let device = &session.device;
        // Both streams hear only the owner of the service's name and the bus itself.
        let mut owners =
            device.inner().receive_owner_changed().await.map_err(|error| explain(&error))?.boxed();
        let mut results = device.receive_verify_status().await.map_err(|error| explain(&error))?;
        for tries_left in (0..TRIES).rev() {
            answer(device.verify_start("any")).await?;
            notice(Notice::FingerNeeded);
            match attempt(&mut results, &mut owners, notice).await? {
                Attempt::Matched => return Ok(()),
                Attempt::NoMatch => {
                    if tries_left > 0 {
                        notice(Notice::NoMatch { tries_left });
                    }
                    answer(device.verify_stop()).await?;
                }
            }
        }
        Err(ReaderError::NoMatch)
    }

    async fn give_back(mut self) {
        if let Some((session, turn)) = self.held.take() {
            release(session, turn).await;
        }
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        // The request was cancelled or ran out of time.
        if let (Some((session, turn)), Ok(runtime)) =
            (self.held.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(release(session, turn));
        }
    }
}

/// Releasing stops a verification too; closing the connection does the same if fprintd did not hear.
async fn release(session: Session, turn: OwnedMutexGuard<()>) {
    let _ = timeout(PATIENCE, session.device.verify_stop()).await;
    let _ = timeout(PATIENCE, session.device.release()).await;
    session.close().await;
    drop(turn);
}

enum Attempt {
    Matched,
    NoMatch,
}

/// Follows one verification to its end.
async fn attempt(
    results: &mut VerifyStatusStream,
    owners: &mut (impl Stream + Unpin),
    notice: &mut (dyn FnMut(Notice) + Send),
) -> Result<Attempt, ReaderError> {
    loop {
        let signal = tokio::select! {
            biased;
            _ = owners.next() => return Err(ReaderError::ServiceEnded),
            signal = results.next() => signal.ok_or(ReaderError::ServiceEnded)?,
        };
        let Ok(arguments) = signal.args() else { return Err(ReaderError::Failed) };
        let retry = match *arguments.result() {
            "verify-match" => return Ok(Attempt::Matched),
            "verify-no-match" => return Ok(Attempt::NoMatch),
            "verify-disconnected" => return Err(ReaderError::Removed),
            "verify-retry-scan" => Retry::ScanAgain,
            "verify-swipe-too-short" => Retry::SwipeTooShort,
            "verify-finger-not-centered" => Retry::NotCentered,
            "verify-remove-and-retry" => Retry::RemoveAndRetry,
            _ => return Err(ReaderError::Failed),
        };
        if *arguments.done() {
            return Err(ReaderError::Failed);
        }
        notice(Notice::Retry(retry));
    }
}

async fn answer<T>(call: impl Future<Output = zbus::Result<T>>) -> Result<T, ReaderError> {
    match timeout(PATIENCE, call).await {
        Err(_) => Err(ReaderError::Silent),
        Ok(result) => result.map_err(|error| explain(&error)),
    }
}

fn explain(error: &zbus::Error) -> ReaderError {
    tracing::info!(%error, "fprintd refused");
    let name = match error {
        zbus::Error::MethodError(name, _, _) => name.as_str(),
        zbus::Error::FDO(error) => return explain_bus(error),
        _ => return ReaderError::Failed,
    };
    match name.strip_prefix(ERRORS) {
        Some("NoSuchDevice") => ReaderError::NoReader,
        Some("AlreadyInUse" | "ClaimDevice") => ReaderError::Busy,
        Some("PermissionDenied") => ReaderError::Denied,
        Some("NoEnrolledPrints") => ReaderError::NoFingers,
        Some(_) => ReaderError::Failed,
        None => explain_name(name),
    }
}

fn explain_bus(error: &zbus::fdo::Error) -> ReaderError {
    use zbus::DBusError;
    match error {
        zbus::fdo::Error::ZBus(error) => explain(error),
        error => explain_name(error.name().as_str()),
    }
}

fn explain_name(name: &str) -> ReaderError {
    match name.strip_prefix("org.freedesktop.DBus.Error.") {
        Some("ServiceUnknown" | "NameHasNoOwner") => ReaderError::NoService,
        Some(spawn) if spawn.starts_with("Spawn") => ReaderError::NoService,
        Some("NoReply" | "Disconnected") => ReaderError::ServiceEnded,
        Some("AccessDenied") => ReaderError::Denied,
        Some("UnknownObject" | "UnknownMethod") => ReaderError::NoReader,
        _ => ReaderError::Failed,
    }
}
