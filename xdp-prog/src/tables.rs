//! [`Tables`] over the maps.

use core::ops::Deref;

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::maps::lpm_trie::Key;
use firewall_core::Address;
use firewall_core::classify::image::{HEADER_BLOCKS, WORDS, WORDS_V4};
use firewall_core::classify::{self, Block, Blocks, Decision, Walk, first_match};
use firewall_core::conntrack::{Flow, FlowKey};
use firewall_core::event::{Dropped, Event, Topic};
use firewall_core::limit::{Bucket, Work};
use firewall_core::packet::Packet;
use firewall_core::pipeline;
use firewall_core::tables::{
    Direction, FlowTable, FragmentKey, FragmentPorts, MAX_ZONES, NeighbourKey, NeighbourWord, Route, RuleKey, SLOTS,
    Settings, Tables, ZONE_SLOTS, Zone,
};
use firewall_core::verdict::{DROP_REASON_SLOTS, DropReason};

use crate::maps::{self, FlowWords, RouteData};
use crate::opaque;

/// The maps of this program.
pub struct KernelTables {
    /// Where the policy stands that this run of the program sees.
    slot: u32,
}

impl KernelTables {
    /// The tables, with the policy that is in force now.
    #[inline(always)]
    pub fn current() -> Self {
        let slot = maps::ACTIVE.get_ptr(0).map_or(0, |word| {
            // SAFETY: a valid, aligned element of an array map; the volatile read is one load.
            unsafe { word.read_volatile() }
        });
        Self { slot: slot as u32 & (SLOTS - 1) }
    }

    /// Sends the frame of an XDP program out of a zone's interface.
    #[inline(always)]
    pub fn redirect(&self, zone: u16) -> u32 {
        match maps::DEVICES.redirect(self.slot * MAX_ZONES + u32::from(zone), 0) {
            Ok(action) | Err(action) => action,
        }
    }
}

/// A flow record in map memory, which stays mapped. An element that another CPU removes meanwhile may at once hold another
/// flow: tables are allocated ahead. What is written to it then is lost, or lands in that flow.
pub struct FlowRef(*const Flow);

impl Deref for FlowRef {
    type Target = Flow;

    #[inline(always)]
    fn deref(&self) -> &Flow {
        // SAFETY: made from a map look-up only; the memory is the map's as long as the program runs, its fields are cells.
        unsafe { &*self.0 }
    }
}

