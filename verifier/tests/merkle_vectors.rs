//! The proofs that transparency-dev/merkle publishes, good and bad, and trees of any size held against
//! the definition in RFC 9162 §2.1.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::Value;
use signet_evidence::binding::{Sha256, sha256};
use signet_verifier::log::{
    EMPTY_ROOT, Frontier, ProofError, consistency_path, inclusion_path, leaf_hash, node_hash,
    split, verify_consistency, verify_inclusion,
};

fn published(folder: &str) -> Vec<(PathBuf, Value)> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/published/merkle").join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, serde_json::from_str(&text).unwrap()));
            }
        }
    }
    found
}

/// Some of the published hashes are no hashes, and only equal or not: their digests are just that.
/// Nothing at all is not even that.
fn hash(value: &Value) -> Option<Sha256> {
    let bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    let hash = bytes.as_slice().try_into().unwrap_or_else(|_| sha256(&bytes));
    (!bytes.is_empty()).then_some(hash)
}

fn hashes(value: &Value) -> Option<Vec<Sha256>> {
    value.as_array().map_or(Some(Vec::new()), |list| list.iter().map(hash).collect())
}

#[test]
fn published_inclusion_proofs_get_their_answers() {
    let cases = published("inclusion");
    assert_eq!(cases.len(), 98);
    for (path, case) in cases {
        let number = |name: &str| case[name].as_u64().unwrap();
        let (leaf, root) = (hash(&case["leafHash"]), hash(&case["root"]));
        let (index, size) = (number("leafIdx"), number("treeSize"));
        let parts = leaf.zip(root).zip(hashes(&case["proof"]));
        let accepted = parts.is_some_and(|((leaf, root), proof)| {
            verify_inclusion(&leaf, index, size, &root, &proof).is_ok()
        });
        assert_eq!(accepted, !case["wantErr"].as_bool().unwrap(), "{}", path.display());
    }
}

#[test]
fn published_consistency_proofs_get_their_answers() {
    let cases = published("consistency");
    assert!(cases.len() >= 98, "{}", cases.len());
    for (path, case) in cases {
        let number = |name: &str| case[name].as_u64().unwrap();
        let (first, second) = (hash(&case["root1"]), hash(&case["root2"]));
        let (from, to) = (number("size1"), number("size2"));
        let parts = first.zip(second).zip(hashes(&case["proof"]));
        let accepted = parts.is_some_and(|((first, second), proof)| {
            verify_consistency(from, to, &first, &second, &proof).is_ok()
        });
        assert_eq!(accepted, !case["wantErr"].as_bool().unwrap(), "{}", path.display());
    }
}

/// MTH of RFC 9162 §2.1.1, word for word.
fn mth(leaves: &[Sha256]) -> Sha256 {
    match leaves {
        [] => EMPTY_ROOT,
        [leaf] => *leaf,
        many => {
            let (left, right) = many.split_at(usize::try_from(split(many.len() as u64)).unwrap());
            node_hash(&mth(left), &mth(right))
        }
    }
}

fn leaves(size: u64) -> Vec<Sha256> {
    (0..size).map(|number| leaf_hash(&number.to_be_bytes())).collect()
}

fn along(path: &[std::ops::Range<u64>], leaves: &[Sha256]) -> Vec<Sha256> {
    let at = |number: u64| usize::try_from(number).unwrap();
    path.iter().map(|range| mth(&leaves[at(range.start)..at(range.end)])).collect()
}

#[test]
fn every_tree_of_up_to_64_leaves_proves_all_its_leaves_and_all_its_past() {
    for size in 1..=64 {
        let leaves = leaves(size);
        let root = mth(&leaves);
        assert_eq!(Frontier::of(&leaves).root(), root);
        for index in 0..size {
            let proof = along(&inclusion_path(index, size).unwrap(), &leaves);
            let leaf = &leaves[usize::try_from(index).unwrap()];
            verify_inclusion(leaf, index, size, &root, &proof).unwrap();
            let first = index + 1;
            let earlier = mth(&leaves[..usize::try_from(first).unwrap()]);
            let proof = along(&consistency_path(first, size).unwrap(), &leaves);
            verify_consistency(first, size, &earlier, &root, &proof).unwrap();
        }
    }
}

#[test]
fn what_cannot_be_proved_says_why() {
    let root = mth(&leaves(4));
    assert_eq!(verify_inclusion(&root, 4, 4, &root, &[]), Err(ProofError::Index));
    assert_eq!(verify_inclusion(&root, 0, 4, &root, &[]), Err(ProofError::Length));
    assert_eq!(verify_consistency(0, 4, &EMPTY_ROOT, &root, &[]), Err(ProofError::Empty));
    assert_eq!(verify_consistency(4, 3, &root, &root, &[]), Err(ProofError::Shrunk));
    assert_eq!(verify_consistency(4, 4, &root, &EMPTY_ROOT, &[]), Err(ProofError::Root));
    assert_eq!(verify_consistency(4, 4, &root, &root, &[root]), Err(ProofError::Length));
}

proptest! {
    #[test]
    fn a_leaf_or_a_past_that_was_changed_is_never_proved(
        size in 2_u64..400,
        changed in any::<prop::sample::Index>(),
        first in any::<prop::sample::Index>(),
    ) {
        let genuine = leaves(size);
        let changed = changed.index(genuine.len());
        let mut other = genuine.clone();
        other[changed] = leaf_hash(b"something else");
        let (root, forged) = (mth(&genuine), mth(&other));
        let index = changed as u64;
        let proof = along(&inclusion_path(index, size).unwrap(), &other);
        prop_assert_eq!(
            verify_inclusion(&genuine[changed], index, size, &forged, &proof),
            Err(ProofError::Root)
        );
        // The forger proves as well as can be; what was known before holds the changed leaf.
        let first = index + 1 + first.index(usize::try_from(size - index).unwrap()) as u64;
        let known = mth(&genuine[..usize::try_from(first).unwrap()]);
        let proof = along(&consistency_path(first, size).unwrap(), &other);
        prop_assert_eq!(
            verify_consistency(first, size, &known, &forged, &proof),
            Err(ProofError::Root)
        );
        // What comes after the change does not matter to it.
        if changed > 0 {
            let proof = along(&consistency_path(index, size).unwrap(), &other);
            let known = mth(&genuine[..changed]);
            prop_assert_eq!(verify_consistency(index, size, &known, &forged, &proof), Ok(()));
        }
        prop_assert_ne!(root, forged);
    }

    #[test]
    fn proofs_of_huge_trees_are_short(size in 1_u64..=u64::MAX / 2, index in any::<u64>()) {
        let path = inclusion_path(index % size, size).unwrap();
        prop_assert!(path.len() <= 63);
        prop_assert!(consistency_path(index % size + 1, size).unwrap().len() <= 64);
    }
}
