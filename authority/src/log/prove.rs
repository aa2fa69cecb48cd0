//! Roots and proofs from the hashes in the store.

use std::ops::Range;

use signet_evidence::binding::Sha256;
use signet_verifier::log::{
    Frontier, Note, NoteSignature, ProofError, Receipt, consistency_path, inclusion_path, split,
};
use thiserror::Error;

use crate::store::{SignedCheckpoint, Store, StoreError, TILE};

const HASHES: &str = "log_hashes";
/// Levels of the tree within one tile.
const TILE_HEIGHT: u32 = 8;

/// Something cannot be proved.
#[derive(Debug, Error)]
pub enum ProveError {
    /// Not of this tree.
    #[error("the log cannot prove that")]
    Proof(#[from] ProofError),
    /// The store.
    #[error("the log's tree cannot be read")]
    Store(#[from] StoreError),
}

/// Root of the tree of the first `size` records.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Corrupt`] when hashes are missing.
pub async fn root_at(store: &dyn Store, size: u64) -> Result<Sha256, StoreError> {
    Ok(tree_at(store, size).await?.root())
}

/// The tree of the first `size` records.
pub(super) async fn tree_at(store: &dyn Store, size: u64) -> Result<Frontier, StoreError> {
    tree_over(store, 0..size).await
}

/// The proof that record number `index`, from zero, is in the tree of `size` records.
///
/// # Errors
/// See [`ProveError`].
pub async fn inclusion(
    store: &dyn Store,
    index: u64,
    size: u64,
) -> Result<Vec<Sha256>, ProveError> {
    Ok(roots_over(store, inclusion_path(index, size)?).await?)
}

/// The note of a checkpoint with the cosignatures under it.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Corrupt`] when what is stored is none.
pub async fn cosigned(
    store: &dyn Store,
    checkpoint: &SignedCheckpoint,
) -> Result<Note, StoreError> {
    let corrupt = |_| StoreError::Corrupt { table: "checkpoints" };
    let mut note = Note::parse(&checkpoint.note).map_err(corrupt)?;
    for cosignature in store.cosignatures(checkpoint.size).await? {
        note.add(NoteSignature::parse(&cosignature.line).map_err(corrupt)?);
    }
    Ok(note)
}

/// The proof that record number `index`, from zero, is in the newest checkpoint; `None` before one
/// holds it.
///
/// # Errors
/// See [`ProveError`].
pub async fn receipt(store: &dyn Store, index: u64) -> Result<Option<Receipt>, ProveError> {
    let newest = store.newest_checkpoint().await?.filter(|newest| newest.size > index);
    let Some(newest) = newest else { return Ok(None) };
    let proof = inclusion(store, index, newest.size).await?;
    Ok(Some(Receipt { index, proof, note: cosigned(store, &newest).await? }))
}

/// The proof that the tree of `second` records continues that of `first`; empty when `first` is zero.
///
/// # Errors
/// See [`ProveError`].
pub async fn consistency(
    store: &dyn Store,
    first: u64,
    second: u64,
) -> Result<Vec<Sha256>, ProveError> {
    if first == 0 {
        return Ok(Vec::new());
    }
    Ok(roots_over(store, consistency_path(first, second)?).await?)
}

async fn roots_over(store: &dyn Store, ranges: Vec<Range<u64>>) -> Result<Vec<Sha256>, StoreError> {
    let mut roots = Vec::with_capacity(ranges.len());
    for leaves in ranges {
        roots.push(tree_over(store, leaves).await?.root());
    }
    Ok(roots)
}

/// The tree over these leaves: a subtree of the whole, so that its parts are tiles or parts of one.
async fn tree_over(store: &dyn Store, leaves: Range<u64>) -> Result<Frontier, StoreError> {
    // From the left: complete subtrees, each smaller than the one before.
    let size = leaves.end.saturating_sub(leaves.start);
    let mut rest = leaves;
    let mut roots = Vec::new();
    while !rest.is_empty() {
        let length = rest.end - rest.start;
        let part = if length.is_power_of_two() { length } else { split(length) };
        roots.push(complete(store, rest.start, part).await?);
        rest.start += part;
    }
    Frontier::of_subtrees(size, roots).ok_or(StoreError::Corrupt { table: HASHES })
}

/// Root of the complete subtree of `length` leaves, a power of two, from `start` on.
async fn complete(store: &dyn Store, start: u64, length: u64) -> Result<Sha256, StoreError> {
    let level = length.trailing_zeros() / TILE_HEIGHT;
    let width = 1_u64 << (level * TILE_HEIGHT);
    let numbers = start / width..start / width + length / width;
    debug_assert!(length / width <= TILE, "within one tile");
    let count = numbers.end - numbers.start;
    let hashes = store.log_hashes(u8::try_from(level).unwrap_or(u8::MAX), numbers).await?;
    if hashes.len() as u64 != count {
        return Err(StoreError::Corrupt { table: HASHES });
    }
    Ok(Frontier::of(&hashes).root())
}
