//! Services: protocols and ports, after every name is put in.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use super::{Budget, Names, graph, limits};
use crate::lang::ast::{IcmpVersion, PortRange, ServiceDefinition, ServiceItem, Transport};
use crate::lang::diagnostic::Sink;
use crate::lang::parse;
use crate::lang::policy::Service;
use crate::lang::registry::{ICMP, ICMP6, PROTOCOLS, SERVICES, TCP, UDP, service_named};
use crate::lang::source::{SourceFile, Spanned};

/// What every declared service stands for. One that has an error may be empty.
pub(super) fn expand(services: &[&ServiceDefinition], names: &Names<'_>, sink: &mut Sink<'_>) -> Vec<Vec<Service>> {
    let contains: Vec<Vec<usize>> = services
        .iter()
        .map(|service| service.items.iter().filter_map(|item| declared(&item.value, names)).collect())
        .collect();
    for service in services {
        if let Some(row) = service_named(&service.name.value) {
            let message = format!("service `{}` replaces the built-in one ({})", row.text, row.means);
            sink.push(sink.warning(service.name.span, message));
        }
    }
    let heads: Vec<_> = services.iter().map(|service| &service.name).collect();
    let mut budget = Budget { left: limits::MEMBERS, what: "the services have too many members in all" };
    graph::expand("service", &heads, &contains, sink, |i, expanded, sink| {
        services.get(i).map(|service| resolve(&service.items, names, expanded, &mut budget, sink)).unwrap_or_default()
    })
}

fn declared(item: &ServiceItem, names: &Names<'_>) -> Option<usize> {
    if let ServiceItem::Named(name) = item { names.services.get(name.as_str()).copied() } else { None }
}

/// What a list stands for, without duplicates and in order of mention.
pub(super) fn resolve(
    items: &[Spanned<ServiceItem>],
    names: &Names<'_>,
    declared: &[Vec<Service>],
    budget: &mut Budget,
    sink: &mut Sink<'_>,
) -> Vec<Service> {
    let mut all = Vec::new();
    for item in items {
        // Charged before it is built: source and destination ports multiply.
        let size = match &item.value {
            ServiceItem::Named(name) => named_size(name, names, declared),
            ServiceItem::Ports { source, destination, .. } => {
                source.len().max(1).saturating_mul(destination.len().max(1))
            }
            _ => 1,
        };
        if !budget.take(size, item.span, sink) {
            break;
        }
        match &item.value {
            ServiceItem::Named(name) => {
                all.extend(self::named(&Spanned::new(name.clone(), item.span), names, declared, sink));
            }
            item => all.extend(direct(item)),
        }
    }
    let mut seen = HashSet::new();
    all.retain(|service: &Service| seen.insert(service.clone()));
    all
}

fn named_size(name: &str, names: &Names<'_>, declared: &[Vec<Service>]) -> usize {
    names.services.get(name).and_then(|&i| declared.get(i)).map_or(1, |list| list.len().max(1))
}

fn named(name: &Spanned<String>, names: &Names<'_>, declared: &[Vec<Service>], sink: &mut Sink<'_>) -> Vec<Service> {
    if let Some(&i) = names.services.get(name.value.as_str()) {
        return declared.get(i).cloned().unwrap_or_default();
    }
    if names.broken.contains(name.value.as_str()) {
        return Vec::new();
    }
    if let Some(means) = service_named(&name.value).and_then(|row| built_in(row.means)) {
        return means;
    }
    let protocols = PROTOCOLS.iter().map(|row| row.text);
    let known = names.services.keys().copied().chain(SERVICES.iter().map(|row| row.text)).chain(protocols);
    sink.push(names.unknown("service", name, known, sink));
    Vec::new()
}

/// The meaning of a built-in service, which is written in the language.
fn built_in(means: &str) -> Option<Vec<Service>> {
    let source = [SourceFile::new("", format!("service s = {means}"))];
    let mut sink = Sink::new(&source);
    let document = parse::document(0, &source[0], &mut sink);
    let [crate::lang::ast::Statement::Service(service)] = document.statements.as_slice() else {
        return None;
    };
    Some(service.items.iter().flat_map(|item| direct(&item.value)).collect())
}

/// What an item that is not a name stands for.
fn direct(item: &ServiceItem) -> Vec<Service> {
    match item {
        ServiceItem::Ports { transport, source, destination, flags } => {
            let protocol = if *transport == Transport::Tcp { TCP } else { UDP };
            let pairs =
                ranges(source).into_iter().flat_map(|s| ranges(destination).into_iter().map(move |d| (s.clone(), d)));
            pairs
                .map(|(source_ports, destination_ports)| Service {
                    protocol,
                    source_ports,
                    destination_ports,
                    icmp: None,
                    flags: *flags,
                })
                .collect()
        }
        ServiceItem::Icmp(version, message) => {
            let protocol = if *version == IcmpVersion::V4 { ICMP } else { ICMP6 };
            vec![Service { icmp: *message, ..plain(protocol) }]
        }
        ServiceItem::Protocol(number) => vec![plain(*number)],
        ServiceItem::Named(_) => Vec::new(),
    }
}

fn plain(protocol: u8) -> Service {
    Service { protocol, source_ports: 0..=u16::MAX, destination_ports: 0..=u16::MAX, icmp: None, flags: None }
}

fn ranges(ports: &[PortRange]) -> Vec<RangeInclusive<u16>> {
    if ports.is_empty() {
        return vec![0..=u16::MAX];
    }
    ports.iter().map(|range| range.start..=range.end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_service_can_be_read() {
        for row in SERVICES {
            assert!(built_in(row.means).is_some_and(|services| !services.is_empty()), "{}", row.text);
        }
    }
}
