//! Rule sets and headers like those of real firewalls, made from a number.
//!
//! Three classes after ClassBench: access lists (specific on both sides), firewalls (one side mostly open) and IP chains
//! (everything mixed). Networks are shared between rules as they are in practice: few sites, their subnets, hosts in these.
//! As there, no rule comes twice, and more specific rules come first: otherwise half of them could never be the first match.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vfw::bench::classbench::Rule;
use vfw::bench::headers::Numbers;
pub use vfw::bench::headers::headers;

/// What kind of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Access lists.
    Acl,
    /// Firewalls.
    Fw,
    /// IP chains.
    Ipc,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Acl, Self::Fw, Self::Ipc];
}

/// Choices with a number.
trait Choose {
    /// One of these, more often one of the first.
    fn early<'a, T>(&mut self, list: &'a [T]) -> &'a T;
    /// One of these, by weight.
    fn weighted<T: Copy>(&mut self, table: &[(usize, T)]) -> T;
}

impl Choose for Numbers {
    fn early<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let most = self.below(list.len()) + 1;
        &list[self.below(most)]
    }

    fn weighted<T: Copy>(&mut self, table: &[(usize, T)]) -> T {
        let total: usize = table.iter().map(|(weight, _)| weight).sum();
        let mut left = self.below(total);
        for (weight, value) in table {
            if left < *weight {
                return *value;
            }
            left -= weight;
        }
        table[0].1
    }
}

/// How specific an address is.
#[derive(Clone, Copy)]
enum Size {
    Any,
    Half,
    Region,
    Site,
    Subnet,
    Part,
    Host,
}

use Size::{Any, Half, Host, Part, Region, Site, Subnet};

/// Source and destination sizes of each class, with weights.
fn sizes(class: Class) -> &'static [(usize, (Size, Size))] {
    match class {
        Class::Acl => &[
            (30, (Host, Host)),
            (18, (Host, Subnet)),
            (18, (Subnet, Host)),
            (9, (Subnet, Subnet)),
            (6, (Subnet, Site)),
            (5, (Host, Site)),
            (4, (Part, Host)),
            (3, (Site, Subnet)),
            (2, (Site, Site)),
            (2, (Part, Part)),
            (1, (Any, Host)),
            (1, (Subnet, Any)),
            (1, (Region, Subnet)),
        ],
        Class::Fw => &[
            (28, (Any, Host)),
            (24, (Any, Subnet)),
            (8, (Any, Part)),
            (13, (Subnet, Any)),
            (7, (Host, Any)),
            (4, (Site, Any)),
            (2, (Region, Any)),
            (3, (Half, Host)),
            (3, (Host, Subnet)),
            (3, (Subnet, Subnet)),
            (2, (Host, Host)),
            (1, (Any, Half)),
            (1, (Half, Any)),
            (1, (Any, Any)),
        ],
        Class::Ipc => &[
            (18, (Subnet, Subnet)),
            (14, (Site, Subnet)),
            (10, (Subnet, Host)),
            (8, (Host, Subnet)),
            (8, (Host, Host)),
            (8, (Any, Subnet)),
            (7, (Subnet, Site)),
            (6, (Site, Site)),
            (4, (Site, Any)),
            (4, (Any, Host)),
            (4, (Site, Host)),
            (3, (Subnet, Any)),
            (3, (Part, Part)),
            (2, (Any, Site)),
            (1, (Host, Any)),
            (1, (Region, Region)),
            (1, (Any, Any)),
        ],
    }
}

/// Sites, with the subnets that rules name again and again.
struct World {
    v6: bool,
    sites: Vec<u128>,
    subnets: Vec<u128>,
    hosts: Vec<u128>,
}

impl World {
    fn new(numbers: &mut Numbers, rules: usize, v6: bool) -> Self {
        // The more rules, the more of the world they speak of.
        let regions = 6 + rules / 500;
        let regions: Vec<u128> =
            (0..regions).map(|_| u128::from(numbers.any() as u8) << if v6 { 92 } else { 24 }).collect();
        let region = |numbers: &mut Numbers| *numbers.early(&regions) | if v6 { 0x2001 << 112 } else { 0 };
        let bits = |numbers: &mut Numbers, bits: u32| u128::from(numbers.any()) & ((1 << bits) - 1);
        let (site, subnet) = if v6 { (80, 64) } else { (16, 8) };
        let sites: Vec<u128> =
            (0..8 + rules / 60).map(|_| region(numbers) | bits(numbers, if v6 { 12 } else { 8 }) << site).collect();
        let subnets: Vec<u128> =
            (0..12 + rules / 8).map(|_| *numbers.early(&sites) | bits(numbers, 8) << subnet).collect();
        let host =
            |numbers: &mut Numbers| if v6 && numbers.below(3) == 0 { bits(numbers, 63) } else { bits(numbers, 8) };
        let hosts = (0..16 + rules / 3).map(|_| *numbers.early(&subnets) | host(numbers)).collect();
        Self { v6, sites, subnets, hosts }
    }

    fn address(&self, value: u128) -> IpAddr {
        if self.v6 { IpAddr::V6(Ipv6Addr::from(value)) } else { IpAddr::V4(Ipv4Addr::from(value as u32)) }
    }

