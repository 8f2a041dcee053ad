//! Rule sets in the format of ClassBench (Taylor and Turner, 2007), one rule a line, the first that matches decides:
//!
//! `@SOURCE/BITS  DESTINATION/BITS  LOW : HIGH  LOW : HIGH  PROTOCOL/MASK  [FLAGS/MASK]`
//!
//! Addresses may be IPv6. Flags are ignored, as classifiers do.

use std::net::IpAddr;

use firewall_core::Address;
use firewall_core::classify::{Decision, Selector};
use firewall_core::tables::{ANY_ZONE, Action, RuleKey};
use thiserror::Error;

use crate::compile::forest::{Entries, Entry, Lists, Prefix};

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Source address and bits that count.
    pub source: (IpAddr, u8),
    /// Destination address and bits that count.
    pub destination: (IpAddr, u8),
    /// First and last source port.
    pub source_ports: [u16; 2],
    /// First and last destination port.
    pub destination_ports: [u16; 2],
    /// IP protocol; `None` for all.
    pub protocol: Option<u8>,
}

/// A header to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// IP protocol.
    pub protocol: u8,
}

/// A line that is no rule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line} is no ClassBench rule: `{text}`")]
pub struct NotARule {
    /// From 1.
    pub line: usize,
    /// What it says.
    pub text: String,
}

/// Reads a rule set. Empty lines are skipped.
pub fn parse(text: &str) -> Result<Vec<Rule>, NotARule> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| rule(line).ok_or_else(|| NotARule { line: index + 1, text: line.trim().to_owned() }))
        .collect()
}

fn rule(line: &str) -> Option<Rule> {
    let mut fields = line.trim().strip_prefix('@')?.split_whitespace();
    let source = prefix(fields.next()?)?;
    let destination = prefix(fields.next()?)?;
    let mut ports = || {
        let low = fields.next()?.parse().ok()?;
        if fields.next()? != ":" {
            return None;
        }
        let high = fields.next()?.parse().ok()?;
        (low <= high).then_some([low, high])
    };
    let (source_ports, destination_ports) = (ports()?, ports()?);
    let (value, mask) = fields.next()?.split_once('/')?;
    let byte = |text: &str| u8::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let protocol = match byte(mask)? {
        0 => None,
        0xff => Some(byte(value)?),
        _ => return None,
    };
    (source.0.is_ipv4() == destination.0.is_ipv4()).then_some(Rule {
        source,
        destination,
        source_ports,
        destination_ports,
        protocol,
    })
}

fn prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length: u8 = length.parse().ok()?;
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

/// Whether an address lies in a prefix.
fn holds((first, length): (IpAddr, u8), address: IpAddr) -> bool {
    match (first, address) {
        (IpAddr::V4(first), IpAddr::V4(address)) => {
            let differ = first.to_bits() ^ address.to_bits();
            differ.leading_zeros() >= u32::from(length)
        }
        (IpAddr::V6(first), IpAddr::V6(address)) => {
            let differ = first.to_bits() ^ address.to_bits();
            differ.leading_zeros() >= u32::from(length)
        }
        _ => false,
    }
}

impl Rule {
    /// Whether the rule matches: the definition that everything is checked against.
    pub fn matches(&self, header: &Header) -> bool {
        self.protocol.is_none_or(|protocol| protocol == header.protocol)
            && holds(self.destination, header.destination)
            && holds(self.source, header.source)
            && (self.destination_ports[0]..=self.destination_ports[1]).contains(&header.destination_port)
            && (self.source_ports[0]..=self.source_ports[1]).contains(&header.source_port)
    }
}

/// Number of the first rule that matches, or of rules when none does.
pub fn first_match(rules: &[Rule], header: &Header) -> usize {
    rules.iter().position(|rule| rule.matches(header)).unwrap_or(rules.len())
}

/// The rules as the compiler takes them: every rule allows, the rest is dropped.
pub fn entries(rules: &[Rule]) -> Entries {
    let default = Decision::new(rules.len() as u32, Action::Drop, false);
    let mut entries = Entries { v4: Lists::default(), v6: Lists::default(), default };
    for (number, rule) in rules.iter().enumerate() {
        let selector = Selector {
            source_ports: rule.source_ports,
            destination_ports: rule.destination_ports,
            from: ANY_ZONE,
            to: ANY_ZONE,
            protocol: rule.protocol,
            tcp_flags: [0; 2],
        };
        let decision = Decision::new(number as u32, Action::Allow, false);
        let (source, destination) = (wide(rule.source), wide(rule.destination));
        let family = if rule.source.0.is_ipv4() { &mut entries.v4 } else { &mut entries.v6 };
        family.addresses.push(Entry { source, destination, selector, decision });
    }
    entries
}

fn wide((address, length): (IpAddr, u8)) -> Prefix {
    let length = if address.is_ipv4() { length + 96 } else { length };
    let first = u128::from_be_bytes(Address::from(address).bytes());
    Prefix { first: first & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0), length }
}

impl From<&Header> for RuleKey {
    fn from(header: &Header) -> Self {
        Self {
            source: header.source.into(),
            destination: header.destination.into(),
            source_port: header.source_port,
            destination_port: header.destination_port,
            from: 0,
            to: 0,
            protocol: u16::from(header.protocol),
            tcp_flags: 0,
        }
    }
}
