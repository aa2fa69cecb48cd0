//! Hashes of the tree (RFC 9162 §2.1.1).

use signet_evidence::binding::{Sha256, sha256};

/// Root of the tree without leaves: SHA-256 of nothing.
pub const EMPTY_ROOT: Sha256 = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// Hash of a leaf: `SHA-256(0x00 ‖ entry)`.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Sha256 {
    sha256(&[&[0], entry].concat())
}

/// Hash of a node: `SHA-256(0x01 ‖ left ‖ right)`.
#[must_use]
pub fn node_hash(left: &Sha256, right: &Sha256) -> Sha256 {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    sha256(&bytes)
}

/// Where a tree of `size` leaves divides: the largest power of two below `size`. `size` is at least 2.
#[must_use]
pub fn split(size: u64) -> u64 {
    1 << (63 - size.saturating_sub(1).max(1).leading_zeros())
}

/// The right edge of a growing tree: enough to add leaves and to say the root, and no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the complete subtrees, the largest first: one for each bit of `size` that is set.
    roots: Vec<Sha256>,
}

impl Frontier {
    /// A tree of these nodes, all of them roots of complete subtrees of equal height.
    #[must_use]
    pub fn of(nodes: &[Sha256]) -> Self {
        let mut frontier = Self::default();
        nodes.iter().for_each(|node| frontier.push(*node));
        frontier
    }

    /// A tree of `size` leaves by the roots of its complete subtrees, the largest first; `None` unless there is one
    /// for each bit of `size` that is set.
    #[must_use]
    pub fn of_subtrees(size: u64, roots: Vec<Sha256>) -> Option<Self> {
        let each = u32::try_from(roots.len()) == Ok(size.count_ones());
        each.then_some(Self { size, roots })
    }

    /// How many leaves it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf (its hash) on the right.
    pub fn push(&mut self, leaf: Sha256) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            // One root for each bit that is set, so there is always one to merge with.
            let Some(left) = self.roots.pop() else { break };
            hash = node_hash(&left, &hash);
        }
        self.roots.push(hash);
        self.size += 1;
    }

    /// The root of the tree as it is now.
    #[must_use]
    pub fn root(&self) -> Sha256 {
        let mut roots = self.roots.iter().rev();
        let Some(last) = roots.next() else { return EMPTY_ROOT };
        roots.fold(*last, |right, left| node_hash(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_divide_at_the_largest_power_of_two_below_their_size() {
        for (size, at) in [(2, 1), (3, 2), (4, 2), (5, 4), (8, 4), (9, 8), (u64::MAX, 1 << 63)] {
            assert_eq!(split(size), at, "{size}");
        }
    }

    #[test]
    fn a_tree_is_made_of_its_subtrees_too() {
        let leaves: Vec<Sha256> = (0..5).map(|number| leaf_hash(&[number])).collect();
        let (mut tree, roots) = (Frontier::of(&leaves[..3]), [&leaves[..2], &leaves[2..3]]);
        let roots = roots.map(|leaves| Frontier::of(leaves).root()).to_vec();
        assert_eq!(Frontier::of_subtrees(3, roots.clone()), Some(tree.clone()));
        assert_eq!(Frontier::of_subtrees(4, roots.clone()), None);
        assert_eq!(Frontier::of_subtrees(7, roots), None);
        leaves[3..].iter().for_each(|leaf| tree.push(*leaf));
        assert_eq!(tree, Frontier::of(&leaves));
        assert_eq!(Frontier::of_subtrees(0, Vec::new()), Some(Frontier::default()));
    }

    #[test]
    fn the_empty_tree_has_the_digest_of_nothing() {
        assert_eq!(Frontier::default().root(), sha256(b""));
        assert_eq!(EMPTY_ROOT, sha256(b""));
    }
}
