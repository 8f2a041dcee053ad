//! The flows that the engine follows: records of its own, so that a packet costs no system call.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firewall_core::conntrack::{Flow, FlowKey, FlowState, half_flag};
use firewall_core::packet::protocol;
use firewall_core::shared::Shared;
use firewall_core::tables::FlowTable;
use hashbrown::HashTable;

/// A flow that the engine follows. Its two directions may be in the hands of two workers, which share it as CPUs share a record
/// of the kernel's.
pub struct Followed {
    key: FlowKey,
    flow: Flow,
    /// Its record outside is in the established table.
    is_established: AtomicBool,
    /// Since the hand of the clock has come by.
    is_used: AtomicBool,
    /// The record outside, as it was written last.
    written: Written,
    /// Packets that come find it.
    is_live: AtomicBool,
    /// It is no flow any more: nothing is written.
    is_gone: AtomicBool,
}

#[derive(Default)]
struct Written {
    state: Shared<u8>,
    epoch: Shared<u32>,
    time: Shared<u64>,
}

/// How old the record outside may get while packets come, nanoseconds, where that is less than a quarter of what the flow has to
/// live: it is what `vfw show flows` reads, what the sweep goes by, and what is left when this process is killed.
const REFRESH: u64 = 5_000_000_000;

impl Followed {
    fn new(key: &FlowKey, table: FlowTable, flow: Flow, written: u64) -> Self {
        let followed = Self {
            key: *key,
            flow,
            is_established: AtomicBool::new(table == FlowTable::Established),
            is_used: AtomicBool::new(true),
            written: Written::default(),
            is_live: AtomicBool::new(true),
            is_gone: AtomicBool::new(false),
        };
        followed.note_written(&followed.flow, written);
        followed
    }

    /// Whether packets that come find it. One that has made room for another flow they do not; who has a packet of it in hand
    /// still writes what that changes.
    pub fn is_followed(&self) -> bool {
        self.is_live.load(Ordering::Relaxed)
    }

    fn let_go(&self) {
        self.is_live.store(false, Ordering::Relaxed);
    }

    /// A packet of it has come: it does not make room the next time.
    pub fn note_used(&self) {
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
    }

    /// The key.
    pub fn key(&self) -> &FlowKey {
        &self.key
    }

    /// Where its record lives.
    pub fn table(&self) -> FlowTable {
        if self.is_established.load(Ordering::Relaxed) { FlowTable::Established } else { FlowTable::HalfOpen }
    }

    /// Whether the record outside has to be written: the flow has moved on, or a while has passed.
    pub fn is_due(&self, now: u64) -> bool {
        let Written { state, epoch, time } = &self.written;
        !self.is_gone.load(Ordering::Relaxed)
            && (self.flow.state.get() != state.get()
                || self.flow.epoch.get() != epoch.get()
                || now.saturating_sub(time.get()) >= REFRESH.min(self.flow.expires.get().saturating_sub(now) / 4)
                || self.is_opening())
    }

    /// Whether the record outside is as old as it may get while packets come.
    pub fn is_resting(&self, now: u64) -> bool {
        now.saturating_sub(self.written.time.get()) >= REFRESH
    }

