//! What was written, statement by statement, before names are looked up.
//!
//! Two trees are equal when they say the same; where they stand in the files does not count.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::policy::{Action, IcmpMatch, Log};
use super::source::{Span, Spanned};
use super::tcp_flags::TcpFlags;

/// A name as written.
pub type Name = Spanned<String>;

/// One statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `zone app { ... }`
    Zone(Zone),
    /// `set admins = { ... }`
    Set(Set),
    /// `service web = ...`
    Service(ServiceDefinition),
    /// `route 0.0.0.0/0 via ...`
    Route(Route),
    /// `default drop`
    Default(Default),
    /// `allow app -> db`
    Rule(Rule),
    /// `test "..." { ... }`
    Test(Test),
}

/// A zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// Its name.
    pub name: Name,
    /// The interface.
    pub interface: Spanned<String>,
    /// 1..=4094, or none for untagged.
    pub vlan: Option<Spanned<u16>>,
    /// Gateway addresses; at least one.
    pub addresses: Vec<Spanned<IpNetwork>>,
}

/// A set.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// Its name.
    pub name: Name,
    /// Its members; at least one.
    pub items: Vec<Spanned<AddressItem>>,
}

/// A member of a set, or of `from` or `to`.
#[derive(Clone, Debug, PartialEq)]
pub enum AddressItem {
    /// An address (full prefix length) or a prefix.
    Network(IpNetwork),
    /// First and last address, same family, in order.
    Range(IpAddr, IpAddr),
    /// A set.
    Set(String),
}

/// A service declaration.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceDefinition {
    /// Its name.
    pub name: Name,
    /// Its members; at least one.
    pub items: Vec<Spanned<ServiceItem>>,
}

/// A member of a service, or of the `service` clause.
#[derive(Clone, Debug, PartialEq)]
pub enum ServiceItem {
    /// TCP or UDP; an empty list is every port.
    Ports {
        /// Which of the two.
        transport: Transport,
        /// Source ports.
        source: Vec<PortRange>,
        /// Destination ports.
        destination: Vec<PortRange>,
        /// Flags, of TCP only.
        flags: Option<TcpFlags>,
    },
    /// ICMP; none is every message.
    Icmp(IcmpVersion, Option<IcmpMatch>),
    /// Any other protocol.
    Protocol(u8),
    /// A declared or built-in service.
    Named(String),
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// ICMP of one address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpVersion {
    /// ICMP of IPv4.
    V4,
    /// ICMP of IPv6.
    V6,
}

/// Ports from `start` to `end`, both included, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub start: u16,
    /// The last.
    pub end: u16,
}

/// A route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Where to.
    pub prefix: Spanned<IpNetwork>,
    /// Next hop.
    pub via: Spanned<IpAddr>,
    /// The whole statement.
    pub span: Span,
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        (&self.prefix, &self.via) == (&other.prefix, &other.via)
    }
}

/// The `default` statement.
#[derive(Clone, Debug)]
pub struct Default {
    /// What to do.
    pub action: Action,
    /// Logging.
    pub log: Option<Log>,
    /// The whole statement.
    pub span: Span,
}

impl PartialEq for Default {
    fn eq(&self, other: &Self) -> bool {
        (self.action, &self.log) == (other.action, &other.log)
    }
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What to do.
    pub action: Action,
    /// Zones it comes from; empty is any.
    pub from: Vec<Name>,
    /// Zones it goes to; empty is any.
    pub to: Vec<Name>,
    /// The `from` clause; empty is absent.
    pub sources: Vec<Spanned<AddressItem>>,
    /// The `to` clause; empty is absent.
    pub destinations: Vec<Spanned<AddressItem>>,
    /// The `service` clause; empty is absent.
    pub services: Vec<Spanned<ServiceItem>>,
    /// Logging.
    pub log: Option<Log>,
    /// The whole statement.
    pub span: Span,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        let parts = |rule: &Rule| (rule.action, rule.log.clone());
        parts(self) == parts(other)
            && (&self.from, &self.to) == (&other.from, &other.to)
            && (&self.sources, &self.destinations) == (&other.sources, &other.destinations)
            && self.services == other.services
    }
}

/// A test.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// Its name.
    pub name: Spanned<String>,
    /// Its cases; at least one.
    pub cases: Vec<TestCase>,
}

/// A packet and the decision it must get.
#[derive(Clone, Debug)]
pub struct TestCase {
    /// Zone it comes in from.
    pub from: Name,
    /// Source address.
    pub source: Spanned<IpAddr>,
    /// Zone it goes out to.
    pub to: Name,
    /// Destination address.
    pub destination: Spanned<IpAddr>,
    /// Protocol and port.
    pub packet: Spanned<ServiceItem>,
    /// The decision.
    pub expect: Action,
    /// The whole case.
    pub span: Span,
}

impl PartialEq for TestCase {
    fn eq(&self, other: &Self) -> bool {
        (&self.from, &self.source, &self.to, &self.destination)
            == (&other.from, &other.source, &other.to, &other.destination)
            && (&self.packet, self.expect) == (&other.packet, other.expect)
    }
}
