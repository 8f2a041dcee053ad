//! Entries as boxes: a range of each word of the key.

use firewall_core::classify::slot;
use firewall_core::tables::ANY_ZONE;

use super::{Entry, Prefix};

/// A box: first and last value of each field.
pub(super) type Bounds<const N: usize> = [[u32; 2]; N];

/// The words of the key that tell packets of one family apart.
pub(super) struct Space<const N: usize> {
    /// Slot of each field in the key.
    pub(super) slots: [usize; N],
    /// Largest value of each field.
    pub(super) highest: [u32; N],
}

const PORT: u32 = u16::MAX as u32;
const BYTE: u32 = u8::MAX as u32;

/// IPv4: one word for each address.
pub(super) const V4: Space<7> = Space {
    slots: [3, 7, slot::SOURCE_PORT, slot::DESTINATION_PORT, slot::PROTOCOL, slot::FROM, slot::TO],
    highest: [u32::MAX, u32::MAX, PORT, PORT, BYTE, PORT, PORT],
};

/// IPv6: four words for each address.
pub(super) const V6: Space<13> = Space {
    slots: [0, 1, 2, 3, 4, 5, 6, 7, slot::SOURCE_PORT, slot::DESTINATION_PORT, slot::PROTOCOL, slot::FROM, slot::TO],
    highest: [
        u32::MAX,
        u32::MAX,
        u32::MAX,
        u32::MAX,
        u32::MAX,
        u32::MAX,
        u32::MAX,
        u32::MAX,
        PORT,
        PORT,
        BYTE,
        PORT,
        PORT,
    ],
};

impl<const N: usize> Space<N> {
    /// The box of an entry.
    pub(super) fn bounds(&self, entry: &Entry) -> Bounds<N> {
        self.slots.map(|slot| range(entry, slot))
    }
}

fn range(entry: &Entry, slot: usize) -> [u32; 2] {
    let selector = &entry.selector;
    match slot {
        0..=3 => word(entry.source, slot),
        4..=7 => word(entry.destination, slot - 4),
        slot::SOURCE_PORT => selector.source_ports.map(u32::from),
        slot::DESTINATION_PORT => selector.destination_ports.map(u32::from),
        slot::PROTOCOL => selector.protocol.map_or([0, BYTE], |protocol| [u32::from(protocol); 2]),
        slot::FROM => zone(selector.from),
        _ => zone(selector.to),
    }
}

fn zone(zone: u16) -> [u32; 2] {
    if zone == ANY_ZONE { [0, PORT] } else { [u32::from(zone); 2] }
}

/// The range of word `index` (0 is the first) of a prefix.
fn word(prefix: Prefix, index: usize) -> [u32; 2] {
    let first = (prefix.first >> (96 - 32 * index)) as u32;
    let counted = u32::from(prefix.length).saturating_sub(32 * index as u32).min(32);
    let rest = u32::MAX.checked_shr(counted).unwrap_or(0);
    [first & !rest, first | rest]
}
