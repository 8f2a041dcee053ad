//! Entries as values of the words that a tuple hashes.

use firewall_core::classify::image::HASHED;
use firewall_core::tables::ANY_ZONE;

use super::{Entry, Prefix};

/// Bits of the key, by the words that a tuple hashes.
pub(super) type Masks = [u64; HASHED];
/// No bits: the tuple of all entries.
pub(super) const NONE: Masks = [0; HASHED];

/// What an entry says of the words that a tuple hashes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Specific {
    /// The first values; zero where they are not exact.
    pub(super) value: Masks,
    /// Bits that have to be as in `value`.
    pub(super) exact: Masks,
}

impl Specific {
    /// In the order of `Key::tuple_v4`.
    pub(super) fn v4(entry: &Entry) -> Self {
        let [source, destination] = [entry.source, entry.destination].map(|prefix| {
            let [_, [value, exact]] = halves(prefix);
            [value & LOW, exact & LOW]
        });
        let addresses = [source[0] | destination[0] << 32, source[1] | destination[1] << 32];
        Self::of([addresses, ports(entry), fields(entry), [0; 2], [0; 2], [0; 2]])
    }

    /// In the order of `Key::tuple_v6`.
    pub(super) fn v6(entry: &Entry) -> Self {
        let ([s0, s1], [d0, d1]) = (halves(entry.source), halves(entry.destination));
        Self::of([s0, s1, d0, d1, ports(entry), fields(entry)])
    }

    fn of(words: [[u64; 2]; HASHED]) -> Self {
        Self { value: words.map(|[value, _]| value), exact: words.map(|[_, exact]| exact) }
    }

    /// Whether it is specific in all of these bits.
    pub(super) fn has(&self, masks: &Masks) -> bool {
        self.exact.iter().zip(masks).all(|(exact, mask)| exact & mask == *mask)
    }
}

pub(super) const LOW: u64 = u32::MAX as u64;
pub(super) const SOURCE_PORT: u64 = LOW;
pub(super) const DESTINATION_PORT: u64 = LOW << 32;
pub(super) const FROM: u64 = 0xffff;
pub(super) const TO: u64 = 0xffff << 16;
pub(super) const PROTOCOL: u64 = 0xffff << 32;

/// First bits and bits that count of each half of a prefix.
fn halves(prefix: Prefix) -> [[u64; 2]; 2] {
    let exact = u128::MAX.checked_shl(128 - u32::from(prefix.length)).unwrap_or(0);
    [[(prefix.first >> 64) as u64, (exact >> 64) as u64], [prefix.first as u64, exact as u64]]
}

fn ports(entry: &Entry) -> [u64; 2] {
    let one = |[first, last]: [u16; 2], place: u64| {
        let exact = if first == last { place } else { 0 };
        [(u64::from(first) | u64::from(first) << 32) & exact, exact]
    };
    let source = one(entry.selector.source_ports, SOURCE_PORT);
    let destination = one(entry.selector.destination_ports, DESTINATION_PORT);
    [source[0] | destination[0], source[1] | destination[1]]
}

fn fields(entry: &Entry) -> [u64; 2] {
    let selector = &entry.selector;
    let mut exact = 0;
    exact |= if selector.from == ANY_ZONE { 0 } else { FROM };
    exact |= if selector.to == ANY_ZONE { 0 } else { TO };
    exact |= if selector.protocol.is_some() { PROTOCOL } else { 0 };
    let protocol = u64::from(selector.protocol.unwrap_or(0));
    [(u64::from(selector.from) | u64::from(selector.to) << 16 | protocol << 32) & exact, exact]
}
