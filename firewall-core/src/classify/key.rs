//! What a look-up looks at.

use super::image::{Class, Window};
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

/// Slots of a [`Key`], 32 bits each. Two that are compared at once make one word.
pub mod slot {
    /// IPv6 source address, four slots. Each pair is one 64-bit number: its last bits come first.
    pub const SOURCE: usize = 0;
    /// IPv6 destination address, likewise.
    pub const DESTINATION: usize = 4;
    /// Source port.
    pub const SOURCE_PORT: usize = 8;
    /// Destination port; `type << 8 | code` for ICMP.
    pub const DESTINATION_PORT: usize = 9;
    /// TCP flags.
    pub const TCP_FLAGS: usize = 10;
    /// Whether the packet is IPv4.
    pub const IS_V4: usize = 11;
    /// IPv4 source address.
    pub const SOURCE_V4: usize = 12;
    /// IPv4 destination address.
    pub const DESTINATION_V4: usize = 13;
    /// IP protocol (8 bits), ingress zone and egress zone (12 bits each).
    pub const FIELDS: usize = 14;
    /// No field of a packet: the best decision of a look-up so far.
    pub const BEST: usize = 15;
}

/// [`slot::FIELDS`] of these.
pub const fn fields(protocol: u8, from: u16, to: u16) -> u32 {
    protocol as u32 | (from as u32 & 0xfff) << 8 | (to as u32 & 0xfff) << 20
}

/// A [`RuleKey`] as numbers: slots in host order, two in a word.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    words: [u64; 8],
}

impl Key {
    /// No packet.
    pub const EMPTY: Self = Self { words: [0; 8] };

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
            self.put(slot::SOURCE_V4, u32::from_be(source[3]), u32::from_be(destination[3]));
        } else {
            self.put(slot::SOURCE, u32::from_be(source[1]), u32::from_be(source[0]));
            self.put(slot::SOURCE + 2, u32::from_be(source[3]), u32::from_be(source[2]));
            self.put(slot::DESTINATION, u32::from_be(destination[1]), u32::from_be(destination[0]));
            self.put(slot::DESTINATION + 2, u32::from_be(destination[3]), u32::from_be(destination[2]));
        }
        self.put(slot::SOURCE_PORT, key.source_port as u32, key.destination_port as u32);
        self.put(slot::TCP_FLAGS, key.tcp_flags as u32, is_v4 as u32);
        self.put(slot::FIELDS, fields(key.protocol as u8, key.from, key.to), 0);
    }

    /// Written as one word: what is read back as a whole soon would have to wait for two halves.
    #[inline(always)]
    const fn put(&mut self, first: usize, low: u32, high: u32) {
        self.words[first / 2 % 8] = low as u64 | (high as u64) << 32;
    }

    /// The word of two slots from `first`, an even one, on.
    #[inline(always)]
    pub const fn pair(&self, first: usize) -> u64 {
        self.words[first / 2 % 8]
    }

    /// A slot.
    #[inline(always)]
    pub const fn slot(&self, number: u32) -> u32 {
        (self.words[(number / 2 % 8) as usize] >> (number % 2 * 32)) as u32
    }

    /// The value of a window.
    #[inline(always)]
    pub const fn value(&self, window: Window) -> u32 {
        let (word, shift) = window.place();
        (self.words[word % 8] >> shift) as u32 & (Window::VALUES - 1)
    }

    /// Puts what stands for an address in the place of the source.
    #[inline(always)]
    pub const fn set_source(&mut self, place: Place) {
        if self.is_v4() {
            let destination = (self.pair(slot::SOURCE_V4) >> 32) as u32;
            self.put(slot::SOURCE_V4, place.0[0] as u32, destination);
        } else {
            self.words[slot::SOURCE / 2] = place.0[0];
            self.words[slot::SOURCE / 2 + 1] = place.0[1];
        }
    }

    /// Puts what stands for an address in the place of the destination.
    #[inline(always)]
    pub const fn set_destination(&mut self, place: Place) {
        if self.is_v4() {
            let source = self.pair(slot::SOURCE_V4) as u32;
            self.put(slot::SOURCE_V4, source, place.0[0] as u32);
        } else {
            self.words[slot::DESTINATION / 2] = place.0[0];
            self.words[slot::DESTINATION / 2 + 1] = place.0[1];
        }
    }

    /// What stands in the place of the source.
    #[inline(always)]
    pub const fn source(&self) -> Place {
        if self.is_v4() {
            Place([self.pair(slot::SOURCE_V4) & 0xffff_ffff, 0])
        } else {
            Place([self.pair(slot::SOURCE), self.pair(slot::SOURCE + 2)])
        }
    }

    /// What stands in the place of the destination.
    #[inline(always)]
    pub const fn destination(&self) -> Place {
        if self.is_v4() {
            Place([self.pair(slot::SOURCE_V4) >> 32, 0])
        } else {
            Place([self.pair(slot::DESTINATION), self.pair(slot::DESTINATION + 2)])
        }
    }

    /// What stands for an address: the number of a class.
    #[inline(always)]
    pub const fn place_of(&self, class: Class) -> Place {
        let number = class.number() as u64;
        if self.is_v4() { Place([number, 0]) } else { Place([0, number]) }
    }

    /// The best decision so far.
    #[inline(always)]
    pub const fn best(&self) -> u32 {
        (self.pair(slot::FIELDS) >> 32) as u32
    }

    /// Notes the best decision.
    #[inline(always)]
    pub const fn set_best(&mut self, best: u32) {
        self.put(slot::FIELDS, self.pair(slot::FIELDS) as u32, best);
    }

    /// Whether the packet is IPv4.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.pair(slot::TCP_FLAGS) >> 32 != 0
    }
}

/// What a [`Key`] has in the place of an address: the address (IPv4 in the first word, or the first and last half of IPv6), or a
/// class of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place([u64; 2]);

const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
