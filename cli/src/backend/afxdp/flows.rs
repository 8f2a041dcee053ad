//! The flows that the engine follows: records of its own, so that a packet costs no system call.

use std::cell::Cell;
use std::collections::HashMap;
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

/// How old the record outside may get while packets come, nanoseconds: it is what `vfw show flows` reads, and what is left when
/// this process is killed. Shorter than the shortest timeout, which is a second.
const REFRESH: u64 = 500_000_000;

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
                || now.saturating_sub(time) >= REFRESH
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
    index: HashMap<FlowKey, usize>,
    places: Vec<Option<Rc<Followed>>>,
    hand: usize,
    capacity: usize,
}

impl Flows {
    /// Room for `capacity` flows, one at least.
    pub fn new(capacity: usize) -> Self {
        Self { index: HashMap::new(), places: Vec::new(), hand: 0, capacity: capacity.max(1) }
    }

    /// A flow that is followed.
    pub fn find(&self, key: &FlowKey) -> Option<Rc<Followed>> {
        let followed = self.places.get(*self.index.get(key)?)?.as_ref()?;
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
        self.index.insert(*key, place);
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
        if let Some(place) = self.index.remove(key)
            && let Some(followed) = self.places.get_mut(place).and_then(Option::take)
        {
            followed.is_gone.set(true);
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
        assert!(!flow.is_due(10) && !flow.is_due(9 + REFRESH) && flow.is_due(10 + REFRESH));
        flow.state.set(1);
        assert!(flow.is_due(10));
        flow.note_written(10);
        assert!(!flow.is_due(10));
        flow.epoch.set(1);
        assert!(flow.is_due(10));
        flows.forget(&key(1));
        assert!(!flow.is_due(10), "it is gone");
    }
}
