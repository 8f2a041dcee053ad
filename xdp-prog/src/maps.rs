//! The maps. Sizes marked (load) are set by the loader from `vfw.toml` and the policy.

use aya_ebpf::Global;
use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, DevMap, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, RingBuf, XskMap};
use firewall_core::classify::image::RULE_BLOCKS_MARKER;
use firewall_core::classify::{self, Block};
use firewall_core::conntrack::{FLOW_BYTES, FLOW_KEY_BYTES, Flow, FlowKey};
use firewall_core::event::{Topic, ring};
use firewall_core::limit::{Buckets, WORKS};
use firewall_core::packet::Packet;
use firewall_core::tables;
use firewall_core::tables::{
    Counter, FragmentKey, FragmentPorts, MAX_ZONES, NeighbourKey, Route, RuleCounter, RuleKey, SLOTS, Settings,
    USER_COUNTS, ZONE_SLOTS, Zone,
};
use firewall_core::verdict::DROP_REASON_SLOTS;

const _: () = assert!(size_of::<FlowKey>() == FLOW_KEY_BYTES && size_of::<Flow>() == FLOW_BYTES);
const _: () = assert!(size_of::<Key<RouteData>>() == 24);

/// What a route is found by: the slot of its policy, then the destination.
pub type RouteData = [u32; 5];

/// Rules that each slot has room for; set by the loader.
#[unsafe(no_mangle)]
static RULE_ROOM: Global<u32> = Global::new(1);

/// Blocks of each rule table, a power of two; set by the loader.
#[unsafe(no_mangle)]
static RULE_BLOCKS: Global<u32> = Global::new(1);

/// Blocks of each rule table.
#[inline(always)]
pub fn rule_blocks() -> u32 {
    RULE_BLOCKS.load()
}

/// Rules that each slot has room for.
#[inline(always)]
pub fn rule_room() -> u32 {
    RULE_ROOM.load()
}

/// A [`Flow`], whose cells keep it from being the type of a static.
pub type FlowWords = [u64; FLOW_BYTES / 8];

/// The [`Buckets`] of a zone, likewise.
pub type BucketWords = [i64; WORKS];
const _: () = assert!(size_of::<Buckets>() == size_of::<BucketWords>());

