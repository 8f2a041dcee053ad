//! Tests: one packet per case, and only packets that can be.

use std::net::IpAddr;

use super::zone::Subnets;
use super::{Budget, Names, ast, limits, service};
use crate::lang::ast::{Name, ServiceItem};
use crate::lang::diagnostic::Sink;
use crate::lang::parse::quoted;
use crate::lang::policy::{IcmpMatch, Route, Service, TEST_SOURCE_PORT, Test, TestCase};
use crate::lang::registry::{ICMP, ICMP6, TCP, UDP};
use crate::lang::source::Spanned;
use crate::lang::tcp_flags::SYN;

pub(super) struct Resolver<'a> {
    pub(super) names: &'a Names<'a>,
    pub(super) services: &'a [Vec<Service>],
    pub(super) subnets: &'a Subnets,
    pub(super) routes: &'a [Route],
}

impl Resolver<'_> {
    pub(super) fn tests(&self, tests: &[&ast::Test], sink: &mut Sink<'_>) -> Vec<Test> {
        let mut budget = Budget { left: limits::EXPANDED, what: "the tests have too many packets in all" };
        let mut all = Vec::with_capacity(tests.len());
        for test in tests {
            let mut cases = Vec::new();
            for case in &test.cases {
                self.case(case, &mut budget, &mut cases, sink);
            }
            all.push(Test { name: test.name.value.clone(), cases, location: sink.at(test.name.span) });
        }
        all
    }

    /// Adds the packets of a case: one, or one for each member of a named service.
    fn case(&self, case: &ast::TestCase, budget: &mut Budget, all: &mut Vec<TestCase>, sink: &mut Sink<'_>) {
        let (from, to) = (self.names.zone(&case.from, sink), self.names.zone(&case.to, sink));
        let packet = std::slice::from_ref(&case.packet);
        let services = service::resolve(packet, self.names, self.services, budget, sink);
        let (source, destination) = (case.source.value, case.destination.value);
        if source.is_ipv4() != destination.is_ipv4() {
            let error = sink.error(case.destination.span, "source and destination are of different address families");
            sink.push(error);
            return;
        }
        let (Some(from), Some(to)) = (from, to) else {
            return;
        };
        self.check_source(&case.from, from, &case.source, sink);
        self.check_destination(&case.to, to, &case.destination, sink);
        let packets = packets(case, &services, sink);
        all.extend(packets.into_iter().map(|packet| TestCase {
            from,
            source,
            source_port: packet.source_port,
            to,
            destination,
            protocol: packet.protocol,
            destination_port: packet.destination_port,
            icmp: packet.icmp,
            flags: packet.flags,
            expect: case.expect,
            location: sink.at(case.span),
        }));
    }

    fn check_source(&self, name: &Name, zone: usize, address: &Spanned<IpAddr>, sink: &mut Sink<'_>) {
        if !self.subnets.behind(self.routes, address.value, zone) {
            self.not_in_zone(name, address, sink);
        }
    }

    /// The route decides where a packet goes, so a test cannot say otherwise.
    fn check_destination(&self, name: &Name, zone: usize, address: &Spanned<IpAddr>, sink: &mut Sink<'_>) {
        if self.subnets.egress(self.routes, address.value) != Some(zone) {
            self.not_in_zone(name, address, sink);
        }
    }

    fn not_in_zone(&self, name: &Name, address: &Spanned<IpAddr>, sink: &mut Sink<'_>) {
        let message = format!("{} is not in zone {}", address.value, quoted(&name.value));
        let actual = self.subnets.egress(self.routes, address.value);
        let actual = actual.and_then(|zone| self.names.zones.iter().find(|(_, index)| **index == zone));
        let hint = match actual {
            Some((other, _)) => format!("its subnets and the routes put it in zone {}", quoted(other)),
            None => "no zone has a subnet with it and no route leads to it".to_owned(),
        };
        sink.push(sink.error(address.span, message).with_hint(hint));
    }
}

/// The packets a case stands for, or an error.
fn packets(case: &ast::TestCase, services: &[Service], sink: &mut Sink<'_>) -> Vec<Packet> {
    let v4 = case.source.value.is_ipv4();
    let fits = |service: &&Service| match service.protocol {
        ICMP => v4,
        ICMP6 => !v4,
        _ => true,
    };
    let fitting: Vec<&Service> = services.iter().filter(fits).collect();
    if fitting.is_empty() && !services.is_empty() {
        let error = sink.error(case.packet.span, "these addresses are of another family than this ICMP");
        sink.push(error.with_hint(if v4 { "the ICMP of IPv4 is `icmp`" } else { "the ICMP of IPv6 is `icmp6`" }));
        return Vec::new();
    }
    let packets: Option<Vec<Packet>> = fitting.into_iter().map(Packet::of).collect();
    packets.unwrap_or_else(|| {
        let error = sink.error(case.packet.span, "this stands for more packets than a test can try");
        let hint = match &case.packet.value {
            ServiceItem::Icmp(..) => "name the message: icmp echo-request",
            ServiceItem::Named(_) => "write one of its ports: tcp 5432",
            _ => "give single ports: tcp 5432, or tcp 40000 -> 5432 to choose the source port too",
        };
        sink.push(error.with_hint(hint));
        Vec::new()
    })
}

/// The part of a packet that a service describes.
struct Packet {
    protocol: u8,
    source_port: u16,
    destination_port: u16,
    icmp: Option<IcmpMatch>,
    flags: u8,
}

impl Packet {
    /// The packet of a service that has only one, apart from free source ports and ICMP codes.
    fn of(service: &Service) -> Option<Self> {
        let (source, destination) = (&service.source_ports, &service.destination_ports);
        let protocol = service.protocol;
        match protocol {
            TCP | UDP if destination.start() == destination.end() => {
                let flags = match service.flags {
                    _ if protocol == UDP => 0,
                    Some(flags) => flags.set | SYN,
                    None => SYN,
                };
                let source_port = match (*source.start(), *source.end()) {
                    (start, end) if start == end => start,
                    (0, u16::MAX) => TEST_SOURCE_PORT,
                    _ => return None,
                };
                Some(Self { protocol, source_port, destination_port: *destination.start(), icmp: None, flags })
            }
            TCP | UDP => None,
            ICMP | ICMP6 => {
                let message = service.icmp?;
                let icmp = Some(IcmpMatch { code: message.code.or(Some(0)), ..message });
                Some(Self { protocol, source_port: 0, destination_port: 0, icmp, flags: 0 })
            }
            _ => Some(Self { protocol, source_port: 0, destination_port: 0, icmp: None, flags: 0 }),
        }
    }
}
