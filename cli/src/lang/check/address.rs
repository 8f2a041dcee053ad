//! Sets of addresses as sorted blocks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

/// Addresses of one family from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Block {
    pub(super) v6: bool,
    pub(super) first: u128,
    pub(super) last: u128,
}

impl Block {
    pub(super) fn range(first: IpAddr, last: IpAddr) -> Self {
        Self { v6: first.is_ipv6(), first: number(first), last: number(last) }
    }

    pub(super) fn network(network: IpNetwork) -> Self {
        Self::range(network.network(), network.broadcast())
    }

    pub(super) fn contains(self, address: IpAddr) -> bool {
        self.v6 == address.is_ipv6() && (self.first..=self.last).contains(&number(address))
    }

    /// The fewest prefixes that make up the block.
    fn prefixes(self, out: &mut Vec<IpNetwork>) {
        let bits = if self.v6 { 128 } else { 32 };
        let mut first = self.first;
        loop {
            // The largest block that starts here: limited by alignment and by the end.
            let aligned = first.trailing_zeros().min(bits);
            let fits = (self.last - first).checked_add(1).map_or(128, u128::ilog2);
            let size = aligned.min(fits);
            out.extend(IpNetwork::new(address(self.v6, first), (bits - size) as u8));
            let step = 1_u128.checked_shl(size).unwrap_or(0);
            match first.checked_add(step) {
                Some(next) if step > 0 && next <= self.last => first = next,
                _ => return,
            }
        }
    }
}

pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn address(v6: bool, number: u128) -> IpAddr {
    if v6 { Ipv6Addr::from(number).into() } else { Ipv4Addr::from(number as u32).into() }
}

/// Sorted blocks with a gap between any two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Blocks(Vec<Block>);

impl FromIterator<Block> for Blocks {
    fn from_iter<I: IntoIterator<Item = Block>>(iter: I) -> Self {
        let mut all: Vec<Block> = iter.into_iter().collect();
        all.sort_unstable();
        let mut merged: Vec<Block> = Vec::new();
        for block in all {
            match merged.last_mut() {
                Some(last) if last.v6 == block.v6 && block.first <= last.last.saturating_add(1) => {
                    last.last = last.last.max(block.last);
                }
                _ => merged.push(block),
            }
        }
        Self(merged)
    }
}

impl Blocks {
    pub(super) fn iter(&self) -> impl Iterator<Item = Block> {
        self.0.iter().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn prefixes(&self) -> Vec<IpNetwork> {
        let mut out = Vec::with_capacity(self.0.len());
        self.0.iter().for_each(|block| block.prefixes(&mut out));
        out
    }

    /// Whether every address of `other` is in `self`.
    pub(super) fn cover(&self, other: &Blocks) -> bool {
        other.0.iter().all(|inner| {
            let after = self.0.partition_point(|outer| (outer.v6, outer.first) <= (inner.v6, inner.first));
            let outer = after.checked_sub(1).and_then(|at| self.0.get(at));
            outer.is_some_and(|outer| outer.v6 == inner.v6 && outer.last >= inner.last)
        })
    }

    /// Whether there are addresses of IPv4, and of IPv6.
    pub(super) fn families(&self) -> (bool, bool) {
        (self.0.first().is_some_and(|block| !block.v6), self.0.last().is_some_and(|block| block.v6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(ranges: &[(&str, &str)]) -> Blocks {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        ranges.iter().map(|(first, last)| Block::range(ip(first), ip(last))).collect()
    }

    fn prefixes(ranges: &[(&str, &str)]) -> Vec<String> {
        blocks(ranges).prefixes().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ranges_become_the_fewest_prefixes() {
        assert_eq!(prefixes(&[("10.0.0.1", "10.0.0.6")]), ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"]);
        assert_eq!(prefixes(&[("0.0.0.0", "255.255.255.255")]), ["0.0.0.0/0"]);
        assert_eq!(prefixes(&[("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")]), ["::/0"]);
        assert_eq!(prefixes(&[("::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")]).len(), 128);
        assert_eq!(prefixes(&[("255.255.255.255", "255.255.255.255")]), ["255.255.255.255/32"]);
    }

    #[test]
    fn neighbours_and_overlaps_merge() {
        assert_eq!(prefixes(&[("10.0.1.0", "10.0.1.255"), ("10.0.0.0", "10.0.0.255")]), ["10.0.0.0/23"]);
        assert_eq!(prefixes(&[("255.255.255.255", "255.255.255.255"), ("::", "::")]), ["255.255.255.255/32", "::/128"]);
    }

    proptest::proptest! {
        #[test]
        fn prefixes_hold_the_same_addresses(ranges in proptest::collection::vec((0..600_u32, 0..90_u32), 0..12), probe in 0..700_u32) {
            let base = 0x0a00_0000;
            let ip = |n: u32| IpAddr::from(Ipv4Addr::from(base + n));
            let blocks: Blocks = ranges.iter().map(|&(first, len)| Block::range(ip(first), ip(first + len))).collect();
            let inside = ranges.iter().any(|&(first, len)| (first..=first + len).contains(&probe));
            let holding = blocks.prefixes().iter().filter(|prefix| prefix.contains(ip(probe))).count();
            proptest::prop_assert_eq!(holding, usize::from(inside));
            let single: Blocks = [Block::range(ip(probe), ip(probe))].into_iter().collect();
            proptest::prop_assert_eq!(blocks.cover(&single), inside);
        }
    }

    #[test]
    fn cover_is_per_family() {
        let outer = blocks(&[("10.0.0.0", "10.0.0.255"), ("fd00::", "fd00::ff")]);
        assert!(outer.cover(&blocks(&[("10.0.0.4", "10.0.0.9"), ("fd00::1", "fd00::1")])));
        assert!(!outer.cover(&blocks(&[("10.0.0.4", "10.0.1.0")])));
        assert!(!outer.cover(&blocks(&[("::a00:1", "::a00:1")])));
        assert_eq!(outer.families(), (true, true));
    }
}
