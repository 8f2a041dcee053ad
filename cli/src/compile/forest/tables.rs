//! The tables of a leaf: bits of the key whose values tell which of its records may match a packet.
//!
//! Those are chosen by which fewest records are left on average, of packets that are imagined: some have in each field what an
//! entry of the leaf has there, and others what an entry here or there has.

use std::borrow::Borrow;

use firewall_core::classify::image::{Lanes, TABLES, Window};

use super::bounds::{Bounds, Space};
use super::cut::Cut;
use super::region::Region;
use super::trial::Numbers;

const VALUES: usize = Window::VALUES as usize;
/// Packets that are imagined. The first half have what entries of the leaf have.
const PACKETS: usize = Set::BITS as usize;
const OWN: usize = PACKETS / 2;
/// Records of a leaf that are looked at.
const SAMPLE: usize = 32;

/// Packets, a bit each.
type Set = u32;
/// Of a number that each packet has, those with each bit.
type Bits = [Set; 32];

/// What the tables of one family are chosen from.
pub(super) struct Sights<const N: usize> {
    /// Bits at which a table may look, and their window.
    all: Vec<(Cut, Window)>,
    /// What packets have that look like entries here and there.
    packets: [Bits; N],
    /// Where in the range of an entry each packet's number lies: a share of 2^32.
    points: [[u32; PACKETS]; N],
}

impl<const N: usize> Sights<N> {
    pub(super) fn new(space: &Space<N>, bounds: &[Bounds<N>]) -> Self {
        let mut numbers = Numbers(0);
        let points = [(); N].map(|()| [(); PACKETS].map(|()| (numbers.any() >> 32) as u32));
        let cuts = (0..N).flat_map(|field| {
            let width = 32 - space.highest[field].leading_zeros();
            let shifts = (0..=width - Window::BITS).step_by(Window::STEP as usize);
            shifts.map(move |shift| Cut { field, shift, bits: Window::BITS })
        });
        let sight = |cut: Cut| {
            let (slot, shift) = space.place(cut);
            (cut, Window::new(slot, shift))
        };
        let mut sights = Self { all: cuts.map(sight).collect(), packets: [[0; 32]; N], points };
        sights.packets = std::array::from_fn(|field| {
            let values: [u32; PACKETS] = sights.values(field, bounds);
            std::array::from_fn(|bit| with_bit(&values, bit as u32))
        });
        sights
    }

    /// What packets have in a field that look like some of these entries: in each field like other ones.
    fn values<const P: usize>(&self, field: usize, entries: &[impl Borrow<Bounds<N>>]) -> [u32; P] {
        std::array::from_fn(|packet| {
            let entry = entries.get((packet + 5 * field) % P * entries.len() / P);
            let [low, high] = entry.map_or([0; 2], |entry| entry.borrow()[field]);
            let size = u64::from(high - low) + 1;
            low + ((u64::from(self.points[field][packet]) * size) >> 32) as u32
        })
    }

    /// Packets of a region with a bit in a field, the first of which have these numbers there.
    fn packets_with(&self, field: usize, bit: u32, own: &[u32; OWN], region: &Region<N>) -> Set {
        match region.bit(field, bit) {
            Some(true) => Set::MAX,
            Some(false) => 0,
            None => with_bit(own, bit) | self.packets[field][bit as usize] & Set::MAX << OWN,
        }
    }
}

/// Packets whose number has a bit.
fn with_bit(values: &[u32], bit: u32) -> Set {
    values.iter().rev().fold(0, |all, value| all << 1 | value >> bit & 1)
}

/// Packets with each value of bits that some packets have.
fn with_values(bits: &[Set; Window::BITS as usize]) -> [Set; VALUES] {
    std::array::from_fn(|value| {
        let has = |bit: usize, packets: Set| if value >> bit & 1 == 1 { packets } else { !packets };
        bits.iter().enumerate().fold(Set::MAX, |all, (bit, packets)| all & has(bit, *packets))
    })
}

/// Bits of each field that tell packets of a region from some of these entries.
fn worth<const N: usize>(sample: &[&Bounds<N>], region: &Region<N>) -> [u32; N] {
    std::array::from_fn(|field| {
        let told = |[low, high]: [u32; 2]| !u32::MAX.checked_shr((low ^ high).leading_zeros() + 1).unwrap_or(0);
        sample.iter().fold(0, |all, entry| all | told(entry[field])) & region.unknown(field)
    })
}

/// The values that the bits of a cut have in a range.
fn values(cut: Cut, range: [u32; 2]) -> impl Iterator<Item = usize> {
    let (first, count) = cut.span(range);
    (first..first + count).map(|value| value as usize % VALUES)
}

/// For each value of the bits of a cut, the entries that some packet with it matches.
fn masks<const N: usize>(cut: Cut, all: &[Bounds<N>], entries: &[u32]) -> [u64; VALUES] {
    let mut masks = [0; VALUES];
    for (record, entry) in entries.iter().enumerate() {
        values(cut, all[*entry as usize][cut.field]).for_each(|value| masks[value] |= 1 << record);
    }
    masks
}

/// For each record that is looked at, the packets for which it is left.
type Left = [Set; SAMPLE];

/// Records left, for all packets together.
fn count(left: &Left, more: &Left) -> u32 {
    left.iter().zip(more).map(|(left, more)| (left & more).count_ones()).sum()
}

/// Room that choices share: sights, and what each leaves.
#[derive(Default)]
pub(super) struct Choice(Vec<(Cut, Window, Left)>);

