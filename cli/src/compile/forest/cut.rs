//! The choice of a cut: which bits of which word separate the entries of a node best.
//!
//! All arithmetic is in integers, so that the choice is the same everywhere. Scores are in sixteenths of a bit.

use firewall_core::classify::image::MAX_CUT_BITS;

use super::bounds::Bounds;
use super::region::Region;

/// A window of bits of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) field: usize,
    pub(super) shift: u32,
    pub(super) bits: u32,
}

impl Cut {
    pub(super) fn children(self) -> u32 {
        1 << self.bits
    }

    /// First child and number of children (going round) that a range of the field belongs to.
    pub(super) fn span(self, [low, high]: [u32; 2]) -> (u32, u32) {
        let (first, last) = (low >> self.shift, high >> self.shift);
        let mask = self.children() - 1;
        let more = last.saturating_sub(first);
        if more >= mask { (0, mask + 1) } else { (first & mask, more + 1) }
    }
}

/// A cut, and which entries stay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) cut: Cut,
    /// Entries that belong to more children are left to a side tree.
    pub(super) widest: u32,
    pub(super) score: i64,
}

impl Plan {
    /// The plan, with what all spans say of the entries that stay: a choice may have looked at some of them.
    #[must_use]
    pub(super) fn confirmed(self, entries: usize, counts: impl Iterator<Item = u32>, terms: Terms) -> Self {
        if entries <= SAMPLE {
            return self;
        }
        Self { widest: widest(counts, terms).unwrap_or(self.widest).min(self.widest), ..self }
    }
}

/// Entries that a choice looks at.
const SAMPLE: usize = 1024;
/// Entries that a packet may meet: fewer are no gain, for a leaf tells many records apart at once.
const ENOUGH: u64 = 8;
/// Entries for each child of a cut at least, as a power of two.
const CHILD: u32 = 2;
/// Most windows tried for each field.
const WINDOWS: usize = 8;

/// What a cut may cost.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    /// Whether entries may be left to a side tree.
    pub(super) may_leave: bool,
    /// Copies that a cut may add for every 16 entries.
    pub(super) copies: usize,
    /// What a cut must gain, in bits, to leave half of its entries to a side tree.
    pub(super) leaving: i64,
}

/// Room that choices share.
#[derive(Default)]
pub(super) struct Chooser {
    ranges: Vec<[u32; 2]>,
    sizes: Vec<u32>,
}

impl Chooser {
    /// The best cut of `list`, if any makes progress.
    pub(super) fn choose<const N: usize>(
        &mut self,
        all: &[Bounds<N>],
        list: &[u32],
        region: &Region<N>,
        terms: Terms,
    ) -> Option<Plan> {
        let mut best: Option<Plan> = None;
        for field in 0..N {
            let unknown = region.unknown(field);
            if unknown == 0 {
                continue;
            }
            let step = list.len().div_ceil(SAMPLE);
            self.ranges.clear();
            let sample = list.iter().step_by(step).filter_map(|entry| all.get(*entry as usize));
            self.ranges.extend(sample.map(|bounds| region.clip(field, bounds[field])));
            let varying = varying(&self.ranges) & unknown;
            for (shift, bits) in windows(varying, list.len()) {
                let cut = Cut { field, shift, bits };
                if let Some(plan) = self.judge(cut, list.len(), terms)
                    && best.is_none_or(|best| plan.score > best.score)
                {
                    best = Some(plan);
                }
            }
        }
        best
    }

