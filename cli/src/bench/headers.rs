//! Headers to look up, made from rules and a number.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::classbench::{Header, Rule};

/// Numbers that look random (splitmix64): the same from the same seed.
pub struct Numbers(u64);

impl Numbers {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub const fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub const fn below(&mut self, end: usize) -> usize {
        ((self.any() as u32 as u64 * end as u64) >> 32) as usize
    }
}

/// An address of a prefix: the first, the last, or one between.
fn inside(numbers: &mut Numbers, (first, length): (IpAddr, u8)) -> IpAddr {
    let open = |width: u32| u128::MAX.checked_shr(128 - (width - u32::from(length))).unwrap_or(0);
    let chosen = match numbers.below(3) {
        0 => 0,
        1 => u128::MAX,
        _ => u128::from(numbers.any()) << 64 | u128::from(numbers.any()),
    };
    match first {
        IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from(first.to_bits() | (chosen & open(32)) as u32)),
        IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from(first.to_bits() | (chosen & open(128)))),
    }
}

fn port(numbers: &mut Numbers, [low, high]: [u16; 2]) -> u16 {
    match numbers.below(3) {
        0 => low,
        1 => high,
        _ => low + numbers.below(usize::from(high - low) + 1) as u16,
    }
}

/// Headers for a rule set: corners of its boxes, and for every fourth one fields of different rules.
pub fn headers(rules: &[Rule], count: usize, seed: u64) -> Vec<Header> {
    let numbers = &mut Numbers::new(seed);
    (0..count)
        .map(|number| {
            let one = rules[numbers.below(rules.len())];
            let mut rule = one;
            if number % 4 == 3 {
                let other = rules[numbers.below(rules.len())];
                let third = rules[numbers.below(rules.len())];
                if other.source.0.is_ipv4() == one.source.0.is_ipv4() {
                    rule.destination = other.destination;
                }
                rule.source_ports = third.source_ports;
                rule.destination_ports = other.destination_ports;
                rule.protocol = third.protocol;
            }
            Header {
                source: inside(numbers, rule.source),
                destination: inside(numbers, rule.destination),
                source_port: port(numbers, rule.source_ports),
                destination_port: port(numbers, rule.destination_ports),
                protocol: rule.protocol.unwrap_or_else(|| [6, 17, 1, 47][numbers.below(4)]),
            }
        })
        .collect()
}
