//! Entries as boxes: a range of each word of the key.

use firewall_core::classify::image::Node;
use firewall_core::classify::slot;
use firewall_core::tables::ANY_ZONE;

use super::cut::Cut;
use super::{Entry, Prefix};

/// A box: first and last value of each field.
pub(super) type Bounds<const N: usize> = [[u32; 2]; N];

/// Where a field stands in the key.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) slot: usize,
    /// Bits of the word below the field.
    pub(super) shift: u32,
}

/// The fields that tell packets of one family apart.
pub(super) struct Space<const N: usize> {
    pub(super) places: [Place; N],
    /// Largest value of each field.
    pub(super) highest: [u32; N],
}

const PORT: u32 = u16::MAX as u32;
const BYTE: u32 = u8::MAX as u32;

const fn word(slot: usize) -> Place {
    Place { slot, shift: 0 }
}

const PROTOCOL: Place = Place { slot: slot::FIELDS, shift: 0 };
const FROM: Place = Place { slot: slot::FIELDS, shift: 8 };
const TO: Place = Place { slot: slot::FIELDS, shift: 20 };
const ZONE: u32 = 0xfff;

/// IPv4: one word for each address.
pub(super) const V4: Space<7> = Space {
    places: [
        word(slot::SOURCE_V4),
        word(slot::DESTINATION_V4),
        word(slot::SOURCE_PORT),
        word(slot::DESTINATION_PORT),
        PROTOCOL,
        FROM,
        TO,
    ],
    highest: [u32::MAX, u32::MAX, PORT, PORT, BYTE, ZONE, ZONE],
};

/// IPv6: four words for each address, first bits first.
pub(super) const V6: Space<13> = Space {
    places: [
        word(slot::SOURCE + 1),
        word(slot::SOURCE),
        word(slot::SOURCE + 3),
        word(slot::SOURCE + 2),
        word(slot::DESTINATION + 1),
        word(slot::DESTINATION),
        word(slot::DESTINATION + 3),
        word(slot::DESTINATION + 2),
        word(slot::SOURCE_PORT),
        word(slot::DESTINATION_PORT),
        PROTOCOL,
        FROM,
        TO,
    ],
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
        ZONE,
        ZONE,
    ],
};

impl<const N: usize> Space<N> {
    /// Slot of the key and first bit there of what a cut looks at.
    pub(super) fn place(&self, cut: Cut) -> (u32, u32) {
        let place = self.places[cut.field];
        (place.slot as u32, place.shift + cut.shift)
    }

    /// The cut of a node.
    pub(super) fn cut(&self, node: Node) -> Cut {
        let (slot, shift, bits) = node.window();
        let is_of = |place: &Place| place.slot == slot && place.shift <= shift;
        let field = (0..N).filter(|field| is_of(&self.places[*field])).max_by_key(|field| self.places[*field].shift);
        let field = field.unwrap_or(0);
        Cut { field, shift: shift - self.places[field].shift, bits }
    }

    /// The box of an entry. TCP flags are no part of it.
    pub(super) fn bounds(&self, entry: &Entry) -> Bounds<N> {
        self.places.map(|place| range(entry, place))
    }
}

fn range(entry: &Entry, place: Place) -> [u32; 2] {
    let selector = &entry.selector;
    match place.slot {
        slot::SOURCE_V4 => bits(entry.source, 2),
        slot::DESTINATION_V4 => bits(entry.destination, 2),
        slot::SOURCE_PORT => selector.source_ports.map(u32::from),
        slot::DESTINATION_PORT => selector.destination_ports.map(u32::from),
        slot::FIELDS => match place.shift {
            0 => selector.protocol.map_or([0, BYTE], |protocol| [u32::from(protocol); 2]),
            8 => zone(selector.from),
            _ => zone(selector.to),
        },
        half @ slot::DESTINATION.. => bits(entry.destination, half - slot::DESTINATION),
        half => bits(entry.source, half),
    }
}

fn zone(zone: u16) -> [u32; 2] {
    if zone == ANY_ZONE { [0, ZONE] } else { [u32::from(zone); 2] }
}

/// The range of word `index` of a prefix, counted as in the key: the last bits of each half come first.
fn bits(prefix: Prefix, index: usize) -> [u32; 2] {
    let index = (index ^ 1) as u32;
    let first = (prefix.first >> (96 - 32 * index)) as u32;
    let counted = u32::from(prefix.length).saturating_sub(32 * index).min(32);
    let rest = u32::MAX.checked_shr(counted).unwrap_or(0);
    [first & !rest, first | rest]
}
