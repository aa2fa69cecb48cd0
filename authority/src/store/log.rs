//! Rows of the audit log besides its records: what was signed of it, and by whom.

use signet_evidence::UnixTime;
use signet_verifier::log::NoteKey;

use super::AuditRecord;

/// Hashes in a full tile (c2sp.org/tlog-tiles).
pub const TILE: u64 = 256;

/// A checkpoint as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// Records.
    pub size: u64,
    /// When.
    pub at: UnixTime,
    /// The signed note (c2sp.org/tlog-checkpoint).
    pub note: String,
}

/// A witness's line under a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// Size of the checkpoint.
    pub size: u64,
    /// The witness: its key's name.
    pub witness: String,
    /// When the witness says it signed.
    pub at: UnixTime,
    /// The signature line, without its newline.
    pub line: String,
}

/// A witness and the key that it signs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessRow {
    /// Its key, with its name.
    pub key: NoteKey,
}

/// Which records are asked for; whatever is not set is anything.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Not before.
    pub since: Option<UnixTime>,
    /// Not from then on.
    pub until: Option<UnixTime>,
    /// Exactly this operator.
    pub subject: Option<String>,
    /// Exactly this rejection code.
    pub code: Option<String>,
    /// Exactly this event.
    pub event: Option<String>,
}

/// A record as it lies in the table, and what its MAC says.
#[derive(Clone, Debug)]
pub struct FoundRecord {
    /// What the row says.
    pub record: AuditRecord,
    /// Whether the authority wrote it there.
    pub mark: Mark,
}

/// What a row's MAC says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The authority wrote it, with this number.
    Genuine,
    /// The authority wrote it, with another number.
    Moved {
        /// The number that it had.
        from: i64,
    },
    /// The authority did not write it.
    Foreign,
}
