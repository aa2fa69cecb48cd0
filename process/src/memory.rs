//! The secrets in memory stay out of core files and swap.
//!
//! For the first lines of `main`, before any secret is read.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Core files cannot be ruled out.
#[derive(Debug, thiserror::Error)]
#[error("cannot rule out core files, which would hold secrets")]
pub struct DumpError(#[source] io::Error);

/// Whether memory is locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// `RLIMIT_MEMLOCK` is finite. Locking future memory would make allocations fail when it is reached.
    #[error(
        "the limit of locked memory is {limit} bytes: secrets may reach swap; set LimitMEMLOCK=infinity"
    )]
    Limited {
        /// The limit in bytes.
        limit: u64,
    },
    /// The kernel refused.
    #[error("the kernel does not lock our memory: secrets may reach swap")]
    Refused(#[source] io::Error),
}

/// No core file of this process is ever written, and no process of the same user, but for root, may
/// trace it or read its memory (`PR_SET_DUMPABLE`, `RLIMIT_CORE`).
///
/// # Errors
/// [`DumpError`]
pub fn forbid_dumps() -> Result<(), DumpError> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(|error| DumpError(error.into()))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| DumpError(error.into()))
}

/// No page that this process writes reaches swap. Pages are locked when they are used first, so nothing
/// grows by it (`MCL_ONFAULT`).
///
/// # Errors
/// [`LockError`]; the process can go on without.
pub fn lock_memory() -> Result<(), LockError> {
    if let Some(limit) = getrlimit(Resource::Memlock).current {
        return Err(LockError::Limited { limit });
    }
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(flags).map_err(|error| LockError::Refused(error.into()))
}
