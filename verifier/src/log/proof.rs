//! Inclusion and consistency proofs (RFC 9162 §2.1.3 and §2.1.4).

use std::ops::Range;

use signet_evidence::binding::Sha256;
use thiserror::Error;

use super::tree::{node_hash, split};

/// A proof that does not prove.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ProofError {
    /// No such leaf in a tree of that size.
    #[error("the tree has no such leaf")]
    Index,
    /// The later tree is smaller than the earlier.
    #[error("the later tree is smaller than the earlier one")]
    Shrunk,
    /// Anything is consistent with the empty tree: there is nothing to prove.
    #[error("nothing can be proved from the empty tree")]
    Empty,
    /// More or fewer hashes than the two sizes need.
    #[error("the proof has more or fewer hashes than the sizes of the trees need")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// Leaves under each hash of the inclusion proof of leaf `index` in a tree of `size`, in the proof's
/// order.
///
/// # Errors
/// [`ProofError::Index`].
pub fn inclusion_path(index: u64, size: u64) -> Result<Vec<Range<u64>>, ProofError> {
    if index >= size {
        return Err(ProofError::Index);
    }
    let (mut from, mut to) = (0, size);
    let mut path = Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(middle..to);
            to = middle;
        } else {
            path.push(from..middle);
            from = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// Leaves under each hash of the proof that a tree of `second` leaves continues one of `first`, in
/// the proof's order.
///
/// # Errors
/// [`ProofError::Empty`], [`ProofError::Shrunk`].
pub fn consistency_path(first: u64, second: u64) -> Result<Vec<Range<u64>>, ProofError> {
    if first == 0 {
        return Err(ProofError::Empty);
    }
    if first > second {
        return Err(ProofError::Shrunk);
    }
    let (mut from, mut to) = (0, second);
    let mut path = Vec::new();
    while first < to {
        let middle = from + split(to - from);
        if first <= middle {
            path.push(middle..to);
            to = middle;
        } else {
            path.push(from..middle);
            from = middle;
        }
    }
    // The earlier tree itself is known to whoever checks; a part of it is not.
    if from > 0 {
        path.push(from..to);
    }
    path.reverse();
    Ok(path)
}

/// Whether `leaf` is the leaf number `index` of the tree of `size` leaves with this `root`
/// (RFC 9162 §2.1.3.2).
///
/// # Errors
/// See [`ProofError`].
pub fn verify_inclusion(
    leaf: &Sha256,
    index: u64,
    size: u64,
    root: &Sha256,
    proof: &[Sha256],
) -> Result<(), ProofError> {
    let path = inclusion_path(index, size)?;
    if path.len() != proof.len() {
        return Err(ProofError::Length);
    }
    let found = path.iter().zip(proof).fold(*leaf, |hash, (leaves, other)| {
        if leaves.start > index { node_hash(&hash, other) } else { node_hash(other, &hash) }
    });
    if found == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// Whether the tree of `second` leaves with root `second_root` continues the tree of `first` leaves
/// with root `first_root` (RFC 9162 §2.1.4.2).
///
/// # Errors
/// See [`ProofError`].
pub fn verify_consistency(
    first: u64,
    second: u64,
    first_root: &Sha256,
    second_root: &Sha256,
    proof: &[Sha256],
) -> Result<(), ProofError> {
    let path = consistency_path(first, second)?;
    if path.len() != proof.len() {
        return Err(ProofError::Length);
    }
    // Where the earlier tree is a subtree of the later, its root is not in the proof.
    let mut hashes = path.iter().zip(proof);
    let start = if path.first().is_some_and(|leaves| leaves.end <= first) {
        hashes.next().map_or(*first_root, |(_, hash)| *hash)
    } else {
        *first_root
    };
    let (mut earlier, mut later) = (start, start);
    for (leaves, hash) in hashes {
        if leaves.end <= first {
            earlier = node_hash(hash, &earlier);
            later = node_hash(hash, &later);
        } else {
            later = node_hash(&later, hash);
        }
    }
    if earlier == *first_root && later == *second_root { Ok(()) } else { Err(ProofError::Root) }
}
