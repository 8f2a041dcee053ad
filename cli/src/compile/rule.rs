//! The rule table: every rule as its combinations of zones, addresses and services, in order.

use firewall_core::classify::image::MAX_STEPS;
use firewall_core::classify::{Decision, Selector};
use firewall_core::tables::{ANY_ZONE, Action as Code};
use ipnetwork::IpNetwork;
use serde::Serialize;

use super::CompileError;
use super::forest::{Entries, Entry, TooManySteps};
use super::prefix::{ANY, MAPPED, Prefix};
use crate::lang::registry::{ICMP, ICMP6};
use crate::lang::{Action, Diagnostic, Diagnostics, Policy, Rule, Service, ZoneMatch};

/// Most entries of the rule table.
pub const MAX_ENTRIES: usize = 4_194_304;

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
pub(super) fn table(policy: &Policy) -> Result<(Entries, Vec<RuleName>), CompileError> {
    let counts = counts(policy);
    let total = counts.iter().fold(0usize, |sum, count| sum.saturating_add(*count));
    if total > MAX_ENTRIES {
        return Err(CompileError::Policy(too_many(policy, &counts, total)));
    }
    let default = &policy.default;
    let mut entries = Entries {
        v4: Vec::new(),
        v6: Vec::new(),
        default: decision(policy.rules.len(), default.action, default.log.is_some()),
    };
    let mut names = Vec::with_capacity(policy.rules.len() + 1);
    for (index, rule) in policy.rules.iter().enumerate() {
        let decision = decision(index, rule.action, rule.log.is_some());
        Shape::of(policy, rule, Family::V4).push(decision, &mut entries.v4);
        Shape::of(policy, rule, Family::V6).push(decision, &mut entries.v6);
        let label = rule.log.as_ref().and_then(|log| log.label.clone());
        names.push(RuleName { place: policy.place(&rule.location), text: rule.text.clone(), label });
    }
    names.push(RuleName {
        place: default.location.as_ref().map_or_else(|| "built-in".to_owned(), |at| policy.place(at)),
        text: format!("default {}{}", default.action, if default.log.is_some() { " log" } else { "" }),
        label: default.log.as_ref().and_then(|log| log.label.clone()),
    });
    Ok((entries, names))
}

/// How many entries each rule becomes.
pub(super) fn counts(policy: &Policy) -> Vec<usize> {
    let count = |rule, family| Shape::of(policy, rule, family).count();
    policy.rules.iter().map(|rule| count(rule, Family::V4).saturating_add(count(rule, Family::V6))).collect()
}

fn decision(rule: usize, action: Action, log: bool) -> Decision {
    let action = match action {
        Action::Allow => Code::Allow,
        Action::Drop => Code::Drop,
        Action::Reject => Code::Reject,
    };
    Decision::new(rule as u32, action, log)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    /// Every address of the family.
    fn all(self) -> Prefix {
        if self == Self::V4 { MAPPED } else { ANY }
    }

    /// The addresses of this family among those of one side of a rule.
    fn of(self, networks: &[IpNetwork]) -> Vec<Prefix> {
        if networks.is_empty() {
            return vec![self.all()];
        }
        let own = networks.iter().filter(|network| network.is_ipv4() == (self == Self::V4));
        own.map(|network| Prefix::of(*network)).collect()
    }

    /// Whether packets of the family can be of a service: each has an ICMP of its own.
    fn has(self, service: &Service) -> bool {
        service.protocol != if self == Self::V4 { ICMP6 } else { ICMP }
    }
}

/// The lists of a rule for one family, ready to be multiplied.
struct Shape<'a> {
    from: Vec<u16>,
    to: Vec<u16>,
    sources: Vec<Prefix>,
    destinations: Vec<Prefix>,
    services: Vec<Option<&'a Service>>,
}

impl<'a> Shape<'a> {
    fn of(policy: &Policy, rule: &'a Rule, family: Family) -> Self {
        let services = rule.services.iter().filter(|service| family.has(service)).map(Some);
        Self {
            from: zones(policy, &rule.from),
            to: zones(policy, &rule.to),
            sources: family.of(&rule.sources),
            destinations: family.of(&rule.destinations),
            services: if rule.services.is_empty() { vec![None] } else { services.collect() },
        }
    }

    /// How many entries [`Shape::push`] adds, from the lengths of the lists alone: the product may be far too large.
    fn count(&self) -> usize {
        let lengths =
            [self.from.len(), self.to.len(), self.sources.len(), self.destinations.len(), self.services.len()];
        lengths.into_iter().fold(1, usize::saturating_mul)
    }

