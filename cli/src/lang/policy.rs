//! A checked policy: names are indices, sets and ranges are prefixes, services are port ranges.
//!
//! This is what the compiler reads. Lists that may be empty mean "any" when they are; a list the user wrote never
//! resolves to an empty one. A prefix matches its own family only: `0.0.0.0/0` is all of IPv4 and `::/0` all of IPv6.

use std::fmt;
use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::registry::Keyword;
use super::source::SourceFile;
use super::tcp_flags::TcpFlags;

/// Source port of a [`TestCase`] that names none.
pub const TEST_SOURCE_PORT: u16 = 49152;

/// Everything the files said, resolved and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Zones in the order they were written.
    pub zones: Vec<Zone>,
    /// Static routes.
    pub routes: Vec<Route>,
    /// Rules; the first that matches decides.
    pub rules: Vec<Rule>,
    /// What happens when no rule matches.
    pub default: DefaultRule,
    /// Tests to run before the policy is used.
    pub tests: Vec<Test>,
    /// The files, for showing locations.
    pub sources: Vec<SourceFile>,
}

impl Policy {
    /// The zone with this number.
    pub fn zone(&self, id: u16) -> Option<&Zone> {
        // Where it is as long as no policy came before this one.
        let likely = self.zones.get(usize::from(id)).filter(|zone| zone.id == id);
        likely.or_else(|| self.zones.iter().find(|zone| zone.id == id))
    }

    /// The name of the zone with this number; the number when there is none.
    pub fn zone_name(&self, id: u16) -> String {
        self.zone(id).map_or_else(|| format!("#{id}"), |zone| zone.name.clone())
    }

    /// `file:line` of a place.
    pub fn place(&self, location: &Location) -> String {
        let file = self.sources.get(location.file).map_or("?", |file| file.name.as_str());
        format!("{file}:{}", location.line)
    }
}

/// A named VLAN (or untagged network) on an interface.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// The interface it lives on.
    pub interface: String,
    /// VLAN id 1..=4094, or none for untagged frames.
    pub vlan: Option<u16>,
    /// Gateway address and prefix length of each subnet; at least one.
    pub addresses: Vec<IpNetwork>,
    /// Its number in the tables, below [`firewall_core::tables::MAX_ZONES`]; flows, neighbours and counters name it by this.
    pub id: u16,
    /// Where the zone is declared.
    pub location: Location,
}

/// A static route.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Destinations it covers.
    pub prefix: IpNetwork,
    /// The next hop.
    pub via: IpAddr,
    /// The zone whose subnet holds the next hop.
    pub zone: usize,
    /// Where the route is declared.
    pub location: Location,
}

/// One rule. An empty list matches everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What to do with a new flow that matches.
    pub action: Action,
    /// Zones it may come from.
    pub from: ZoneMatch,
    /// Zones it may go to.
    pub to: ZoneMatch,
    /// Source prefixes: sorted, disjoint and as few as possible.
    pub sources: Vec<IpNetwork>,
    /// Destination prefixes: sorted, disjoint and as few as possible.
    pub destinations: Vec<IpNetwork>,
    /// Services, without duplicates.
    pub services: Vec<Service>,
    /// Whether and how matches are logged.
    pub log: Option<Log>,
    /// Where the rule is written.
    pub location: Location,
    /// The rule on one line, as the printer writes it.
    pub text: String,
}

/// What happens to a new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Let it pass and remember the flow.
    Allow,
    /// Discard it silently.
    Drop,
    /// Discard it and tell the sender (acts as drop in this version).
    Reject,
}

impl Action {
    /// The keyword that names it.
    pub fn keyword(self) -> Keyword {
        match self {
            Action::Allow => Keyword::Allow,
            Action::Drop => Keyword::Drop,
            Action::Reject => Keyword::Reject,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keyword().text())
    }
}

/// The zones on one side of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ZoneMatch {
    /// Every zone.
    Any,
    /// These, as sorted indices into [`Policy::zones`].
    Zones(Vec<usize>),
}

/// Logging of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Text shown with each event.
    pub label: Option<String>,
}

/// The rule behind all rules.
#[derive(Clone, Debug, PartialEq)]
pub struct DefaultRule {
    /// What to do with a new flow no rule matched.
    pub action: Action,
    /// Whether and how it is logged.
    pub log: Option<Log>,
    /// Where it is written; none when the built-in `default drop` is in force.
    pub location: Option<Location>,
}

/// One protocol with its ports or ICMP message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// IP protocol number.
    pub protocol: u8,
    /// Source ports; the full range when the protocol is not TCP or UDP.
    pub source_ports: RangeInclusive<u16>,
    /// Destination ports; the full range when the protocol is not TCP or UDP.
    pub destination_ports: RangeInclusive<u16>,
    /// The ICMP message (of either family); none matches all of them.
    pub icmp: Option<IcmpMatch>,
    /// The flags of TCP; none matches all of them.
    pub flags: Option<TcpFlags>,
}

/// An ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IcmpMatch {
    /// The type.
    pub kind: u8,
    /// The code; none matches every code.
    pub code: Option<u8>,
}

/// A place in one of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// Index into [`Policy::sources`].
    pub file: usize,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Bytes of the text.
    pub span: Range<usize>,
}

/// A named group of test cases.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// The packets and what should become of them.
    pub cases: Vec<TestCase>,
    /// Where the test is written.
    pub location: Location,
}

/// The first packet of a flow and what should become of it.
#[derive(Clone, Debug, PartialEq)]
pub struct TestCase {
    /// Zone the packet comes in from.
    pub from: usize,
    /// Source address.
    pub source: IpAddr,
    /// Source port; 0 when the protocol is not TCP or UDP.
    pub source_port: u16,
    /// Zone the packet must go out to.
    pub to: usize,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port; 0 when the protocol is not TCP or UDP.
    pub destination_port: u16,
    /// ICMP type and code (always set) when the protocol is an ICMP.
    pub icmp: Option<IcmpMatch>,
    /// TCP flags; 0 when the protocol is not TCP.
    pub flags: u8,
    /// The expected decision.
    pub expect: Action,
    /// Where the case is written.
    pub location: Location,
}
