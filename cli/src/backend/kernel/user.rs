//! What the programs and the engine in user space share.
//!
//! - Flows: one table, the kernel's. A flow has one owner at a time: the engine, when both of its zones are of interfaces whose
//!   frames it takes and it listens, else the programs. The engine has records of its own and writes the kernel's when a
//!   flow changes its state and now and then; when it ends, or is killed, the programs go on with that.
//! - Neighbours: one word each, in memory that both have mapped.
//! - Counters: the engine has no CPU's element of the programs' counters to itself, so it has words of its own, which whoever
//!   reads adds. They outlive it as those do.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;

use aya::Ebpf;
use aya::maps::{HashMap, MapData, MapError, XskMap};
use firewall_core::DropReason;
use firewall_core::conntrack::{FLOW_BYTES, FLOW_KEY_BYTES, Flow, FlowKey};
use firewall_core::event::{Event, PuntHeader, Topic};
use firewall_core::tables::{
    Counter, Direction, FlowTable, NeighbourKey, NeighbourWord, OUTER_SOCKETS, RuleCounter, SLOTS, USER_COUNTS,
    user_count,
};
use firewall_core::verdict::DROP_REASON_SLOTS;
use zerocopy::FromBytes;

use super::error::KernelError;
use super::flows::{Flows, open};
use super::mmap::Words;
use super::object::{map_error, take_data, take_map};
use super::{Kernel, bytes, readers};
use crate::backend::afxdp::{Listening, Mailbox, Store};

/// Words of a rule's counter: packets, bytes, time of the last one.
pub(super) const RULE_WORDS: u32 = 3;

/// `BPF_NOEXIST` and `BPF_EXIST` (`include/uapi/linux/bpf.h`).
const IF_ABSENT: u64 = 1;
const IF_PRESENT: u64 = 2;

/// The maps of a loaded object for the engine.
pub(super) struct Maps {
    counters: Arc<Words>,
    rules: Arc<Words>,
    sockets: XskMap<MapData>,
}

impl Maps {
    pub(super) fn take(ebpf: &mut Ebpf, rule_room: u32) -> Result<Self, KernelError> {
        let mut map = |map: &'static str, count| {
            let words = Words::map(take_data(ebpf, map)?.fd().as_fd(), count);
            words.map(Arc::new).map_err(|source| KernelError::Mmap { map, source })
        };
        let counters = map("USER_COUNTERS", USER_COUNTS)?;
        let rules = map("USER_RULES", rule_room * SLOTS * RULE_WORDS)?;
        Ok(Self { counters, rules, sockets: take_map(ebpf, "SOCKETS")? })
    }

    fn count(&self, word: u32, counted: Counter) -> Counter {
        let load = |word| self.counters.load(word).unwrap_or(0);
        Counter { packets: counted.packets + load(word), bytes: counted.bytes + load(word + 1) }
    }

    /// What crossed the edge of a zone, with what programs have counted.
    pub(super) fn zone(&self, zone: u16, direction: Direction, counted: Counter) -> Counter {
        self.count(zone_word(zone, direction), counted)
    }

    /// What was dropped, with what programs have counted.
    pub(super) fn drops(&self, zone: u16, reason: DropReason, counted: Counter) -> Counter {
        self.count(drop_word(zone, reason), counted)
    }

    /// Events that were lost, by index of the programs' counter.
    pub(super) fn lost(&self, index: u32) -> u64 {
        self.counters.load(user_count::EVENTS + index).unwrap_or(0)
    }

    /// What a rule decided, by index of the programs' counter.
    pub(super) fn rule(&self, index: u32) -> RuleCounter {
        let load = |word| self.rules.load(index * RULE_WORDS + word).unwrap_or(0);
        RuleCounter { packets: load(0), bytes: load(1), last_hit: load(2) }
    }

    pub(super) fn clear_rules(&self, indices: Range<u32>) {
        (indices.start * RULE_WORDS..indices.end * RULE_WORDS).for_each(|word| self.rules.store(word, 0));
    }

    pub(super) fn clear_zone(&self, zone: u32) {
        let topics = Topic::ALL.len() as u32;
        let ways = user_count::ZONES + zone * 4..user_count::ZONES + (zone + 1) * 4;
        let reasons = DROP_REASON_SLOTS * 2;
        let drops = user_count::DROPS + zone * reasons..user_count::DROPS + (zone + 1) * reasons;
        let events = user_count::EVENTS + zone * topics..user_count::EVENTS + (zone + 1) * topics;
        ways.chain(drops).chain(events).for_each(|word| self.counters.store(word, 0));
    }
}

