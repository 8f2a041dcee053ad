//! The part of the space below a node: the bits of the key that are known there.

use super::bounds::Bounds;
use super::cut::Cut;

#[derive(Clone, Copy)]
pub(super) struct Region<const N: usize> {
    /// Bits that are known, and those above the field's width.
    known: [u32; N],
    value: [u32; N],
}

impl<const N: usize> Region<N> {
    /// Everything, for fields whose largest values are these.
    pub(super) fn whole(highest: &[u32; N]) -> Self {
        Self { known: highest.map(|highest| !highest), value: [0; N] }
    }

    /// Bits of a field that are not known.
    pub(super) fn unknown(&self, field: usize) -> u32 {
        !self.known[field]
    }

    /// The part below child `child` of a cut.
    pub(super) fn child(&self, cut: Cut, child: u32) -> Self {
        let mut region = *self;
        let bits = (cut.children() - 1) << cut.shift;
        region.known[cut.field] |= bits;
        region.value[cut.field] = region.value[cut.field] & !bits | child << cut.shift;
        region
    }

    /// Whether packets of the region come to child `child` of a cut.
    pub(super) fn may_be(&self, cut: Cut, child: u32) -> bool {
        let differ = self.value[cut.field] ^ child << cut.shift;
        differ & self.known[cut.field] & (cut.children() - 1) << cut.shift == 0
    }

    /// A bit of a field, if it is known.
    pub(super) fn bit(&self, field: usize, bit: u32) -> Option<bool> {
        (self.known[field] >> bit & 1 == 1).then(|| self.value[field] >> bit & 1 == 1)
    }

    /// A range of a field, without what lies below the first and above the last value of the region.
    pub(super) fn clip(&self, field: usize, [low, high]: [u32; 2]) -> [u32; 2] {
        let (first, last) = (self.value[field], self.value[field] | !self.known[field]);
        [low.max(first), high.min(last)]
    }

    /// Whether `above` matches every packet of the region that `below` matches.
    pub(super) fn hides(&self, above: &Bounds<N>, below: &Bounds<N>) -> bool {
        (0..N).all(|field| {
            let [low, high] = self.clip(field, below[field]);
            above[field][0] <= low && high <= above[field][1]
        })
    }

    /// Whether an entry matches every packet of the region.
    pub(super) fn is_inside(&self, bounds: &Bounds<N>) -> bool {
        (0..N).all(|field| {
            let (first, last) = (self.value[field], self.value[field] | !self.known[field]);
            bounds[field][0] <= first && last <= bounds[field][1]
        })
    }
}
