//! Rules that an earlier rule leaves nothing to.

use super::address::Blocks;
use crate::lang::diagnostic::{Diagnostic, Sink};
use crate::lang::policy::{IcmpMatch, Rule, Service, ZoneMatch};

/// Policies with more rules are not looked at: every pair is compared.
pub(super) const MAX_COMPARED: usize = 2000;

/// The addresses of a rule as blocks; empty is any.
pub(super) struct Shape {
    pub(super) sources: Blocks,
    pub(super) destinations: Blocks,
}

/// How many comparisons are worth a warning.
const MAX_WORK: usize = 100 << 20;

/// Warns of every rule that one earlier rule covers whole.
pub(super) fn warn_of_hidden(rules: &[Rule], shapes: &[Shape], sink: &mut Sink<'_>) {
    let pairs: Vec<(&Rule, &Shape)> = rules.iter().zip(shapes).collect();
    let mut work = 0;
    for (i, (rule, shape)) in pairs.iter().enumerate() {
        let earlier = pairs.iter().take(i).find(|(other, wider)| {
            work += 1 + size(&other.from) * size(&rule.from) + size(&other.to) * size(&rule.to);
            if !zones_cover(&other.from, &rule.from) || !zones_cover(&other.to, &rule.to) {
                return false;
            }
            work += other.services.len().saturating_mul(rule.services.len());
            if work > MAX_WORK || !services_cover(&other.services, &rule.services) {
                return false;
            }
            work += shape.sources.len() + shape.destinations.len();
            blocks_cover(&wider.sources, &shape.sources) && blocks_cover(&wider.destinations, &shape.destinations)
        });
        if let Some((other, _)) = earlier {
            let warning = Diagnostic::warning(rule.location.clone(), "this rule is never reached")
                .with_related(other.location.clone(), "everything it matches is matched here first");
            sink.push(warning.with_hint("the first rule that matches decides: move the narrower one up, or remove it"));
        }
        if work > MAX_WORK {
            return;
        }
    }
}

fn size(zones: &ZoneMatch) -> usize {
    if let ZoneMatch::Zones(zones) = zones { zones.len() } else { 0 }
}

fn zones_cover(outer: &ZoneMatch, inner: &ZoneMatch) -> bool {
    match (outer, inner) {
        (ZoneMatch::Any, _) => true,
        (ZoneMatch::Zones(_), ZoneMatch::Any) => false,
        (ZoneMatch::Zones(outer), ZoneMatch::Zones(inner)) => inner.iter().all(|zone| outer.contains(zone)),
    }
}

fn blocks_cover(outer: &Blocks, inner: &Blocks) -> bool {
    outer.is_empty() || (!inner.is_empty() && outer.cover(inner))
}

fn services_cover(outer: &[Service], inner: &[Service]) -> bool {
    if outer.is_empty() {
        return true;
    }
    !inner.is_empty() && inner.iter().all(|inner| outer.iter().any(|outer| service_covers(outer, inner)))
}

fn service_covers(outer: &Service, inner: &Service) -> bool {
    let ports = |outer: &std::ops::RangeInclusive<u16>, inner: &std::ops::RangeInclusive<u16>| {
        outer.start() <= inner.start() && inner.end() <= outer.end()
    };
    outer.protocol == inner.protocol
        && ports(&outer.source_ports, &inner.source_ports)
        && ports(&outer.destination_ports, &inner.destination_ports)
        && outer.flags.is_none_or(|outer| inner.flags.is_some_and(|inner| outer.covers(inner)))
        && match (outer.icmp, inner.icmp) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(outer), Some(inner)) => icmp_covers(outer, inner),
        }
}

fn icmp_covers(outer: IcmpMatch, inner: IcmpMatch) -> bool {
    outer.kind == inner.kind && (outer.code.is_none() || outer.code == inner.code)
}
