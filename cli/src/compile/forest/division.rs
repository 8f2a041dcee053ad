//! The division of entries into tuples.

use firewall_core::classify::Tuple;
use firewall_core::classify::image::MAX_TUPLES;

use super::specific::{Masks, NONE, Specific};
use super::{SMALL, tuple};

/// Entries by tuples.
pub(super) struct Division {
    pub(super) tuples: Vec<(Masks, Roots)>,
    /// What a packet that matches one of the entries takes on average, by [`cost`].
    pub(super) cost: u64,
}

/// What a choice of bits must gain, in bits, to leave half of the entries to another tuple: all of these are tried.
const LEAVING: [i64; 3] = [2, 4, 8];
/// Packets by which divisions are compared.
const PACKETS: usize = 256;

/// Costs in tenths of a nanosecond, as measured.
mod cost {
    /// A tuple that is asked for its root.
    pub(super) const PROBE: u64 = 45;
    /// A root that has entries for the packet.
    pub(super) const VISIT: u64 = 80;
    pub(super) const ENTRY: u64 = 16;
    /// Halving entries that are too many for a leaf.
    pub(super) const HALF: u64 = 120;
}

/// Divisions of a list of entries, the one that costs the least first.
pub(super) fn divide(all: &[Specific], list: &[u32], is_v4: bool) -> Vec<Division> {
    let packets = packets(all, list);
    let division = |leaving| {
        let tuples = tuples(all, list, is_v4, leaving);
        let cost = packets.iter().map(|packet| packet.cost(&tuples)).sum();
        Division { tuples, cost }
    };
    let mut divisions: Vec<Division> = LEAVING.into_iter().map(division).collect();
    divisions.sort_by_key(|division| division.cost);
    divisions
}

fn tuples(all: &[Specific], list: &[u32], is_v4: bool, leaving: i64) -> Vec<(Masks, Roots)> {
    let mut tuples = Vec::new();
    let mut rest = list.to_vec();
    while !rest.is_empty() {
        let is_last = tuples.len() + 1 == MAX_TUPLES as usize || rest.len() <= SMALL;
        let masks = if is_last { NONE } else { tuple::choose(all, &rest, is_v4, leaving) };
        let (roots, left) = Roots::part(all, &rest, &masks);
        tuples.push((masks, roots));
        rest = left;
    }
    // The tuple with the best entry is looked at first: it comes last.
    tuples.sort_by_key(|(_, roots)| std::cmp::Reverse(roots.entries.iter().min().copied()));
    tuples
}

/// A packet that matches an entry.
struct Packet {
    words: Masks,
    entry: u32,
}

/// Packets that match entries here and there, and where these leave a choice, another one.
fn packets(all: &[Specific], list: &[u32]) -> Vec<Packet> {
    let step = list.len().div_ceil(PACKETS).max(1);
    let other =
        |number: usize| list.get((number * 7 + 3) * step % list.len()).and_then(|entry| all.get(*entry as usize));
    let packet = |(number, entry): (usize, &u32)| {
        let (own, other) = (all.get(*entry as usize)?, other(number)?);
        let mut words = own.value;
        for (word, bits) in words.iter_mut().enumerate() {
            *bits |= other.value[word] & !own.exact[word];
        }
        Some(Packet { words, entry: *entry })
    };
    list.iter().step_by(step).enumerate().filter_map(packet).collect()
}

impl Packet {
    /// What it takes to find its entry: roots whose entries all come behind it are not visited.
    fn cost(&self, tuples: &[(Masks, Roots)]) -> u64 {
        let visit = |(masks, roots): &(Masks, Roots)| {
            let entries = roots.find(masks, &self.words);
            if entries.first().is_none_or(|first| *first > self.entry) {
                return 0;
            }
            let (few, many) = (entries.len().min(SMALL) as u64, (entries.len() / SMALL).max(1));
            cost::VISIT + cost::ENTRY * few + cost::HALF * u64::from(many.ilog2())
        };
        tuples.iter().map(|tuple| cost::PROBE + visit(tuple)).sum()
    }
}

/// The entries of each root of a tuple.
pub(super) struct Roots {
    /// Entries that a tuple finds, root after root.
    pub(super) entries: Vec<u32>,
    /// Where each root's entries begin, and the end.
    pub(super) starts: Vec<u32>,
    /// Marks of each root's hashes.
    pub(super) marks: Vec<u16>,
}

impl Roots {
    /// Of those entries of `list` that are specific in all bits of the tuple, and the others.
    pub(super) fn part(all: &[Specific], list: &[u32], masks: &Masks) -> (Self, Vec<u32>) {
        let is_kept = |entry: &u32| all.get(*entry as usize).is_some_and(|specific| specific.has(masks));
        let (kept, left): (Vec<u32>, Vec<u32>) = list.iter().partition(|entry| is_kept(entry));
        let roots = if *masks == NONE { 1 } else { kept.len() };
        let tuple = Tuple::new(masks, 0, roots as u32);
        let hashes = kept.iter().map(|entry| tuple.hash(&all[*entry as usize].value));
        let places: Vec<(usize, u16)> =
            hashes.map(|hash| (tuple.number(hash) as usize, 1 << Tuple::mark(hash))).collect();
        let (mut starts, mut marks) = (vec![0u32; roots + 1], vec![0u16; roots]);
        for (root, mark) in &places {
            starts[*root + 1] += 1;
            marks[*root] |= mark;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let (mut entries, mut next) = (vec![0; kept.len()], starts.clone());
        for (entry, (root, _)) in kept.iter().zip(&places) {
            entries[next[*root] as usize] = *entry;
            next[*root] += 1;
        }
        // The hash of nothing has one value.
        if *masks == NONE {
            marks = vec![u16::MAX];
        }
        (Self { entries, starts, marks }, left)
    }

    /// What the root that a packet finds has for it.
    fn find(&self, masks: &Masks, words: &Masks) -> &[u32] {
        let tuple = Tuple::new(masks, 0, self.marks.len() as u32);
        let hash = tuple.hash(words);
        let root = tuple.number(hash) as usize;
        let has = self.marks.get(root).is_some_and(|marks| marks >> Tuple::mark(hash) & 1 == 1);
        if has { self.of(root) } else { &[] }
    }

    /// Entries of a root, in order.
    pub(super) fn of(&self, root: usize) -> &[u32] {
        &self.entries[self.starts[root] as usize..self.starts[root + 1] as usize]
    }
}
