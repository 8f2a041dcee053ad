//! Records: what a rule matches, as a leaf lists it.

use super::image::{Block, Decision};
use super::key::{Key, slot};
use crate::tables::ANY_ZONE;

/// What a record says of everything but addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Selector {
    /// First and last source port.
    pub source_ports: [u16; 2],
    /// First and last destination port; `type << 8 | code` for ICMP.
    pub destination_ports: [u16; 2],
    /// Ingress zone, or [`ANY_ZONE`].
    pub from: u16,
    /// Egress zone, or [`ANY_ZONE`].
    pub to: u16,
    /// IP protocol; `None` for all.
    pub protocol: Option<u8>,
}

impl Selector {
    const fn port_word(&self) -> u64 {
        self.source_ports[0] as u64
            | (self.source_ports[1] as u64) << 16
            | (self.destination_ports[0] as u64) << 32
            | (self.destination_ports[1] as u64) << 48
    }

    const fn zone_word(&self) -> u64 {
        let protocol = match self.protocol {
            Some(protocol) => protocol as u64 | 0xff00,
            None => 0,
        };
        self.from as u64 | (self.to as u64) << 16 | protocol << 32
    }
}

// What follows is written without branches: the verifier keeps every branch of the longest path in mind, and a leaf has many
// records. Each function returns zero for a match.

/// Whether the ports differ.
#[inline(always)]
const fn ports_differ(word: u64, key: &Key) -> u32 {
    let (source, destination) = (key.words[slot::SOURCE_PORT], key.words[slot::DESTINATION_PORT]);
    let source = outside(source, (word & 0xffff) as u32, (word >> 16 & 0xffff) as u32);
    source | outside(destination, (word >> 32 & 0xffff) as u32, (word >> 48) as u32)
}

/// The top bit when a port lies outside of a range: then one of the differences is below zero.
#[inline(always)]
const fn outside(port: u32, low: u32, high: u32) -> u32 {
    (port.wrapping_sub(low) | high.wrapping_sub(port)) >> 31
}

/// Whether protocol or zones differ.
#[inline(always)]
const fn zones_differ(word: u64, key: &Key) -> u32 {
    let (protocol, mask) = ((word >> 32 & 0xff) as u32, (word >> 40 & 0xff) as u32);
    (key.words[slot::PROTOCOL] & mask) ^ protocol
        | zone_differs((word & 0xffff) as u32, key.words[slot::FROM])
        | zone_differs((word >> 16 & 0xffff) as u32, key.words[slot::TO])
}

#[inline(always)]
const fn zone_differs(wanted: u32, zone: u32) -> u32 {
    // All ones, and zero for ANY_ZONE.
    let mask = ((wanted + 1) >> 16).wrapping_sub(1);
    (wanted ^ zone) & mask
}

const _: () = assert!(ANY_ZONE == u16::MAX);

/// A rule for IPv4, 32 bytes.
///
/// Words: source (low half) and destination; ports; zones (16 bits each), protocol, mask of the protocol, bits of
/// source and of destination that do not count (8 bits each); decision (low half).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RecordV4(pub [u64; 4]);

impl RecordV4 {
    /// From prefixes (first bits, number of bits that count) in host order.
    pub const fn new(source: (u32, u8), destination: (u32, u8), selector: &Selector, decision: Decision) -> Self {
        let shifts = (32 - source.1) as u64 | ((32 - destination.1) as u64) << 8;
        Self([
            source.0 as u64 | (destination.0 as u64) << 32,
            selector.port_word(),
            selector.zone_word() | shifts << 48,
            decision.0 as u64,
        ])
    }

    /// A record of a block that holds two.
    #[inline(always)]
    pub const fn of(block: &Block, index: u32) -> Self {
        let first = (index as usize & 1) * 4;
        Self([block[first & 7], block[(first + 1) & 7], block[(first + 2) & 7], block[(first + 3) & 7]])
    }

    /// What it says.
    #[inline(always)]
    pub const fn decision(&self) -> Decision {
        Decision(self.0[3] as u32)
    }

    /// Whether it matches.
    #[inline(always)]
    pub const fn matches(&self, key: &Key) -> bool {
        let addresses = self.0[0];
        // In 64 bits, where 32 is a shift like any other.
        let source = (key.words[slot::SOURCE + 3] ^ addresses as u32) as u64;
        let destination = (key.words[slot::DESTINATION + 3] ^ (addresses >> 32) as u32) as u64;
        let addresses = (destination >> (self.0[2] >> 56 & 0x3f)) | (source >> (self.0[2] >> 48 & 0x3f));
        addresses == 0 && ports_differ(self.0[1], key) | zones_differ(self.0[2], key) == 0
    }
}

/// A rule for IPv6, 64 bytes.
///
/// Words: source (2), destination (2), ports, zones and protocol as in [`RecordV4`], decision (low half), and in the last
/// one the bits of each half address that do not count (8 bits each: source first, source last, destination first, last).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RecordV6(pub Block);

impl RecordV6 {
    /// From prefixes (first bits, number of bits that count) in host order.
    pub const fn new(source: (u128, u8), destination: (u128, u8), selector: &Selector, decision: Decision) -> Self {
        let shifts = half_shifts(source.1) | half_shifts(destination.1) << 16;
        Self([
            (source.0 >> 64) as u64,
            source.0 as u64,
            (destination.0 >> 64) as u64,
            destination.0 as u64,
            selector.port_word(),
            selector.zone_word(),
            decision.0 as u64,
            shifts,
        ])
    }

    /// What it says.
    #[inline(always)]
    pub const fn decision(&self) -> Decision {
        Decision(self.0[6] as u32)
    }

    /// Whether it matches.
    #[inline(always)]
    pub const fn matches(&self, key: &Key) -> bool {
        let shifts = self.0[7];
        let first = half_differs(self.0[2], half(key, slot::DESTINATION), shifts >> 16)
            | half_differs(self.0[0], half(key, slot::SOURCE), shifts);
        let last = half_differs(self.0[3], half(key, slot::DESTINATION + 2), shifts >> 24)
            | half_differs(self.0[1], half(key, slot::SOURCE + 2), shifts >> 8);
        first | last == 0 && ports_differ(self.0[4], key) | zones_differ(self.0[5], key) == 0
    }
}

/// Bits that do not count of the first half (low byte) and of the last half of a prefix.
const fn half_shifts(length: u8) -> u64 {
    let length = length as u64;
    if length >= 64 { (128 - length) << 8 } else { (64 - length) | 64 << 8 }
}

#[inline(always)]
const fn half(key: &Key, first: usize) -> u64 {
    (key.words[first & 15] as u64) << 32 | key.words[(first + 1) & 15] as u64
}

/// Whether the bits that count differ. Shifts are 0 to 64; a shift by 64 leaves nothing.
#[inline(always)]
const fn half_differs(value: u64, key: u64, shift: u64) -> u64 {
    let mask = (shift >> 6 & 1).wrapping_sub(1);
    ((value ^ key) & mask) >> (shift & 63)
}
