//! The transparency log of decisions: tree, proofs, signed checkpoints, and what a witness accepts.
//!
//! Trees are those of RFC 9162 §2.1 (the same as RFC 6962's); checkpoints, cosignatures and the
//! witness's request are those of C2SP (signed-note, tlog-checkpoint, tlog-cosignature, tlog-witness,
//! tlog-proof).

mod checkpoint;
mod note;
mod proof;
mod receipt;
mod succession;
mod tree;
mod update;

pub use checkpoint::{Checkpoint, CheckpointError, TreeHead};
pub use note::{
    FileLogSigner, LogSigner, Note, NoteError, NoteKey, NoteKeyError, NoteSignature, SignatureKind,
    key_name,
};
pub use proof::{
    ProofError, consistency_path, inclusion_path, verify_consistency, verify_inclusion,
};
pub use receipt::{Receipt, ReceiptError};
pub use succession::{Succession, SuccessionError};
pub use tree::{EMPTY_ROOT, Frontier, leaf_hash, node_hash, split};
pub use update::{Inconsistent, Update, UpdateError};
