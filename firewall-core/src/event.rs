//! What the data path tells the daemon.

use crate::address::Address;
use crate::classify::Decision;
use crate::limit::{self, Work};
use crate::packet::Packet;
use crate::tables::{RuleKey, Tables, plain};
use crate::verdict::Punt;
use crate::zone::Ingress;

plain! {
    /// One message of fixed size.
    pub struct Event {
        /// Time, nanoseconds of the monotonic clock.
        pub time: u64,
        /// Source, or the neighbour's address.
        pub source: Address,
        /// Destination.
        pub destination: Address,
        /// Deciding rule.
        pub rule: u32,
        /// Frame bytes.
        pub length: u32,
        /// Source port.
        pub source_port: u16,
        /// Destination port; `type << 8 | code` for ICMP.
        pub destination_port: u16,
        /// Ingress zone.
        pub from: u16,
        /// Egress zone.
        pub to: u16,
        /// The neighbour's MAC.
        pub mac: [u8; 6],
        /// IP protocol.
        pub protocol: u8,
        /// An [`EventKind`] code.
        pub kind: u8,
        /// The rule's action.
        pub action: u8,
        /// Zero.
        pub padding: [u8; 7],
    }
}

plain! {
    /// What stands before the bytes of a punted frame. The bytes begin with the destination MAC; a tag that travelled
    /// beside the frame is not among them.
    pub struct PuntHeader {
        /// Neighbour to resolve.
        pub next_hop: Address,
        /// Frame bytes that follow.
        pub length: u32,
        /// Payload bytes of each segment of a GSO super-packet, else 0.
        pub gso_size: u32,
        /// Zone through which the frame came in.
        pub from: u16,
        /// Zone through which it is to leave; the same as `from` for a report.
        pub to: u16,
        /// The MAC that sent it.
        pub sender: [u8; 6],
        /// A [`crate::PuntTask`] code.
        pub task: u8,
        /// A [`crate::DropReason`] code.
        pub reason: u8,
    }
}

impl PuntHeader {
    /// The header of a frame of `length` bytes.
    #[inline(always)]
    pub const fn new(punt: &Punt, packet: &Packet, length: u32, gso_size: u32) -> Self {
        Self {
            next_hop: packet.next_hop,
            length,
            gso_size,
            from: punt.from,
            to: punt.to,
            sender: packet.sender.bytes(),
            task: punt.task as u8,
            reason: punt.reason as u8,
        }
    }
}

/// What an [`Event`] is about.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// A rule with `log` decided a new flow.
    Rule = 1,
    /// A neighbour answered vfw, or announced itself.
    NeighbourSeen = 2,
    /// Another host uses a gateway address.
    AddressConflict = 3,
}

/// Which events share room and a rate: a flood of one topic hides nothing of another.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Topic {
    /// [`EventKind::Rule`].
    Log = 0,
    /// [`EventKind::NeighbourSeen`] and [`EventKind::AddressConflict`].
    Neighbour = 1,
}

impl Topic {
    /// Every topic, in the order of its code.
    pub const ALL: [Self; 2] = [Self::Log, Self::Neighbour];

    /// What telling of it costs the daemon.
    #[inline(always)]
    const fn work(self) -> Work {
        match self {
            Self::Log => Work::Log,
            Self::Neighbour => Work::Neighbour,
        }
    }
}

/// Tells the daemon, unless the packet's zone has told too much or the daemon cannot keep up; counts what is lost.
#[inline(always)]
pub(crate) fn tell<T: Tables>(ingress: &Ingress<T>, topic: Topic, fill: impl FnOnce(&mut Event)) {
    if !limit::admits(ingress.tables, ingress.id, topic.work(), 1, ingress.now) || !ingress.tables.tell(topic, fill) {
        ingress.tables.count_lost(ingress.id, topic);
    }
}

const _: () = assert!(size_of::<Event>() == 72);

impl Event {
    /// Nothing yet.
    pub const EMPTY: Self = Self {
        time: 0,
        source: Address::UNSPECIFIED,
        destination: Address::UNSPECIFIED,
        rule: 0,
        length: 0,
        source_port: 0,
        destination_port: 0,
        from: 0,
        to: 0,
        mac: [0; 6],
        protocol: 0,
        kind: 0,
        action: 0,
        padding: [0; 7],
    };

    /// A rule's decision on a new flow.
    #[inline(always)]
    pub(crate) fn fill_rule(&mut self, key: &RuleKey, decision: Decision, length: u32, now: u64) {
        self.time = now;
        self.source = key.source;
        self.destination = key.destination;
        self.rule = decision.rule();
        self.length = length;
        self.source_port = key.source_port;
        self.destination_port = key.destination_port;
        self.from = key.from;
        self.to = key.to;
        self.protocol = key.protocol as u8;
        self.kind = EventKind::Rule as u8;
        self.action = decision.action() as u8;
    }

    /// What a neighbour said of itself.
    #[inline(always)]
    pub(crate) fn fill_neighbour(&mut self, kind: EventKind, zone: u16, address: &Address, mac: [u8; 6], now: u64) {
        self.time = now;
        self.source = *address;
        self.from = zone;
        self.to = zone;
        self.mac = mac;
        self.kind = kind as u8;
    }
}