/// The tables of a leaf.
pub(super) struct Tables {
    pub(super) windows: [Window; TABLES as usize],
    /// For each window and each value there the records that may match.
    masks: [[u64; VALUES]; TABLES as usize],
}

impl Choice {
    /// Tables for a leaf with these entries, at most `MAX_RECORDS`. Other leaves with the same ones share them.
    pub(super) fn choose<const N: usize>(
        &mut self,
        sights: &Sights<N>,
        all: &[Bounds<N>],
        entries: &[u32],
        region: &Region<N>,
    ) -> Tables {
        let step = entries.len().div_ceil(SAMPLE).max(1);
        let sample: Vec<&Bounds<N>> = entries.iter().step_by(step).map(|entry| &all[*entry as usize]).collect();
        let mut left = [0; SAMPLE];
        left[..sample.len()].fill(Set::MAX);
        self.look(sights, &sample, region, &left);
        let mut tables = Tables::of_all(entries.len());
        let mut most = count(&left, &left);
        for table in 0..TABLES as usize {
            let rest = self.0.iter().map(|sight| (count(&left, &sight.2), sight));
            let Some((rest, (cut, window, packets))) = rest.min_by_key(|(rest, _)| *rest) else { break };
            if rest == most {
                break;
            }
            most = rest;
            left.iter_mut().zip(packets).for_each(|(left, packets)| *left &= packets);
            tables.windows[table] = *window;
            tables.masks[table] = masks(*cut, all, entries);
        }
        tables
    }

    /// What each sight leaves of what is left.
    fn look<const N: usize>(&mut self, sights: &Sights<N>, sample: &[&Bounds<N>], region: &Region<N>, left: &Left) {
        self.0.clear();
        let (all, worth) = (count(left, left), worth(sample, region));
        let mut own = (N, [0; OWN]);
        for (cut, window) in &sights.all {
            if worth[cut.field] >> cut.shift & (Window::VALUES - 1) == 0 {
                continue;
            }
            if own.0 != cut.field {
                own = (cut.field, sights.values(cut.field, sample));
            }
            let bits =
                std::array::from_fn(|bit| sights.packets_with(cut.field, cut.shift + bit as u32, &own.1, region));
            let with = with_values(&bits);
            let mut packets = [0; SAMPLE];
            for (packets, entry) in packets.iter_mut().zip(sample) {
                *packets = values(*cut, entry[cut.field]).fold(0, |all, value| all | with[value]);
            }
            if count(left, &packets) < all {
                self.0.push((*cut, *window, packets));
            }
        }
    }
}

impl Tables {
    /// Tables that rule out none of so many records.
    fn of_all(records: usize) -> Self {
        let all = u64::MAX >> (u64::BITS - records.clamp(1, 64) as u32);
        Self { windows: [Window::new(0, 0); TABLES as usize], masks: [[all; VALUES]; TABLES as usize] }
    }

    /// Most records that are left for a packet.
    pub(super) fn most(&self) -> u32 {
        most(u64::MAX, &self.masks)
    }

    /// Their words.
    pub(super) fn words(&self, lanes: Lanes) -> Vec<u64> {
        let bytes = |mask: &u64| mask.to_le_bytes().into_iter().take(lanes.bytes() as usize);
        let bytes: Vec<u8> = self.masks.iter().flatten().flat_map(bytes).collect();
        bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
    }
}

/// Most bits of `all` that masks leave, one of each table.
fn most(all: u64, tables: &[[u64; VALUES]]) -> u32 {
    let Some((table, tables)) = tables.split_first() else { return all.count_ones() };
    let mut best = 0;
    for mask in table {
        let left = all & mask;
        if left.count_ones() > best {
            best = best.max(most(left, tables));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::super::bounds::V4;
    use super::*;

    #[test]
    fn a_range_has_the_values_of_its_numbers() {
        for (low, high, shift) in [(0, 0, 0), (3, 9, 0), (14, 17, 0), (0x120, 0x14f, 4), (5, 300, 0), (0, u32::MAX, 28)]
        {
            let cut = Cut { field: 0, shift, bits: Window::BITS };
            let mut expected = [0; VALUES];
            (low >> shift..=high >> shift).for_each(|value| expected[value as usize % VALUES] = 0b10);
            assert_eq!(masks(cut, &[[[0; 2]], [[low, high]]], &[1]).map(|mask| mask << 1), expected, "{low} {high}");
        }
    }

    #[test]
    fn records_that_nothing_tells_apart_are_left_and_no_others() {
        let any: Bounds<7> = V4.highest.map(|highest| [0, highest]);
        let all = [any; 3];
        let tables = Choice::default().choose(&Sights::new(&V4, &all), &all, &[0, 1, 2], &Region::whole(&V4.highest));
        assert_eq!(tables.most(), 3);
        let bytes = tables.words(Lanes::of(3)).into_iter().flat_map(u64::to_ne_bytes);
        assert_eq!(bytes.collect::<Vec<_>>(), [0b111; 64]);
    }

    #[test]
    fn a_packet_meets_the_record_with_its_address_and_few_others() {
        let any: Bounds<7> = V4.highest.map(|highest| [0, highest]);
        let entry = |number: u32| {
            let mut bounds = any;
            bounds[1] = [0x0a00_0000 + number * 0x0003_0107; 2];
            bounds
        };
        let all: Vec<Bounds<7>> = (0..64).map(entry).collect();
        let entries: Vec<u32> = (0..64).collect();
        let tables = Choice::default().choose(&Sights::new(&V4, &all), &all, &entries, &Region::whole(&V4.highest));
        assert!((1..=4).contains(&tables.most()), "{}", tables.most());
    }
}
