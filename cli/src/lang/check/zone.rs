//! Zones and routes: which addresses live where.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::address::{Block, number};
use super::set::check_host_bits;
use super::{ast, limits};
use crate::lang::diagnostic::Sink;
use crate::lang::parse::quoted;
use crate::lang::policy::{Route, Zone};
use crate::lang::source::{Span, Spanned};

/// Resolves zones and checks each by itself and its place among the others on its interface.
pub(super) fn zones(zones: &[&ast::Zone], sink: &mut Sink<'_>) -> Vec<Zone> {
    let mut places: HashMap<(&str, Option<u16>), Span> = HashMap::new();
    for zone in zones {
        let vlan = zone.vlan.as_ref().map(|vlan| vlan.value);
        let span = zone.vlan.as_ref().map_or(zone.interface.span, |vlan| vlan.span);
        let place = (zone.interface.value.as_str(), vlan);
        if let Some(&first) = places.get(&place) {
            let tag = vlan.map_or_else(|| "untagged frames".to_owned(), |id| format!("VLAN {id}"));
            let message = format!("two zones take {tag} of interface {}", quoted(place.0));
            let error = sink.error(span, message);
            let error = error.with_related(sink.at(first), "the first zone");
            sink.push(error.with_hint("several zones share an interface (a trunk) when each has its own `vlan`"));
        } else {
            places.insert(place, span);
        }
        if let Some(extra) = zone.addresses.get(limits::ADDRESSES) {
            sink.push(sink.error(extra.span, format!("a zone has at most {} addresses", limits::ADDRESSES)));
        }
        for address in &zone.addresses {
            check_gateway(address, sink);
        }
    }
    zones
        .iter()
        .enumerate()
        .map(|(id, zone)| Zone {
            name: zone.name.value.clone(),
            interface: zone.interface.value.clone(),
            vlan: zone.vlan.as_ref().map(|vlan| vlan.value),
            addresses: zone.addresses.iter().map(|address| address.value).collect(),
            id: id as u16,
            location: sink.at(zone.name.span),
        })
        .collect()
}

