//! Checkpoints (c2sp.org/tlog-checkpoint): size and root of a log, signed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use signet_evidence::binding::Sha256;
use thiserror::Error;

use super::note::{LogSigner, Note, NoteError, NoteKey};
use crate::token::SigningUnavailable;

/// Size and root of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// Leaves.
    pub size: u64,
    /// Root over them.
    pub root: Sha256,
}

/// What a log says of itself. Displayed as the text of its note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: its key's name.
    pub origin: String,
    /// Its tree.
    pub head: TreeHead,
}

/// Not a checkpoint of the log that it should be of.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CheckpointError {
    /// The note, or its signature.
    #[error("the checkpoint's note cannot be believed")]
    Note(#[from] NoteError),
    /// Signed, but not in the form of a checkpoint.
    #[error("not a checkpoint (c2sp.org/tlog-checkpoint)")]
    Format,
    /// A checkpoint of another log.
    #[error("a checkpoint of the log {found:?} where one of {expected:?} was expected")]
    Origin {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
}

impl Checkpoint {
    /// The note with this checkpoint, signed by the log's key.
    ///
    /// # Errors
    /// [`SigningUnavailable`].
    pub fn sign(&self, signer: &dyn LogSigner) -> Result<Note, SigningUnavailable> {
        let mut note = Note::new(self.to_string());
        note.sign(&self.origin, signer)?;
        Ok(note)
    }

    /// The checkpoint in `note`, which `key` signed.
    ///
    /// # Errors
    /// See [`CheckpointError`].
    pub fn verify(note: &Note, key: &NoteKey) -> Result<Self, CheckpointError> {
        key.verify(note)?;
        let checkpoint = Self::parse(note.text()).ok_or(CheckpointError::Format)?;
        if checkpoint.origin != key.name() {
            let (found, expected) = (checkpoint.origin, key.name().to_owned());
            return Err(CheckpointError::Origin { found, expected });
        }
        Ok(checkpoint)
    }

    /// The checkpoint in `note`, which one of `keys` signed: those that the log had, the newest last.
    ///
    /// # Errors
    /// See [`CheckpointError`]: what the newest key says of it.
    pub fn verify_by_any(note: &Note, keys: &[NoteKey]) -> Result<Self, CheckpointError> {
        let mut newest = None;
        for key in keys.iter().rev() {
            match Self::verify(note, key) {
                Ok(checkpoint) => return Ok(checkpoint),
                Err(error) => newest = newest.or(Some(error)),
            }
        }
        Err(newest.unwrap_or(CheckpointError::Format))
    }

    /// Extension lines are not ours, and nobody audits them: a text with more than three lines is none.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let root = STANDARD.decode(root).ok()?.try_into().ok()?;
        let checkpoint =
            Self { origin: origin.to_owned(), head: TreeHead { size: size.parse().ok()?, root } };
        // Written back it must be the same: no zeros in front, no second form of the root.
        (checkpoint.to_string() == text).then_some(checkpoint)
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TreeHead { size, root } = &self.head;
        writeln!(f, "{}\n{size}\n{}", self.origin, STANDARD.encode(root))
    }
}
