//! How a witness follows a log (c2sp.org/tlog-witness): from what it knows, by a proof, to what the
//! log says now. The text is that of `add-checkpoint`, so that any C2SP witness can be given it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use signet_evidence::binding::Sha256;
use thiserror::Error;

use super::checkpoint::{Checkpoint, CheckpointError, TreeHead};
use super::note::{Note, NoteKey};
use super::proof::{ProofError, verify_consistency};

/// Most hashes of a consistency proof.
const MAX_HASHES: usize = 63;

/// A checkpoint, and the proof that it continues the tree of `old` leaves. Displayed as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Size of the tree that the witness knows; zero when it knows none.
    pub old: u64,
    /// The consistency proof.
    pub proof: Vec<Sha256>,
    /// The signed checkpoint.
    pub note: Note,
}

/// A checkpoint that is not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UpdateError {
    /// Not the form of `add-checkpoint`.
    #[error("not an update of a log (c2sp.org/tlog-witness)")]
    Format,
    /// Not of this log, or not signed by it: it says nothing about the log.
    #[error("the log did not sign the checkpoint")]
    Checkpoint(#[from] CheckpointError),
    /// The proof starts elsewhere: ask again.
    #[error("the proof starts at {old} records, and {known} are known")]
    Start {
        /// Where it starts.
        old: u64,
        /// What is known.
        known: u64,
    },
    /// The log signed what does not continue what it signed before.
    #[error(transparent)]
    Inconsistent(#[from] Inconsistent),
}

/// The log's own signature against the log: no mistake of a network can make it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Inconsistent {
    /// Records are gone.
    #[error("the log shrank from {known} records to {size}")]
    Shrunk {
        /// What was signed before.
        known: u64,
        /// What is signed now.
        size: u64,
    },
    /// Records are others than before.
    #[error("the log forked: {size} records do not continue the {known} that were signed before")]
    Forked {
        /// What was signed before.
        known: u64,
        /// What is signed now.
        size: u64,
        /// How the proof failed.
        source: ProofError,
    },
}

impl Update {
    /// Reads an update.
    ///
    /// # Errors
    /// [`UpdateError::Format`].
    pub fn parse(text: &str) -> Result<Self, UpdateError> {
        let (head, note) = text.split_once("\n\n").ok_or(UpdateError::Format)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old = old.and_then(|old| old.parse().ok()).ok_or(UpdateError::Format)?;
        let proof: Vec<Sha256> = lines
            .take(MAX_HASHES + 1)
            .map(|line| STANDARD.decode(line).ok()?.try_into().ok())
            .collect::<Option<_>>()
            .ok_or(UpdateError::Format)?;
        if proof.len() > MAX_HASHES {
            return Err(UpdateError::Format);
        }
        let note = Note::parse(note).map_err(CheckpointError::from)?;
        Ok(Self { old, proof, note })
    }

    /// What `log` says now, if it continues what is `known` of it.
    ///
    /// # Errors
    /// See [`UpdateError`].
    pub fn accept(
        &self,
        known: Option<&TreeHead>,
        log: &NoteKey,
    ) -> Result<Checkpoint, UpdateError> {
        let checkpoint = Checkpoint::verify(&self.note, log)?;
        let new = &checkpoint.head;
        let Some(known) = known.filter(|known| known.size > 0) else {
            return Ok(checkpoint);
        };
        if new.size < known.size {
            return Err(Inconsistent::Shrunk { known: known.size, size: new.size }.into());
        }
        if self.old != known.size {
            return Err(UpdateError::Start { old: self.old, known: known.size });
        }
        verify_consistency(known.size, new.size, &known.root, &new.root, &self.proof)
            .map_err(|source| Inconsistent::Forked { known: known.size, size: new.size, source })?;
        Ok(checkpoint)
    }
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", STANDARD.encode(hash)))?;
        write!(f, "\n{}", self.note)
    }
}
