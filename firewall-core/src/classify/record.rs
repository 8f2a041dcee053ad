//! Records: what a rule matches, as a leaf lists it.

use super::image::{Decision, WORDS, WORDS_V4};
use super::key::{Key, fields, slot};
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

impl Selector {
    const fn port_word(&self) -> u64 {
        self.source_ports[0] as u64
            | (self.source_ports[1] as u64) << 16
            | (self.destination_ports[0] as u64) << 32
            | (self.destination_ports[1] as u64) << 48
    }

    /// What [`slot::FIELDS`] has to be (low half), and the bits of it that count.
    const fn field_word(&self) -> u64 {
        let (protocol, mask) = match self.protocol {
            Some(protocol) => (protocol, 0xff),
            None => (0, 0),
        };
        let ((from, from_mask), (to, to_mask)) = (zone(self.from), zone(self.to));
        fields(protocol, from, to) as u64 | (fields(mask, from_mask, to_mask) as u64) << 32
    }

    /// TCP flags and those that count, where records have them.
    const fn flag_bits(&self) -> u64 {
        let [mask, flags] = self.tcp_flags;
        (flags as u64) << 16 | (mask as u64) << 24
    }
}

/// A rule, as a leaf lists it.
pub trait Record {
    /// What it says.
    fn decision(&self) -> Decision;
    /// Whether the addresses of a packet are inside of its own. Most records of a leaf that do not match differ here.
    fn has_addresses(&self, key: &Key) -> bool;
    /// Whether everything else of the packet matches.
    fn has_rest(&self, key: &Key) -> bool;
}

const fn zone(zone: u16) -> (u16, u16) {
    if zone == ANY_ZONE { (0, 0) } else { (zone, 0xfff) }
}

const _: () = assert!(MAX_ZONES < 0xfff);

// What follows is written without branches: the verifier keeps every branch of the longest path in mind, a leaf has many
// records, and which of their fields differs nobody can foretell, once the addresses match. Each function returns zero for a match.

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

/// Whether zones or protocol differ.
#[inline(always)]
const fn fields_differ(word: u64, key: &Key) -> u64 {
    (word ^ key.pair(slot::FIELDS)) & word >> 32
}

/// Whether TCP flags differ.
#[inline(always)]
const fn flags_differ(tail: u64, key: &Key) -> u64 {
    (tail >> 16 ^ key.pair(slot::TCP_FLAGS)) & tail >> 24 & 0xff
}

/// A rule for IPv4, 32 bytes.
///
/// Words: source (low half) and destination; ports; zones and protocol, and the bits of these that count; bits of source and
/// of destination that do not count, TCP flags, their mask (8 bits each), decision (32 bits).
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
            shifts | selector.flag_bits() | (decision.0 as u64) << 32,
        ])
    }
}

impl Record for RecordV4 {
    #[inline(always)]
    fn decision(&self) -> Decision {
        Decision((self.0[3] >> 32) as u32)
    }

    #[inline(always)]
    fn has_addresses(&self, key: &Key) -> bool {
        let differ = self.0[0] ^ key.pair(slot::SOURCE_V4);
        // In 64 bits, where 32 is a shift like any other.
        let source = (differ & 0xffff_ffff) >> (self.0[3] & 0x3f);
        let destination = (differ >> 32) >> (self.0[3] >> 8 & 0x3f);
        source | destination == 0
    }

    #[inline(always)]
    fn has_rest(&self, key: &Key) -> bool {
        ports_differ(self.0[1], key) | fields_differ(self.0[2], key) | flags_differ(self.0[3], key) == 0
    }
}

/// A rule for IPv6, 64 bytes.
///
/// Words: source (2), destination (2), then as in [`RecordV4`] ports and fields, then TCP flags and decision as there, and in
/// the last one the bits of each half address that do not count, as two shifts of 8 bits (source first half, source last,
/// destination first, last).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RecordV6(pub [u64; WORDS]);

impl RecordV6 {
    /// From prefixes (first bits, number of bits that count) in host order.
    pub const fn new(source: (u128, u8), destination: (u128, u8), selector: &Selector, decision: Decision) -> Self {
        let shifts = half_shifts(source.1) | half_shifts(destination.1) << 32;
        Self([
            (source.0 >> 64) as u64,
            source.0 as u64,
            (destination.0 >> 64) as u64,
            destination.0 as u64,
            selector.port_word(),
            selector.field_word(),
            selector.flag_bits() | (decision.0 as u64) << 32,
            shifts,
        ])
    }
}

impl Record for RecordV6 {
    #[inline(always)]
    fn decision(&self) -> Decision {
        Decision((self.0[6] >> 32) as u32)
    }

    #[inline(always)]
    fn has_addresses(&self, key: &Key) -> bool {
        // With branches: most records that do not match differ in the first word that counts, and all four take long.
        let shifts = self.0[7];
        half_differs(self.0[0] ^ key.pair(slot::SOURCE), shifts) == 0
            && half_differs(self.0[1] ^ key.pair(slot::SOURCE + 2), shifts >> 16) == 0
            && half_differs(self.0[2] ^ key.pair(slot::DESTINATION), shifts >> 32) == 0
            && half_differs(self.0[3] ^ key.pair(slot::DESTINATION + 2), shifts >> 48) == 0
    }

    #[inline(always)]
    fn has_rest(&self, key: &Key) -> bool {
        ports_differ(self.0[4], key) | fields_differ(self.0[5], key) | flags_differ(self.0[6], key) == 0
    }
}

/// Bits that do not count of the first half of a prefix and of the last one, each as a sum of two shifts below 64: one by
/// 64 would do nothing.
const fn half_shifts(length: u8) -> u64 {
    let open = 128 - length as u64;
    let (first, last) = if open >= 64 { (open - 64, 64) } else { (0, open) };
    two_shifts(first) | two_shifts(last) << 16
}

const fn two_shifts(shift: u64) -> u64 {
    (shift / 2) | ((shift - shift / 2) << 8)
}

/// The bits that count.
#[inline(always)]
const fn half_differs(differ: u64, shifts: u64) -> u64 {
    differ >> (shifts & 0x3f) >> (shifts >> 8 & 0x3f)
}
