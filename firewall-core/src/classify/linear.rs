//! First match over the rule table. The loop belongs to the back end (the kernel bounds loops its own way); what a
//! rule matches is said here, once.

use crate::packet::{Packet, protocol};
use crate::tables::{ANY_PROTOCOL, ANY_ZONE, Action, RuleEntry, RuleKey};

impl RuleKey {
    /// The key of a packet that goes from one zone to another.
    #[inline(always)]
    pub const fn of(packet: &Packet, from: u16, to: u16) -> Self {
        let (source_port, destination_port) = match packet.protocol {
            protocol::ICMP | protocol::ICMP6 => (0, (packet.icmp_type as u16) << 8 | packet.icmp_code as u16),
            _ => (packet.source_port, packet.destination_port),
        };
        Self {
            source: packet.source,
            destination: packet.destination,
            source_port,
            destination_port,
            from,
            to,
            protocol: packet.protocol as u16,
            padding: 0,
        }
    }
}

impl RuleEntry {
    /// Whether the entry matches.
    #[inline(always)]
    pub const fn matches(&self, key: &RuleKey) -> bool {
        (self.from == ANY_ZONE || self.from == key.from)
            && (self.to == ANY_ZONE || self.to == key.to)
            && (self.protocol == ANY_PROTOCOL || self.protocol == key.protocol)
            && self.destination_ports[0] <= key.destination_port
            && key.destination_port <= self.destination_ports[1]
            && self.source_ports[0] <= key.source_port
            && key.source_port <= self.source_ports[1]
            && key.destination.matches(&self.destination, &self.destination_mask)
            && key.source.matches(&self.source, &self.source_mask)
    }

    /// What the entry does. An action that is none of the known ones drops.
    #[inline(always)]
    pub const fn action(&self) -> Action {
        match self.action {
            0 => Action::Allow,
            2 => Action::Reject,
            _ => Action::Drop,
        }
    }
}
