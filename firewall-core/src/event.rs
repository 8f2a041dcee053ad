//! What the data path tells the daemon.

use crate::address::Address;
use crate::classify::Decision;
use crate::limit::{self, Work};
use crate::packet::{Fragment, Mac, Packet, protocol};
use crate::tables::{NO_ZONE, RuleKey, Tables, plain};
use crate::verdict::{DropReason, Punt};
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
        /// Deciding rule; [`NO_RULE`] for none.
        pub rule: u32,
        /// Frame bytes.
        pub length: u32,
        /// Kernel index of the interface through which a dropped frame came in.
        pub ifindex: u32,
        /// Number of the policy that the rule belongs to.
        pub epoch: u32,
        /// Source port.
        pub source_port: u16,
        /// Destination port; `type << 8 | code` for ICMP.
        pub destination_port: u16,
        /// Ingress zone.
        pub from: u16,
        /// Egress zone; [`NO_ZONE`] when it is not known.
        pub to: u16,
        /// The MAC of the neighbour, or of the sender of a dropped frame.
        pub mac: [u8; 6],
        /// The MAC to which a dropped frame was sent.
        pub receiver: [u8; 6],
        /// VLAN of a dropped frame; 0 for untagged.
        pub vlan: u16,
        /// EtherType of a dropped frame.
        pub ether_type: u16,
        /// IP protocol.
        pub protocol: u8,
        /// An [`EventKind`] code.
        pub kind: u8,
        /// The rule's action.
        pub action: u8,
        /// A [`crate::DropReason`] code.
        pub reason: u8,
        /// TCP flags of a dropped packet.
        pub tcp_flags: u8,
        /// Bits of [`found`]: how far a dropped frame was understood.
        pub found: u8,
        /// Zero.
        pub padding: [u8; 2],
    }
}

/// Stands for no rule in an [`Event`].
pub const NO_RULE: u32 = u32::MAX;

/// What was found of a dropped frame before it was dropped; other fields of its [`Event`] say nothing.
pub mod found {
    /// MACs, VLAN and EtherType.
    pub const LINK: u8 = 1;
    /// Addresses and protocol.
    pub const NETWORK: u8 = 2;
    /// Ports and TCP flags, or ICMP type and code.
    pub const TRANSPORT: u8 = 4;
    /// It is a fragment, the first one.
    pub const FIRST_FRAGMENT: u8 = 8;
    /// It is a later fragment. Its ports, if found, are those of the first one.
    pub const LATER_FRAGMENT: u8 = 16;
}

/// A frame that ends here, beside what is in its [`Packet`].
#[derive(Clone, Copy, Debug)]
pub struct Dropped {
    /// The zone that it came from, or [`NO_ZONE`].
    pub from: u16,
    /// Why.
    pub reason: DropReason,
    /// Kernel index of its interface.
    pub ifindex: u32,
    /// Its bytes.
    pub length: u32,
    /// Nanoseconds of the monotonic clock.
    pub now: u64,
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
        /// The zone whose flow asks for the neighbour: another one than `from` for an answer.
        pub asker: u16,
        /// Zero.
        pub padding: [u8; 2],
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
            asker: packet.asker,
            padding: [0; 2],
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
    /// A frame was dropped.
    Dropped = 4,
}

/// Which events share room and a rate: a flood of one topic hides nothing of another.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Topic {
    /// [`EventKind::Rule`].
    Log = 0,
    /// [`EventKind::NeighbourSeen`] and [`EventKind::AddressConflict`].
    Neighbour = 1,
    /// [`EventKind::Dropped`].
    Drop = 2,
}

impl Topic {
    /// Every topic, in the order of its code.
    pub const ALL: [Self; 3] = [Self::Log, Self::Neighbour, Self::Drop];

    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Neighbour => "neighbour",
            Self::Drop => "drop",
        }
    }

    /// What telling of it costs the daemon.
    #[inline(always)]
    const fn work(self) -> Work {
        match self {
            Self::Log => Work::Log,
            Self::Neighbour => Work::Neighbour,
            Self::Drop => Work::Drop,
        }
    }
}