/// Whether an address can be a router's own.
fn check_gateway(address: &Spanned<IpNetwork>, sink: &mut Sink<'_>) {
    let (ip, length) = (address.value.ip(), address.value.prefix());
    let special = match ip {
        IpAddr::V4(v4) if v4.is_link_local() => Some("a link-local address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        ip if ip.is_unspecified() => Some("the unspecified address"),
        ip if ip.is_loopback() => Some("a loopback address"),
        ip if ip.is_multicast() => Some("a multicast address"),
        _ => None,
    };
    let room = if ip.is_ipv4() { length < 31 } else { length < 127 };
    let message = match special {
        Some(what) => format!("{ip} is {what} and cannot be a gateway"),
        None if room && ip == address.value.network() => {
            format!("{ip} is the address of the subnet itself")
        }
        None if room && ip.is_ipv4() && ip == address.value.broadcast() => {
            format!("{ip} is the subnet's broadcast address")
        }
        None => return,
    };
    let error = sink.error(address.span, message);
    sink.push(error.with_hint("give the address that vfw has in the zone, the gateway of its hosts"));
}

/// A subnet of a zone.
#[derive(Clone, Copy)]
struct Subnet {
    block: Block,
    length: u8,
    gateway: IpAddr,
    zone: usize,
    span: Span,
}

/// The subnets of all zones, sorted by address.
pub(super) struct Subnets(Vec<Subnet>);

impl Subnets {
    /// Collects them and reports those that overlap.
    pub(super) fn of(zones: &[Zone], written: &[&ast::Zone], sink: &mut Sink<'_>) -> Self {
        let mut all = Vec::new();
        for (zone, (resolved, written)) in zones.iter().zip(written).enumerate() {
            for (network, place) in resolved.addresses.iter().zip(&written.addresses) {
                let block = Block::network(*network);
                all.push(Subnet { block, length: network.prefix(), gateway: network.ip(), zone, span: place.span });
            }
        }
        all.sort_by_key(|subnet| (subnet.block.v6, subnet.block.first, subnet.zone));
        let mut widest: Option<Subnet> = None;
        let mut gateways: HashMap<IpAddr, Span> = HashMap::new();
        for subnet in &all {
            if let Some(&first) = gateways.get(&subnet.gateway) {
                let error = sink.error(subnet.span, format!("address {} is given twice", subnet.gateway));
                sink.push(error.with_related(sink.at(first), "first given here"));
            } else if let Some(other) = widest.filter(|other| overlap(other, subnet)) {
                overlap_error(zones, &other, subnet, sink);
            }
            gateways.entry(subnet.gateway).or_insert(subnet.span);
            let wider = widest.is_none_or(|old| (old.block.v6, old.block.last) < (subnet.block.v6, subnet.block.last));
            widest = if wider { Some(*subnet) } else { widest };
        }
        Self(all)
    }

    fn find(&self, address: IpAddr) -> Option<&Subnet> {
        let key = (address.is_ipv6(), number(address));
        let after = self.0.partition_point(|subnet| (subnet.block.v6, subnet.block.first) <= key);
        let found = after.checked_sub(1).and_then(|at| self.0.get(at))?;
        found.block.contains(address).then_some(found)
    }

    fn is_gateway(&self, address: IpAddr, zone: usize) -> bool {
        self.0.iter().any(|subnet| subnet.zone == zone && subnet.gateway == address)
    }

    /// The zone a packet to `address` leaves by: the longest prefix wins, a subnet before a route.
    pub(super) fn egress(&self, routes: &[Route], address: IpAddr) -> Option<usize> {
        let subnet = self.find(address).map(|subnet| (subnet.length, 1, subnet.zone));
        let routes = routes.iter().filter(|route| route.prefix.contains(address));
        let routed = routes.map(|route| (route.prefix.prefix(), 0, route.zone)).max_by_key(|&(length, ..)| length);
        subnet.into_iter().chain(routed).max_by_key(|&(length, direct, _)| (length, direct)).map(|(.., zone)| zone)
    }

    /// Whether hosts of this address may be behind the zone.
    pub(super) fn behind(&self, routes: &[Route], address: IpAddr, zone: usize) -> bool {
        self.find(address).is_some_and(|subnet| subnet.zone == zone)
            || routes.iter().any(|route| route.zone == zone && route.prefix.contains(address))
    }
}

/// Two addresses of one zone may share a subnet; anything else must be apart.
fn overlap(a: &Subnet, b: &Subnet) -> bool {
    let same = a.zone == b.zone && a.block == b.block;
    a.block.v6 == b.block.v6 && b.block.first <= a.block.last && !same
}

fn overlap_error(zones: &[Zone], a: &Subnet, b: &Subnet, sink: &mut Sink<'_>) {
    let (first, second) = if a.zone <= b.zone { (a, b) } else { (b, a) };
    let name = |subnet: &Subnet| zones.get(subnet.zone).map_or("", |zone| zone.name.as_str());
    let message = format!("this subnet of zone {} overlaps one of zone {}", quoted(name(second)), quoted(name(first)));
    let error = sink.error(second.span, message).with_related(sink.at(first.span), "the other subnet");
    sink.push(error.with_hint("an address must belong to one subnet only"));
}

/// Resolves routes. One with an error is left out.
pub(super) fn routes(routes: &[&ast::Route], subnets: &Subnets, sink: &mut Sink<'_>) -> Vec<Route> {
    let mut seen: HashMap<IpNetwork, Span> = HashMap::new();
    let mut all = Vec::new();
    for route in routes {
        let (prefix, via) = (route.prefix.value, route.via.value);
        if !check_host_bits(&route.prefix, sink) {
            continue;
        }
        if let Some(&first) = seen.get(&prefix) {
            let error = sink.error(route.prefix.span, format!("there are two routes to {prefix}"));
            sink.push(error.with_related(sink.at(first), "the first"));
            continue;
        }
        seen.insert(prefix, route.prefix.span);
        if prefix.is_ipv4() != via.is_ipv4() {
            let error = sink.error(route.via.span, "the next hop is of another address family than the prefix");
            sink.push(error);
            continue;
        }
        let Some(subnet) = subnets.find(via) else {
            let error = sink.error(route.via.span, format!("next hop {via} is not in a subnet of any zone"));
            sink.push(error.with_hint("a next hop is a router beside vfw: an address in one of the zones"));
            continue;
        };
        if subnets.is_gateway(via, subnet.zone) {
            let error = sink.error(route.via.span, format!("next hop {via} is vfw itself"));
            sink.push(error.with_related(sink.at(subnet.span), "the zone's own address"));
            continue;
        }
        all.push(Route { prefix, via, zone: subnet.zone, location: sink.at(route.span) });
    }
    all
}
