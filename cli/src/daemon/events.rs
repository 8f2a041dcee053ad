//! The log of rule decisions, bounded in rate.

use firewall_core::event::Event;
use firewall_core::packet::protocol;
use firewall_core::tables::Action;

use super::state::{Shared, lock, protocol_name};

const SECOND: u64 = 1_000_000_000;

/// Writes events and counts the ones it had to leave out.
pub struct EventLog {
    rate: u64,
    second: u64,
    written: u64,
    left_out: u64,
}

impl EventLog {
    /// At most `rate` lines per second.
    pub fn new(rate: u32) -> Self {
        Self { rate: u64::from(rate), second: 0, written: 0, left_out: 0 }
    }

    /// Logs a rule's decision.
    pub fn rule(&mut self, shared: &Shared, event: &Event) {
        if !self.admits(event.time) {
            return;
        }
        // Copied: no lock is held while something is written.
        let name = lock(&shared.setup).image.rule_names.get(event.rule as usize).cloned();
        let (place, label) = name.map_or((String::from("?"), None), |name| (name.place, name.label));
        let has_ports = matches!(event.protocol, protocol::TCP | protocol::UDP);
        let is_icmp = matches!(event.protocol, protocol::ICMP | protocol::ICMP6);
        tracing::info!(
            target: "vfw::rule",
            action = action_name(event.action),
            rule = place,
            label,
            from = shared.zone_name(event.from),
            to = shared.zone_name(event.to),
            source = %event.source,
            source_port = has_ports.then_some(event.source_port),
            destination = %event.destination,
            destination_port = has_ports.then_some(event.destination_port),
            icmp_type = is_icmp.then_some(event.destination_port >> 8),
            protocol = protocol_name(event.protocol),
            bytes = event.length,
        );
    }

    /// Whether a line may be written at `time` (nanoseconds).
    pub fn admits(&mut self, time: u64) -> bool {
        let second = time / SECOND;
        if second != self.second {
            if self.left_out > 0 {
                tracing::warn!(target: "vfw::rule", left_out = self.left_out, "log rate exceeded (vfw.toml: log.rate)");
            }
            (self.second, self.written, self.left_out) = (second, 0, 0);
        }
        let admitted = self.written < self.rate;
        self.written += u64::from(admitted);
        self.left_out += u64::from(!admitted);
        admitted
    }
}

fn action_name(code: u8) -> &'static str {
    match code {
        code if code == Action::Allow as u8 => "allow",
        code if code == Action::Reject as u8 => "reject",
        _ => "drop",
    }
}
