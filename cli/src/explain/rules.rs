//! Why a rule matches a packet or does not, read from the policy itself: not from the table that is explained.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnetwork::IpNetwork;

use super::FirstPacket;
use crate::lang::registry::{ICMP, ICMP_MESSAGES, ICMP6, protocol_numbered};
use crate::lang::tcp_flags::{SYN, letters};
use crate::lang::{IcmpMatch, Policy, Rule, Service, ZoneMatch};

/// The fields on which `rule` does not match a packet that leaves through zone `to`; none when it matches.
pub fn failures(policy: &Policy, rule: &Rule, packet: &FirstPacket, to: usize) -> Vec<String> {
    let zones = [("from", &rule.from, packet.from), ("to", &rule.to, to)];
    let addresses = [("source", &rule.sources, packet.source), ("destination", &rule.destinations, packet.destination)];
    let mut failed: Vec<String> =
        zones.into_iter().filter_map(|(field, wanted, zone)| zone_failure(policy, field, wanted, zone)).collect();
    failed.extend(addresses.into_iter().filter_map(|(field, wanted, address)| address_failure(field, wanted, address)));
    failed.extend(service_failure(&rule.services, packet));
    failed
}

fn zone_failure(policy: &Policy, field: &str, wanted: &ZoneMatch, zone: usize) -> Option<String> {
    let ZoneMatch::Zones(wanted) = wanted else { return None };
    let name = |zone: usize| policy.zones.get(zone).map_or("?", |zone| zone.name.as_str());
    let names = || wanted.iter().map(|zone| name(*zone)).collect::<Vec<_>>().join(", ");
    (!wanted.contains(&zone)).then(|| format!("{field} zone: {} is not {}", name(zone), names()))
}

/// Most items of a list that a line names.
const NAMED: usize = 3;

fn address_failure(field: &str, wanted: &[IpNetwork], address: IpAddr) -> Option<String> {
    if wanted.is_empty() || wanted.iter().any(|network| network.contains(address)) {
        return None;
    }
    Some(format!("{field}: {address} is not in {}", list(wanted.iter().map(ToString::to_string))))
}

fn service_failure(wanted: &[Service], packet: &FirstPacket) -> Option<String> {
    if wanted.is_empty() || wanted.iter().any(|service| matches(service, packet)) {
        return None;
    }
    Some(format!("service: {} is not {}", service_of(packet), list(wanted.iter().map(text))))
}

/// The first items of a list, and how many more there are.
fn list(items: impl ExactSizeIterator<Item = String>) -> String {
    let more = items.len().saturating_sub(NAMED);
    let named = items.take(NAMED).collect::<Vec<_>>().join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}

fn matches(service: &Service, packet: &FirstPacket) -> bool {
    service.protocol == packet.protocol
        && service.source_ports.contains(&packet.source_port)
        && service.destination_ports.contains(&packet.destination_port)
        && service.flags.is_none_or(|flags| flags.matches(packet.flags))
        && service.icmp.is_none_or(|wanted| {
            packet.icmp.is_some_and(|icmp| {
                wanted.kind == icmp.kind && wanted.code.is_none_or(|code| code == icmp.code.unwrap_or(0))
            })
        })
}

/// The packet's own service, as a rule would name it.
pub fn service_of(packet: &FirstPacket) -> String {
    let name = protocol_name(packet.protocol);
    match (packet.protocol, packet.icmp) {
        (ICMP | ICMP6, Some(icmp)) => message(packet.protocol, icmp),
        _ if packet.flags & !SYN != 0 => {
            format!("{name} {} flags {}", packet.destination_port, letters(packet.flags))
        }
        _ if packet.destination_port != 0 => format!("{name} {}", packet.destination_port),
        _ => name,
    }
}

fn text(service: &Service) -> String {
    let name = protocol_name(service.protocol);
    if let Some(icmp) = service.icmp {
        return message(service.protocol, icmp);
    }
    let flags = service.flags.map_or_else(String::new, |flags| format!(" flags {flags}"));
    match (ports(&service.source_ports), ports(&service.destination_ports)) {
        (None, None) => format!("{name}{flags}"),
        (None, Some(destination)) => format!("{name} {destination}{flags}"),
        (Some(source), destination) => {
            format!("{name} {source} -> {}{flags}", destination.as_deref().unwrap_or("any"))
        }
    }
}

/// An ICMP message by its name, or by its numbers when it has none.
pub fn message(protocol: u8, icmp: IcmpMatch) -> String {
    let name = protocol_name(protocol);
    let of_kind = || ICMP_MESSAGES.iter().filter(|row| row.protocol == protocol && row.kind == icmp.kind);
    // Code 0 is the only one of a message whose codes have no names.
    let unnamed = of_kind().count() == 1 && icmp.code.unwrap_or(0) == 0;
    if let Some(row) = of_kind().find(|row| row.code == icmp.code || (unnamed && row.code.is_none())) {
        return format!("{name} {}", row.text);
    }
    let code = icmp.code.map_or_else(String::new, |code| format!(" code {code}"));
    format!("{name} type {}{code}", icmp.kind)
}

/// Ports as a rule names them; none when all of them fit.
fn ports(range: &RangeInclusive<u16>) -> Option<String> {
    match (*range.start(), *range.end()) {
        (0, u16::MAX) => None,
        (start, end) if start == end => Some(start.to_string()),
        (start, end) => Some(format!("{start}-{end}")),
    }
}

fn protocol_name(number: u8) -> String {
    protocol_numbered(number).map_or_else(|| format!("proto {number}"), |row| row.text.to_owned())
}
