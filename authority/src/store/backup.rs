//! Backups: every row of every table at one moment, as lines of JSON that fit either database.
//!
//! The first line says what it is, then each table and its rows follow, and the last line is a MAC under
//! the authority's integrity key over all bytes before it. Keys are not in it: whoever has them can be
//! the authority, and they do not change with the rows; keep a copy of the key directory apart.

use serde::{Deserialize, Serialize};
use signet_evidence::UnixTime;
use thiserror::Error;

use super::StoreError;

/// The version of the format.
pub const FORMAT: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupHeader {
    /// [`FORMAT`].
    pub signet_backup: u32,
    /// The last migration of the database.
    pub schema: i64,
    /// When it was made, in Unix seconds.
    pub made_at: i64,
    /// How many audit records it holds.
    pub records: i64,
}

/// A backup that was not made.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Store(#[from] StoreError),
    /// The file cannot be written.
    #[error("the file cannot be written")]
    File(#[from] std::io::Error),
}

/// A backup that was not restored; nothing was changed.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The file cannot be read.
    #[error("the file cannot be read")]
    File(#[from] std::io::Error),
    /// Not such a file, or cut off.
    #[error("line {line} is not of a whole backup")]
    Malformed {
        /// From 1.
        line: u64,
    },
    /// Its MAC is not this authority's.
    #[error(
        "the backup was changed, or made with other keys: put the key directory of that authority in place"
    )]
    Foreign,
    /// From a later version.
    #[error("the backup is of schema {schema}, later than this program knows; install its version")]
    Later {
        /// The backup's.
        schema: i64,
    },
    /// Something stands there already.
    #[error("the database holds rows already; restore into an empty one")]
    NotEmpty,
    /// Its audit records are not a chain.
    #[error("the audit records of the backup do not verify")]
    Audit(#[source] StoreError),
    /// The store cannot.
    #[error("the store cannot be written")]
    Store(#[from] StoreError),
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What the backup says of itself.
    pub header: BackupHeader,
    /// How many rows.
    pub rows: u64,
    /// Sessions that were live in the backup, and were ended.
    pub ended: u64,
}

/// What a restore needs to know of the moment it is made in.
#[derive(Clone, Copy, Debug)]
pub struct RestoreTime {
    /// Now.
    pub now: UnixTime,
    /// Challenges that expire before this may have been answered after the backup: all are refused.
    pub refuse_challenges_until: UnixTime,
}
