//! Records: what a rule matches, as a leaf lists it.

use super::image::{Decision, WORDS, WORDS_V4};
use super::key::{Key, slot};
use crate::tables::{ANY_ZONE, MAX_ZONES};

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
    /// TCP flags that count, and what they have to be; no other bits are set in the second. Zero for any.
    pub tcp_flags: [u8; 2],
}

/// Set in the half word of a zone, or of the protocol, that may be any.
const ANY: u16 = 0x8000;
const ANYS: u64 = ANY as u64 | (ANY as u64) << 16 | (ANY as u64) << 32;
const _: () = assert!(MAX_ZONES < ANY as u32 && ANY_ZONE & ANY != 0);

impl Selector {
    const fn port_word(&self) -> u64 {
        self.source_ports[0] as u64
            | (self.source_ports[1] as u64) << 16
            | (self.destination_ports[0] as u64) << 32
            | (self.destination_ports[1] as u64) << 48
    }

    /// Zones, protocol (16 bits each), TCP flags and the mask of these (8 bits each).
    const fn field_word(&self) -> u64 {
        let protocol = match self.protocol {
            Some(protocol) => protocol as u16,
            None => ANY,
        };
        let [mask, flags] = self.tcp_flags;
        let zones = zone(self.from) as u64 | (zone(self.to) as u64) << 16;
        zones | (protocol as u64) << 32 | (flags as u64) << 48 | (mask as u64) << 56
    }
}

const fn zone(zone: u16) -> u16 {
    if zone == ANY_ZONE { ANY } else { zone }
}

// What follows is written without branches: the verifier keeps every branch of the longest path in mind, a leaf has many
// records, and which of their fields differs nobody can foretell. Each function returns zero for a match.

/// Whether the ports differ. Both are tested at once: a half whose port lies below the first or above the last one loses
/// its guard.
#[inline(always)]
const fn ports_differ(word: u64, key: &Key) -> u64 {
    const HALVES: u64 = 0x0000_ffff_0000_ffff;
    const GUARDS: u64 = 0x8000_0000_8000_0000;
    let ports = key.pair(slot::SOURCE_PORT);
    let above = (ports | GUARDS).wrapping_sub(word & HALVES);
    let below = (word >> 16 & HALVES | GUARDS).wrapping_sub(ports);
    !(above & below) & GUARDS
}

/// Whether zones, protocol or TCP flags differ.
#[inline(always)]
const fn fields_differ(word: u64, key: &Key) -> u64 {
    let differ = word ^ key.pair(slot::ZONES);
    let any = word & ANYS;
    // All bits of the half words that may be any.
    let any = (any << 1).wrapping_sub(any >> 15);
    (differ & !any) << 16 | (differ >> 48 & word >> 56)
}

/// A rule for IPv4, 32 bytes.
///
/// Words: source (low half) and destination; ports; zones, protocol and TCP flags; decision (low half), then the bits of
/// source and of destination that do not count (8 bits each).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RecordV4(pub [u64; WORDS_V4]);

impl RecordV4 {
    /// From prefixes (first bits, number of bits that count) in host order.
    pub const fn new(source: (u32, u8), destination: (u32, u8), selector: &Selector, decision: Decision) -> Self {
        let shifts = (32 - source.1) as u64 | ((32 - destination.1) as u64) << 8;
        Self([
            source.0 as u64 | (destination.0 as u64) << 32,
            selector.port_word(),
            selector.field_word(),
            decision.0 as u64 | shifts << 32,
        ])
    }

    /// What it says.
    #[inline(always)]
    pub const fn decision(&self) -> Decision {
        Decision(self.0[3] as u32)
    }

    /// Whether it matches.
    #[inline(always)]
    pub const fn matches(&self, key: &Key) -> bool {
        let differ = self.0[0] ^ key.pair(slot::SOURCE_V4);
        // In 64 bits, where 32 is a shift like any other.
        let source = (differ & 0xffff_ffff) >> (self.0[3] >> 32 & 0x3f);
        let destination = (differ >> 32) >> (self.0[3] >> 40 & 0x3f);
        source | destination == 0 && ports_differ(self.0[1], key) | fields_differ(self.0[2], key) == 0
    }
}

/// A rule for IPv6, 64 bytes.
///
/// Words: source (2), destination (2), then as in [`RecordV4`] ports, fields and decision, and in the last one the bits of
/// each half address that do not count (8 bits each: source first, source last, destination first, last).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RecordV6(pub [u64; WORDS]);

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
            selector.field_word(),
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
        let differ = half_differs(self.0[0] ^ key.pair(slot::SOURCE), shifts)
            | half_differs(self.0[1] ^ key.pair(slot::SOURCE + 2), shifts >> 8)
            | half_differs(self.0[2] ^ key.pair(slot::DESTINATION), shifts >> 16)
            | half_differs(self.0[3] ^ key.pair(slot::DESTINATION + 2), shifts >> 24);
        differ == 0 && ports_differ(self.0[4], key) | fields_differ(self.0[5], key) == 0
    }
}

/// Bits that do not count of the first half (low byte) and of the last half of a prefix.
const fn half_shifts(length: u8) -> u64 {
    let length = length as u64;
    if length >= 64 { (128 - length) << 8 } else { (64 - length) | 64 << 8 }
}

/// The bits that count. A shift is 0 to 64, and is done in two, because one by 64 would do nothing.
#[inline(always)]
const fn half_differs(differ: u64, shift: u64) -> u64 {
    let shift = shift & 0x7f;
    let first = shift >> 1;
    differ >> (first & 63) >> (shift.wrapping_sub(first) & 63)
}
