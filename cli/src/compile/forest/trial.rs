//! What packets take through an image, found by sending some through it.

use std::cell::Cell;

use firewall_core::Address;
use firewall_core::classify::image::{Block, Blocks, WORDS, WORDS_V4};
use firewall_core::classify::{Key, lookup};
use firewall_core::tables::{ANY_ZONE, RuleKey};

use super::{Entry, Prefix};

/// Packets of a trial.
const PACKETS: usize = 256;

/// Costs in tenths of a nanosecond, estimated from what look-ups of 1,000 rules took in trees of several shapes. Most of a
/// record are the branches behind it, which nobody can foretell.
mod cost {
    /// A word: a node, mostly.
    pub(super) const WORD: u64 = 25;
    /// One of the tables of a leaf.
    pub(super) const TABLE: u64 = 13;
    /// An IPv6 record.
    pub(super) const BLOCK: u64 = 110;
    /// An IPv4 record.
    pub(super) const RECORD: u64 = 90;
}

/// Packets through entries here and there.
pub(super) struct Trial(Vec<Key>);

impl Trial {
    /// Packets of which most match an entry, and the others have something of several.
    pub(super) fn new(entries: &[Entry]) -> Self {
        Self(packets(entries, &mut Numbers(0)).iter().map(Key::of).collect())
    }

    /// What all its packets take through an image, by [`cost`].
    pub(super) fn cost(&self, blocks: &[Block]) -> u64 {
        let counted = Counted { blocks, cost: Cell::new(0) };
        for key in &self.0 {
            // Without an answer, an image is as good as another one: the sum counts.
            let _ = lookup(&counted, *key);
        }
        counted.cost.get()
    }
}

/// Packets of which most match an entry, and the others have something of several; more of them go on with the numbers.
pub(super) fn packets(entries: &[Entry], numbers: &mut Numbers) -> Vec<RuleKey> {
    let step = entries.len().div_ceil(PACKETS).max(1);
    let packets = entries.iter().step_by(step).enumerate().map(|(number, entry)| {
        let [second, third] = if number % 4 == 3 {
            [(); 2].map(|()| entries.get(numbers.below(entries.len())).unwrap_or(entry))
        } else {
            [entry; 2]
        };
        numbers.packet([entry, second, third])
    });
    packets.collect()
}

/// An image that counts what is read.
struct Counted<'a> {
    blocks: &'a [Block],
    cost: Cell<u64>,
}

impl Counted<'_> {
    fn count(&self, cost: u64) {
        self.cost.set(self.cost.get() + cost);
    }
}

impl Blocks for Counted<'_> {
    fn header(&self, word: usize) -> Option<u64> {
        self.blocks.header(word)
    }

    fn lanes(&self, offset: u32) -> Option<u64> {
        self.count(cost::TABLE);
        self.blocks.lanes(offset)
    }

    fn word(&self, index: u32) -> Option<u64> {
        self.count(cost::WORD);
        self.blocks.word(index)
    }

    fn record_v4(&self, index: u32) -> Option<&[u64; WORDS_V4]> {
        self.count(cost::RECORD);
        self.blocks.record_v4(index)
    }

    fn block(&self, index: u32) -> Option<&[u64; WORDS]> {
        self.count(cost::BLOCK);
        self.blocks.block(index)
    }
}

/// Numbers that look random (an additive sequence, mixed), the same each time: equal rules give equal images.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ mixed >> 29
    }

    fn below(&mut self, end: usize) -> usize {
        (self.any() >> 32) as usize % end.max(1)
    }

    /// A packet with the source of one entry, the destination of another one, and ports and protocol of a third.
    fn packet(&mut self, [source, destination, rest]: [&Entry; 3]) -> RuleKey {
        let (from, to) = (source.selector.from, destination.selector.to);
        let zone = |zone: u16| if zone == ANY_ZONE { 0 } else { zone };
        RuleKey {
            source: self.address(source.source),
            destination: self.address(destination.destination),
            source_port: self.port(rest.selector.source_ports),
            destination_port: self.port(rest.selector.destination_ports),
            from: zone(from),
            to: zone(to),
            protocol: u16::from(rest.selector.protocol.unwrap_or(6)),
            tcp_flags: u16::from(rest.selector.tcp_flags[1]),
        }
    }

    fn address(&mut self, prefix: Prefix) -> Address {
        let open = u128::MAX.checked_shr(u32::from(prefix.length)).unwrap_or(0);
        let bits = u128::from(self.any()) << 64 | u128::from(self.any());
        Address::from_v6((prefix.first | bits & open).to_be_bytes())
    }

    fn port(&mut self, [low, high]: [u16; 2]) -> u16 {
        low.saturating_add(self.below(usize::from(high.saturating_sub(low)) + 1) as u16)
    }
}