    /// What a cut does to the sample.
    fn judge(&mut self, cut: Cut, entries: usize, terms: Terms) -> Option<Plan> {
        let sampled = self.ranges.len();
        let widest = widest(self.ranges.iter().map(|range| cut.span(*range).1), terms)?;
        self.sizes.clear();
        self.sizes.resize(cut.children() as usize, 0);
        let (mask, mut kept, mut copies) = (cut.children() - 1, 0usize, 0u64);
        for range in &self.ranges {
            let (first, count) = cut.span(*range);
            if count > widest {
                continue;
            }
            kept += 1;
            copies += u64::from(count);
            for child in first..first + count {
                if let Some(size) = self.sizes.get_mut((child & mask) as usize) {
                    *size += 1;
                }
            }
        }
        if kept * 16 < sampled {
            return None;
        }
        // What a packet that matches one of the entries meets on average, in entries of the node.
        let squares: u64 = self.sizes.iter().map(|size| u64::from(*size) * u64::from(*size)).sum();
        let scale = (entries / sampled).max(1) as u64;
        let met = (squares * 16 / copies.max(1) * scale).max(ENOUGH * 16);
        let gain = log2(entries as u64 * 16) - log2(met);
        let left = log2(sampled as u64 * 16) - log2(kept as u64 * 16);
        // Where nothing may be left, copies count less.
        let weight = if terms.may_leave { 16 } else { 1 };
        let copied = signed((copies - kept as u64) * weight / kept.max(1) as u64);
        let nodes = signed(u64::from(cut.children()) * 4 / entries as u64);
        Some(Plan { cut, widest, score: gain - copied - nodes - left * terms.leaving })
    }
}

/// The widest span that stays within the terms, of spans of so many children.
fn widest(counts: impl Iterator<Item = u32>, terms: Terms) -> Option<u32> {
    let mut by_width = [(0usize, 0usize); MAX_CUT_BITS as usize + 2];
    let mut entries = 0;
    for count in counts {
        entries += 1;
        let class = if count <= 1 { 0 } else { 32 - (count - 1).leading_zeros() };
        if let Some((number, copies)) = by_width.get_mut(class as usize) {
            *number += 1;
            *copies += count as usize - 1;
        }
    }
    let allowed = entries * terms.copies / 16;
    let mut added = 0;
    let mut last = None;
    for (class, (number, copies)) in by_width.into_iter().enumerate() {
        added += copies;
        if number > 0 && added > allowed {
            return if terms.may_leave { last } else { None };
        }
        if number > 0 {
            last = Some(1 << class);
        }
    }
    Some(u32::MAX)
}

/// Bits in which entries differ that count for both.
fn varying(ranges: &[[u32; 2]]) -> u32 {
    let (mut ones, mut zeros) = (0, 0);
    for [low, high] in ranges {
        let open = u32::MAX.checked_shr((low ^ high).leading_zeros()).unwrap_or(0);
        ones |= low & !open;
        zeros |= !low & !open;
    }
    ones & zeros
}

/// Windows worth a trial: (shift, bits). A cut has at most one child for four entries.
fn windows(varying: u32, entries: usize) -> impl Iterator<Item = (u32, u32)> {
    let top = 32 - varying.leading_zeros();
    let bottom = varying.trailing_zeros().min(32);
    let room = top.saturating_sub(bottom);
    let most = entries.ilog2().saturating_sub(CHILD).clamp(1, MAX_CUT_BITS).min(room.max(1));
    let step = (most / 2).max(1);
    let mut found = [(0, 0); WINDOWS];
    let mut count = 0;
    let mut add = |shift: u32, bits: u32| {
        if let Some(place) = found.get_mut(count) {
            *place = (shift, bits);
            count += 1;
        }
    };
    if room > 0 {
        add(top - most, most);
        if most >= 3 {
            add(top - most * 2 / 3, most * 2 / 3);
            add(top - most / 3, most / 3);
        }
        // A small list is worth a look at both ends only.
        let mut end = if entries < 32 { (bottom + most + 1).min(top) } else { top };
        while end > bottom + most {
            end = (end - step).max(bottom + most);
            add(end - most, most);
        }
    }
    found.into_iter().take(count)
}

/// Sixteen times the logarithm to base 2, bent straight between powers of two.
pub(super) fn log2(value: u64) -> i64 {
    let value = value.max(1);
    let whole = value.ilog2();
    let rest = if whole >= 4 { value >> (whole - 4) } else { value << (4 - whole) };
    i64::from(whole) * 16 + signed(rest) - 16
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
