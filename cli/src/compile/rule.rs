//! The rule table: every rule as its combinations of zones, addresses and services, in order.

use firewall_core::classify::image::MAX_STEPS;
use firewall_core::classify::{Class, Decision, Selector};
use firewall_core::tables::{ANY_ZONE, Action as Code};
use ipnetwork::IpNetwork;
use serde::Serialize;

use super::CompileError;
use super::classes::Classes;
use super::forest::{self, Entries, Entry, Lists, TooManySteps};
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

/// Entries above which large lists of addresses become classes where that makes fewer. Two lists of 600 addresses in one rule were
/// measured with 118,000 entries (5 MB, 74 ns for a first packet) and with classes (940 entries, 45 KB, 112 ns): below, memory is
/// cheaper than time.
const MANY: usize = 65_536;

/// Entries, and a name for each rule.
pub(super) fn table(policy: &Policy) -> Result<(Entries, Vec<RuleName>), CompileError> {
    let families = families(policy);
    let total = families.iter().fold(0usize, |sum, lines| sum.saturating_add(lines.count()));
    if total > MAX_ENTRIES {
        return Err(CompileError::Policy(too_many(policy, &counts(&families), total)));
    }
    let decisions: Vec<Decision> =
        (0..).zip(&policy.rules).map(|(number, rule)| decision(number, rule.action, rule.log.is_some())).collect();
    let default = &policy.default;
    let [v4, v6] = families.map(|lines| lines.lists(&decisions));
    let default_decision = decision(policy.rules.len(), default.action, default.log.is_some());
    let mut names: Vec<RuleName> = policy
        .rules
        .iter()
        .map(|rule| RuleName {
            place: policy.place(&rule.location),
            text: rule.text.clone(),
            label: rule.log.as_ref().and_then(|log| log.label.clone()),
        })
        .collect();
    names.push(RuleName {
        place: default.location.as_ref().map_or_else(|| "built-in".to_owned(), |at| policy.place(at)),
        text: format!("default {}{}", default.action, if default.log.is_some() { " log" } else { "" }),
        label: default.log.as_ref().and_then(|log| log.label.clone()),
    });
    Ok((Entries { v4, v6, default: default_decision }, names))
}

/// What the rules become, for IPv4 and for IPv6.
pub(super) fn families(policy: &Policy) -> [Lines<'_>; 2] {
    [Family::V4, Family::V6].map(|family| Lines::of(policy, family))
}

/// How many entries each rule becomes.
pub(super) fn counts(families: &[Lines; 2]) -> Vec<usize> {
    let [v4, v6] = families;
    v4.shapes.iter().zip(&v6.shapes).map(|(v4, v6)| v4.count().saturating_add(v6.count())).collect()
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

    /// What stands for a class in the place of an address (see [`firewall_core::classify::Key::place_of`]).
    fn place_of(self, class: u32) -> forest::Prefix {
        let all = forest::Prefix::from(self.all());
        forest::Prefix { first: all.first | u128::from(class), length: 128 }
    }

    /// Whether packets of the family can be of a service: each has an ICMP of its own.
    fn has(self, service: &Service) -> bool {
        service.protocol != if self == Self::V4 { ICMP6 } else { ICMP }
    }
}

/// What the rules become for one family.
pub(super) struct Lines<'a> {
    family: Family,
    shapes: Vec<Shape<'a>>,
    classes: Classes,
}

impl<'a> Lines<'a> {
    fn of(policy: &'a Policy, family: Family) -> Self {
        let shapes: Vec<Shape> = policy.rules.iter().map(|rule| Shape::of(policy, rule, family)).collect();
        let plain = Self { family, shapes, classes: Classes::default() };
        if plain.count() <= MANY { plain } else { plain.with_classes() }
    }

    /// With classes, where that makes less than half as many entries.
    fn with_classes(self) -> Self {
        let sides = self.shapes.iter().flat_map(|shape| [&shape.sources, &shape.destinations]);
        let classes = Classes::of(sides.filter_map(Side::addresses));
        let shapes = self.shapes.iter().map(|shape| shape.with_classes(&classes)).collect();
        let classed = Self { family: self.family, shapes, classes };
        if classed.count().saturating_mul(2) < self.count() { classed } else { self }
    }

    /// All entries: those of the rules, and the prefixes of classes.
    fn count(&self) -> usize {
        self.shapes.iter().map(Shape::count).fold(self.classes.prefixes.len(), usize::saturating_add)
    }

