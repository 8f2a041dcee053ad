//! `vfw explain`: what becomes of the first packet of a flow, and why.
//!
//! The verdict comes from the compiled tables, run through the pipeline that the kernel runs; why each rule before the
//! deciding one did not match comes from the policy. When the two disagree, that is said instead of an answer.

mod closed;
mod packet;
mod rules;

use firewall_core::packet::Packet;
use firewall_core::tables::{Route, RouteKind};
use firewall_core::{Address, DropReason, Punt, PuntTask, Verdict, process};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use closed::ClosedInterface;
pub use packet::{FirstPacket, FirstPacketError};
pub(crate) use rules::message;

use crate::backend::memory::{Limits, Memory, MemoryFrame};
use crate::compile::Image;
use crate::lang::{Action, Policy};
use crate::preview::{decided_by, first_packet, outcome};

/// A rule, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulePlace {
    /// `file:line`; `built-in` for a default that nobody wrote.
    pub place: String,
    /// The rule on one line.
    pub rule: String,
}

/// A rule that did not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Considered {
    /// The rule.
    #[serde(flatten)]
    pub rule: RulePlace,
    /// The fields on which it failed.
    pub failed: Vec<String>,
}

/// What becomes of a packet, and why. Field names are the JSON that scripts read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// `allow`, `drop` or `reject`.
    pub verdict: String,
    /// The drop reason's name, when it is dropped.
    pub reason: Option<String>,
    /// What that means.
    pub meaning: Option<String>,
    /// The packet's service.
    pub service: String,
    /// Ingress zone.
    pub from: String,
    /// Egress zone, when there is a route out.
    pub to: Option<String>,
    /// The route that was found: `connected`, `via ADDRESS`, ...
    pub route: Option<String>,
    /// Interfaces on its way that are down or away.
    #[serde(default)]
    pub closed: Vec<ClosedInterface>,
    /// The rule that decided, when the rules were asked; where an interface is closed, the rule that would decide.
    pub decided: Option<RulePlace>,
    /// The rules before it.
    pub considered: Vec<Considered>,
    /// When the rules do not allow it: the rule that comes nearest to allowing it, and what it fails on. Nothing when it matches
    /// and only stands too late.
    pub nearest: Option<Considered>,
}

/// What [`DropReason::InterfaceDown`] means where the packet never comes in.
const NOTHING_COMES: &str = "The interface of the ingress zone is down or away.";

/// Why there is no explanation.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum ExplainError {
    /// There is no such packet.
    #[error("this packet cannot be built: a message of the other family, or a zone that is not compiled")]
    Packet,
    /// The compiled table and the policy name different rules: a mistake in vfw.
    #[error("the table in force decides by {table}, the rules by {policy}: this is a mistake in vfw, please report it")]
    Disagree {
        /// The rule of the table.
        table: String,
        /// The rule of the policy.
        policy: String,
    },
}

/// A compiled policy that can be asked.
pub struct Explainer<'a> {
    policy: &'a Policy,
    image: &'a Image,
    memory: Memory,
    now: u64,
}

impl<'a> Explainer<'a> {
    /// Asks these tables.
    pub fn new(policy: &'a Policy, image: &'a Image) -> Self {
        // One packet at a time: no room for more is needed.
        let limits = Limits { established: 1, half_open: 1, fragments: 1 };
        Self { policy, image, memory: Memory::new(&closed::opened(policy, image), limits), now: 0 }
    }

    /// Explains the fate of a packet that begins a flow.
    pub fn explain(&mut self, packet: &FirstPacket) -> Result<Explanation, ExplainError> {
        let from = self.policy.zones.get(packet.from).ok_or(ExplainError::Packet)?;
        let zone = self.memory.zones().get(usize::from(from.id)).ok_or(ExplainError::Packet)?;
        let ifindex = zone.ifindex;
        let frame = first_packet(zone, packet).ok_or(ExplainError::Packet)?;
        // The time tells in the counters which rule decided.
        self.now += 1;
        let verdict = process(&mut MemoryFrame::new(frame), &self.memory, ifindex, self.now, &mut { Packet::EMPTY });
        self.memory.forget_flows();
        let decided = decided_by(&self.memory, self.now);
        self.describe(packet, &verdict, decided)
    }

