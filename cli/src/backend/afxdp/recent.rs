//! The flows that a worker has met lately: its own way to their records.
//!
//! The table that all workers share costs a packet a lock and several places in memory, each found by the one before. With tens
//! of thousands of flows none of them is in the cache. Here a record is found by one place, which is known as soon as
//! the packet's key is; so it can be fetched before the packet's turn comes, and the record after it.

use std::sync::Arc;

use firewall_core::conntrack::FlowKey;

use super::flows::Followed;
use super::sys::prefetch;

/// Places by hash, two for each.
pub struct Recent {
    /// A power of two.
    sets: Vec<Set>,
}

/// In one line of the cache.
#[derive(Default)]
#[repr(align(32))]
struct Set([Place; 2]);

/// A flow that was met, behind the half of its hash that does not say where its place is.
#[derive(Default)]
struct Place {
    tag: u32,
    followed: Option<Arc<Followed>>,
}

impl Place {
    fn tagged(&self, tag: u32) -> Option<&Arc<Followed>> {
        self.followed.as_ref().filter(|_| self.tag == tag)
    }
}

impl Recent {
    /// With a place for each of so many flows. As many records stay in memory until others take their places, when their flows have
    /// ended.
    pub fn new(flows: usize) -> Self {
        let sets = flows.next_power_of_two().div_ceil(2);
        Self { sets: (0..sets).map(|_| Set::default()).collect() }
    }

    /// Which set a hash belongs to, and its tag.
    fn place(&self, hash: u64) -> (usize, u32) {
        (hash as usize & (self.sets.len() - 1), (hash >> 32) as u32)
    }

    /// A flow that was met and is followed still.
    pub fn find(&self, hash: u64, key: &FlowKey) -> Option<&Arc<Followed>> {
        let (set, tag) = self.place(hash);
        let met = self.sets.get(set)?.0.iter().filter_map(|place| place.tagged(tag));
        met.into_iter().find(|followed| followed.key() == key && followed.is_followed())
    }

    /// Remembers a flow, in the place of one that is not followed any more, or of the one with such a hash that was added first.
    pub fn add(&mut self, hash: u64, followed: &Arc<Followed>) {
        let (set, tag) = self.place(hash);
        let Some(Set(places)) = self.sets.get_mut(set) else { return };
        if places[0].followed.as_ref().is_some_and(|followed| followed.is_followed()) {
            places.swap(0, 1);
        }
        places[0] = Place { tag, followed: Some(Arc::clone(followed)) };
    }

    /// Has the place of a hash fetched into the cache.
    pub fn fetch_place(&self, hash: u64) {
        if let Some(set) = self.sets.get(self.place(hash).0) {
            prefetch(set);
        }
    }

    /// Has the record fetched that is there.
    pub fn fetch_record(&self, hash: u64) {
        let (set, tag) = self.place(hash);
        let met = self.sets.get(set).and_then(|set| set.0.iter().find_map(|place| place.tagged(tag)));
        if let Some(followed) = met {
            prefetch::<Followed>(followed);
        }
    }
}

#[cfg(test)]
mod tests {
    use firewall_core::conntrack::Flow;
    use firewall_core::tables::FlowTable;

    use super::*;
    use crate::backend::afxdp::flows::Flows;

    #[test]
    fn two_flows_of_a_hash_are_remembered_while_they_are_followed() {
        let (flows, mut recent) = (Flows::new(8), Recent::new(3));
        assert_eq!(recent.sets.len(), 2, "four places");
        let [first, second, third] = [1, 2, 3].map(|low_port| FlowKey { low_port, ..FlowKey::default() });
        let mut meet = |key: &FlowKey| {
            let (followed, _) = flows.follow(key, FlowTable::HalfOpen, Flow::default(), 0);
            recent.add(7, &followed);
        };
        meet(&first);
        meet(&second);
        let is_met = |recent: &Recent, hash: u64, key: &FlowKey| recent.find(hash, key).is_some();
        assert!(is_met(&recent, 7, &first) && is_met(&recent, 7, &second) && !is_met(&recent, 7, &third));
        assert!(!is_met(&recent, 7 | 1 << 32, &first), "another tag");
        let (followed, _) = flows.follow(&third, FlowTable::HalfOpen, Flow::default(), 0);
        recent.add(7, &followed);
        assert!(!is_met(&recent, 7, &first) && is_met(&recent, 7, &third), "the last two");
        flows.forget(&third);
        assert!(!is_met(&recent, 7, &third), "it is gone");
        let (followed, _) = flows.follow(&third, FlowTable::HalfOpen, Flow::default(), 0);
        recent.add(7, &followed);
        assert!(is_met(&recent, 7, &second) && is_met(&recent, 7, &third), "it has taken its own place");
        flows.take_all();
        assert!(!is_met(&recent, 7, &second), "none is followed");
    }
}