/// Which slot of the tables that make up a policy is in force: 0 or 1. The other one is where the next policy is written.
#[map]
pub static ACTIVE: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// By slot.
#[map]
pub static SETTINGS: Array<Settings> = Array::with_max_entries(SLOTS, 0);
/// Slot after slot.
#[map]
pub static ZONE_INDEX: Array<u64> = Array::with_max_entries(SLOTS * ZONE_SLOTS, 0);
/// Slot after slot.
#[map]
pub static ZONES: Array<Zone> = Array::with_max_entries(SLOTS * MAX_ZONES, 0);
/// One rule table, in one value: found once for each look-up. (load) Its blocks: the loader writes their number in place of
/// the marker.
pub type RuleImage = btf_maps::Array<[Block; RULE_BLOCKS_MARKER], 1, { BPF_F_MMAPABLE as usize }>;
/// A rule table for each slot.
#[btf_map]
pub static RULES: btf_maps::ArrayOfMaps<RuleImage, { SLOTS as usize }> = btf_maps::ArrayOfMaps::new();
/// (load) Routes of both slots.
#[map]
pub static ROUTES: LpmTrie<RouteData, Route> = LpmTrie::with_max_entries(1, BPF_F_NO_PREALLOC);
/// (load) Slots of resolved neighbours.
#[map]
pub static NEIGHBOUR_SLOTS: HashMap<NeighbourKey, u32> = HashMap::with_max_entries(1, 0);
/// (load) Neighbours; mapped into the daemon, which writes whole words.
#[map]
pub static NEIGHBOURS: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// (load) Confirmed flows: allocated at load, nothing is evicted.
#[map]
pub static ESTABLISHED: HashMap<FlowKey, FlowWords> = HashMap::with_max_entries(1, 0);
/// (load) Flows that one side asked for.
#[map]
pub static HALF_OPEN: LruHashMap<FlowKey, FlowWords> = LruHashMap::with_max_entries(1, 0);
/// (load) Ports of fragmented packets.
#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentPorts> = LruHashMap::with_max_entries(1, 0);
/// (load) One per rule, and one for the default, slot after slot.
#[map]
pub static RULE_COUNTERS: PerCpuArray<RuleCounter> = PerCpuArray::with_max_entries(1, 0);
/// Per zone: in, out.
#[map]
pub static ZONE_COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(MAX_ZONES * 2, 0);
/// Per zone, and one more for frames from no zone, every drop reason.
#[map]
pub static DROP_COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries((MAX_ZONES + 1) * DROP_REASON_SLOTS, 0);
/// Interfaces by zone, for XDP, slot after slot.
#[map]
pub static DEVICES: DevMap = DevMap::with_max_entries(SLOTS * MAX_ZONES, 0);
/// Sockets of the engine in user space, by [`firewall_core::tables::socket_index`]. One that is closed is not there.
#[map]
pub static SOCKETS: XskMap = XskMap::with_max_entries(tables::SOCKETS, 0);
/// What the engine in user space counts of zones and drops, beside the counters of the programs: it has no CPU's element to
/// itself. No program reads it.
#[map]
pub static USER_COUNTERS: Array<u64> = Array::with_max_entries(USER_COUNTS, BPF_F_MMAPABLE);
/// (load) The same of rules, slot after slot.
#[map]
pub static USER_RULES: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// The parts of the pipeline, by [`firewall_core::pipeline::Part`].
#[map]
pub static XDP_PARTS: ProgramArray = ProgramArray::with_max_entries(5, 0);
#[map]
pub static TC_PARTS: ProgramArray = ProgramArray::with_max_entries(4, 0);
/// Room for the parsed packet of the programs that are called by the first: they have little stack left, and what
/// comes back from a map is unknown to the verifier, which would otherwise follow every way through the parser to
/// the end of the program.
#[map]
pub static PACKET_SCRATCH: PerCpuArray<[u64; size_of::<Packet>().div_ceil(8)]> = PerCpuArray::with_max_entries(1, 0);
/// Per zone and topic: events that the daemon does not see.
#[map]
pub static LOST_EVENTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(MAX_ZONES * Topic::ALL.len() as u32, 0);
/// Per zone, and one more for frames from no zone: what it may ask of the daemon. One for all CPUs, or the limits would grow
/// with their number.
#[map]
pub static BUCKETS: Array<BucketWords> = Array::with_max_entries(MAX_ZONES + 1, 0);
/// Events, a ring for each topic.
#[map]
pub static LOG_EVENTS: RingBuf = RingBuf::with_byte_size(ring::LOG, 0);
#[map]
pub static DROP_EVENTS: RingBuf = RingBuf::with_byte_size(ring::DROP, 0);
#[map]
pub static NEIGHBOUR_EVENTS: RingBuf = RingBuf::with_byte_size(ring::NEIGHBOUR, 0);
/// Frames whose neighbour is to be found.
#[map]
pub static PUNTS: RingBuf = RingBuf::with_byte_size(ring::RESOLVE, 0);
/// Beginnings of frames whose sender is to be told of their end.
#[map]
pub static REPORTS: RingBuf = RingBuf::with_byte_size(ring::REPORT, 0);
/// Room for the key of a route: a program's stack has none.
#[map]
pub static ROUTE_SCRATCH: PerCpuArray<[u64; size_of::<Key<RouteData>>() / 8]> = PerCpuArray::with_max_entries(1, 0);
/// Room for a rule look-up: an index that is only known at run time is no matter in a map.
#[map]
pub static RULE_KEY_SCRATCH: PerCpuArray<classify::Key> = PerCpuArray::with_max_entries(1, 0);
/// (load) `vfw bench classify`: keys to look up, what the rules say of each, and the next one and their number.
#[map]
pub static BENCH_KEYS: Array<RuleKey> = Array::with_max_entries(1, 0);
#[map]
pub static BENCH_DECISIONS: Array<u32> = Array::with_max_entries(1, 0);
#[map]
pub static BENCH_NEXT: Array<[u32; 2]> = Array::with_max_entries(1, 0);
/// Room for one flow record: too large for the stack beside the packet.
#[map]
pub static FLOW_SCRATCH: PerCpuArray<FlowWords> = PerCpuArray::with_max_entries(1, 0);
/// Room for the bytes of one checksum step.
#[map]
pub static SUM_SCRATCH: PerCpuArray<[u8; crate::sum::ROOM]> = PerCpuArray::with_max_entries(1, 0);
