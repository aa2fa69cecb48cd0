//! A bounded memory of what was looked at lately.

use std::collections::HashMap;
use std::hash::Hash;

/// A map that forgets what was not asked for lately, in two generations: whatever is asked for is in
/// the young one, and when that is full it becomes the old one, whose place it takes. Every step takes
/// constant time, but for the one that lets a generation go.
#[derive(Debug)]
pub struct Recent<K, V> {
    /// Of each generation.
    most: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash + Clone, V> Recent<K, V> {
    /// Remembers at most so many entries, and at least half as many.
    #[must_use]
    pub fn at_most(entries: usize) -> Self {
        Self { most: (entries / 2).max(1), young: HashMap::new(), old: HashMap::new() }
    }

    /// What is remembered of `key`, from now on for longer.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    /// What is remembered of `key`, from now on for longer; `new` where that is nothing.
    pub fn get_or_insert(&mut self, key: &K, new: V) -> &mut V {
        let before = self.old.remove(key);
        self.make_room(key);
        self.young.entry(key.clone()).or_insert_with(|| before.unwrap_or(new))
    }

    /// Remembers `value`, in place of what was remembered of `key` before.
    pub fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        self.make_room(&key);
        self.young.insert(key, value);
    }

    fn make_room(&mut self, key: &K) {
        if self.young.len() >= self.most && !self.young.contains_key(key) {
            self.old = std::mem::take(&mut self.young);
        }
    }

    /// Forgets `key`.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    /// How many entries are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let mut recent = Recent::at_most(8);
        recent.insert(0, "kept");
        for other in 1..100 {
            recent.insert(other, "passing");
            assert_eq!(recent.get(&0), Some(&mut "kept"), "after {other}");
            assert!(recent.len() <= 8);
        }
        assert_eq!(recent.get(&1), None);
        assert_eq!(recent.get(&99), Some(&mut "passing"));
    }

    #[test]
    fn half_of_what_it_may_hold_is_always_there() {
        for most in [2, 8, 9] {
            let mut recent = Recent::at_most(most);
            assert_eq!((recent.is_empty(), recent.len()), (true, 0));
            for last in 0..40 {
                recent.insert(last, ());
                let kept = (last + 1).min(most / 2);
                assert!((recent.len() >= kept) && recent.len() <= most, "{last} of {most}");
                let mut looked =
                    Recent { young: recent.young.clone(), old: recent.old.clone(), ..recent };
                assert!((last + 1 - kept..=last).all(|key| looked.remove(&key).is_some()));
            }
        }
    }

    #[test]
    fn a_later_value_replaces_the_earlier_in_either_generation() {
        let mut recent = Recent::at_most(2);
        recent.insert("a", 1);
        // `a` is old now.
        recent.insert("b", 1);
        recent.insert("a", 2);
        assert_eq!(recent.get_or_insert(&"a", 3), &2);
        assert_eq!(recent.remove(&"a"), Some(2));
        assert_eq!(recent.get(&"a"), None);
        assert_eq!(recent.remove(&"a"), None);
        assert!(!recent.is_empty());
    }
}
