//! What Signet costs, measured against the same work without it.
//!
//! A figure is always a ratio: our way and a base are run alternately on this machine, so that a slow
//! or busy machine slows both. To add one, write a [`Contest`] in a module of its own and name it in
//! [`ALL`]; `make bench` runs it, `make test` sees that it runs.

mod measure;
mod report;
pub mod revocation;
pub mod start;
pub mod tpm;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use measure::{Effort, Figure, measure};
pub use report::{Held, Report};

/// Why a run failed. What can go wrong differs from contest to contest.
pub type Failure = Box<dyn Error + Send + Sync>;

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

/// A bench: a contest, and the ratio that must not be exceeded.
#[derive(Clone, Copy)]
pub struct Bench {
    /// Its name on the command line and in `results.json`.
    pub name: &'static str,
    /// What is compared with what, in a line.
    pub about: &'static str,
    /// Highest ratio of ours to base that holds.
    pub bar: f64,
    /// Rounds of a batch; each runs base, ours and base again.
    pub rounds: usize,
    /// Makes the contest ready. What it starts ends with the contest.
    pub prepare: fn(&Programs) -> Result<Box<dyn Contest>, Failure>,
}

/// Every bench, in the order in which they run.
pub const ALL: &[Bench] =
    &[start::START, tpm::SESSION, tpm::RENEWAL, tpm::SIGNATURE, revocation::REVOCATION];

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
