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

#[inline(always)]
const fn ports_match(word: u64, key: &Key) -> bool {
    let (source, destination) = (key.words[slot::SOURCE_PORT], key.words[slot::DESTINATION_PORT]);
    (word >> 32 & 0xffff) as u32 <= destination
        && destination <= (word >> 48) as u32
        && (word & 0xffff) as u32 <= source
        && source <= (word >> 16 & 0xffff) as u32
}

#[inline(always)]
const fn zones_match(word: u64, key: &Key) -> bool {
    let (from, to) = ((word & 0xffff) as u32, (word >> 16 & 0xffff) as u32);
    let (protocol, mask) = ((word >> 32 & 0xff) as u32, (word >> 40 & 0xff) as u32);
    (key.words[slot::PROTOCOL] & mask) == protocol
        && (from == ANY_ZONE as u32 || from == key.words[slot::FROM])
        && (to == ANY_ZONE as u32 || to == key.words[slot::TO])
}

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
        (destination >> (self.0[2] >> 56)) == 0
            && (source >> (self.0[2] >> 48 & 0x3f)) == 0
            && ports_match(self.0[1], key)
            && zones_match(self.0[2], key)
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
        half_matches(self.0[2], half(key, slot::DESTINATION), shifts >> 16)
            && half_matches(self.0[0], half(key, slot::SOURCE), shifts)
            && half_matches(self.0[3], half(key, slot::DESTINATION + 2), shifts >> 24)
            && half_matches(self.0[1], half(key, slot::SOURCE + 2), shifts >> 8)
            && ports_match(self.0[4], key)
            && zones_match(self.0[5], key)
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

/// Shifts are 0 to 64; a shift by 64 leaves nothing.
#[inline(always)]
const fn half_matches(value: u64, key: u64, shift: u64) -> bool {
    shift & 64 != 0 || ((value ^ key) >> (shift & 63)) == 0
}
