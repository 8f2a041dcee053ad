//! The flows that the engine follows: records of its own, so that a packet costs no system call.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Deref;
use std::rc::Rc;

use firewall_core::conntrack::{Flow, FlowKey, FlowState, half_flag};
use firewall_core::packet::protocol;
use firewall_core::tables::FlowTable;

/// A flow that the engine follows.
pub struct Followed {
    key: FlowKey,
    flow: Flow,
    /// Where its record lives outside.
    table: Cell<FlowTable>,
    /// Since the hand of the clock has come by.
    is_used: Cell<bool>,
    /// State, epoch and time of the record outside, as it was written last.
    written: Cell<(u8, u32, u64)>,
    /// It is no flow any more: nothing is written.
    is_gone: Cell<bool>,
}

/// How old the record outside may get while packets come, nanoseconds, where that is less than a quarter of what the flow has to
/// live: it is what `vfw show flows` reads, what the sweep goes by, and what is left when this process is killed.
const REFRESH: u64 = 5_000_000_000;

impl Followed {
    /// The key.
    pub fn key(&self) -> &FlowKey {
        &self.key
    }

    /// Where its record lives.
    pub fn table(&self) -> FlowTable {
        self.table.get()
    }

    /// Whether the record outside has to be written: the flow has moved on, or a while has passed.
    pub fn is_due(&self, now: u64) -> bool {
        let (state, epoch, time) = self.written.get();
        !self.is_gone.get()
            && (self.flow.state.get() != state
                || self.flow.epoch.get() != epoch
                || now.saturating_sub(time) >= REFRESH.min(self.flow.expires.get().saturating_sub(now) / 4)
                || self.is_opening())
    }

    /// A TCP handshake: its numbers are checked exactly, by whoever follows it, so the record outside has them at once.
    fn is_opening(&self) -> bool {
        let opens = [FlowState::SynSent as u8, FlowState::SynReceived as u8];
        self.key.protocol == protocol::TCP && opens.contains(&self.flow.state.get())
    }

    /// The record for the store. Packets that come here move the windows of a TCP connection on, and the record outside does
    /// not say so until it is written again: it says that it is behind.
    pub fn record(&self) -> Flow {
        let record = self.flow.clone();
        if self.key.protocol == protocol::TCP && !self.is_opening() {
            set_behind(&record);
        }
        record
    }

    /// Notes that the record outside is as this one is now.
    pub fn note_written(&self, now: u64) {
        self.written.set((self.flow.state.get(), self.flow.epoch.get(), now));
    }

    /// Its record is in this table from now on.
    pub fn move_to(&self, table: FlowTable) {
        self.table.set(table);
    }
}

/// Notes that the windows in a record may have moved on.
pub fn set_behind(flow: &Flow) {
    for half in &flow.halves {
        half.flags.set(half.flags.get() | half_flag::BEHIND);
    }
}

impl Deref for Followed {
    type Target = Flow;

    fn deref(&self) -> &Flow {
        &self.flow
    }
}

/// Those flows, as many as there are places; one that was not used for long makes room (the clock algorithm).
pub struct Flows {
    index: HashMap<FlowKey, (usize, Rc<Followed>), KeyHashing>,
    places: Vec<Option<Rc<Followed>>>,
    hand: usize,
    capacity: usize,
}

impl Flows {
    /// Room for `capacity` flows, one at least.
    pub fn new(capacity: usize) -> Self {
        Self { index: HashMap::with_hasher(KeyHashing::new()), places: Vec::new(), hand: 0, capacity: capacity.max(1) }
    }

    /// A flow that is followed.
    pub fn find(&self, key: &FlowKey) -> Option<Rc<Followed>> {
        let (_, followed) = self.index.get(key)?;
        followed.is_used.set(true);
        Some(Rc::clone(followed))
    }

    /// Follows a flow whose record is in `table` and was written at `now`. The flow that makes room for it, if one has to, is
    /// the second answer.
    pub fn follow(
        &mut self,
        key: &FlowKey,
        table: FlowTable,
        flow: Flow,
        now: u64,
    ) -> (Rc<Followed>, Option<Rc<Followed>>) {
        let followed = Followed {
            key: *key,
            flow,
            table: Cell::new(table),
            is_used: Cell::new(true),
            written: Cell::default(),
            is_gone: Cell::new(false),
        };
        followed.note_written(now);
        let followed = Rc::new(followed);
        self.forget(key);
        let (place, evicted) = self.place();
        if let Some(place) = self.places.get_mut(place) {
            *place = Some(Rc::clone(&followed));
        }
        self.index.insert(*key, (place, Rc::clone(&followed)));
        (followed, evicted)
    }

