//! The one port through which the pipeline reads policy and keeps state, and the records behind it.
//!
//! Back ends: eBPF maps, and ordinary collections in memory. Records are plain data of fixed layout, shared byte
//! for byte between the kernel programs and user space; integers are in host order unless said otherwise.

use core::ops::Deref;

use crate::address::Address;
use crate::classify::Decision;
use crate::conntrack::{FLOW_STATES, Flow, FlowKey, FlowState};
use crate::event::{Dropped, Event, Topic};
use crate::limit::{Bucket, Rate, WORKS, Work};
use crate::packet::Packet;
use crate::pipeline;
use crate::verdict::DropReason;

/// Version of what programs and daemon share beyond the sizes of records: the meaning of the tables that outlive a restart.
/// Raised when a program of this version cannot go on with tables that one of another version has filled, or the other way
/// round: 2 knows flows whose windows are behind. Rule tables are not among them: each generation of programs has its own.
pub const ABI_VERSION: u32 = 2;
/// Most zones of one policy; zone identifiers are below it.
pub const MAX_ZONES: u32 = 1024;
/// Numbers that the engine in user space counts: see [`user_count`].
pub const USER_COUNTS: u32 = user_count::EVENTS + MAX_ZONES * Topic::ALL.len() as u32;

/// Where the engine in user space counts. What is counted in packets and bytes has two words.
pub mod user_count {
    use super::MAX_ZONES;
    use crate::verdict::DROP_REASON_SLOTS;

    /// By zone: in, out.
    pub const ZONES: u32 = 0;
    /// By zone, and one more for frames from no zone, then by drop reason.
    pub const DROPS: u32 = ZONES + MAX_ZONES * 4;
    /// Lost events, by zone and topic: one word.
    pub const EVENTS: u32 = DROPS + (MAX_ZONES + 1) * DROP_REASON_SLOTS * 2;
}

/// Stands for the zone of a frame that comes from none.
pub const NO_ZONE: u16 = MAX_ZONES as u16;
/// Places for a policy in a back end that changes it under traffic: one is in force, the next one is written to the other.
pub const SLOTS: u32 = 2;
/// Slots of the zone index, a power of two: four times [`MAX_ZONES`], so that probing stays short.
pub const ZONE_SLOTS: u32 = 4096;
/// Most slots that one look-up in the zone index visits.
pub const ZONE_PROBES: u32 = 8;

