//! The rule table: every rule as its combinations of zones, addresses and services, in order.

use firewall_core::tables::{ANY_PROTOCOL, ANY_ZONE, Action as Code, RuleEntry};
use ipnetwork::IpNetwork;
use serde::Serialize;

use super::prefix::{ANY, MAPPED, Prefix};
use super::{CompileError, place};
use crate::lang::registry::{ICMP, ICMP6};
use crate::lang::{Action, Diagnostic, Diagnostics, Policy, Rule, Service, ZoneMatch};

/// Most entries of the rule table, the default included.
pub const MAX_ENTRIES: usize = 65_536;

/// What to call a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleName {
    /// `file:line`; `built-in` for the default that nobody wrote.
    pub place: String,
    /// The rule on one line.
    pub text: String,
    /// The label of its `log`.
    pub label: Option<String>,
}

/// Entries, and a name for each rule.
pub(super) fn table(policy: &Policy) -> Result<(Vec<RuleEntry>, Vec<RuleName>), CompileError> {
    let counts = counts(policy);
    let total = counts.iter().fold(1usize, |sum, count| sum.saturating_add(*count));
    if total > MAX_ENTRIES {
        return Err(CompileError::Policy(too_many(policy, &counts, total)));
    }
    let mut entries = Vec::with_capacity(total);
    let mut names = Vec::with_capacity(policy.rules.len() + 1);
    for (index, rule) in policy.rules.iter().enumerate() {
        let model = RuleEntry { rule: index as u32, ..entry(rule.action, rule.log.is_some()) };
        Shape::of(rule).push(model, &mut entries);
        let label = rule.log.as_ref().and_then(|log| log.label.clone());
        names.push(RuleName { place: place(policy, &rule.location), text: rule.text.clone(), label });
    }
    let default = &policy.default;
    entries.push(RuleEntry { rule: names.len() as u32, ..entry(default.action, default.log.is_some()) });
    names.push(RuleName {
        place: default.location.as_ref().map_or_else(|| "built-in".to_owned(), |at| place(policy, at)),
        text: format!("default {}{}", default.action, if default.log.is_some() { " log" } else { "" }),
        label: default.log.as_ref().and_then(|log| log.label.clone()),
    });
    Ok((entries, names))
}

/// How many entries each rule becomes.
pub(super) fn counts(policy: &Policy) -> Vec<usize> {
    policy.rules.iter().map(|rule| Shape::of(rule).count()).collect()
}

/// An entry that matches everything.
fn entry(action: Action, log: bool) -> RuleEntry {
    let action = match action {
        Action::Allow => Code::Allow,
        Action::Drop => Code::Drop,
        Action::Reject => Code::Reject,
    };
    RuleEntry {
        source: ANY.address,
        source_mask: ANY.mask(),
        destination: ANY.address,
        destination_mask: ANY.mask(),
        source_ports: [0, u16::MAX],
        destination_ports: [0, u16::MAX],
        from: ANY_ZONE,
        to: ANY_ZONE,
        protocol: ANY_PROTOCOL,
        action: action as u8,
        log: u8::from(log),
        rule: 0,
        padding: 0,
    }
}

/// The addresses of one side of a rule.
struct Side {
    /// Every address of both families.
    any: bool,
    v4: Vec<Prefix>,
    /// At most one of them holds the IPv4 addresses too, because prefixes of one rule are disjoint.
    v6: Vec<Prefix>,
}

impl Side {
    fn of(networks: &[IpNetwork]) -> Self {
        let all = |v4: bool| networks.iter().any(|network| network.is_ipv4() == v4 && network.prefix() == 0);
        let any = networks.is_empty() || (all(true) && all(false));
        let (v4, v6): (Vec<IpNetwork>, Vec<IpNetwork>) = networks.iter().partition(|network| network.is_ipv4());
        let prefixes = |networks: Vec<IpNetwork>| networks.into_iter().map(Prefix::of).collect();
        if any { Self { any, v4: vec![ANY], v6: vec![ANY] } } else { Self { any, v4: prefixes(v4), v6: prefixes(v6) } }
    }

    /// Bits of the prefix that holds the IPv4 addresses too; `ANY` of a rule's other side counts.
    fn widest(&self) -> Option<u8> {
        self.v6.iter().find(|prefix| prefix.holds_mapped()).map(|prefix| prefix.length)
    }
}

/// The lists of a rule, ready to be multiplied.
struct Shape<'a> {
    from: Vec<u16>,
    to: Vec<u16>,
    source: Side,
    destination: Side,
    services: Vec<Option<&'a Service>>,
}

fn fits_v4(service: Option<&Service>) -> bool {
    service.is_none_or(|service| service.protocol != ICMP6)
}

fn fits_v6(service: Option<&Service>) -> bool {
    service.is_none_or(|service| service.protocol != ICMP)
}

/// Whether the service alone says that a packet is IPv6.
fn is_v6(service: Option<&Service>) -> bool {
    service.is_some_and(|service| service.protocol == ICMP6)
}

