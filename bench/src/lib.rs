//! What Signet costs, measured against the same work without it.
//!
//! A figure is always a ratio: our way and a base are run alternately on this machine, so that a slow
//! or busy machine slows both. To add one, write a [`Contest`] in a module of its own and name it in
//! [`ALL`]; `make bench` runs it, `make test` sees that it runs.

pub mod authorize;
#[path = "../../authority/tests/sessions/desk.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the authority's tests use more of it"
)]
mod desk;
pub mod gateways;
mod house;
pub mod keylime;
pub mod library;
mod load;
mod measure;
pub mod memory;
mod picture;
mod report;
pub mod revocation;
mod stage;
pub mod start;
pub mod tpm;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use measure::{Effort, Figure, measure};
pub use picture::svg;
pub use report::{Held, Outcome, Report};

/// Why a run failed. What can go wrong differs from contest to contest.
pub type Failure = Box<dyn Error + Send + Sync>;

/// A peer that is compared with is not installed: said, and passed over.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not installed here: {0}")]
pub struct NotHere(pub &'static str);

/// What a bench's figures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Time.
    Time,
    /// Memory, a microsecond for each KiB.
    Memory,
}

impl Unit {
    /// A size as a figure of [`Unit::Memory`].
    #[must_use]
    pub fn kibibytes(size: u64) -> Duration {
        Duration::from_micros(size)
    }

    /// Its name, and a figure in it: seconds, or MiB.
    #[must_use]
    pub fn value(self, figure: Duration) -> (&'static str, f64) {
        match self {
            Self::Time => ("s", figure.as_secs_f64()),
            Self::Memory => ("MiB", figure.as_secs_f64() * 1e6 / 1024.0),
        }
    }
}

/// Two ways to the same end.
pub trait Contest {
    /// What ours is compared with, done once: the time that counts, wall or CPU.
    ///
    /// # Errors
    /// When it could not be done; the whole bench fails.
    fn base(&mut self) -> Result<Duration, Failure>;

    /// Our way, done once: the time of the same kind.
    ///
    /// # Errors
    /// When it could not be done; the whole bench fails.
    fn ours(&mut self) -> Result<Duration, Failure>;
}

/// A contest that is ready, or why it is not.
pub type Ready = Result<Box<dyn Contest>, Failure>;

/// A bench: a contest, and the ratio that must not be exceeded.
#[derive(Clone, Copy, Debug)]
pub struct Bench {
    /// Its name on the command line and in `results.json`.
    pub name: &'static str,
    /// What is compared with what, in a line.
    pub about: &'static str,
    /// Highest ratio of ours to base that holds.
    pub bar: f64,
    /// Rounds of a batch; each runs base, ours and base again.
    pub rounds: usize,
    /// What the figures are.
    pub unit: Unit,
    /// Makes the contest ready, as large as the effort asks. What it starts ends with the contest.
    pub prepare: fn(&Programs, Effort) -> Ready,
}

/// Every bench, in the order in which they run.
pub const ALL: &[Bench] = &[
    start::START,
    tpm::SESSION,
    tpm::RENEWAL,
    tpm::SIGNATURE,
    revocation::REVOCATION,
    library::TOKEN,
    library::TOKEN_SEEN,
    library::EVIDENCE,
    library::EVIDENCE_SEEN,
    authorize::SEEN,
    authorize::UNSEEN,
    authorize::LATENCY_SEEN,
    authorize::LATENCY_UNSEEN,
    gateways::ENVOY_HTTP,
    gateways::ENVOY_GRPC,
    gateways::NGINX_PYTHON,
    gateways::NGINX_NODE,
    keylime::KEYLIME,
    memory::IDLE,
    memory::LOADED,
];

/// The folder of the built programs.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Those of `folder`.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Those that were built together with the running one, which may be a test.
    ///
    /// # Errors
    /// When the system does not say where the running one is.
    pub fn beside() -> std::io::Result<Self> {
        let here = std::env::current_exe()?;
        let folder = here.parent().unwrap_or(Path::new("/"));
        let tests = folder.file_name().is_some_and(|name| name == "deps");
        Ok(Self::of(if tests { folder.parent().unwrap_or(folder) } else { folder }))
    }

    /// The path of one; it may be missing.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}
