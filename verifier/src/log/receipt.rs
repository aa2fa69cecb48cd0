//! That an entry is in the log, for whoever has no connection to it (c2sp.org/tlog-proof).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use signet_evidence::binding::Sha256;
use thiserror::Error;

use super::checkpoint::{Checkpoint, CheckpointError};
use super::note::{Note, NoteKey};
use super::proof::{ProofError, verify_inclusion};
use super::tree::leaf_hash;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
/// Most hashes of an inclusion proof.
const MAX_HASHES: usize = 64;

/// Where an entry is in a log, and the proof. Displayed as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Number of the leaf, from zero.
    pub index: u64,
    /// The inclusion proof, from the leaf's sibling up.
    pub proof: Vec<Sha256>,
    /// The signed checkpoint, with the witnesses' cosignatures.
    pub note: Note,
}

/// A receipt that proves nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReceiptError {
    /// Not the form of tlog-proof.
    #[error("not a proof from a log (c2sp.org/tlog-proof)")]
    Format,
    /// The checkpoint.
    #[error("the log did not sign the checkpoint")]
    Checkpoint(#[from] CheckpointError),
    /// The proof.
    #[error("the entry is not where the proof says")]
    Proof(#[from] ProofError),
}

impl Receipt {
    /// Reads a receipt. Extra data is skipped: nothing vouches for it.
    ///
    /// # Errors
    /// [`ReceiptError::Format`], [`ReceiptError::Checkpoint`].
    pub fn parse(text: &str) -> Result<Self, ReceiptError> {
        let (head, note) = text.split_once("\n\n").ok_or(ReceiptError::Format)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(FIRST_LINE) {
            return Err(ReceiptError::Format);
        }
        lines.next_if(|line| line.starts_with("extra "));
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(|index| index.parse().ok()).ok_or(ReceiptError::Format)?;
        let proof: Vec<Sha256> = lines
            .take(MAX_HASHES + 1)
            .map(|line| STANDARD.decode(line).ok()?.try_into().ok())
            .collect::<Option<_>>()
            .ok_or(ReceiptError::Format)?;
        if proof.len() > MAX_HASHES {
            return Err(ReceiptError::Format);
        }
        let note = Note::parse(note).map_err(CheckpointError::from)?;
        Ok(Self { index, proof, note })
    }

    /// That `log` has `entry` where the receipt says; returns the checkpoint that holds it.
    ///
    /// # Errors
    /// See [`ReceiptError`].
    pub fn verify(&self, entry: &[u8], log: &NoteKey) -> Result<Checkpoint, ReceiptError> {
        let checkpoint = Checkpoint::verify(&self.note, log)?;
        let head = &checkpoint.head;
        verify_inclusion(&leaf_hash(entry), self.index, head.size, &head.root, &self.proof)?;
        Ok(checkpoint)
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}\nindex {}", self.index)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", STANDARD.encode(hash)))?;
        write!(f, "\n{}", self.note)
    }
}