fn zone_word(zone: u16, direction: Direction) -> u32 {
    user_count::ZONES + (u32::from(zone) * 2 + direction as u32) * 2
}

fn drop_word(zone: u16, reason: DropReason) -> u32 {
    user_count::DROPS + (u32::from(zone) * DROP_REASON_SLOTS + reason as u32) * 2
}

impl Kernel {
    /// The state for the engine. What it has to tell goes to `mailbox`.
    pub fn user_space(&self, mailbox: Mailbox) -> Result<UserSpace, KernelError> {
        Ok(UserSpace {
            flows: RefCell::new(self.flows()?),
            neighbour_slots: open(&self.ebpf, "NEIGHBOUR_SLOTS")?,
            neighbours: Arc::clone(&self.neighbours),
            counters: Arc::clone(&self.user.counters),
            rules: Arc::clone(&self.user.rules),
            rule_room: self.rule_room,
            counted: Counted::default(),
            mailbox,
        })
    }

    /// The slot of the policy in force.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// Lets programs hand frames to these sockets, in the order in which they were opened: to all or to none.
    pub fn set_sockets(&mut self, sockets: &[Listening]) -> Result<(), KernelError> {
        let mut set = |index, listening: &Listening| {
            // Gone with its worker: the programs forward what would have been for it.
            let Some(socket) = listening.socket.upgrade() else { return Ok(()) };
            self.user.sockets.set(index, socket.as_fd().as_raw_fd(), 0).map_err(map_error("fill", "SOCKETS"))
        };
        sockets.iter().try_for_each(|listening| set(listening.index, listening))?;
        let outer = OUTER_SOCKETS.into_iter().zip([sockets.first(), sockets.last()]);
        outer.into_iter().try_for_each(|(index, listening)| listening.map_or(Ok(()), |listening| set(index, listening)))
    }

    /// From now on programs hand no frame to any of these sockets; what they have handed over is in their rings.
    pub fn unset_sockets(&mut self, sockets: &[Listening]) {
        for index in OUTER_SOCKETS.into_iter().chain(sockets.iter().map(|listening| listening.index)) {
            // Not there any more: the kernel takes a socket that is closed out by itself.
            let _ = self.user.sockets.unset(index);
        }
    }

    /// Returns when programs that run now have ended.
    pub fn wait_for_programs(&self) -> Result<(), KernelError> {
        readers::wait_for_readers().map_err(KernelError::Wait)
    }
}

/// The state of a loaded firewall, for the engine in user space.
pub struct UserSpace {
    flows: RefCell<Flows>,
    neighbour_slots: HashMap<MapData, [u8; size_of::<NeighbourKey>()], u32>,
    neighbours: Arc<Words>,
    counters: Arc<Words>,
    rules: Arc<Words>,
    rule_room: u32,
    counted: Counted,
    mailbox: Mailbox,
}

/// Counts of one worker that are not in the words yet. Workers share these; added packet by packet, each would wait for the lines
/// of the others.
#[derive(Default)]
struct Counted([Cell<Pending>; 8]);

/// What is to be added to two words that follow each other.
#[derive(Clone, Copy, Default)]
struct Pending {
    word: u32,
    packets: u64,
    bytes: u64,
}

impl Counted {
    /// Counts a packet; what has to make room for it, with its words.
    fn add(&self, word: u32, bytes: u32) -> Option<Pending> {
        // Words come in pairs, and those of a zone's two directions follow each other.
        let cell = self.0.get((word / 2 % 8) as usize)?;
        let pending = cell.get();
        let is_same = pending.word == word;
        let (packets, sum) = if is_same { (pending.packets, pending.bytes) } else { (0, 0) };
        cell.set(Pending { word, packets: packets + 1, bytes: sum + u64::from(bytes) });
        (!is_same && pending.packets > 0).then_some(pending)
    }