/// Bytes of the rings to the daemon, powers of two.
pub mod ring {
    /// [`super::Topic::Log`].
    pub const LOG: u32 = 1 << 20;
    /// [`super::Topic::Drop`].
    pub const DROP: u32 = 1 << 19;
    /// [`super::Topic::Neighbour`].
    pub const NEIGHBOUR: u32 = 1 << 18;
    /// Frames for [`crate::PuntTask::Resolve`].
    pub const RESOLVE: u32 = 1 << 22;
    /// Beginnings of frames for [`crate::PuntTask::Report`].
    pub const REPORT: u32 = 1 << 20;
}

/// Tells the daemon, unless the packet's zone has told too much or the daemon cannot keep up; counts what is lost.
#[inline(always)]
pub(crate) fn tell<T: Tables>(ingress: &Ingress<T>, topic: Topic, fill: impl FnOnce(&mut Event)) {
    if !limit::admits(ingress.tables, ingress.id, topic.work(), 1, ingress.now) || !ingress.tables.tell(topic, fill) {
        ingress.tables.count_lost(ingress.id, topic);
    }
}

/// Tells the daemon of a dropped frame. What is not told has been counted all the same, so that the daemon knows how many
/// those are.
#[inline(always)]
pub(crate) fn tell_dropped<T: Tables>(tables: &T, dropped: &Dropped, packet: &Packet) {
    let epoch = tables.settings().map_or(0, |settings| settings.epoch);
    tables.tell(Topic::Drop, |event| event.fill_dropped(dropped, epoch, packet));
}

const _: () = assert!(size_of::<Event>() == 88);

impl Event {
    /// Nothing yet.
    pub const EMPTY: Self = Self {
        time: 0,
        source: Address::UNSPECIFIED,
        destination: Address::UNSPECIFIED,
        rule: 0,
        length: 0,
        ifindex: 0,
        epoch: 0,
        source_port: 0,
        destination_port: 0,
        from: 0,
        to: 0,
        mac: [0; 6],
        receiver: [0; 6],
        vlan: 0,
        ether_type: 0,
        protocol: 0,
        kind: 0,
        action: 0,
        reason: 0,
        tcp_flags: 0,
        found: 0,
        padding: [0; 2],
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

    /// What was found of a frame that ended.
    pub fn of_dropped(dropped: &Dropped, epoch: u32, packet: &Packet) -> Self {
        let mut event = Self::EMPTY;
        event.fill_dropped(dropped, epoch, packet);
        event
    }

    /// What was found of a frame that ends here.
    #[inline(always)]
    fn fill_dropped(&mut self, dropped: &Dropped, epoch: u32, packet: &Packet) {
        let is_icmp = matches!(packet.protocol, protocol::ICMP | protocol::ICMP6);
        let message = u16::from(packet.icmp_type) << 8 | u16::from(packet.icmp_code);
        self.time = dropped.now;
        self.source = packet.source;
        self.destination = packet.destination;
        self.rule = packet.refused_by.or(NO_RULE);
        self.length = dropped.length;
        self.ifindex = dropped.ifindex;
        self.epoch = epoch;
        self.source_port = packet.source_port;
        self.destination_port = if is_icmp { message } else { packet.destination_port };
        self.from = dropped.from;
        self.to = packet.to.or(NO_ZONE as u32) as u16;
        self.mac = packet.sender.bytes();
        self.receiver = packet.receiver.bytes();
        self.vlan = packet.vlan;
        self.ether_type = packet.ether_type;
        self.protocol = packet.protocol;
        self.kind = EventKind::Dropped as u8;
        self.reason = dropped.reason as u8;
        self.tcp_flags = packet.tcp_flags;
        self.found = found_of(packet);
    }
}

/// The bits of [`found`].
#[inline(always)]
fn found_of(packet: &Packet) -> u8 {
    let bit = |is_found: bool, bit: u8| if is_found { bit } else { 0 };
    bit(packet.sender != Mac::NONE || packet.receiver != Mac::NONE, found::LINK)
        | bit(packet.ip_length != 0, found::NETWORK)
        | bit(packet.has_transport, found::TRANSPORT)
        | bit(packet.fragment == Fragment::First, found::FIRST_FRAGMENT)
        | bit(packet.fragment == Fragment::Later, found::LATER_FRAGMENT)
}