    fn prefix(&self, numbers: &mut Numbers, size: Size) -> (IpAddr, u8) {
        let more = numbers.below(8) as u8;
        let (value, length) = match (size, self.v6) {
            (Any, _) => (0, 0),
            (Half, _) => (u128::from(more & 1) << if self.v6 { 127 } else { 31 }, 1),
            (Region, false) => (*numbers.early(&self.sites), 8 + more % 4),
            (Region, true) => (*numbers.early(&self.sites), 32 + more),
            (Site, false) => (*numbers.early(&self.sites), 16 + more % 4),
            (Site, true) => (*numbers.early(&self.sites), 48 - more % 4),
            (Subnet, false) => (*numbers.early(&self.subnets), 24 - more % 3),
            (Subnet, true) => (*numbers.early(&self.subnets), 64 - more % 2 * 4),
            (Part, false) => (*numbers.early(&self.hosts), 25 + more % 7),
            (Part, true) => (*numbers.early(&self.hosts), 80 + more * 6),
            (Host, false) => (*numbers.early(&self.hosts), 32),
            (Host, true) => (*numbers.early(&self.hosts), 128),
        };
        let width = if self.v6 { 128 } else { 32 };
        let open = width - u32::from(length);
        let first = value.checked_shr(open).unwrap_or(0).checked_shl(open).unwrap_or(0);
        (self.address(first), length)
    }
}

const ANY_PORT: [u16; 2] = [0, u16::MAX];
const HIGH_PORTS: [u16; 2] = [1024, u16::MAX];

fn ports(numbers: &mut Numbers, any: usize, high: usize, range: usize, exact: usize) -> [u16; 2] {
    const NAMED: [u16; 24] = [
        80, 443, 53, 25, 22, 21, 110, 123, 161, 389, 514, 993, 1433, 1521, 3306, 3389, 5060, 5432, 6000, 8080, 8443,
        69, 88, 179,
    ];
    match numbers.weighted(&[(any, 0), (high, 1), (range, 2), (exact, 3)]) {
        0 => ANY_PORT,
        1 => HIGH_PORTS,
        2 => {
            let low = numbers.any() as u16;
            [low, low.saturating_add(numbers.below(2000) as u16)]
        }
        _ => {
            let rare = numbers.below(3) == 0;
            let port = if rare { 1024 + numbers.below(30_000) as u16 } else { *numbers.early(&NAMED) };
            [port, port]
        }
    }
}

/// `count` rules of a class, no two alike, more specific ones first.
pub fn rules(class: Class, v6: bool, count: usize, seed: u64) -> Vec<Rule> {
    let numbers = &mut Numbers::new(seed);
    let world = World::new(numbers, count, v6);
    let mut seen = HashSet::with_capacity(count);
    let mut rules: Vec<Rule> =
        std::iter::repeat_with(|| rule(class, &world, numbers)).filter(|rule| seen.insert(*rule)).take(count).collect();
    rules.sort_by_key(|rule| std::cmp::Reverse(specificity(rule)));
    rules
}

/// The same rules in any order: many of them are hidden by others then.
pub fn shuffled(mut rules: Vec<Rule>, seed: u64) -> Vec<Rule> {
    let numbers = &mut Numbers::new(seed);
    for place in (1..rules.len()).rev() {
        rules.swap(place, numbers.below(place + 1));
    }
    rules
}

/// Larger for a rule than for one that matches all of its packets and more.
fn specificity(rule: &Rule) -> (u32, u32) {
    let ports = |[low, high]: [u16; 2]| u32::from(u16::MAX - (high - low));
    let bits = u32::from(rule.source.1) + u32::from(rule.destination.1);
    let rest = ports(rule.source_ports) + ports(rule.destination_ports) + u32::from(rule.protocol.is_some());
    (bits, rest)
}

fn rule(class: Class, world: &World, numbers: &mut Numbers) -> Rule {
    let (source, destination) = numbers.weighted(sizes(class));
    let protocol = numbers.weighted(&[(70, Some(6)), (18, Some(17)), (4, Some(1)), (8, None)]);
    // A rule that matches everything would be the last one that counts.
    let is_open = matches!((source, destination), (Any | Half, Any | Half));
    let protocol = if is_open { Some(6) } else { protocol };
    let has_ports = matches!(protocol, Some(6 | 17));
    let (source_ports, destination_ports) = match class {
        _ if !has_ports => (ANY_PORT, ANY_PORT),
        _ if is_open => (ANY_PORT, ports(numbers, 0, 0, 0, 1)),
        Class::Acl => (ANY_PORT, ports(numbers, 25, 5, 10, 60)),
        Class::Fw => (ports(numbers, 60, 15, 2, 23), ports(numbers, 25, 12, 3, 60)),
        Class::Ipc => (ports(numbers, 70, 8, 2, 20), ports(numbers, 45, 8, 7, 40)),
    };
    Rule {
        source: world.prefix(numbers, source),
        destination: world.prefix(numbers, destination),
        source_ports,
        destination_ports,
        protocol,
    }
}
