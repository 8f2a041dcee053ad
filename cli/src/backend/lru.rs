//! A table that never refuses: the least recently used entry makes room.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

pub(super) struct Lru<K, V> {
    capacity: usize,
    entries: HashMap<K, (u64, V)>,
    /// Keys by the time of their last use.
    order: BTreeMap<u64, K>,
    clock: u64,
}

impl<K: Copy + Eq + Hash, V> Lru<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, entries: HashMap::new(), order: BTreeMap::new(), clock: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The value, now the most recently used one.
    pub(super) fn find(&mut self, key: &K) -> Option<&V> {
        let (used, value) = self.entries.get_mut(key)?;
        self.order.remove(used);
        self.clock += 1;
        *used = self.clock;
        self.order.insert(self.clock, *key);
        Some(value)
    }

    pub(super) fn peek(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.remove(&key);
        while self.entries.len() >= self.capacity.max(1) {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.entries.remove(&oldest);
        }
        self.clock += 1;
        self.order.insert(self.clock, key);
        self.entries.insert(key, (self.clock, value));
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (used, value) = self.entries.remove(key)?;
        self.order.remove(&used);
        Some(value)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        let order = &mut self.order;
        self.entries.retain(|_, (used, value)| {
            let kept = keep(value);
            if !kept {
                order.remove(used);
            }
            kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_makes_room() {
        let mut lru = Lru::new(2);
        lru.insert(1, 'a');
        lru.insert(2, 'b');
        assert_eq!(lru.find(&1), Some(&'a'));
        lru.insert(3, 'c');
        assert_eq!((lru.peek(&1), lru.peek(&2), lru.peek(&3)), (Some(&'a'), None, Some(&'c')));
        lru.insert(1, 'd');
        assert_eq!((lru.len(), lru.remove(&1), lru.remove(&1)), (2, Some('d'), None));
        lru.retain(|value| *value != 'c');
        assert_eq!((lru.len(), lru.order.len()), (0, 0));
    }
}