impl<'a> Shape<'a> {
    fn of(rule: &'a Rule) -> Self {
        let services: Vec<_> = rule.services.iter().map(Some).collect();
        Self {
            from: zones(&rule.from),
            to: zones(&rule.to),
            source: Side::of(&rule.sources),
            destination: Side::of(&rule.destinations),
            services: if services.is_empty() { vec![None] } else { services },
        }
    }

    /// How many entries [`Shape::push`] adds, from the lengths of the lists alone: the product may be far too large.
    fn count(&self) -> usize {
        let zones = self.from.len().saturating_mul(self.to.len());
        if self.source.any && self.destination.any {
            return zones.saturating_mul(self.services.len());
        }
        let product = |sources: &[Prefix], destinations: &[Prefix]| sources.len().saturating_mul(destinations.len());
        let having =
            |fits: fn(Option<&Service>) -> bool| self.services.iter().filter(|service| fits(**service)).count();
        let v4 = product(&self.source.v4, &self.destination.v4).saturating_mul(having(fits_v4));
        let v6 = product(&self.source.v6, &self.destination.v6).saturating_mul(having(fits_v6));
        let extra = match (self.source.widest(), self.destination.widest()) {
            (Some(source), Some(destination)) => usize::from(MAPPED.length - source.max(destination)) - 1,
            _ => 0,
        };
        let split = extra.saturating_mul(having(|service| fits_v6(service) && !is_v6(service)));
        zones.saturating_mul(v4.saturating_add(v6).saturating_add(split))
    }

    fn push(&self, model: RuleEntry, entries: &mut Vec<RuleEntry>) {
        for &service in &self.services {
            let model = with_service(model, service);
            if self.source.any && self.destination.any {
                self.push_zones(model, ANY, ANY, entries);
                continue;
            }
            if fits_v4(service) {
                for source in &self.source.v4 {
                    for destination in &self.destination.v4 {
                        self.push_zones(model, *source, *destination, entries);
                    }
                }
            }
            if fits_v6(service) {
                self.push_v6(model, is_v6(service), entries);
            }
        }
    }

    /// IPv6 lies around IPv4: a combination that would take in IPv4 as well is split until it does not.
    fn push_v6(&self, model: RuleEntry, surely_v6: bool, entries: &mut Vec<RuleEntry>) {
        for &source in &self.source.v6 {
            for &destination in &self.destination.v6 {
                if surely_v6 || !source.holds_mapped() || !destination.holds_mapped() {
                    self.push_zones(model, source, destination, entries);
                } else if source.length >= destination.length {
                    for part in source.without_mapped() {
                        self.push_zones(model, part, destination, entries);
                    }
                } else {
                    for part in destination.without_mapped() {
                        self.push_zones(model, source, part, entries);
                    }
                }
            }
        }
    }

    fn push_zones(&self, model: RuleEntry, source: Prefix, destination: Prefix, entries: &mut Vec<RuleEntry>) {
        for &from in &self.from {
            for &to in &self.to {
                entries.push(RuleEntry {
                    source: source.address,
                    source_mask: source.mask(),
                    destination: destination.address,
                    destination_mask: destination.mask(),
                    from,
                    to,
                    ..model
                });
            }
        }
    }
}

fn zones(zones: &ZoneMatch) -> Vec<u16> {
    match zones {
        ZoneMatch::Any => vec![ANY_ZONE],
        ZoneMatch::Zones(list) => list.iter().map(|zone| *zone as u16).collect(),
    }
}

fn with_service(model: RuleEntry, service: Option<&Service>) -> RuleEntry {
    let Some(service) = service else { return model };
    let destination_ports = match service.icmp {
        Some(message) => {
            let code = |other| u16::from(message.kind) << 8 | u16::from(message.code.unwrap_or(other));
            [code(0), code(u8::MAX)]
        }
        None => [*service.destination_ports.start(), *service.destination_ports.end()],
    };
    RuleEntry {
        protocol: u16::from(service.protocol),
        source_ports: [*service.source_ports.start(), *service.source_ports.end()],
        destination_ports,
        ..model
    }
}

fn too_many(policy: &Policy, counts: &[usize], total: usize) -> Diagnostics {
    let largest = counts.iter().enumerate().max_by_key(|(index, count)| (**count, usize::MAX - index));
    let (index, count) = largest.map_or((0, 0), |(index, count)| (index, *count));
    let location = policy.rules.get(index).map(|rule| rule.location.clone()).unwrap_or_default();
    let many = |count: usize| if count == usize::MAX { "far too many".to_owned() } else { count.to_string() };
    let message = format!("the rules become {} table entries; at most {MAX_ENTRIES} fit", many(total));
    let error = Diagnostic::error(location, message)
        .with_label(format!("{} of them come from this rule, more than from any other", many(count)))
        .with_hint("each combination of zones, addresses and services is an entry: use wider prefixes, or port ranges");
    [error].into_iter().collect()
}