impl Tables for KernelTables {
    type Flow = FlowRef;

    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        maps::SETTINGS.get(self.slot)
    }

    #[inline(always)]
    fn zone_slot(&self, slot: u32) -> u64 {
        maps::ZONE_INDEX.get(self.slot * ZONE_SLOTS + slot).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn zone(&self, zone: u16) -> Option<&Zone> {
        maps::ZONES.get(self.slot * MAX_ZONES + u32::from(zone))
    }

    #[inline(always)]
    fn flow(&self, table: FlowTable, key: &FlowKey) -> Option<FlowRef> {
        match table {
            FlowTable::HalfOpen => maps::HALF_OPEN.get_ptr(key),
            FlowTable::Established => maps::ESTABLISHED.get_ptr(key),
        }
        .map(|flow| FlowRef(flow.cast()))
    }

    #[inline(always)]
    fn add_flow(&self, key: &FlowKey, fill: impl FnOnce(&mut Flow)) -> Option<FlowRef> {
        let scratch = maps::FLOW_SCRATCH.get_ptr_mut(0)?;
        // SAFETY: this CPU's own element, as large and aligned as a Flow, for which zero is a value; programs are not
        // interrupted by other programs that use it (softirq context).
        unsafe {
            clear(scratch);
            fill(&mut *scratch.cast::<Flow>());
        }
        // Another CPU may have been first with the same flow: then its record counts.
        // SAFETY: as above.
        let _ = maps::HALF_OPEN.insert(key, unsafe { &*scratch }, BPF_NOEXIST as u64);
        self.flow(FlowTable::HalfOpen, key)
    }

    #[inline(always)]
    fn confirm_flow(&self, key: &FlowKey, flow: &FlowRef) -> Option<FlowRef> {
        // SAFETY: as in `FlowRef::deref`; the kernel copies the words.
        let words = unsafe { &*flow.0.cast::<FlowWords>() };
        maps::ESTABLISHED.insert(key, words, BPF_ANY as u64).ok()?;
        let _ = maps::HALF_OPEN.remove(key);
        self.flow(FlowTable::Established, key)
    }

    #[inline(always)]
    fn remove_flow(&self, table: FlowTable, key: &FlowKey) {
        let _ = match table {
            FlowTable::HalfOpen => maps::HALF_OPEN.remove(key),
            FlowTable::Established => maps::ESTABLISHED.remove(key),
        };
    }

    #[inline(always)]
    fn route(&self, address: &Address) -> Option<Route> {
        let [a, b, c, d] = address.words;
        let place = maps::ROUTE_SCRATCH.get_ptr_mut(0)?.cast::<Key<RouteData>>();
        // SAFETY: this CPU's own element, as large and aligned as a key.
        let key = unsafe {
            place.write(Key::new(160, [self.slot, a, b, c, d]));
            &*place
        };
        maps::ROUTES.get(key).copied()
    }

    #[inline(always)]
    fn neighbour_slot(&self, key: &NeighbourKey) -> Option<u32> {
        // SAFETY: the value is one word, written before it is published and never changed.
        unsafe { maps::NEIGHBOUR_SLOTS.get(key) }.copied()
    }

    #[inline(always)]
    fn neighbour(&self, slot: u32) -> NeighbourWord {
        // The volatile read is one load: the daemon changes the word while programs run.
        maps::NEIGHBOURS.get_ptr(slot).map_or(NeighbourWord(0), |word| {
            // SAFETY: a valid, aligned element of an array map.
            NeighbourWord(unsafe { word.read_volatile() })
        })
    }

    #[inline(always)]
    fn judge(&self, key: impl FnOnce() -> RuleKey) -> Option<Decision> {
        let key_scratch = rule_key_scratch()?;
        key_scratch.fill(&key());
        first_match(&mut KernelWalk { slot: self.slot, key: key_scratch })
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts> {
        // SAFETY: values are replaced whole; a torn copy could only name other ports, whose flow is judged by itself.
        unsafe { maps::FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn add_fragment(&self, key: &FragmentKey, ports: &FragmentPorts) {
        let _ = maps::FRAGMENTS.insert(key, ports, BPF_ANY as u64);
    }

    #[inline(always)]
    fn count_rule(&self, rule: u32, bytes: u32, now: u64) {
        if let Some(counter) = maps::RULE_COUNTERS.get_ptr_mut(self.slot * maps::rule_room() + rule) {
            // SAFETY: this CPU's own element.
            unsafe {
                (*counter).packets += 1;
                (*counter).bytes += u64::from(bytes);
                (*counter).last_hit = now;
            }
        }
    }

    #[inline(always)]
    fn count_zone(&self, zone: u16, direction: Direction, bytes: u32) {
        count(&maps::ZONE_COUNTERS, u32::from(zone) * 2 + direction as u32, bytes);
    }

    #[inline(always)]
    fn count_drop(&self, zone: u16, reason: DropReason, bytes: u32) {
        count(&maps::DROP_COUNTERS, u32::from(zone) * DROP_REASON_SLOTS + reason as u32, bytes);
    }

    #[inline(always)]
    fn count_lost(&self, zone: u16, topic: Topic) {
        if let Some(counter) = maps::LOST_EVENTS.get_ptr_mut(u32::from(zone) * TOPICS + topic as u32) {
            // SAFETY: this CPU's own element.
            unsafe { *counter += 1 };
        }
    }

    #[inline(always)]
    fn bucket(&self, zone: u16, work: Work) -> Option<&Bucket> {
        let buckets = maps::BUCKETS.get_ptr(u32::from(zone))?.cast::<Bucket>();
        // SAFETY: an element of an array map is never freed and has a bucket for each work; a bucket is a cell of one word,
        // which is read and written at once.
        Some(unsafe { &*buckets.add(work as usize) })
    }

    #[inline(always)]
    fn tell(&self, topic: Topic, fill: impl FnOnce(&mut Event)) -> bool {
        let ring = match topic {
            Topic::Log => &maps::LOG_EVENTS,
            Topic::Neighbour => &maps::NEIGHBOUR_EVENTS,
            Topic::Drop => &maps::DROP_EVENTS,
        };
        let Some(mut record) = ring.reserve::<Event>(0) else { return false };
        fill(record.write(Event::EMPTY));
        record.submit(0);
        true
    }

    #[inline(always)]
    fn count_dropped(&self, dropped: &Dropped, packet: &Packet) -> bool {
        // The function finds it in the scratch map.
        opaque::settle(packet);
        let end = u32::from(dropped.from) << 8 | dropped.reason as u32;
        end_of_drop(self.slot, end, dropped.ifindex, dropped.length, dropped.now) != 0
    }
}

/// [`pipeline::count_dropped`] for the packet in [`maps::PACKET_SCRATCH`]; `end` is the zone that it came from and the reason,
/// `zone << 8 | reason`.
///
/// A global function, as [`visit_rules`]: the ways by which a packet comes to its end are thousands.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn end_of_drop(slot: u32, end: u32, ifindex: u32, length: u32, now: u64) -> u64 {
    let (Some(packet), Some(reason)) = (packet_in_scratch(), DropReason::from_code(end as u8)) else { return 0 };
    let dropped = Dropped { from: (end >> 8) as u16, reason, ifindex, length, now };
    u64::from(pipeline::count_dropped(&KernelTables { slot: slot & (SLOTS - 1) }, &dropped, packet))
}

const TOPICS: u32 = Topic::ALL.len() as u32;

#[inline(always)]
fn count(map: &aya_ebpf::maps::PerCpuArray<firewall_core::tables::Counter>, index: u32, bytes: u32) {
    if let Some(counter) = map.get_ptr_mut(index) {
        // SAFETY: this CPU's own element.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += u64::from(bytes);
        }
    }
}

/// A look-up in the rule table of a slot.
struct KernelWalk {
    slot: u32,
    /// That in [`maps::RULE_KEY_SCRATCH`].
    key: &'static mut classify::Key,
}

impl Walk for KernelWalk {
    #[inline(always)]
    fn key(&mut self) -> &mut classify::Key {
        self.key
    }

    #[inline(always)]
    fn visit(&mut self, tree: usize) -> Option<bool> {
        match visit_rules(self.slot, tree as u32) {
            DAMAGED => None,
            classes => Some(classes != 0),
        }
    }

    #[inline(always)]
    fn by_class(&mut self) -> Option<()> {
        (match_by_class(self.slot) != DAMAGED).then_some(())
    }
}

/// The image is none.
const DAMAGED: u64 = u64::MAX;

/// [`classify::visit`] in the rule table of `slot`, for the key in [`maps::RULE_KEY_SCRATCH`]: 0 or 1, or [`DAMAGED`].
///
/// A global function, which the verifier follows once, whatever leads to its call; inlined, it would follow the walk for every
/// way through the parser. Such a function takes numbers only, so the key comes and goes by a map.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn visit_rules(slot: u32, tree: u32) -> u64 {
    // The table last: a look-up of a map would clobber the half of a stack slot that holds its mask.
    let (Some(key), Some(table)) = (rule_key_scratch(), KernelBlocks::of(slot)) else { return DAMAGED };
    classify::visit(&table, key, tree as usize).map_or(DAMAGED, u64::from)
}

