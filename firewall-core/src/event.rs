//! What the data path tells the daemon.

use crate::address::Address;
use crate::tables::{Judgement, RuleKey, plain};

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

const _: () = assert!(size_of::<Event>() == 72);

impl Event {
    /// A rule's decision on a new flow.
    #[inline(always)]
    pub(crate) const fn of_rule(key: &RuleKey, judgement: &Judgement, length: u32, now: u64) -> Self {
        Self {
            time: now,
            source: key.source,
            destination: key.destination,
            rule: judgement.rule,
            length,
            source_port: key.source_port,
            destination_port: key.destination_port,
            from: key.from,
            to: key.to,
            mac: [0; 6],
            protocol: key.protocol as u8,
            kind: EventKind::Rule as u8,
            action: judgement.action as u8,
            padding: [0; 7],
        }
    }

    /// What a neighbour said of itself.
    #[inline(always)]
    pub(crate) const fn of_neighbour(kind: EventKind, zone: u16, address: &Address, mac: [u8; 6], now: u64) -> Self {
        Self {
            time: now,
            source: *address,
            destination: Address::UNSPECIFIED,
            rule: 0,
            length: 0,
            source_port: 0,
            destination_port: 0,
            from: zone,
            to: zone,
            mac,
            protocol: 0,
            kind: kind as u8,
            action: 0,
            padding: [0; 7],
        }
    }
}
