//! What a look-up looks at.

use crate::conntrack::{FlowKey, Sender};
use crate::packet::{ECHO_REQUEST, ECHO_REQUEST6, Packet, protocol};
use crate::tables::RuleKey;

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

impl RuleKey {
    /// The key of the packet that began a flow, as far as its record tells.
    #[inline(always)]
    pub const fn of_flow(key: &FlowKey, beginner: Sender, from: u16, to: u16) -> Self {
        let ((source, source_port), (destination, destination_port)) = key.endpoints(beginner);
        let (source_port, destination_port) = match key.protocol {
            // No other message begins a flow.
            protocol::ICMP => (0, (ECHO_REQUEST as u16) << 8),
            protocol::ICMP6 => (0, (ECHO_REQUEST6 as u16) << 8),
            _ => (source_port, destination_port),
        };
        Self { source, destination, source_port, destination_port, from, to, protocol: key.protocol as u16, padding: 0 }
    }
}

/// Slots of [`Key::words`].
pub mod slot {
    /// Source address, four words, first bits first. IPv4 is mapped, so that its 32 bits are the last word.
    pub const SOURCE: usize = 0;
    /// Destination address, likewise.
    pub const DESTINATION: usize = 4;
    /// Source port.
    pub const SOURCE_PORT: usize = 8;
    /// Destination port; `type << 8 | code` for ICMP.
    pub const DESTINATION_PORT: usize = 9;
    /// IP protocol.
    pub const PROTOCOL: usize = 10;
    /// Ingress zone.
    pub const FROM: usize = 11;
    /// Egress zone.
    pub const TO: usize = 12;
}

/// A [`RuleKey`] as numbers: sixteen words, so that an index of four bits needs no check.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// By [`slot`]; host order.
    pub words: [u32; 16],
}

impl Key {
    /// No packet.
    pub const EMPTY: Self = Self { words: [0; 16] };

    /// The words of a key.
    #[inline(always)]
    pub const fn of(key: &RuleKey) -> Self {
        let mut words = Self::EMPTY;
        words.fill(key);
        words
    }

    /// Takes over the words of a key, in place.
    #[inline(always)]
    pub const fn fill(&mut self, key: &RuleKey) {
        let (source, destination) = (&key.source.words, &key.destination.words);
        self.words[slot::SOURCE] = u32::from_be(source[0]);
        self.words[slot::SOURCE + 1] = u32::from_be(source[1]);
        self.words[slot::SOURCE + 2] = u32::from_be(source[2]);
        self.words[slot::SOURCE + 3] = u32::from_be(source[3]);
        self.words[slot::DESTINATION] = u32::from_be(destination[0]);
        self.words[slot::DESTINATION + 1] = u32::from_be(destination[1]);
        self.words[slot::DESTINATION + 2] = u32::from_be(destination[2]);
        self.words[slot::DESTINATION + 3] = u32::from_be(destination[3]);
        self.words[slot::SOURCE_PORT] = key.source_port as u32;
        self.words[slot::DESTINATION_PORT] = key.destination_port as u32;
        self.words[slot::PROTOCOL] = key.protocol as u32;
        self.words[slot::FROM] = key.from as u32;
        self.words[slot::TO] = key.to as u32;
    }

    /// Whether the packet is IPv4.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.words[4] == 0 && self.words[5] == 0 && self.words[6] == 0xffff
    }
}
