//! The pipeline in ordinary memory: tests of a policy, previews, fuzzing. No privileges, no kernel, the same code.
//!
//! ```
//! use firewall_core::packet::Packet;
//! use firewall_core::{DropReason, Verdict, process};
//! use vfw::backend::memory::{Memory, MemoryFrame};
//!
//! let memory = Memory::empty();
//! let mut frame = MemoryFrame::new(vec![0; 60]);
//! let mut packet = Packet::EMPTY;
//! assert_eq!(process(&mut frame, &memory, 1, 0, &mut packet), Verdict::Drop(DropReason::NotReady));
//! ```

mod frame;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use firewall_core::Address;
use firewall_core::classify::Decision;
use firewall_core::conntrack::{Flow, FlowKey};
use firewall_core::event::{Event, Topic};
use firewall_core::limit::{Bucket, Buckets, Work};
use firewall_core::tables::{
    Counter, Direction, FlowTable, FragmentKey, FragmentPorts, NO_ZONE, NeighbourKey, NeighbourWord, Route,
    RuleCounter, RuleKey, Settings, Tables, Zone,
};
use firewall_core::verdict::DropReason;

use super::lru::Lru;
use super::{Fragments, PolicyTables};
use crate::compile::Image;
use crate::config::Config;

pub use frame::MemoryFrame;

/// Events of each topic kept until somebody takes them.
const MAX_EVENTS: usize = 4096;

/// Policy, state and counters in ordinary collections.
pub struct Memory {
    policy: PolicyTables,
    limits: Limits,
    neighbours: RefCell<Neighbours>,
    state: RefCell<State>,
    counters: RefCell<Counters>,
    /// By zone; those of frames from no zone come last.
    buckets: Vec<Buckets>,
    /// By topic.
    events: RefCell<[VecDeque<Event>; Topic::ALL.len()]>,
}

/// How much state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Confirmed flows; a further one is refused.
    pub established: usize,
    /// Half-open flows; a further one takes the place of the least recently used.
    pub half_open: usize,
    /// Fragmented packets; a further one takes the place of the least recently used.
    pub fragments: usize,
}

impl Limits {
    /// Those of the settings file.
    pub fn of(config: &Config) -> Self {
        Self {
            established: config.flows.established.get() as usize,
            half_open: config.flows.half_open.get() as usize,
            fragments: config.flows.fragments.get() as usize,
        }
    }
}

struct State {
    half_open: Lru<FlowKey, Rc<Flow>>,
    established: HashMap<FlowKey, Rc<Flow>>,
    fragments: Fragments,
}

impl State {
    fn new(limits: Limits) -> Self {
        Self {
            half_open: Lru::new(limits.half_open),
            established: HashMap::new(),
            fragments: Fragments::new(limits.fragments),
        }
    }
}

#[derive(Default)]
struct Neighbours {
    /// By zone and address.
    slots: HashMap<(u32, Address), u32>,
    words: Vec<NeighbourWord>,
    generation: u16,
}

/// Everything that was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By rule; the default comes last. Rules that never decided may be missing at the end.
    pub rules: BTreeMap<u32, RuleCounter>,
    /// By zone: in, out.
    pub zones: BTreeMap<u16, [Counter; 2]>,
    /// By zone ([`firewall_core::tables::NO_ZONE`] for none) and reason.
    pub drops: BTreeMap<(u16, DropReason), Counter>,
    /// Events that were lost, by zone and topic.
    pub lost_events: BTreeMap<(u16, Topic), u64>,
}

const NOTHING: Counter = Counter { packets: 0, bytes: 0 };

fn count(counter: &mut Counter, bytes: u32) {
    counter.packets += 1;
    counter.bytes += u64::from(bytes);
}

impl Memory {
    /// A back end without a policy: everything is dropped as not ready.
    pub fn empty() -> Self {
        let limits = Limits::of(&Config::default());
        Self {
            policy: PolicyTables::default(),
            limits,
            neighbours: RefCell::default(),
            state: RefCell::new(State::new(limits)),
            counters: RefCell::default(),
            buckets: Vec::new(),
            events: RefCell::default(),
        }
    }