macro_rules! plain {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident : $kind:ty,)+ }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[cfg_attr(
            not(target_arch = "bpf"),
            derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
        )]
        pub struct $name { $($(#[$field_meta])* pub $field: $kind,)+ }
    };
}
pub(crate) use plain;

/// Size of the timeout table: room for every [`FlowState`], and a power of two that bounds its index.
pub const TIMEOUTS: usize = 16;
const _: () = assert!(FLOW_STATES <= TIMEOUTS);

plain! {
    /// What the daemon sets once for all packets.
    pub struct Settings {
        /// Idle nanoseconds after which a flow in each [`FlowState`] ends.
        pub timeouts: [u64; TIMEOUTS],
        /// How much each zone may ask of the daemon, by [`Work`].
        pub rates: [Rate; WORKS],
        /// Number of the policy in force; 0 when there is none.
        pub epoch: u32,
        /// Zero.
        pub padding: u32,
    }
}

impl Settings {
    /// Idle nanoseconds after which a flow in `state` ends.
    #[inline(always)]
    pub const fn timeout(&self, state: FlowState) -> u64 {
        self.timeouts[state as usize & (TIMEOUTS - 1)]
    }
}

plain! {
    /// A zone: one VLAN (or the untagged frames) of one interface.
    pub struct Zone {
        /// Kernel index of the interface; 0 while it is away, so that no other device is ever meant.
        pub ifindex: u32,
        /// Largest IP packet that may leave, bytes.
        pub mtu: u32,
        /// VLAN identifier; 0 for untagged.
        pub vlan: u16,
        /// Bits of [`zone_flag`].
        pub flags: u16,
        /// MAC of the gateway.
        pub mac: [u8; 6],
        /// Which of the [`SOCKET_PORTS`] its interface is, where [`zone_flag::USER_SPACE`] is set.
        pub port: u16,
    }
}

impl Zone {
    /// No zone: nothing comes from it, nothing leaves by it.
    pub const CLOSED: Self = Self { ifindex: 0, mtu: 0, vlan: 0, flags: zone_flag::DOWN, mac: [0; 6], port: 0 };
}

/// What is special about a zone's interface.
pub mod zone_flag {
    /// Frames may come in with their transport checksum left to hardware.
    pub const PARTIAL_CHECKSUMS: u16 = 1;
    /// The interface is a veth whose peer may be entered directly (`bpf_redirect_peer`).
    pub const PEER: u16 = 2;
    /// Nothing can leave by the interface: it is down or away.
    pub const DOWN: u16 = 4;
    /// Flows between two zones with this flag are followed in user space, as long as it listens.
    pub const USER_SPACE: u16 = 8;
}

/// Interfaces whose frames user space can take.
pub const SOCKET_PORTS: u32 = 64;
/// Receive queues of each of them.
pub const SOCKET_QUEUES: u32 = 64;

/// Where the sockets are found that the engine has opened first and last. A process that is killed closes its sockets one after
/// the other and the kernel takes its time for each; without these two no frame is handed to one that is left.
pub const OUTER_SOCKETS: [u32; 2] = [SOCKET_PORTS * SOCKET_QUEUES, SOCKET_PORTS * SOCKET_QUEUES + 1];
/// Places for sockets.
pub const SOCKETS: u32 = SOCKET_PORTS * SOCKET_QUEUES + OUTER_SOCKETS.len() as u32;

/// Where the socket of a receive queue, below [`SOCKET_QUEUES`], of a port is found.
#[inline(always)]
pub const fn socket_index(port: u16, queue: u32) -> u32 {
    port as u32 * SOCKET_QUEUES + queue
}

impl Zone {
    /// The VLAN tag of frames that leave, if any.
    #[inline(always)]
    pub const fn tag(&self) -> Option<u16> {
        if self.vlan == 0 { None } else { Some(self.vlan) }
    }
}

/// A slot of the zone index: interface index (32 bits), VLAN (16), zone (16). Zero is empty.
#[inline(always)]
pub const fn zone_slot(ifindex: u32, vlan: u16, zone: u16) -> u64 {
    (ifindex as u64) << 32 | (vlan as u64) << 16 | zone as u64
}

/// Where the search for (interface, VLAN) begins.
#[inline(always)]
pub const fn zone_slot_start(ifindex: u32, vlan: u16) -> u32 {
    // Fibonacci hashing: neighbouring interfaces and VLANs fall far apart.
    let mixed = (ifindex.wrapping_mul(0x9e37_79b1)) ^ (vlan as u32).wrapping_mul(0x85eb_ca6b);
    mixed >> 20
}

plain! {
    /// A prefix in the 128-bit form, as the kernel's longest-prefix trie wants it.
    pub struct RouteKey {
        /// Bits of the prefix that count.
        pub prefix_length: u32,
        /// Address.
        pub address: Address,
    }
}

plain! {
    /// Where packets for a prefix go.
    pub struct Route {
        /// Next hop; unspecified when the destination itself is the neighbour.
        pub next_hop: Address,
        /// Zone through which they leave.
        pub zone: u16,
        /// A [`RouteKind`] code.
        pub kind: u16,
    }
}

/// What a route leads to.
#[repr(u16)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteKind {
    /// A host of the zone itself, or the next hop named.
    Forward = 0,
    /// One of vfw's gateway addresses.
    Local = 1,
    /// Broadcast or network address of a zone's subnet, link-local addresses: never forwarded.
    Unroutable = 2,
    /// Nowhere, as if there were no route: keeps a default route of IPv6 from taking in the mapped IPv4 addresses.
    NoRoute = 3,
}

plain! {
    /// Identifies a neighbour.
    pub struct NeighbourKey {
        /// Its address.
        pub address: Address,
        /// Zone in which it lives.
        pub zone: u32,
    }
}

/// A neighbour slot as one word, written and read at once: MAC (48 bits, first byte lowest), generation (16 bits,
/// 0 when the slot is not in use).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NeighbourWord(pub u64);

impl NeighbourWord {
    /// A slot in use.
    pub const fn new(mac: [u8; 6], generation: u16) -> Self {
        let [a, b, c, d, e, f] = mac;
        let [g, h] = generation.to_le_bytes();
        Self(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    /// The neighbour's MAC.
    #[inline(always)]
    pub const fn mac(self) -> [u8; 6] {
        let [a, b, c, d, e, f, ..] = self.0.to_le_bytes();
        [a, b, c, d, e, f]
    }

    /// The slot's generation; 0 when it is not in use.
    #[inline(always)]
    pub const fn generation(self) -> u16 {
        (self.0 >> 48) as u16
    }
}

/// Matches every zone.
pub const ANY_ZONE: u16 = u16::MAX;
/// What a rule does.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Let the flow pass.
    Allow = 0,
    /// Drop without a word.
    Drop = 1,
    /// Drop; the sender is to be told (not yet: acts as drop).
    Reject = 2,
}

plain! {
    /// What rules look at: the first packet of a flow.
    pub struct RuleKey {
        /// Source address.
        pub source: Address,
        /// Destination address.
        pub destination: Address,
        /// Source port, or 0.
        pub source_port: u16,
        /// Destination port; `type << 8 | code` for ICMP.
        pub destination_port: u16,
        /// Ingress zone.
        pub from: u16,
        /// Egress zone.
        pub to: u16,
        /// IP protocol.
        pub protocol: u16,
        /// TCP flags, or 0.
        pub tcp_flags: u16,
    }
}

plain! {
    /// Identifies the fragments of one packet (RFC 791 section 3.2, RFC 8200 section 4.5). Zones are kept apart: the first
    /// fragment is remembered before its source is checked.
    pub struct FragmentKey {
        /// Source address.
        pub source: Address,
        /// Destination address.
        pub destination: Address,
        /// Identification.
        pub id: u32,
        /// IP protocol.
        pub protocol: u16,
        /// Ingress zone.
        pub zone: u16,
    }
}

plain! {
    /// What later fragments lack: the fields of the first one that find the flow, and place them in it.
    pub struct FragmentPorts {
        /// When the entry ends, nanoseconds.
        pub expires: u64,
        /// TCP: the sequence number that the first byte of the TCP header would have. A FIN, which counts as a byte behind
        /// all of them, is counted here.
        pub sequence: u32,
        /// Source port.
        pub source_port: u16,
        /// Destination port.
        pub destination_port: u16,
        /// ICMP type.
        pub icmp_type: u8,
        /// Zero.
        pub padding: [u8; 7],
    }
}

/// Nanoseconds that later fragments may take after the first (`net.ipv4.ipfrag_time` of Linux).
pub const FRAGMENT_TIMEOUT: u64 = 30_000_000_000;

plain! {
    /// Packets and bytes.
    pub struct Counter {
        /// Packets.
        pub packets: u64,
        /// Frame bytes.
        pub bytes: u64,
    }
}

plain! {
    /// What a rule has decided: all packets of the flows that it allowed, or the packets that it dropped.
    pub struct RuleCounter {
        /// Packets.
        pub packets: u64,
        /// Frame bytes.
        pub bytes: u64,
        /// Time of the last packet, nanoseconds of the monotonic clock.
        pub last_hit: u64,
    }
}

impl RuleCounter {
    /// A rule that has not decided anything.
    pub const NONE: Self = Self { packets: 0, bytes: 0, last_hit: 0 };

