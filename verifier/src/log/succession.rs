//! One key of a log that takes over from another: a note by which the earlier key names the later one.

use std::fmt;

use thiserror::Error;

use super::note::{LogSigner, Note, NoteError, NoteKey, SignatureKind};
use crate::token::SigningUnavailable;

/// Second line of the note. A checkpoint has a number there, so that neither is taken for the other.
const SAYS: &str = "is signed from now on by";

/// A log's earlier key says which comes after it. Displayed as the text of its note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Succession {
    /// The key that takes over; its name is the log's.
    pub next: NoteKey,
}

/// Not a succession that can be believed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SuccessionError {
    /// The note, or one of the two signatures.
    #[error("the note about the log's next key cannot be believed")]
    Note(#[from] NoteError),
    /// Signed, but no succession of this log.
    #[error("the note is not about the next key of this log")]
    Format,
}

impl Succession {
    /// The note with this succession, signed by both keys.
    ///
    /// # Errors
    /// [`SigningUnavailable`].
    pub fn sign(
        &self,
        earlier: &dyn LogSigner,
        later: &dyn LogSigner,
    ) -> Result<Note, SigningUnavailable> {
        let mut note = Note::new(self.to_string());
        note.sign(self.next.name(), earlier)?;
        note.sign(self.next.name(), later)?;
        Ok(note)
    }

    /// The succession in `note`, which `earlier` and the key that it names have signed.
    ///
    /// # Errors
    /// See [`SuccessionError`].
    pub fn verify(note: &Note, earlier: &NoteKey) -> Result<Self, SuccessionError> {
        earlier.verify(note)?;
        let next = note.text().lines().nth(2).and_then(|line| line.parse::<NoteKey>().ok());
        let next = next.filter(|next| {
            next.name() == earlier.name() && next.kind() == SignatureKind::Log && next != earlier
        });
        let succession = Self { next: next.ok_or(SuccessionError::Format)? };
        if succession.to_string() != note.text() {
            return Err(SuccessionError::Format);
        }
        // A key that its holder does not have cannot be named.
        succession.next.verify(note)?;
        Ok(succession)
    }
}

impl fmt::Display for Succession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{SAYS}\n{}", self.next.name(), self.next)
    }
}