    /// A back end with this policy.
    pub fn new(image: &Image, limits: Limits) -> Self {
        Self {
            policy: PolicyTables::of(image),
            limits,
            state: RefCell::new(State::new(limits)),
            buckets: vec![Buckets::default(); image.zones.len() + 1],
            ..Self::empty()
        }
    }

    /// Puts another policy in force. Flows, counters and neighbours stay.
    pub fn replace(&mut self, image: &Image) {
        self.policy = PolicyTables::of(image);
        self.buckets.resize_with(self.policy.zones.len().max(self.buckets.len()), Buckets::default);
    }

    /// Makes a neighbour known, or changes its MAC. Its slot is the answer.
    pub fn add_neighbour(&self, zone: u16, address: impl Into<Address>, mac: [u8; 6]) -> u32 {
        let mut all = self.neighbours.borrow_mut();
        all.generation = all.generation.wrapping_add(1).max(1);
        let word = NeighbourWord::new(mac, all.generation);
        let next = all.words.len() as u32;
        let key = (u32::from(zone), address.into());
        let slot = *all.slots.entry(key).or_insert(next);
        match all.words.get_mut(slot as usize) {
            Some(known) => *known = word,
            None => all.words.push(word),
        }
        slot
    }

    /// Forgets a neighbour.
    pub fn remove_neighbour(&self, zone: u16, address: impl Into<Address>) {
        let mut all = self.neighbours.borrow_mut();
        let key = (u32::from(zone), address.into());
        if let Some(slot) = all.slots.remove(&key)
            && let Some(word) = all.words.get_mut(slot as usize)
        {
            *word = NeighbourWord(0);
        }
    }

    /// Forgets all flows and fragments, and what the zones have asked of the daemon; counters and neighbours stay.
    pub fn forget_flows(&self) {
        *self.state.borrow_mut() = State::new(self.limits);
        self.buckets.iter().flatten().for_each(Bucket::fill);
    }

    /// Removes flows that have expired, as the daemon does; the number removed.
    pub fn expire(&self, now: u64) -> usize {
        let mut state = self.state.borrow_mut();
        let before = state.established.len() + state.half_open.len();
        state.established.retain(|_, flow| flow.expires.get() > now);
        state.half_open.retain(|flow| flow.expires.get() > now);
        before - state.established.len() - state.half_open.len()
    }

    /// A flow, without the touch that keeps it from being evicted.
    pub fn peek_flow(&self, table: FlowTable, key: &FlowKey) -> Option<Rc<Flow>> {
        let state = self.state.borrow();
        match table {
            FlowTable::HalfOpen => state.half_open.peek(key).cloned(),
            FlowTable::Established => state.established.get(key).cloned(),
        }
    }

    /// Number of flows in a table, expired ones included.
    pub fn flow_count(&self, table: FlowTable) -> usize {
        let state = self.state.borrow();
        match table {
            FlowTable::HalfOpen => state.half_open.len(),
            FlowTable::Established => state.established.len(),
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.counters.borrow().clone()
    }

    /// The counter of a rule.
    pub fn rule_counter(&self, rule: u32) -> RuleCounter {
        self.counters.borrow().rules.get(&rule).copied().unwrap_or(RuleCounter::NONE)
    }

    /// Takes the events of a topic that wait, oldest first.
    pub fn take_events(&self, topic: Topic) -> Vec<Event> {
        std::mem::take(&mut self.events.borrow_mut()[topic as usize]).into()
    }

    /// A zone record.
    pub fn zones(&self) -> &[Zone] {
        &self.policy.zones
    }
}

impl Tables for Memory {
    type Flow = Rc<Flow>;

    fn settings(&self) -> Option<&Settings> {
        self.policy.settings.as_ref()
    }

    fn zone_slot(&self, slot: u32) -> u64 {
        self.policy.zone_slot(slot)
    }

