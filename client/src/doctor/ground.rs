//! What is asked once and looked at by several.

use std::path::{Path, PathBuf};
use std::time::Duration;

use zbus::Connection;

use crate::authority::AuthorityError;
use crate::daemon::{Authenticator, Bus, Daemon, DaemonError, DaemonStatus, Enrolment};
use crate::renewal::{CertificateLife, unix_now};
use crate::workstation::{OpenError, Workstation};

/// Longest wait for one answer from the bus. A TPM that hangs is told after ten seconds.
const LIMIT: Duration = Duration::from_secs(25);

/// Why something could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    /// It was asked, and this came.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// Nothing came.
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// Not asked, because something before it failed.
    #[error("{0} does not answer")]
    Skipped(&'static str),
}

/// What the authority said.
#[derive(Debug)]
pub(super) struct Reached {
    /// This machine's clock when it answered, and its own.
    pub(super) clocks: Result<Option<(i64, i64)>, AuthorityError>,
    /// Whether it is ready to serve.
    pub(super) ready: Result<(), AuthorityError>,
    /// How many keys of the operator's count there.
    pub(super) keys: Result<usize, AuthorityError>,
}

/// The machine as it was found.
pub(super) struct Ground {
    pub(super) root: PathBuf,
    pub(super) now: i64,
    pub(super) connection: Result<Connection, LookError>,
    pub(super) daemon: Option<Daemon>,
    pub(super) version: Result<String, LookError>,
    pub(super) status: Result<DaemonStatus, LookError>,
    pub(super) enrolment: Result<Option<Enrolment>, LookError>,
    pub(super) authenticators: Result<Vec<Authenticator>, LookError>,
    /// `None` when this machine is not enrolled, as far as is known.
    pub(super) authority: Option<Result<Reached, OpenError>>,
}

impl Ground {
    pub(super) async fn survey(bus: &Bus, root: &Path) -> Self {
        let mut ground = Self {
            root: root.to_owned(),
            now: unix_now(),
            connection: patiently(bus.connect()).await,
            daemon: None,
            version: Err(LookError::Skipped("the message bus")),
            status: Err(LookError::Skipped("signetd")),
            enrolment: Err(LookError::Skipped("signetd")),
            authenticators: Err(LookError::Skipped("signetd")),
            authority: None,
        };
        let Ok(connection) = &ground.connection else { return ground };
        let daemon = match Daemon::over(connection).await {
            Ok(daemon) => daemon,
            Err(error) => {
                ground.version = Err(error.into());
                return ground;
            }
        };
        ground.version = patiently(daemon.version()).await;
        if ground.version.is_ok() {
            let (status, enrolment, authenticators) = tokio::join!(
                patiently(daemon.status()),
                patiently(daemon.enrolment()),
                patiently(daemon.authenticators()),
            );
            (ground.status, ground.enrolment) = (status, enrolment);
            ground.authenticators = authenticators;
            if matches!(ground.enrolment, Ok(Some(_))) {
                ground.authority = Some(ask_authority(bus).await);
            }
        }
        ground.daemon = Some(daemon);
        ground
    }

    /// How this machine is enrolled, where that is known.
    pub(super) fn enrolled(&self) -> Option<&Enrolment> {
        self.enrolment.as_ref().ok()?.as_ref()
    }

    /// The life of the device certificate.
    pub(super) fn device_life(&self) -> Option<CertificateLife> {
        CertificateLife::of_der(self.enrolled()?.certificates.first()?)
    }

    /// A file of the machine's.
    pub(super) fn file(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }
}

/// Waits, but not for ever.
pub(super) async fn patiently<T>(
    answer: impl Future<Output = Result<T, DaemonError>>,
) -> Result<T, LookError> {
    match tokio::time::timeout(LIMIT, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(LookError::Silent(LIMIT)),
    }
}

async fn ask_authority(bus: &Bus) -> Result<Reached, OpenError> {
    let workstation = Workstation::open(bus).await?;
    let authority = workstation.authority();
    let clocks = authority.date().await.map(|theirs| Some((unix_now(), theirs?)));
    let ready = match &clocks {
        Ok(_) => authority.ready().await,
        // One wait for what does not answer is enough.
        Err(_) => Ok(()),
    };
    let keys = match (&clocks, &ready) {
        (Ok(_), Ok(())) => authority.authenticators().await,
        _ => Ok(Vec::new()),
    };
    let count = |listed: Vec<crate::authority::ListedAuthenticator>| {
        listed.iter().filter(|key| !key.revoked).count()
    };
    Ok(Reached { clocks, ready, keys: keys.map(count) })
}
