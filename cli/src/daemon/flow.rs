//! Flows as the daemon shows them.

use std::sync::Arc;

use firewall_core::Address;
use firewall_core::conntrack::Sender;
use firewall_core::packet::protocol;

use super::setup::Setup;
use crate::backend::kernel::LiveFlow;
use crate::clock;
use crate::control::{CounterView, Direction, FlowView};
use crate::lang::Policy;

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// What has to be known of the policy in force to show its flows.
pub struct FlowReader {
    policy: Arc<Policy>,
    /// Places of the rules.
    rules: Vec<String>,
    epoch: u32,
    /// When the flows are looked at, nanoseconds.
    pub now: u64,
}

impl FlowReader {
    /// Reads flows of this policy from now on.
    pub fn new(setup: &Setup) -> Self {
        Self {
            policy: Arc::clone(&setup.policy),
            rules: setup.image.rule_names.iter().map(|name| name.place.clone()).collect(),
            epoch: setup.image.settings.epoch,
            now: clock::now(),
        }
    }

    /// One flow. `None` when its record makes no sense.
    pub fn view(&self, live: &LiveFlow) -> Option<FlowView> {
        let (key, flow) = (&live.key, &live.flow);
        let low = (Sender::Low, key.low, key.low_port);
        let high = (Sender::High, key.high, key.high_port);
        let (from, to) = if flow.low_began != 0 { (low, high) } else { (high, low) };
        let direction = |(sender, address, port): (Sender, Address, u16)| {
            let half = flow.halves(sender).0;
            Direction {
                address: address.to_string(),
                port: has_ports(key.protocol).then_some(port),
                to_zone: self.policy.zone_name(flow.next_hops(sender).0.zone.get()),
                counter: CounterView { packets: half.packets.get(), bytes: half.bytes.get() },
            }
        };
        // A number of the policy before says nothing about the rules of this one.
        let is_current = flow.epoch.get() == self.epoch;
        let rule = is_current.then(|| self.rules.get(flow.rule.get() as usize)).flatten();
        Some(FlowView {
            protocol: protocol_name(key.protocol),
            from: direction(from),
            to: direction(to),
            state: flow.state()?.name().to_owned(),
            expires_seconds: flow.expires.get().saturating_sub(self.now) / SECOND,
            age_seconds: (self.now / SECOND).saturating_sub(u64::from(flow.created)),
            rule: rule.cloned(),
        })
    }
}

/// A protocol's name, or its number.
pub fn protocol_name(number: u8) -> String {
    match number {
        protocol::TCP => "tcp".to_owned(),
        protocol::UDP => "udp".to_owned(),
        protocol::ICMP => "icmp".to_owned(),
        protocol::ICMP6 => "icmp6".to_owned(),
        other => format!("proto {other}"),
    }
}

fn has_ports(number: u8) -> bool {
    matches!(number, protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMP6)
}
