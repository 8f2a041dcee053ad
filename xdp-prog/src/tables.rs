//! [`Tables`] over the maps.

use core::ffi::c_void;
use core::ops::Deref;

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::helpers::bpf_loop;
use aya_ebpf::maps::lpm_trie::Key;
use firewall_core::Address;
use firewall_core::conntrack::{Flow, FlowKey};
use firewall_core::event::{Event, Topic};
use firewall_core::limit::{Bucket, Work};
use firewall_core::packet::Packet;
use firewall_core::tables::{
    Direction, FlowTable, FragmentKey, FragmentPorts, MAX_ZONES, NeighbourKey, NeighbourWord, Route, RuleEntry,
    RuleKey, SLOTS, Settings, Tables, ZONE_SLOTS, Zone,
};
use firewall_core::verdict::{DROP_REASON_SLOTS, DropReason};

use crate::maps::{self, FlowWords, RouteData};

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
}

/// A flow record in map memory. The kernel keeps it valid until the program returns (RCU).
pub struct FlowRef(*const Flow);

impl Deref for FlowRef {
    type Target = Flow;

    #[inline(always)]
    fn deref(&self) -> &Flow {
        // SAFETY: made from a map look-up only; the element outlives the program run, its fields are cells.
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
        let key = RouteKey(Key::new(160, [self.slot, a, b, c, d]));
        maps::ROUTES.get(&key.0).copied()
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
    fn judge(&self, settings: &Settings, key: &RuleKey) -> Option<&RuleEntry> {
        let mut search = Search { key, start: self.slot * maps::rule_room(), found: NOT_FOUND };
        // SAFETY: the callback gets a pointer to `search`, which outlives the call.
        unsafe { bpf_loop(settings.rule_entries, visit_rule as *const () as *mut c_void, (&raw mut search).cast(), 0) };
        maps::RULES.get(search.found)
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
        };
        let Some(mut record) = ring.reserve::<Event>(0) else { return false };
        fill(record.write(Event::EMPTY));
        record.submit(0);
        true
    }
}

/// On the stack, where the verifier wants the pairs of words aligned that the compiler writes.
#[repr(align(8))]
struct RouteKey(Key<RouteData>);

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

/// State of a walk over the rule table.
struct Search {
    key: *const RuleKey,
    /// Index of the first entry of the slot.
    start: u32,
    /// Index of the first entry that matches.
    found: u32,
}

/// Index of no entry.
const NOT_FOUND: u32 = u32::MAX;

/// One step of the walk; 1 ends it.
unsafe extern "C" fn visit_rule(index: u32, search: *mut c_void) -> i64 {
    // SAFETY: `judge` passes its Search, which nothing else touches during the walk.
    let search = unsafe { &mut *search.cast::<Search>() };
    // SAFETY: the key outlives the walk.
    let key = unsafe { &*search.key };
    match maps::RULES.get(search.start + index) {
        Some(entry) if entry.matches(key) => {
            search.found = search.start + index;
            1
        }
        Some(_) => 0,
        None => 1,
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