    fn take_all(&self) -> impl Iterator<Item = Pending> {
        self.0.iter().map(Cell::take).filter(|pending| pending.packets > 0)
    }
}

impl UserSpace {
    /// The way to the daemon.
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Writes a record; whether the kernel took it.
    fn insert(&self, table: FlowTable, key: &FlowKey, flow: &Flow, flags: u64) -> Result<(), MapError> {
        let record: [u8; FLOW_BYTES] = zerocopy::transmute!(flow.clone());
        self.flows.borrow_mut().table(table).insert(flow_key(key), record, flags)
    }

    fn count(&self, word: u32, bytes: u32) {
        if let Some(pending) = self.counted.add(word, bytes) {
            self.add(pending);
        }
    }

    fn add(&self, Pending { word, packets, bytes }: Pending) {
        self.counters.add(word, packets);
        self.counters.add(word + 1, bytes);
    }
}

fn flow_key(key: &FlowKey) -> [u8; FLOW_KEY_BYTES] {
    zerocopy::transmute!(*key)
}

fn is_error(error: &MapError, code: i32) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(code))
}

impl Store for UserSpace {
    fn flow(&self, table: FlowTable, key: &FlowKey) -> Option<Flow> {
        let record = self.flows.borrow_mut().table(table).get(&flow_key(key), 0).ok()?;
        Flow::read_from_bytes(&record).ok()
    }

    fn add(&self, key: &FlowKey, flow: &Flow) -> bool {
        match self.insert(FlowTable::HalfOpen, key, flow, IF_ABSENT) {
            Err(error) => is_error(&error, libc::EEXIST),
            Ok(()) => true,
        }
    }

    fn confirm(&self, key: &FlowKey, flow: &Flow) -> bool {
        let is_confirmed = self.insert(FlowTable::Established, key, flow, 0).is_ok();
        if is_confirmed {
            self.remove(FlowTable::HalfOpen, key);
        }
        is_confirmed
    }

    fn write(&self, table: FlowTable, key: &FlowKey, flow: &Flow) -> bool {
        self.insert(table, key, flow, IF_PRESENT).is_ok()
    }

    fn remove(&self, table: FlowTable, key: &FlowKey) {
        // Gone already, by the sweep or by eviction.
        let _ = self.flows.borrow_mut().table(table).remove(&flow_key(key));
    }

    fn neighbour_slot(&self, key: &NeighbourKey) -> Option<u32> {
        self.neighbour_slots.get(&bytes(key), 0).ok()
    }

    fn neighbour(&self, slot: u32) -> NeighbourWord {
        NeighbourWord(self.neighbours.load(slot).unwrap_or(0))
    }

    fn count_rule(&self, slot: u32, rule: u32, bytes: u32, now: u64) {
        let word = (slot * self.rule_room + rule) * RULE_WORDS;
        self.rules.add(word, 1);
        self.rules.add(word + 1, u64::from(bytes));
        self.rules.store(word + 2, now);
    }

    fn count_zone(&self, zone: u16, direction: Direction, bytes: u32) {
        self.count(zone_word(zone, direction), bytes);
    }

    fn count_drop(&self, zone: u16, reason: DropReason, bytes: u32) {
        self.count(drop_word(zone, reason), bytes);
    }

    fn count_lost(&self, zone: u16, topic: Topic) {
        self.counters.add(user_count::EVENTS + u32::from(zone) * Topic::ALL.len() as u32 + topic as u32, 1);
    }

    fn end_step(&self) {
        self.counted.take_all().for_each(|pending| self.add(pending));
    }

    fn tell(&self, topic: Topic, event: &Event) -> bool {
        self.mailbox.tell(topic, event)
    }

    fn punt(&self, header: &PuntHeader, bytes: &[u8]) -> bool {
        self.mailbox.punt(header, bytes)
    }
}
