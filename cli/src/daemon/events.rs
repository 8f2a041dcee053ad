//! The log of rule decisions.

use firewall_core::event::{Event, Topic};
use firewall_core::limit::{Bucket, Rate};
use firewall_core::packet::protocol;
use firewall_core::tables::Action;

use super::flow::protocol_name;
use super::state::{Shared, lock};

const SECOND: u64 = 1_000_000_000;

/// Messages of the daemon about single frames, per second: what provokes them may be a flood.
const RATE: Rate = Rate::new(10, 10);

/// Writes events, and says when some were lost.
#[derive(Default)]
pub struct EventLog {
    bucket: Bucket,
    /// Events seen since the lost ones were looked at.
    is_busy: bool,
    /// When they were looked at, nanoseconds.
    looked: u64,
    /// All that had been lost then.
    lost: u64,
}

impl EventLog {
    /// Logs a rule's decision. The kernel programs have bounded how many come.
    pub fn rule(&mut self, shared: &Shared, event: &Event) {
        self.is_busy = true;
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

    /// Whether the daemon may write a line about a single frame at `now` (nanoseconds).
    pub fn admits(&mut self, now: u64) -> bool {
        self.bucket.take(&RATE, 1, now)
    }

    /// Says how many events were lost, once a second at the most. Who reads the log has to know that it is not all.
    pub fn tell_of_lost(&mut self, shared: &Shared, now: u64) {
        if !self.is_busy || now.saturating_sub(self.looked) < SECOND {
            return;
        }
        (self.is_busy, self.looked) = (false, now);
        let lost = shared.lost_events().iter().filter(|lost| lost.topic == Topic::Log).map(|lost| lost.events).sum();
        if lost > self.lost {
            let count = lost - self.lost;
            tracing::warn!(target: "vfw::rule", lost = count, "logged packets without a line (vfw.toml: log.rate)");
        }
        self.lost = lost;
    }
}

fn action_name(code: u8) -> &'static str {
    match code {
        code if code == Action::Allow as u8 => "allow",
        code if code == Action::Reject as u8 => "reject",
        _ => "drop",
    }
}
