//! What the engine shares with the kernel, in memory.

use std::cell::RefCell;
use std::rc::Rc;

use firewall_core::conntrack::{Flow, FlowKey};
use firewall_core::event::{Event, PuntHeader, Topic};
use firewall_core::tables::{Direction, FlowTable, NeighbourKey, NeighbourWord, Tables as _};
use firewall_core::verdict::DropReason;
use vfw::backend::afxdp::Store;
use vfw::backend::memory::Memory;

/// Frames for the daemon, shared with whoever looks at them.
pub type Punted = Rc<RefCell<Vec<(PuntHeader, Vec<u8>)>>>;

/// Tables in memory in the place of the kernel's, and the frames for the daemon.
pub struct MemoryStore {
    /// The tables.
    pub memory: Memory,
    /// Frames for the daemon, oldest first.
    pub punted: Punted,
}

impl MemoryStore {
    /// A store over these tables.
    pub fn new(memory: Memory) -> Self {
        Self { memory, punted: Rc::default() }
    }
}

/// Makes a record say what another one does; who began the flow stays.
fn copy(from: &Flow, to: &Flow) {
    to.expires.set(from.expires.get());
    to.rule.set(from.rule.get());
    to.state.set(from.state.get());
    to.epoch.set(from.epoch.get());
    for (from, to) in from.next_hops.iter().zip(&to.next_hops) {
        to.neighbour.set(from.neighbour.get());
        to.generation.set(from.generation.get());
        to.zone.set(from.zone.get());
    }
    for (from, to) in from.halves.iter().zip(&to.halves) {
        to.packets.set(from.packets.get());
        to.bytes.set(from.bytes.get());
        to.numbers.set(from.numbers.get());
        to.window.set(from.window.get());
        to.scale.set(from.scale.get());
        to.flags.set(from.flags.get());
    }
}

impl Store for MemoryStore {
    fn flow(&self, table: FlowTable, key: &FlowKey) -> Option<Flow> {
        self.memory.flow(table, key).map(|flow| Flow::clone(&flow))
    }

    fn add(&self, key: &FlowKey, flow: &Flow) -> bool {
        self.memory.add_flow(key, |new| *new = flow.clone()).is_some()
    }

    fn confirm(&self, key: &FlowKey, flow: &Flow) -> bool {
        let Some(half_open) = self.memory.add_flow(key, |new| *new = flow.clone()) else { return false };
        copy(flow, &half_open);
        self.memory.confirm_flow(key, &half_open).is_some()
    }

    fn write(&self, table: FlowTable, key: &FlowKey, flow: &Flow) -> bool {
        let known = self.memory.peek_flow(table, key);
        known.as_ref().iter().for_each(|known| copy(flow, known));
        known.is_some()
    }

    fn remove(&self, table: FlowTable, key: &FlowKey) {
        self.memory.remove_flow(table, key);
    }

    fn neighbour_slot(&self, key: &NeighbourKey) -> Option<u32> {
        self.memory.neighbour_slot(key)
    }

    fn neighbour(&self, slot: u32) -> NeighbourWord {
        self.memory.neighbour(slot)
    }

    fn count_rule(&self, _slot: u32, rule: u32, bytes: u32, now: u64) {
        self.memory.count_rule(rule, bytes, now);
    }

    fn count_zone(&self, zone: u16, direction: Direction, bytes: u32) {
        self.memory.count_zone(zone, direction, bytes);
    }

    fn count_drop(&self, zone: u16, reason: DropReason, bytes: u32) {
        self.memory.count_drop(zone, reason, bytes);
    }

    fn count_lost(&self, zone: u16, topic: Topic) {
        self.memory.count_lost(zone, topic);
    }

    fn tell(&self, topic: Topic, event: &Event) -> bool {
        self.memory.tell(topic, |told| *told = *event)
    }

    fn punt(&self, header: &PuntHeader, bytes: &[u8]) -> bool {
        self.punted.borrow_mut().push((*header, bytes.to_vec()));
        true
    }
}
