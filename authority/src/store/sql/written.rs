//! The log's tree as this process wrote it, so that what it signs need not be read back.

use std::collections::VecDeque;

use signet_evidence::binding::Sha256;
use signet_verifier::log::Frontier;

/// Most leaves that are kept while it is not known what comes before them: half a mebibyte.
const MOST: usize = 16_384;

/// What this process committed.
pub(super) enum Written {
    /// Leaves without a gap from this number on, which is counted from 0; what comes before them is not known.
    Since { first: u64, leaves: VecDeque<Sha256> },
    /// All of the tree: one that was read, and what was added to it.
    Tree(Frontier),
}

impl Default for Written {
    fn default() -> Self {
        Self::Since { first: 0, leaves: VecDeque::new() }
    }
}

impl Written {
    /// Adds a leaf. Where another process wrote those before it, all that is known begins with it.
    pub(super) fn add(&mut self, number: u64, leaf: Sha256) {
        match self {
            Self::Tree(tree) if tree.size() == number => tree.push(leaf),
            Self::Since { first, leaves } if *first + leaves.len() as u64 == number => {
                leaves.push_back(leaf);
                if leaves.len() > MOST {
                    leaves.pop_front();
                    *first += 1;
                }
            }
            Self::Tree(_) | Self::Since { .. } => {
                *self = Self::Since { first: number, leaves: [leaf].into() };
            }
        }
    }

    /// What was known before continues `tree`, which was read and checked.
    pub(super) fn continue_from(&mut self, mut tree: Frontier) {
        match self {
            Self::Tree(known) if known.size() >= tree.size() => return,
            Self::Since { first, leaves } if !leaves.is_empty() => {
                let Some(within) = tree.size().checked_sub(*first) else { return };
                let within = usize::try_from(within).unwrap_or(usize::MAX);
                leaves.iter().skip(within).for_each(|leaf| tree.push(*leaf));
            }
            Self::Tree(_) | Self::Since { .. } => {}
        }
        *self = Self::Tree(tree);
    }

    /// All of the tree, where that is known.
    pub(super) fn tree(&self) -> Option<&Frontier> {
        match self {
            Self::Tree(tree) => Some(tree),
            Self::Since { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    fn leaf(number: u64) -> Sha256 {
        let mut leaf = [0; 32];
        leaf[..8].copy_from_slice(&number.to_be_bytes());
        leaf
    }

    fn tree(size: u64) -> Frontier {
        Frontier::of(&(0..size).map(leaf).collect::<Vec<_>>())
    }

    fn written(numbers: Range<u64>) -> Written {
        let mut written = Written::default();
        numbers.for_each(|number| written.add(number, leaf(number)));
        written
    }

    #[test]
    fn what_was_written_continues_what_was_read() {
        // Of 5 to 8 those from the tree's end on are added.
        for read in [5, 7, 9] {
            let mut written = written(5..9);
            assert_eq!(written.tree(), None);
            written.continue_from(tree(read));
            assert_eq!(written.tree(), Some(&tree(9)));
            written.add(9, leaf(9));
            assert_eq!(written.tree(), Some(&tree(10)));
        }
        // Others wrote what came after.
        let mut others = written(5..9);
        others.continue_from(tree(12));
        assert_eq!(others.tree(), Some(&tree(12)));
        // Nothing was written yet.
        let mut nothing = Written::default();
        nothing.continue_from(tree(3));
        assert_eq!(nothing.tree(), Some(&tree(3)));
    }

    #[test]
    fn a_gap_is_never_passed_over() {
        let mut written = written(5..9);
        written.continue_from(tree(4));
        assert_eq!(written.tree(), None);
        written.continue_from(tree(9));
        // Another process wrote number 9.
        written.add(10, leaf(10));
        assert_eq!(written.tree(), None);
        written.add(12, leaf(12));
        written.continue_from(tree(11));
        assert_eq!(written.tree(), None);
        written.continue_from(tree(12));
        assert_eq!(written.tree(), Some(&tree(13)));
        // What is known is not forgotten for less.
        written.continue_from(tree(3));
        assert_eq!(written.tree(), Some(&tree(13)));
        written.continue_from(tree(20));
        assert_eq!(written.tree(), Some(&tree(20)));
    }

    #[test]
    fn it_keeps_so_many() {
        let end = MOST as u64 + 3;
        let mut before = written(0..end);
        before.continue_from(tree(2));
        assert_eq!(before.tree(), None);
        before.continue_from(tree(3));
        assert_eq!(before.tree(), Some(&tree(end)));
    }
}
