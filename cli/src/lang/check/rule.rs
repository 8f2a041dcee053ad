//! Rules: names to indices, lists to prefixes, and rules that can never match.

use super::address::Blocks;
use super::shadow::{Shape, warn_of_hidden};
use super::{Budget, Names, ast, limits, service, set};
use crate::lang::ast::{AddressItem, IcmpVersion, Name, ServiceItem};
use crate::lang::diagnostic::Sink;
use crate::lang::policy::{Rule, Service, ZoneMatch};
use crate::lang::registry::{ICMP, ICMP6};
use crate::lang::source::{Span, Spanned};
use crate::lang::tcp_flags::TcpFlags;

pub(super) struct Resolver<'a> {
    names: &'a Names<'a>,
    sets: &'a [Blocks],
    services: &'a [Vec<Service>],
    /// Declared services that begin no flow.
    idle: Vec<bool>,
    budget: Budget,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(names: &'a Names<'a>, sets: &'a [Blocks], services: &'a [Vec<Service>]) -> Self {
        let budget = Budget { left: limits::EXPANDED, what: "the rules need too many prefixes and services in all" };
        let idle = services.iter().map(|list| !list.is_empty() && !list.iter().any(begins_flows)).collect();
        Self { names, sets, services, idle, budget }
    }

    pub(super) fn rules(mut self, rules: &[&ast::Rule], sink: &mut Sink<'_>) -> Vec<Rule> {
        let mut all = Vec::with_capacity(rules.len());
        let mut shapes = Vec::new();
        for rule in rules {
            let (rule, sources, destinations) = self.rule(rule, sink);
            if rules.len() <= super::shadow::MAX_COMPARED {
                shapes.push(Shape { sources, destinations });
            }
            all.push(rule);
        }
        if !sink.has_errors() {
            warn_of_hidden(&all, &shapes, sink);
        }
        all
    }

    fn rule(&mut self, rule: &ast::Rule, sink: &mut Sink<'_>) -> (Rule, Blocks, Blocks) {
        let sources = set::blocks(&rule.sources, self.names, self.sets, &mut self.budget, sink);
        let destinations = set::blocks(&rule.destinations, self.names, self.sets, &mut self.budget, sink);
        let services = service::resolve(&rule.services, self.names, self.services, &mut self.budget, sink);
        warn_of_families(rule, &sources, &destinations, &services, sink);
        self.warn_of_idle(rule, sink);
        let resolved = Rule {
            action: rule.action,
            from: self.zones(&rule.from, sink),
            to: self.zones(&rule.to, sink),
            sources: self.prefixes(&sources, rule.span, sink),
            destinations: self.prefixes(&destinations, rule.span, sink),
            services,
            log: rule.log.clone(),
            location: sink.at(rule.span),
            text: rule.to_string(),
        };
        (resolved, sources, destinations)
    }

    /// Warns of services that rules are never asked about: of ICMP, only an echo request begins a flow, and of TCP a SYN.
    fn warn_of_idle(&self, rule: &ast::Rule, sink: &mut Sink<'_>) {
        let is_idle = |item: &ServiceItem| match item {
            ServiceItem::Icmp(version, Some(message)) => message.kind != echo_request(*version),
            ServiceItem::Ports { flags: Some(flags), .. } => !flags.may_begin(),
            ServiceItem::Named(name) => {
                let declared = self.names.services.get(name.as_str());
                declared.and_then(|&at| self.idle.get(at)).is_some_and(|idle| *idle)
            }
            _ => false,
        };
        // What could not be read stands as something else.
        if sink.has_errors() {
            return;
        }
        let idle: Vec<_> = rule.services.iter().filter(|item| is_idle(&item.value)).collect();
        let message = match idle.len() {
            0 => return,
            all if all == rule.services.len() => "this rule can never match: its packets begin no flow",
            1 => "this service can never match: its packets begin no flow",
            _ => "these services can never match: their packets begin no flow",
        };
        let spans = idle.iter().map(|item| item.span);
        let Some(span) = spans.reduce(|a, b| Span { end: b.end.max(a.end), ..a }) else { return };
        let hint = "rules decide on the first packet of a flow: an echo request, a SYN without ACK, RST and FIN. What follows passes \
                    with its flow, and no other ICMP message is forwarded";
        sink.push(sink.warning(span, message).with_hint(hint));
    }

    fn zones(&self, names: &[Name], sink: &mut Sink<'_>) -> ZoneMatch {
        if names.is_empty() {
            return ZoneMatch::Any;
        }
        let mut zones: Vec<usize> = names.iter().filter_map(|name| self.names.zone(name, sink)).collect();
        zones.sort_unstable();
        zones.dedup();
        ZoneMatch::Zones(zones)
    }

    fn prefixes(&mut self, blocks: &Blocks, span: Span, sink: &mut Sink<'_>) -> Vec<ipnetwork::IpNetwork> {
        let prefixes = blocks.prefixes();
        if self.budget.take(prefixes.len(), span, sink) { prefixes } else { Vec::new() }
    }
}

const fn echo_request(version: IcmpVersion) -> u8 {
    match version {
        IcmpVersion::V4 => 8,
        IcmpVersion::V6 => 128,
    }
}

fn begins_flows(service: &Service) -> bool {
    let wanted = match service.protocol {
        ICMP => echo_request(IcmpVersion::V4),
        ICMP6 => echo_request(IcmpVersion::V6),
        _ => return service.flags.is_none_or(TcpFlags::may_begin),
    };
    service.icmp.is_none_or(|message| message.kind == wanted)
}

/// Warns when no packet can have these addresses and this protocol: IPv4 and IPv6 do not mix.
fn warn_of_families(rule: &ast::Rule, from: &Blocks, to: &Blocks, services: &[Service], sink: &mut Sink<'_>) {
    let families = |blocks: &Blocks| {
        if blocks.is_empty() { (true, true) } else { blocks.families() }
    };
    let ((from4, from6), (to4, to6)) = (families(from), families(to));
    let (v4, v6) = (from4 && to4, from6 && to6);
    let span = |items: &[Spanned<AddressItem>]| items.first().map_or(rule.span, |item| item.span);
    if !v4 && !v6 {
        let (source, destination) = if from4 { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
        let message = format!("this rule can never match: its sources are {source} and its destinations {destination}");
        let warning = sink.warning(span(&rule.sources), message).with_label(format!("{source} only"));
        sink.push(warning.with_related(sink.at(span(&rule.destinations)), format!("{destination} only")));
        return;
    }
    let fits = |service: &Service| match service.protocol {
        ICMP => v4,
        ICMP6 => v6,
        _ => true,
    };
    if !services.is_empty() && !services.iter().any(fits) {
        let (addresses, other) = if v4 { ("IPv4", "`icmp`") } else { ("IPv6", "`icmp6`") };
        let place = rule.services.first().map_or(rule.span, |item| item.span);
        let warning = sink.warning(place, format!("this rule can never match: its addresses are {addresses}"));
        sink.push(warning.with_hint(format!("the ICMP of {addresses} is {other}")));
    }
}
