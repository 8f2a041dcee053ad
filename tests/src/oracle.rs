//! What a policy says of a new flow, read from the policy itself: no prefix arithmetic, no table, no expansion. Slow and
//! plain on purpose, so that it does not share the compiler's mistakes.

use std::net::IpAddr;

use firewall_core::classify::Decision;
use firewall_core::tables::{Action as Code, RuleKey};
use vfw::lang::{Action, Policy, Rule, Service, ZoneMatch};

/// The first packet of a flow, as rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Ingress zone.
    pub from: usize,
    /// Egress zone.
    pub to: usize,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol.
    pub protocol: u8,
    /// Source port, or 0.
    pub source_port: u16,
    /// Destination port, or 0.
    pub destination_port: u16,
    /// ICMP type and code.
    pub icmp: (u8, u8),
    /// TCP flags; 0 when it is not TCP.
    pub flags: u8,
}

impl Question {
    /// The key that the pipeline makes of it.
    pub fn key(&self) -> RuleKey {
        let icmp = matches!(self.protocol, 1 | 58);
        let port = |port: u16| if matches!(self.protocol, 6 | 17) { port } else { 0 };
        let message = u16::from(self.icmp.0) << 8 | u16::from(self.icmp.1);
        RuleKey {
            source: self.source.into(),
            destination: self.destination.into(),
            source_port: port(self.source_port),
            destination_port: if icmp { message } else { port(self.destination_port) },
            from: self.from as u16,
            to: self.to as u16,
            protocol: u16::from(self.protocol),
            tcp_flags: u16::from(self.flags),
        }
    }
}

/// What was decided, and by which rule; the default comes after the last rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The action.
    pub action: Action,
    /// The rule's place in the file.
    pub rule: usize,
    /// Whether it is logged.
    pub log: bool,
}

impl From<Decision> for Answer {
    fn from(decision: Decision) -> Self {
        let action = match decision.action() {
            Code::Allow => Action::Allow,
            Code::Drop => Action::Drop,
            Code::Reject => Action::Reject,
        };
        Self { action, rule: decision.rule() as usize, log: decision.is_logged() }
    }
}

/// Asks the rules one after the other.
pub fn first_match(policy: &Policy, question: &Question) -> Answer {
    for (index, rule) in policy.rules.iter().enumerate() {
        if matches(rule, question) {
            return Answer { action: rule.action, rule: index, log: rule.log.is_some() };
        }
    }
    Answer { action: policy.default.action, rule: policy.rules.len(), log: policy.default.log.is_some() }
}

fn matches(rule: &Rule, question: &Question) -> bool {
    let zone = |wanted: &ZoneMatch, zone: usize| match wanted {
        ZoneMatch::Any => true,
        ZoneMatch::Zones(zones) => zones.contains(&zone),
    };
    let address = |list: &[ipnetwork::IpNetwork], address: IpAddr| {
        list.is_empty() || list.iter().any(|network| network.contains(address))
    };
    zone(&rule.from, question.from)
        && zone(&rule.to, question.to)
        && address(&rule.sources, question.source)
        && address(&rule.destinations, question.destination)
        && (rule.services.is_empty() || rule.services.iter().any(|wanted| service(wanted, question)))
}

fn service(service: &Service, question: &Question) -> bool {
    if service.protocol != question.protocol {
        return false;
    }
    match (service.protocol, service.icmp) {
        (1 | 58, Some(wanted)) => {
            wanted.kind == question.icmp.0 && wanted.code.is_none_or(|code| code == question.icmp.1)
        }
        (6 | 17, _) => {
            service.source_ports.contains(&question.source_port)
                && service.destination_ports.contains(&question.destination_port)
                && service.flags.is_none_or(|flags| question.flags & flags.counted == flags.set)
        }
        _ => true,
    }
}
