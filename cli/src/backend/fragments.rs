//! Ports of fragmented packets, for back ends in user space; the least recently used entry makes room.

use firewall_core::Address;
use firewall_core::tables::{FragmentKey, FragmentPorts};

use super::lru::Lru;

/// The table.
pub struct Fragments(Lru<(Address, Address, u32, u16, u16), FragmentPorts>);

impl Fragments {
    /// Room for so many packets.
    pub fn new(capacity: usize) -> Self {
        Self(Lru::new(capacity))
    }

    /// The ports of a packet, expired or not.
    pub fn find(&mut self, key: &FragmentKey) -> Option<FragmentPorts> {
        self.0.find(&parts(key)).copied()
    }

    /// Remembers the ports of a packet.
    pub fn insert(&mut self, key: &FragmentKey, ports: &FragmentPorts) {
        self.0.insert(parts(key), *ports);
    }
}

fn parts(key: &FragmentKey) -> (Address, Address, u32, u16, u16) {
    (key.source, key.destination, key.id, key.protocol, key.zone)
}