    /// The entries, given what each rule says.
    fn lists(&self, decisions: &[Decision]) -> Lists {
        let mut lists = Lists { classes: self.classes(), ..Lists::default() };
        for (shape, decision) in self.shapes.iter().zip(decisions) {
            let list = match (&shape.sources, &shape.destinations) {
                (Side::Addresses(_), Side::Addresses(_)) => &mut lists.addresses,
                (Side::Classes(_), Side::Addresses(_)) => &mut lists.sources,
                (Side::Addresses(_), Side::Classes(_)) => &mut lists.destinations,
                (Side::Classes(_), Side::Classes(_)) => &mut lists.both,
            };
            shape.push(self.family, *decision, list);
        }
        lists
    }

    /// The prefixes of classes, the longest first.
    fn classes(&self) -> Vec<Entry> {
        let selector = selector(None, ANY_ZONE, ANY_ZONE);
        let entry = |(prefix, class): &(Prefix, u32)| Entry {
            source: (*prefix).into(),
            destination: self.family.all().into(),
            selector,
            decision: Decision(Class::new(128 - prefix.length, *class).0),
        };
        let mut entries: Vec<Entry> = self.classes.prefixes.iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.decision);
        entries
    }
}

/// One side of a rule.
#[derive(Clone)]
enum Side {
    Addresses(Vec<Prefix>),
    /// Numbers of classes.
    Classes(Vec<u32>),
}

impl Side {
    fn len(&self) -> usize {
        match self {
            Self::Addresses(list) => list.len(),
            Self::Classes(list) => list.len(),
        }
    }

    fn addresses(&self) -> Option<&[Prefix]> {
        match self {
            Self::Addresses(list) => Some(list),
            Self::Classes(_) => None,
        }
    }

    fn with_classes(&self, classes: &Classes) -> Self {
        let found = self.addresses().and_then(|list| classes.find(list));
        found.map_or_else(|| self.clone(), |found| Self::Classes(found.to_vec()))
    }

    /// What entries have in the place of an address.
    fn places(&self, family: Family) -> Vec<forest::Prefix> {
        match self {
            Self::Addresses(list) => list.iter().map(|prefix| (*prefix).into()).collect(),
            Self::Classes(list) => list.iter().map(|class| family.place_of(*class)).collect(),
        }
    }
}

/// The lists of a rule for one family, ready to be multiplied.
struct Shape<'a> {
    from: Vec<u16>,
    to: Vec<u16>,
    sources: Side,
    destinations: Side,
    services: Vec<Option<&'a Service>>,
}

impl<'a> Shape<'a> {
    fn of(policy: &Policy, rule: &'a Rule, family: Family) -> Self {
        let services = rule.services.iter().filter(|service| family.has(service)).map(Some);
        Self {
            from: zones(policy, &rule.from),
            to: zones(policy, &rule.to),
            sources: Side::Addresses(family.of(&rule.sources)),
            destinations: Side::Addresses(family.of(&rule.destinations)),
            services: if rule.services.is_empty() { vec![None] } else { services.collect() },
        }
    }

    fn with_classes(&self, classes: &Classes) -> Self {
        Self {
            from: self.from.clone(),
            to: self.to.clone(),
            sources: self.sources.with_classes(classes),
            destinations: self.destinations.with_classes(classes),
            services: self.services.clone(),
        }
    }

    /// How many entries [`Shape::push`] adds, from the lengths of the lists alone: the product may be far too large.
    fn count(&self) -> usize {
        let lengths =
            [self.from.len(), self.to.len(), self.sources.len(), self.destinations.len(), self.services.len()];
        lengths.into_iter().fold(1, usize::saturating_mul)
    }

    fn push(&self, family: Family, decision: Decision, entries: &mut Vec<Entry>) {
        let (sources, destinations) = (self.sources.places(family), self.destinations.places(family));
        for service in &self.services {
            for &from in &self.from {
                for &to in &self.to {
                    let selector = selector(*service, from, to);
                    for &source in &sources {
                        let to_entry = |destination: &forest::Prefix| Entry {
                            source,
                            destination: *destination,
                            selector,
                            decision,
                        };
                        entries.extend(destinations.iter().map(to_entry));
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

const FEWER_ENTRIES: &str = "each combination of zones, services and short lists of addresses is an entry: use wider prefixes, or port \
                             ranges";

fn too_many(policy: &Policy, counts: &[usize], total: usize) -> Diagnostics {
    let message = format!("the rules become {} table entries; at most {MAX_ENTRIES} fit", many(total));
    [largest(policy, counts, message).with_hint(FEWER_ENTRIES)].into_iter().collect()
}

/// A rule table of so many bytes, of which `most` are allowed: the rules that take them.
pub(super) fn too_large(policy: &Policy, bytes: usize, most: u32) -> Diagnostics {
    let message = format!("the compiled rules take {bytes} bytes; at most {most} are allowed (vfw.toml: rules.bytes)");
    let hint = format!("{FEWER_ENTRIES}, or allow more memory");
    [largest(policy, &counts(&families(policy)), message).with_hint(hint)].into_iter().collect()
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
