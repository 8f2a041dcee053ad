//! The choice of a leaf's guard: the four bits of the key by which fewest packets pass that no record of the leaf matches.
//!
//! Packets are taken to have in each place what entries have there.

use firewall_core::classify::image::Guard;

use super::bounds::{Bounds, Place, Space};
use super::cut::Cut;
use super::region::Region;

/// Bits of a guard.
const BITS: u32 = 4;
/// Values of them.
const VALUES: usize = 1 << BITS;
/// Entries that are looked at.
const SAMPLE: usize = 1024;
/// What a value counts that an entry has, when it has no other; every number of them divides it, or nearly so.
const WEIGHT: u32 = 240;
/// The share of all.
const ALL: u64 = 1 << 16;

/// Four bits of a field that a guard may look at.
struct Window {
    cut: Cut,
    place: Place,
    /// How much of each value there is.
    weights: [u32; VALUES],
}

/// What guards of one family are chosen from.
pub(super) struct Guards<const N: usize>(Vec<Window>);

impl<const N: usize> Guards<N> {
    pub(super) fn new(space: &Space<N>, bounds: &[Bounds<N>]) -> Self {
        let step = bounds.len().div_ceil(SAMPLE).max(1);
        let window = |field: usize, shift: u32| {
            let cut = Cut { field, shift, bits: BITS };
            let mut weights = [0; VALUES];
            for entry in bounds.iter().step_by(step) {
                let values = values(cut, entry[field]);
                let weight = WEIGHT / values.count_ones();
                for (value, sum) in weights.iter_mut().enumerate() {
                    *sum += weight * u32::from(values >> value & 1);
                }
            }
            Window { cut, place: space.places[field], weights }
        };
        let windows = (0..N).flat_map(|field| {
            let width = 32 - space.highest[field].leading_zeros();
            (0..width).step_by(BITS as usize).map(move |shift| window(field, shift))
        });
        Self(windows.filter(Window::tells_packets_apart).collect())
    }

    /// The guard of a leaf with these entries. Other leaves with the same ones share it.
    pub(super) fn choose(&self, all: &[Bounds<N>], entries: &[u32], region: &Region<N>) -> Guard {
        let mut best = (ALL, Guard::ANY);
        for window in &self.0 {
            let mut own = 0;
            for entry in entries {
                own |= values(window.cut, all[*entry as usize][window.cut.field]);
                if own == u16::MAX {
                    break;
                }
            }
            if own == u16::MAX {
                continue;
            }
            let share = window.share(own, region);
            if share < best.0 {
                let shift = window.place.shift + window.cut.shift;
                best = (share, Guard { slot: window.place.slot as u32, shift, values: own });
            }
        }
        best.1
    }
}

impl Window {
    fn tells_packets_apart(&self) -> bool {
        self.weights.iter().filter(|weight| **weight > 0).count() > 1
    }

    /// The share of the packets of a region that pass.
    fn share<const N: usize>(&self, own: u16, region: &Region<N>) -> u64 {
        let (mut passing, mut all) = (0, 0);
        for (number, weight) in (0u32..).zip(&self.weights) {
            if region.may_be(self.cut, number) {
                all += u64::from(*weight);
                passing += u64::from(*weight) * u64::from(own >> number & 1);
            }
        }
        (passing * ALL).checked_div(all).unwrap_or(ALL)
    }
}

/// A bit for each value that the bits of a cut have in a range.
fn values(cut: Cut, range: [u32; 2]) -> u16 {
    let (first, count) = cut.span(range);
    (u16::MAX >> (u16::BITS - count)).rotate_left(first)
}

#[cfg(test)]
mod tests {
    use super::{BITS, Cut, values};

    #[test]
    fn a_range_has_the_values_of_its_numbers() {
        for (low, high, shift) in [(0, 0, 0), (3, 9, 0), (14, 17, 0), (0x120, 0x14f, 4), (5, 300, 0), (0, u32::MAX, 28)]
        {
            let expected = (low >> shift..=high >> shift).fold(0u16, |all, value| all | 1 << (value & 15));
            let cut = Cut { field: 0, shift, bits: BITS };
            assert_eq!(values(cut, [low, high]), expected, "{low} {high} {shift}");
        }
    }
}
