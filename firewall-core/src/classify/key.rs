//! What a look-up looks at.

use crate::conntrack::{Flow, FlowKey};
use crate::packet::{ECHO_REQUEST, ECHO_REQUEST6, Packet, protocol};
use crate::tables::RuleKey;

impl RuleKey {
    /// The key of a packet that goes from one zone to another.
    #[inline(always)]
    pub const fn of(packet: &Packet, from: u16, to: u16) -> Self {
        let (source_port, destination_port) = match packet.protocol {
            protocol::ICMP | protocol::ICMP6 => (0, (packet.icmp_type as u16) << 8 | packet.icmp_code as u16),
            _ => (packet.source_port, packet.destination_port),
        };
        Self {
            source: packet.source,
            destination: packet.destination,
            source_port,
            destination_port,
            from,
            to,
            protocol: packet.protocol as u16,
            tcp_flags: packet.tcp_flags as u16,
        }
    }
}

impl RuleKey {
    /// The key of the packet that began a flow, as far as its record tells.
    #[inline(always)]
    pub const fn of_flow(key: &FlowKey, flow: &Flow, from: u16, to: u16) -> Self {
        let (beginner, tcp_flags) = (flow.beginner(), flow.first_flags as u16);
        let ((source, source_port), (destination, destination_port)) = key.endpoints(beginner);
        let (source_port, destination_port) = match key.protocol {
            // No other message begins a flow.
            protocol::ICMP => (0, (ECHO_REQUEST as u16) << 8),
            protocol::ICMP6 => (0, (ECHO_REQUEST6 as u16) << 8),
            _ => (source_port, destination_port),
        };
        Self { source, destination, source_port, destination_port, from, to, protocol: key.protocol as u16, tcp_flags }
    }
}

/// Slots of [`Key::words`]. Words that a record compares at once stand beside each other.
pub mod slot {
    /// IPv6 source address, four words. Each pair is one 64-bit number: its last bits come first.
    pub const SOURCE: usize = 0;
    /// IPv6 destination address, likewise.
    pub const DESTINATION: usize = 4;
    /// Source port.
    pub const SOURCE_PORT: usize = 8;
    /// Destination port; `type << 8 | code` for ICMP.
    pub const DESTINATION_PORT: usize = 9;
    /// Ingress zone (low half) and egress zone.
    pub const ZONES: usize = 10;
    /// IP protocol (low half) and TCP flags.
    pub const PROTOCOL: usize = 11;
    /// IPv4 source address.
    pub const SOURCE_V4: usize = 12;
    /// IPv4 destination address.
    pub const DESTINATION_V4: usize = 13;
    /// Whether the packet is IPv4.
    pub const IS_V4: usize = 14;
}

/// A [`RuleKey`] as numbers: sixteen words, so that an index of four bits needs no check.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// By [`slot`]; host order.
    pub words: [u32; 16],
}

impl Key {
    /// No packet.
    pub const EMPTY: Self = Self { words: [0; 16] };

    /// The words of a key.
    #[inline(always)]
    pub const fn of(key: &RuleKey) -> Self {
        let mut words = Self::EMPTY;
        words.fill(key);
        words
    }

    /// Takes over the words of a key, in place. Addresses of the other family stay what they were.
    #[inline(always)]
    pub const fn fill(&mut self, key: &RuleKey) {
        let (source, destination) = (&key.source.words, &key.destination.words);
        let is_v4 = destination[0] | destination[1] | (destination[2] ^ MAPPED) == 0;
        if is_v4 {
            self.words[slot::SOURCE_V4] = u32::from_be(source[3]);
            self.words[slot::DESTINATION_V4] = u32::from_be(destination[3]);
        } else {
            self.words[slot::SOURCE] = u32::from_be(source[1]);
            self.words[slot::SOURCE + 1] = u32::from_be(source[0]);
            self.words[slot::SOURCE + 2] = u32::from_be(source[3]);
            self.words[slot::SOURCE + 3] = u32::from_be(source[2]);
            self.words[slot::DESTINATION] = u32::from_be(destination[1]);
            self.words[slot::DESTINATION + 1] = u32::from_be(destination[0]);
            self.words[slot::DESTINATION + 2] = u32::from_be(destination[3]);
            self.words[slot::DESTINATION + 3] = u32::from_be(destination[2]);
        }
        self.words[slot::IS_V4] = is_v4 as u32;
        self.words[slot::SOURCE_PORT] = key.source_port as u32;
        self.words[slot::DESTINATION_PORT] = key.destination_port as u32;
        self.words[slot::ZONES] = key.from as u32 | (key.to as u32) << 16;
        self.words[slot::PROTOCOL] = key.protocol as u32 | (key.tcp_flags as u32) << 16;
    }

    /// Whether the packet is IPv4.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.words[slot::IS_V4] != 0
    }

    /// What a [`super::image::Tuple`] hashes of an IPv4 packet: addresses, ports, zones and protocol.
    #[inline(always)]
    pub const fn tuple_v4(&self) -> [u64; 3] {
        [self.pair(slot::SOURCE_V4), self.pair(slot::SOURCE_PORT), self.pair(slot::ZONES)]
    }

    /// The same of an IPv6 packet, whose addresses take two numbers each.
    #[inline(always)]
    pub const fn tuple_v6(&self) -> [u64; 6] {
        [
            self.pair(slot::SOURCE),
            self.pair(slot::SOURCE + 2),
            self.pair(slot::DESTINATION),
            self.pair(slot::DESTINATION + 2),
            self.pair(slot::SOURCE_PORT),
            self.pair(slot::ZONES),
        ]
    }

    /// Two words from `first` on as one number.
    #[inline(always)]
    pub const fn pair(&self, first: usize) -> u64 {
        self.words[first & 15] as u64 | (self.words[(first + 1) & 15] as u64) << 32
    }
}

const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