    /// A place for one flow more, and whose it was.
    fn place(&mut self) -> (usize, Option<Rc<Followed>>) {
        if self.places.len() < self.capacity {
            self.places.push(None);
            return (self.places.len() - 1, None);
        }
        loop {
            let at = self.hand;
            self.hand = (self.hand + 1) % self.capacity;
            // Twice round at the most: each that is passed is not used the next time.
            match self.places.get_mut(at) {
                Some(Some(followed)) if followed.is_used.replace(false) => {}
                Some(place) => {
                    let evicted = place.take();
                    if let Some(evicted) = &evicted {
                        self.index.remove(&evicted.key);
                    }
                    return (at, evicted);
                }
                None => self.hand = 0,
            }
        }
    }

    /// Follows a flow no more; nothing is written.
    pub fn forget(&mut self, key: &FlowKey) {
        if let Some((place, followed)) = self.index.remove(key) {
            followed.is_gone.set(true);
            if let Some(place) = self.places.get_mut(place) {
                *place = None;
            }
        }
    }

    /// Follows none any more; all that were followed.
    pub fn take_all(&mut self) -> Vec<Rc<Followed>> {
        self.index.clear();
        self.hand = 0;
        std::mem::take(&mut self.places).into_iter().flatten().collect()
    }

    /// All that are followed.
    pub fn all(&self) -> Vec<Rc<Followed>> {
        self.places.iter().flatten().cloned().collect()
    }

    /// How many are followed.
    pub fn len(&self) -> usize {
        self.index.len()
    }
}

/// Hashes keys by multiplication, from a start that nobody outside knows: a packet costs one hash, and whoever picks ports cannot
/// pick those that meet.
struct KeyHashing {
    seed: u64,
}

impl KeyHashing {
    fn new() -> Self {
        Self { seed: RandomState::new().hash_one(0) }
    }
}

impl BuildHasher for KeyHashing {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(self.seed)
    }
}

struct KeyHasher(u64);

impl KeyHasher {
    /// Both halves of a product: every bit of the word reaches every bit of the state.
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.fold(u64::from_ne_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            self.fold(u64::from_ne_bytes(last));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.fold(u64::from(number) | 1 << 32);
    }

    fn write_u16(&mut self, number: u16) {
        self.fold(u64::from(number) | 1 << 33);
    }

    fn write_u32(&mut self, number: u32) {
        self.fold(u64::from(number) | 1 << 34);
    }

    fn write_usize(&mut self, number: usize) {
        self.fold(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u16) -> FlowKey {
        FlowKey { low_port: number, ..FlowKey::default() }
    }

    fn add(flows: &mut Flows, number: u16) -> Option<u16> {
        let (_, evicted) = flows.follow(&key(number), FlowTable::HalfOpen, Flow::default(), 0);
        evicted.map(|evicted| evicted.key.low_port)
    }

    #[test]
    fn what_is_not_used_makes_room() {
        let mut flows = Flows::new(3);
        assert_eq!([1, 2, 3].map(|number| add(&mut flows, number)), [None; 3]);
        assert_eq!(add(&mut flows, 4), Some(1), "all were used: the hand has come round");
        assert!(flows.find(&key(2)).is_some());
        assert_eq!(add(&mut flows, 5), Some(3), "2 was used since");
        assert_eq!((flows.len(), flows.find(&key(3)).is_none()), (3, true));
        flows.forget(&key(2));
        assert_eq!((flows.len(), add(&mut flows, 6)), (2, None), "a place that is free");
        assert_eq!(flows.take_all().len(), 3);
        assert_eq!(add(&mut flows, 7), None);
    }

    #[test]
    fn a_record_is_due_when_it_moves_on_or_gets_old() {
        let mut flows = Flows::new(3);
        let (flow, _) = flows.follow(&key(1), FlowTable::HalfOpen, Flow::default(), 10);
        flow.expires.set(10 + 100 * REFRESH);
        assert!(!flow.is_due(10) && !flow.is_due(9 + REFRESH) && flow.is_due(10 + REFRESH));
        flow.expires.set(10 + REFRESH);
        assert!(!flow.is_due(10) && flow.is_due(10 + REFRESH / 4), "one that has not long to live");
        flow.state.set(1);
        assert!(flow.is_due(10));
        flow.note_written(10);
        assert!(!flow.is_due(10));
        flow.epoch.set(1);
        assert!(flow.is_due(10));
        flows.forget(&key(1));
        assert!(!flow.is_due(10), "it is gone");
    }

    #[test]
    fn keys_that_differ_little_meet_seldom() {
        let hashing = KeyHashing::new();
        let low = |number: u32| {
            let address = firewall_core::Address { words: [0, 0, 0xffff_0000, number.to_be()] };
            FlowKey { low: address, low_port: number as u16, ..FlowKey::default() }
        };
        let places: std::collections::HashSet<u64> =
            (0..4096).map(|number| hashing.hash_one(low(number)) & 0xf_ffff).collect();
        assert!(places.len() > 4_000, "{}", places.len());
        assert_ne!(hashing.hash_one(key(1)), KeyHashing::new().hash_one(key(1)), "another start");
    }
}