    fn describe(
        &self,
        packet: &FirstPacket,
        verdict: &Verdict,
        decided: Option<u32>,
    ) -> Result<Explanation, ExplainError> {
        let (action, _) = outcome(verdict);
        let route = self.image.route_to(&Address::from(packet.destination));
        let forwards = route.filter(|route| route.kind == RouteKind::Forward as u16);
        let to = forwards.and_then(|route| self.policy.zones.iter().position(|zone| zone.id == route.zone));
        let considered = match (decided, to) {
            (Some(rule), Some(to)) => self.considered(packet, to, rule)?,
            _ => Vec::new(),
        };
        let refused = decided.is_some() && action != Action::Allow;
        let nearest = to.filter(|_| refused).and_then(|to| self.nearest(packet, to));
        let on_its_way = [(Some(packet.from), true), (to, false)].into_iter();
        let closed: Vec<ClosedInterface> = on_its_way
            .filter_map(|(zone, is_ingress)| ClosedInterface::of(self.policy, self.image, zone?, is_ingress))
            .collect();
        let stops = !closed.is_empty() && action == Action::Allow;
        let reason = if stops { Some(DropReason::InterfaceDown) } else { reason(verdict) };
        let comes_not = stops && closed.iter().any(|closed| closed.is_ingress);
        Ok(Explanation {
            verdict: if stops { Action::Drop } else { action }.to_string(),
            reason: reason.map(|reason| reason.name().to_owned()),
            meaning: reason.map(|reason| if comes_not { NOTHING_COMES } else { reason.describe().trim() }.to_owned()),
            service: rules::service_of(packet),
            from: self.zone_name(packet.from),
            to: to.map(|to| self.zone_name(to)),
            route: route.map(route_text),
            closed,
            decided: decided.map(|rule| self.place(rule)),
            considered,
            nearest,
        })
    }

    /// The rules before the one that decided, which must be the first that matches.
    fn considered(&self, packet: &FirstPacket, to: usize, decided: u32) -> Result<Vec<Considered>, ExplainError> {
        let mut considered = Vec::new();
        for (number, rule) in self.policy.rules.iter().enumerate() {
            let number = number as u32;
            let failed = rules::failures(self.policy, rule, packet, to);
            if (number == decided) != failed.is_empty() {
                let policy = if number == decided { "a later one".to_owned() } else { self.place(number).place };
                return Err(ExplainError::Disagree { table: self.place(decided).place, policy });
            }
            if number == decided {
                break;
            }
            considered.push(Considered { rule: self.place(number), failed });
        }
        Ok(considered)
    }

    /// The rule that would allow the packet if the fewest fields were different; the first of several.
    fn nearest(&self, packet: &FirstPacket, to: usize) -> Option<Considered> {
        let allowing = self.policy.rules.iter().enumerate().filter(|(_, rule)| rule.action == Action::Allow);
        let failures = allowing.map(|(number, rule)| (number, rules::failures(self.policy, rule, packet, to)));
        let (number, failed) = failures.min_by_key(|(number, failed)| (failed.len(), *number))?;
        Some(Considered { rule: self.place(number as u32), failed })
    }

    fn place(&self, rule: u32) -> RulePlace {
        let name = self.image.rule_names.get(rule as usize);
        name.map_or_else(
            || RulePlace { place: format!("#{rule}"), rule: String::new() },
            |name| RulePlace { place: name.place.clone(), rule: name.text.clone() },
        )
    }

    fn zone_name(&self, zone: usize) -> String {
        self.policy.zones.get(zone).map_or_else(|| format!("#{zone}"), |zone| zone.name.clone())
    }
}

fn reason(verdict: &Verdict) -> Option<DropReason> {
    match verdict {
        Verdict::Drop(reason) | Verdict::Punt(Punt { task: PuntTask::Report, reason, .. }) => Some(*reason),
        _ => None,
    }
}

fn route_text(route: &Route) -> String {
    match route.kind {
        kind if kind == RouteKind::Local as u16 => "an address of vfw itself".to_owned(),
        kind if kind == RouteKind::Unroutable as u16 => "never forwarded".to_owned(),
        kind if kind == RouteKind::NoRoute as u16 => "none".to_owned(),
        _ if route.next_hop.is_unspecified() => "connected".to_owned(),
        _ => format!("via {}", route.next_hop),
    }
}

#[cfg(test)]
mod tests;
