//! What a look-up looks at.

use crate::tables::RuleKey;

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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// By [`slot`]; host order.
    pub words: [u32; 16],
}

impl Key {
    /// The words of a key.
    #[inline(always)]
    pub const fn of(key: &RuleKey) -> Self {
        let (source, destination) = (&key.source.words, &key.destination.words);
        Self {
            words: [
                u32::from_be(source[0]),
                u32::from_be(source[1]),
                u32::from_be(source[2]),
                u32::from_be(source[3]),
                u32::from_be(destination[0]),
                u32::from_be(destination[1]),
                u32::from_be(destination[2]),
                u32::from_be(destination[3]),
                key.source_port as u32,
                key.destination_port as u32,
                key.protocol as u32,
                key.from as u32,
                key.to as u32,
                0,
                0,
                0,
            ],
        }
    }

    /// Whether the packet is IPv4.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.words[4] == 0 && self.words[5] == 0 && self.words[6] == 0xffff
    }
}