/// [`classify::by_class`], likewise: 0, or [`DAMAGED`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_by_class(slot: u32) -> u64 {
    let Some(key) = rule_key_scratch() else { return DAMAGED };
    classify::by_class(&mut KernelWalk { slot, key }).map_or(DAMAGED, |()| 0)
}

/// Room for the key of one look-up.
#[inline(always)]
fn rule_key_scratch() -> Option<&'static mut classify::Key> {
    let key = maps::RULE_KEY_SCRATCH.get_ptr_mut(0)?;
    // SAFETY: this CPU's own element, for which all values are valid. Programs run to their end before another one runs on
    // this CPU, and the references of one do not overlap in time.
    Some(unsafe { &mut *key })
}

/// A bound of the header's words, a power of two.
const HEADER_WORDS: usize = (HEADER_BLOCKS as usize * WORDS).next_power_of_two();

/// The rule table in force when the look-up began: one image for one packet, whatever is published meanwhile.
///
/// An index is masked, not checked: one instruction, and nothing for the verifier to follow. One that is out of range, in a
/// damaged image, finds another word of the same map.
struct KernelBlocks {
    start: *const u64,
    /// Bytes of the map less one.
    mask: u64,
}

impl KernelBlocks {
    #[inline(always)]
    fn of(slot: u32) -> Option<Self> {
        let start = maps::RULES.get(slot)?.get_ptr(0)?.cast();
        Some(Self { start, mask: u64::from(maps::rule_blocks()) * size_of::<Block>() as u64 - 1 })
    }

