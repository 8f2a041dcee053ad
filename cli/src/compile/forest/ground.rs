//! The entries of one family, and what all attempts to plant them share.

use super::Entry;
use super::bounds::{Bounds, Space};
use super::region::Region;
use super::tables::Sights;

pub(super) struct Ground<'a, const N: usize> {
    pub(super) space: &'a Space<N>,
    pub(super) entries: &'a [Entry],
    pub(super) bounds: Vec<Bounds<N>>,
    pub(super) sights: Sights<N>,
}

impl<'a, const N: usize> Ground<'a, N> {
    pub(super) fn new(space: &'a Space<N>, entries: &'a [Entry]) -> Self {
        let bounds: Vec<Bounds<N>> = entries.iter().map(|entry| space.bounds(entry)).collect();
        let sights = Sights::new(space, &bounds);
        Self { space, entries, bounds, sights }
    }

    /// Everything.
    pub(super) fn whole(&self) -> Region<N> {
        Region::whole(&self.space.highest)
    }

    /// Leaves out what comes behind an entry that matches every packet of the region.
    pub(super) fn truncate(&self, region: &Region<N>, list: &mut Vec<u32>) {
        if let Some(end) = list.iter().position(|entry| self.is_all_of(region, *entry)) {
            list.truncate(end + 1);
        }
    }

    /// Whether an entry matches every packet of the region.
    fn is_all_of(&self, region: &Region<N>, entry: u32) -> bool {
        let entry = entry as usize;
        region.is_inside(&self.bounds[entry]) && self.entries[entry].selector.tcp_flags[0] == 0
    }

    /// Whether `above` matches every packet of the region that `below` matches.
    pub(super) fn hides(&self, region: &Region<N>, above: u32, below: u32) -> bool {
        let [mask, flags] = self.entries[above as usize].selector.tcp_flags;
        let [own_mask, own_flags] = self.entries[below as usize].selector.tcp_flags;
        mask & own_mask == mask
            && own_flags & mask == flags
            && region.hides(&self.bounds[above as usize], &self.bounds[below as usize])
    }

    /// The decision of an entry, as a number.
    pub(super) fn decision(&self, entry: u32) -> u32 {
        self.entries[entry as usize].decision.0
    }
}