    /// Both together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
            last_hit: self.last_hit.max(other.last_hit),
        }
    }
}

/// Which way a packet crossed a zone's edge.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the zone into vfw.
    In = 0,
    /// From vfw into the zone.
    Out = 1,
}

/// Which flow table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowTable {
    /// Flows that only one side asked for; the oldest leave when it is full.
    HalfOpen,
    /// Confirmed flows; nothing is evicted.
    Established,
}

/// Policy, state and counters of one firewall.
pub trait Tables {
    /// A flow record in place.
    type Flow: Deref<Target = Flow>;

    /// Settings; `None` before there is a policy.
    fn settings(&self) -> Option<&Settings>;
    /// A slot of the zone index.
    fn zone_slot(&self, slot: u32) -> u64;
    /// A zone.
    fn zone(&self, zone: u16) -> Option<&Zone>;

    /// Finds a flow, expired or not.
    fn flow(&self, table: FlowTable, key: &FlowKey) -> Option<Self::Flow>;
    /// Adds a half-open flow; `None` when the table refuses.
    fn add_flow(&self, key: &FlowKey, fill: impl FnOnce(&mut Flow)) -> Option<Self::Flow>;
    /// Moves a flow to the established table; `None` when that is full.
    fn confirm_flow(&self, key: &FlowKey, flow: &Self::Flow) -> Option<Self::Flow>;
    /// Forgets a flow.
    fn remove_flow(&self, table: FlowTable, key: &FlowKey);

    /// The longest prefix that holds the address.
    fn route(&self, address: &Address) -> Option<Route>;
    /// Slot of a resolved neighbour.
    fn neighbour_slot(&self, key: &NeighbourKey) -> Option<u32>;
    /// Content of a slot.
    fn neighbour(&self, slot: u32) -> NeighbourWord;
    /// What the first rule that matches says; `None` when there is no usable rule table.
    fn judge(&self, key: impl FnOnce() -> RuleKey) -> Option<Decision>;

    /// Ports of a fragmented packet.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts>;
    /// Remembers the ports of a fragmented packet.
    fn add_fragment(&self, key: &FragmentKey, ports: &FragmentPorts);

    /// Counts a packet for a rule.
    fn count_rule(&self, rule: u32, bytes: u32, now: u64);
    /// Counts a packet at the edge of a zone.
    fn count_zone(&self, zone: u16, direction: Direction, bytes: u32);
    /// Counts a dropped packet; `zone` may be [`NO_ZONE`].
    fn count_drop(&self, zone: u16, reason: DropReason, bytes: u32);
    /// Counts an event that the daemon will not see.
    fn count_lost(&self, zone: u16, topic: Topic);

    /// The bucket of a zone for one kind of work; those of [`NO_ZONE`] are for frames that come from none.
    fn bucket(&self, zone: u16, work: Work) -> Option<&Bucket>;
    /// Tells the daemon, with an event filled in place (zero before); whether there was room. Topics do not take room from
    /// each other.
    fn tell(&self, topic: Topic, fill: impl FnOnce(&mut Event)) -> bool;

    /// [`pipeline::count_dropped`]; a back end calls this itself for a frame that it cannot hand over. To be overridden where a
    /// call is better.
    #[inline(always)]
    fn count_dropped(&self, dropped: &Dropped, packet: &Packet) -> bool
    where
        Self: Sized,
    {
        pipeline::count_dropped(self, dropped, packet)
    }
}