    /// What lies at a byte offset, and the bytes behind it: a map has some to spare ([`SPARE_BLOCKS`]).
    #[inline(always)]
    fn at(&self, offset: u32) -> *const u64 {
        // Out of sight of the compiler, which would step from one record to the next, without the mask.
        let offset = opaque::masked(u64::from(offset), self.mask);
        // SAFETY: inside of the value, which has `mask + 1` bytes and the spare ones.
        unsafe { self.start.byte_add(offset as usize) }
    }

    /// The record of `N` words, a power of two, at `index`.
    #[inline(always)]
    fn record<const N: usize>(&self, index: u32) -> &[u64; N] {
        let start = self.at(index.wrapping_mul(size_of::<[u64; N]>() as u32));
        // SAFETY: inside of the value, which has more than `mask + 1` bytes, a multiple of N words, and stays as long as the
        // program runs.
        unsafe { &*start.cast() }
    }
}

impl Blocks for KernelBlocks {
    #[inline(always)]
    fn header(&self, word: usize) -> Option<u64> {
        // SAFETY: a rule table has far more words.
        Some(unsafe { *self.start.add(word & (HEADER_WORDS - 1)) })
    }

    #[inline(always)]
    fn lanes(&self, offset: u32) -> Option<u64> {
        // SAFETY: inside of the value, as above, the spare block included.
        Some(unsafe { self.at(offset).read_unaligned() })
    }

    #[inline(always)]
    fn word(&self, index: u32) -> Option<u64> {
        let [word] = *self.record(index);
        Some(word)
    }

    #[inline(always)]
    fn record_v4(&self, index: u32) -> Option<&[u64; WORDS_V4]> {
        Some(self.record(index))
    }

    #[inline(always)]
    fn block(&self, index: u32) -> Option<&[u64; WORDS]> {
        Some(self.record(index))
    }
}

/// Room for one packet, empty.
#[inline(always)]
pub fn packet_scratch() -> Option<&'static mut Packet> {
    let words = maps::PACKET_SCRATCH.get_ptr_mut(0)?;
    // SAFETY: this CPU's own element, as large and aligned as a Packet, for which zero is empty. Programs run to their
    // end before another one runs on this CPU, and each calls this once, so there is one reference at a time.
    unsafe {
        clear(words);
        Some(&mut *words.cast::<Packet>())
    }
}

/// The packet that the program, or the one before it, has put there.
#[inline(always)]
pub fn packet_in_scratch() -> Option<&'static Packet> {
    let words = maps::PACKET_SCRATCH.get_ptr(0)?;
    // SAFETY: as in `packet_scratch`; the caller's reference is not used while this one is.
    Some(unsafe { &*words.cast::<Packet>() })
}

/// Zeroes a record word by word. Written as one assignment it becomes a call of a `memset` that goes byte by byte.
///
/// # Safety
/// `words` is valid for writes.
#[inline(always)]
unsafe fn clear<const N: usize>(words: *mut [u64; N]) {
    for index in 0..N {
        // SAFETY: inside of the array, which the caller vouches for.
        unsafe { words.cast::<u64>().add(index).write_volatile(0) };
    }
}
