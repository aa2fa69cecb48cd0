//! `fixtures/published/exceptions.txt`: which published vectors are not answered as published, and why.

use std::collections::BTreeSet;

const LIST: &str = include_str!("../../../fixtures/published/exceptions.txt");

/// One set of vectors on its way through a test.
pub(crate) struct Set {
    name: &'static str,
    passed: BTreeSet<String>,
    failed: BTreeSet<String>,
}

impl Set {
    /// A set as the list names it.
    pub(crate) fn of(name: &'static str) -> Self {
        Self { name, passed: BTreeSet::new(), failed: BTreeSet::new() }
    }

    /// Notes whether `vector` is answered as published.
    pub(crate) fn judged(&mut self, vector: &str, passes: bool) {
        let new = if passes { &mut self.passed } else { &mut self.failed };
        assert!(new.insert(vector.to_owned()), "{} {vector} was judged twice", self.name);
    }

    /// Those that are not are exactly those of the list. Returns how many passed.
    #[track_caller]
    pub(crate) fn settle(self) -> usize {
        let mut listed = BTreeSet::new();
        for line in LIST.lines().filter(|line| !line.starts_with('#')) {
            let [set, vector, why] = line.split(" | ").collect::<Vec<_>>()[..] else {
                panic!("{line:?} is not SET | VECTOR | WHY");
            };
            assert!(!why.is_empty(), "{line:?} does not say why");
            if set == self.name {
                listed.insert(vector.to_owned());
            }
        }
        assert_eq!(self.failed, listed, "left: {} that fail; right: exceptions", self.name);
        self.passed.len()
    }
}