    /// Whether the record outside is of the policy that it was written under last: nobody else has judged the flow since.
    pub fn is_own(&self, outside: &Flow) -> bool {
        outside.epoch.get() == self.written.epoch.get()
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

    /// Notes that the record outside is this one: the flow may have moved on since that was taken.
    pub fn note_written(&self, record: &Flow, now: u64) {
        self.written.state.set(record.state.get());
        self.written.epoch.set(record.epoch.get());
        self.written.time.set(now);
    }

    /// Its record is in the established table from now on.
    pub fn establish(&self) {
        self.is_established.store(true, Ordering::Relaxed);
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

/// Flows of one lock, at the least: workers seldom meet, and few flows have one clock.
const SHARD: usize = 1024;
const MOST_SHARDS: usize = 64;

/// Those flows, for all workers. As many as there are places; one that was not used for long makes room (the clock algorithm).
pub struct Flows {
    /// A power of two.
    shards: Vec<Mutex<Shard>>,
    hashing: KeyHashing,
}

impl Flows {
    /// Room for `capacity` flows, one at least.
    pub fn new(capacity: usize) -> Self {
        let shards = (capacity / SHARD).clamp(1, MOST_SHARDS).next_power_of_two();
        let shard = || Mutex::new(Shard::new(capacity.div_ceil(shards).max(1)));
        Self { shards: (0..shards).map(|_| shard()).collect(), hashing: KeyHashing::new() }
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // Other bits than those by which the table of a shard goes.
        let number = (hash >> 32) as usize & (self.shards.len() - 1);
        self.shards[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The hash of a key.
    pub fn hash(&self, key: &FlowKey) -> u64 {
        self.hashing.hash_one(key)
    }

    /// A flow that is followed, by its key and the hash of that.
    pub fn find(&self, hash: u64, key: &FlowKey) -> Option<Arc<Followed>> {
        let followed = self.shard(hash).find(hash, key)?;
        followed.note_used();
        Some(followed)
    }

    /// Follows a flow whose record is in `table` and was written at `written`, unless another worker follows it already. The flow
    /// that makes room for it, if one has to, is the second answer.
    pub fn follow(
        &self,
        key: &FlowKey,
        table: FlowTable,
        flow: Flow,
        written: u64,
    ) -> (Arc<Followed>, Option<Arc<Followed>>) {
        let hash = self.hashing.hash_one(key);
        let mut shard = self.shard(hash);
        if let Some(followed) = shard.find(hash, key) {
            return (followed, None);
        }
        let followed = Arc::new(Followed::new(key, table, flow, written));
        let evicted = shard.add(hash, &followed, &self.hashing);
        (followed, evicted)
    }

    /// Follows a flow no more; nothing is written.
    pub fn forget(&self, key: &FlowKey) {
        let hash = self.hashing.hash_one(key);
        if let Some(followed) = self.shard(hash).remove(hash, key) {
            followed.let_go();
            followed.is_gone.store(true, Ordering::Relaxed);
        }
    }

    /// Follows none any more; all that were followed.
    pub fn take_all(&self) -> Vec<Arc<Followed>> {
        let all: Vec<_> = self.all_shards().flat_map(|mut shard| shard.take_all()).collect();
        for followed in &all {
            followed.let_go();
        }
        all
    }

    /// All that are followed.
    pub fn all(&self) -> Vec<Arc<Followed>> {
        self.all_shards().flat_map(|shard| shard.places.iter().flatten().cloned().collect::<Vec<_>>()).collect()
    }

    /// How many are followed.
    pub fn len(&self) -> usize {
        self.all_shards().map(|shard| shard.index.len()).sum()
    }
}

/// Flows under one lock.
struct Shard {
    /// Places, by key.
    index: HashTable<usize>,
    places: Vec<Option<Arc<Followed>>>,
    hand: usize,
    capacity: usize,
}

impl Shard {
    const fn new(capacity: usize) -> Self {
        Self { index: HashTable::new(), places: Vec::new(), hand: 0, capacity }
    }

    fn find(&self, hash: u64, key: &FlowKey) -> Option<Arc<Followed>> {
        let place = *self.index.find(hash, |place| has_key(&self.places, *place, key))?;
        self.places.get(place)?.clone()
    }

    fn add(&mut self, hash: u64, followed: &Arc<Followed>, hashing: &KeyHashing) -> Option<Arc<Followed>> {
        let (place, evicted) = self.place(hashing);
        if let Some(place) = self.places.get_mut(place) {
            *place = Some(Arc::clone(followed));
        }
        let places = &self.places;
        let hash_of = |place: &usize| {
            let followed = places.get(*place).and_then(Option::as_ref);
            followed.map_or(0, |followed| hashing.hash_one(followed.key))
        };
        self.index.insert_unique(hash, place, hash_of);
        evicted.inspect(|followed| followed.let_go())
    }

    /// A place for one flow more, and whose it was.
    fn place(&mut self, hashing: &KeyHashing) -> (usize, Option<Arc<Followed>>) {
        if self.places.len() < self.capacity {
            self.places.push(None);
            return (self.places.len() - 1, None);
        }
        loop {
            let at = self.hand;
            self.hand = (self.hand + 1) % self.capacity;
            // Twice round at the most: each that is passed is not used the next time.
            match self.places.get(at) {
                Some(Some(followed)) if followed.is_used.swap(false, Ordering::Relaxed) => {}
                Some(Some(followed)) => {
                    let key = followed.key;
                    return (at, self.remove(hashing.hash_one(key), &key));
                }
                Some(None) => return (at, None),
                None => self.hand = 0,
            }
        }
    }

    fn remove(&mut self, hash: u64, key: &FlowKey) -> Option<Arc<Followed>> {
        let found = self.index.find_entry(hash, |place| has_key(&self.places, *place, key)).ok()?;
        let (place, _) = found.remove();
        self.places.get_mut(place)?.take()
    }

    fn take_all(&mut self) -> Vec<Arc<Followed>> {
        self.index.clear();
        self.hand = 0;
        std::mem::take(&mut self.places).into_iter().flatten().collect()
    }
}

fn has_key(places: &[Option<Arc<Followed>>], place: usize, key: &FlowKey) -> bool {
    places.get(place).and_then(Option::as_ref).is_some_and(|followed| followed.key == *key)
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

    fn add(flows: &Flows, number: u16) -> Option<u16> {
        let (_, evicted) = flows.follow(&key(number), FlowTable::HalfOpen, Flow::default(), 0);
        evicted.map(|evicted| evicted.key.low_port)
    }

    fn find(flows: &Flows, number: u16) -> bool {
        flows.find(flows.hash(&key(number)), &key(number)).is_some()
    }

    #[test]
    fn what_is_not_used_makes_room() {
        let flows = Flows::new(3);
        assert_eq!([1, 2, 3].map(|number| add(&flows, number)), [None; 3]);
        assert_eq!(add(&flows, 4), Some(1), "all were used: the hand has come round");
        assert!(find(&flows, 2));
        assert_eq!(add(&flows, 5), Some(3), "2 was used since");
        assert_eq!((flows.len(), !find(&flows, 3)), (3, true));
        flows.forget(&key(2));
        assert_eq!((flows.len(), add(&flows, 6)), (2, None), "a place that is free");
        assert_eq!(flows.take_all().len(), 3);
        assert_eq!(add(&flows, 7), None);
    }

    #[test]
    fn a_record_is_due_when_it_moves_on_or_gets_old() {
        let flows = Flows::new(3);
        let (flow, _) = flows.follow(&key(1), FlowTable::HalfOpen, Flow::default(), 10);
        flow.expires.set(10 + 100 * REFRESH);
        assert!(!flow.is_due(10) && !flow.is_due(9 + REFRESH) && flow.is_due(10 + REFRESH));
        flow.expires.set(10 + REFRESH);
        assert!(!flow.is_due(10) && flow.is_due(10 + REFRESH / 4), "one that has not long to live");
        let before = flow.record();
        flow.state.set(1);
        assert!(flow.is_due(10));
        flow.note_written(&flow.record(), 10);
        assert!(!flow.is_due(10));
        flow.note_written(&before, 10);
        assert!(flow.is_due(10), "an older record was written last");
        flow.note_written(&flow.record(), 10);
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