    fn push(&self, decision: Decision, entries: &mut Vec<Entry>) {
        for service in &self.services {
            for &from in &self.from {
                for &to in &self.to {
                    let selector = selector(*service, from, to);
                    for source in &self.sources {
                        let to_entry = |destination: &Prefix| Entry {
                            source: (*source).into(),
                            destination: (*destination).into(),
                            selector,
                            decision,
                        };
                        entries.extend(self.destinations.iter().map(to_entry));
                    }
                }
            }
        }
    }
}

fn zones(policy: &Policy, zones: &ZoneMatch) -> Vec<u16> {
    match zones {
        ZoneMatch::Any => vec![ANY_ZONE],
        ZoneMatch::Zones(list) => list.iter().filter_map(|zone| policy.zones.get(*zone)).map(|zone| zone.id).collect(),
    }
}

fn selector(service: Option<&Service>, from: u16, to: u16) -> Selector {
    let all = [0, u16::MAX];
    let Some(service) = service else {
        return Selector { source_ports: all, destination_ports: all, from, to, protocol: None, tcp_flags: [0; 2] };
    };
    let destination_ports = match service.icmp {
        Some(message) => {
            let code = |other| u16::from(message.kind) << 8 | u16::from(message.code.unwrap_or(other));
            [code(0), code(u8::MAX)]
        }
        None => [*service.destination_ports.start(), *service.destination_ports.end()],
    };
    let tcp_flags = service.flags.map_or([0; 2], |flags| [flags.counted, flags.set]);
    let source_ports = [*service.source_ports.start(), *service.source_ports.end()];
    Selector { source_ports, destination_ports, from, to, protocol: Some(service.protocol), tcp_flags }
}

/// Too many steps: the rules that take them.
pub(super) fn too_many_steps(policy: &Policy, found: &TooManySteps) -> Diagnostics {
    let location = |rule: &u32| policy.rules.get(*rule as usize).map(|rule| rule.location.clone());
    let first = found.rules.iter().find_map(location).unwrap_or_default();
    let lines: Vec<String> = found.rules.iter().filter_map(location).map(|at| policy.place(&at)).collect();
    let message =
        format!("a packet could take {} steps through the rules; at most {MAX_STEPS} are allowed", found.steps);
    let shown = lines.get(..NAMED_RULES.min(lines.len())).unwrap_or_default().join(", ");
    let error = Diagnostic::error(first, message)
        .with_label(format!("{} rules overlap here that nothing tells apart quickly: {shown}", lines.len()))
        .with_hint("fewer rules that are open on both sides, or fewer different port ranges in them, make it shorter");
    [error].into_iter().collect()
}

/// Rules that a message lists.
const NAMED_RULES: usize = 16;

fn too_many(policy: &Policy, counts: &[usize], total: usize) -> Diagnostics {
    let message = format!("the rules become {} table entries; at most {MAX_ENTRIES} fit", many(total));
    let hint = "each combination of zones, addresses and services is an entry: use wider prefixes, or port ranges";
    [largest(policy, counts, message).with_hint(hint)].into_iter().collect()
}

/// A rule table of so many bytes, of which `most` are allowed: the rules that take them.
pub(super) fn too_large(policy: &Policy, bytes: usize, most: u32) -> Diagnostics {
    let message = format!("the compiled rules take {bytes} bytes; at most {most} are allowed (vfw.toml: rules.bytes)");
    let hint = "each combination of zones, addresses and services is an entry: use wider prefixes, or port ranges, or allow more \
                memory";
    [largest(policy, &counts(policy), message).with_hint(hint)].into_iter().collect()
}

/// An error at the rule with the most entries, which names the others that have a good part of them.
fn largest(policy: &Policy, counts: &[usize], message: String) -> Diagnostic {
    let mut rules: Vec<(usize, usize)> = counts.iter().copied().enumerate().collect();
    rules.sort_by_key(|(rule, count)| (std::cmp::Reverse(*count), *rule));
    let location = |rule: usize| policy.rules.get(rule).map(|rule| rule.location.clone()).unwrap_or_default();
    let (first, most) = rules.first().copied().unwrap_or_default();
    let error = Diagnostic::error(location(first), message)
        .with_label(format!("{} entries come from this rule, more than from any other", many(most)));
    let others = rules.into_iter().skip(1).take(NAMED_OTHERS).filter(|(_, count)| *count >= most / 10);
    others.fold(error, |error, (rule, count)| {
        error.with_related(location(rule), format!("{} from this one", many(count)))
    })
}

/// Rules that a message names beside the largest.
const NAMED_OTHERS: usize = 3;

fn many(count: usize) -> String {
    if count == usize::MAX { "far too many".to_owned() } else { count.to_string() }
}