    fn zone(&self, zone: u16) -> Option<&Zone> {
        self.policy.zone(zone)
    }

    fn flow(&self, table: FlowTable, key: &FlowKey) -> Option<Rc<Flow>> {
        let mut state = self.state.borrow_mut();
        match table {
            FlowTable::HalfOpen => state.half_open.find(key).cloned(),
            FlowTable::Established => state.established.get(key).cloned(),
        }
    }

    fn add_flow(&self, key: &FlowKey, fill: impl FnOnce(&mut Flow)) -> Option<Rc<Flow>> {
        let mut flow = Flow::default();
        fill(&mut flow);
        let mut state = self.state.borrow_mut();
        if state.half_open.peek(key).is_none() {
            state.half_open.insert(*key, Rc::new(flow));
        }
        state.half_open.find(key).cloned()
    }

    fn confirm_flow(&self, key: &FlowKey, flow: &Rc<Flow>) -> Option<Rc<Flow>> {
        let mut state = self.state.borrow_mut();
        if state.established.len() >= self.limits.established && !state.established.contains_key(key) {
            return None;
        }
        state.established.insert(*key, Rc::clone(flow));
        state.half_open.remove(key);
        Some(Rc::clone(flow))
    }

    fn remove_flow(&self, table: FlowTable, key: &FlowKey) {
        let mut state = self.state.borrow_mut();
        match table {
            FlowTable::HalfOpen => state.half_open.remove(key),
            FlowTable::Established => state.established.remove(key),
        };
    }

    fn route(&self, address: &Address) -> Option<Route> {
        self.policy.route(address)
    }

    fn neighbour_slot(&self, key: &NeighbourKey) -> Option<u32> {
        self.neighbours.borrow().slots.get(&(key.zone, key.address)).copied()
    }

    fn neighbour(&self, slot: u32) -> NeighbourWord {
        self.neighbours.borrow().words.get(slot as usize).copied().unwrap_or(NeighbourWord(0))
    }

    fn judge(&self, key: impl FnOnce() -> RuleKey) -> Option<Decision> {
        self.policy.judge(&key())
    }

    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts> {
        self.state.borrow_mut().fragments.find(key)
    }

    fn add_fragment(&self, key: &FragmentKey, ports: &FragmentPorts) {
        self.state.borrow_mut().fragments.insert(key, ports);
    }

    fn count_rule(&self, rule: u32, bytes: u32, now: u64) {
        let mut counters = self.counters.borrow_mut();
        let counter = counters.rules.entry(rule).or_insert(RuleCounter::NONE);
        counter.packets += 1;
        counter.bytes += u64::from(bytes);
        counter.last_hit = now;
    }

    fn count_zone(&self, zone: u16, direction: Direction, bytes: u32) {
        let mut counters = self.counters.borrow_mut();
        let [into, out] = counters.zones.entry(zone).or_insert([NOTHING; 2]);
        count(if direction == Direction::In { into } else { out }, bytes);
    }

    fn count_drop(&self, zone: u16, reason: DropReason, bytes: u32) {
        count(self.counters.borrow_mut().drops.entry((zone, reason)).or_insert(NOTHING), bytes);
    }

    fn count_lost(&self, zone: u16, topic: Topic) {
        *self.counters.borrow_mut().lost_events.entry((zone, topic)).or_default() += 1;
    }

    fn bucket(&self, zone: u16, work: Work) -> Option<&Bucket> {
        let buckets = if zone == NO_ZONE { self.buckets.last() } else { self.buckets.get(usize::from(zone)) };
        buckets?.get(work as usize)
    }

    fn tell(&self, topic: Topic, fill: impl FnOnce(&mut Event)) -> bool {
        let events = &mut self.events.borrow_mut()[topic as usize];
        if events.len() >= MAX_EVENTS {
            return false;
        }
        let mut event = Event::EMPTY;
        fill(&mut event);
        events.push_back(event);
        true
    }
}
