//! The growth of a tree.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use firewall_core::classify::image::{Lanes, MAX_RECORDS, MAX_STEPS, Node, Pending, QUAD};

use super::cut::{Chooser, Cut, Plan, Terms};
use super::ground::Ground;
use super::region::Region;
use super::tables::Choice;
use super::{Planted, Shape};

/// Side trees, one beside the other, behind which nothing is left any more: all entries stay.
const MAX_SIDES: u32 = 7;
/// Cuts on the way from a root to a leaf.
const MAX_CUTS: u32 = 24;
/// Copies that a cut may add for every 16 entries where nothing may be left.
const LAST_COPIES: usize = 64;

/// Where a list stands.
#[derive(Clone, Copy)]
struct Spot<const N: usize> {
    region: Region<N>,
    /// What packets look at behind the list.
    pending: Pending,
    /// Cuts and side trees on the way.
    cuts: u32,
    sides: u32,
}

/// What has grown from a list.
#[derive(Clone, Copy)]
pub(super) struct Grown {
    pub(super) node: Node,
    /// Steps to the end of the worst way, what was pending not included.
    pub(super) worst_steps: u32,
}

/// What grows where nothing matches.
const NOTHING: Grown = Grown { node: Node::EMPTY, worst_steps: 1 };

/// Grows the tree of one family.
pub(super) struct Grower<'a, const N: usize> {
    ground: &'a Ground<'a, N>,
    chooser: Chooser,
    choice: Choice,
    shape: Shape,
    /// Words of a record.
    words: usize,
    planted: Planted,
    /// Leaves by their entries.
    leaves: HashMap<Box<[u32]>, Grown, BuildHasherDefault<Mixer>>,
}

impl<'a, const N: usize> Grower<'a, N> {
    /// `first` is the word index of the first node; a record has so many `words`.
    pub(super) fn new(ground: &'a Ground<'a, N>, first: u32, shape: Shape, words: usize) -> Self {
        let (chooser, choice, planted) = (Chooser::default(), Choice::default(), Planted::new(first));
        Self { ground, chooser, choice, shape, words, planted, leaves: HashMap::default() }
    }

    /// The tree of a list.
    pub(super) fn plant(mut self, list: &[u32]) -> Planted {
        let Some(best) = list.first() else { return self.planted };
        let best = self.ground.decision(*best);
        // The root, and two words as before any side tree.
        self.planted.words.extend([Node::EMPTY.0, Pending::NONE.0, Pending::NONE.0]);
        self.planted.steps.resize(self.planted.words.len(), 0);
        self.planted.pending.push(1);
        let spot = Spot { region: self.ground.whole(), pending: Pending::NONE, cuts: 0, sides: 0 };
        let grown = self.grow(list.to_vec(), &spot);
        self.planted.words[0] = grown.node.0;
        self.planted.steps[0] = grown.worst_steps;
        self.planted.tree = Pending::new(self.planted.first, best);
        self.planted.worst_steps = 1 + grown.worst_steps;
        self.planted.pending.sort_unstable();
        self.planted
    }

    fn grow(&mut self, mut list: Vec<u32>, spot: &Spot<N>) -> Grown {
        if !self.planted.overfull.is_empty() {
            return NOTHING;
        }
        self.ground.truncate(&spot.region, &mut list);
        if list.len() <= self.shape.most || spot.cuts >= MAX_CUTS {
            return self.leaf(&list, spot);
        }
        let may_leave = spot.sides < MAX_SIDES;
        let copies = if may_leave { self.shape.copies } else { LAST_COPIES };
        let terms = Terms { may_leave, copies, leaving: self.shape.leaving };
        match self.chooser.choose(&self.ground.bounds, &list, &spot.region, terms) {
            Some(plan) => self.split(&list, spot, plan, terms),
            None => self.leaf(&list, spot),
        }
    }

    fn split(&mut self, list: &[u32], spot: &Spot<N>, plan: Plan, terms: Terms) -> Grown {
        let cut = plan.cut;
        let (parts, left) = self.part(list, &spot.region, plan, terms);
        let (first, below) = self.stake(cut, &left, spot);
        let worst_steps = self.children(&parts, &below, cut, first);
        self.close(cut, first, (left, below.pending), spot, worst_steps)
    }

    /// Makes room for the children of a cut behind which something is left: where the first of them stands, and what is known
    /// there.
    fn stake(&mut self, cut: Cut, left: &[u32], spot: &Spot<N>) -> (usize, Spot<N>) {
        let side = self.planted.words.len();
        let first = if left.is_empty() { side } else { side + SIDE_WORDS };
        self.planted.words.resize(first + cut.children() as usize, Node::EMPTY.0);
        self.planted.steps.resize(self.planted.words.len(), NOTHING.worst_steps);
        let mut below = Spot { cuts: spot.cuts + 1, ..*spot };
        if let Some(best) = left.first() {
            let best = self.ground.decision(*best).min(spot.pending.best());
            below.pending = Pending::new(self.planted.first + side as u32, best);
        }
        (first, below)
    }

    /// The cut whose children have grown from word `first` on, beside a side tree of what is left, which is pending there.
    fn close(
        &mut self,
        cut: Cut,
        first: usize,
        (left, pending): (Vec<u32>, Pending),
        spot: &Spot<N>,
        mut worst_steps: u32,
    ) -> Grown {
        let (slot, shift) = self.ground.space.place(cut);
        let mut node = Node::cut(slot, shift, cut.bits, self.planted.first + first as u32);
        if !left.is_empty() {
            let side = first - SIDE_WORDS;
            let grown = self.grow(left, &Spot { sides: spot.sides + 1, ..*spot });
            let words = [grown.node.0, spot.pending.0, pending.0];
            self.planted.words[side..first].copy_from_slice(&words);
            self.planted.steps[side] = grown.worst_steps;
            self.planted.pending.push(side as u32 + 1);
            node = node.with_side();
            worst_steps += 1 + grown.worst_steps;
        }
        Grown { node, worst_steps: worst_steps + 1 }
    }

    /// Grows the children of a cut, the first of which stands at word `first`: worst steps below.
    fn children(&mut self, parts: &Parts, below: &Spot<N>, cut: Cut, first: usize) -> u32 {
        let children = cut.children() as usize;
        let mut worst = 1;
        let mut child = 0;
        while child < children {
            let (own, last) = parts.neighbours(child, self.shape.shared);
            if !own.is_empty() {
                let mut inside = *below;
                // A subtree that neighbours share holds for all of them.
                if last == child {
                    inside.region = inside.region.child(cut, child as u32);
                }
                let grown = self.grow(own, &inside);
                worst = worst.max(grown.worst_steps);
                self.planted.words[first + child..=first + last].fill(grown.node.0);
                self.planted.steps[first + child..=first + last].fill(grown.worst_steps);
            }
            child = last + 1;
        }
        worst
    }

    /// The entries of each child, and those that span too many.
    fn part(&self, list: &[u32], region: &Region<N>, plan: Plan, terms: Terms) -> (Parts, Vec<u32>) {
        let cut = plan.cut;
        let span = |entry: &u32| {
            let (first, count) = cut.span(region.clip(cut.field, self.ground.bounds[*entry as usize][cut.field]));
            (*entry, first, count)
        };
        let spans: Vec<(u32, u32, u32)> = list.iter().map(span).collect();
        let plan = plan.confirmed(spans.len(), spans.iter().map(|(_, _, count)| *count), terms);
        let (kept, left): (Vec<_>, Vec<_>) = spans.into_iter().partition(|(_, _, count)| *count <= plan.widest);
        (Parts::new(cut, &kept), left.into_iter().map(|(entry, ..)| entry).collect())
    }

    fn leaf(&mut self, list: &[u32], spot: &Spot<N>) -> Grown {
        let mut kept: Vec<u32> = Vec::with_capacity(list.len());
        for entry in list {
            if !kept.iter().any(|above| self.ground.hides(&spot.region, *above, *entry)) {
                kept.push(*entry);
            }
            if kept.len() > MAX_STEPS as usize {
                self.planted.overfull = kept;
                return NOTHING;
            }
        }
        if kept.len() > MAX_RECORDS as usize {
            return self.chain(kept, spot);
        }
        if kept.is_empty() { NOTHING } else { self.stored(kept, &spot.region) }
    }

    /// The leaf of these records, at most [`MAX_RECORDS`], which are stored once.
    fn stored(&mut self, kept: Vec<u32>, region: &Region<N>) -> Grown {
        if let Some(grown) = self.leaves.get(kept.as_slice()) {
            return *grown;
        }
        let grown = self.fill(&kept, region);
        self.leaves.insert(kept.into_boxed_slice(), grown);
        grown
    }

    /// A leaf of the first records, and a side tree of the others.
    fn chain(&mut self, mut kept: Vec<u32>, spot: &Spot<N>) -> Grown {
        const UNCUT: Cut = Cut { field: 0, shift: 0, bits: 0 };
        let left = kept.split_off(MAX_RECORDS as usize);
        let (first, below) = self.stake(UNCUT, &left, spot);
        let grown = self.stored(kept, &below.region);
        self.planted.words[first] = grown.node.0;
        self.planted.steps[first] = grown.worst_steps;
        self.close(UNCUT, first, (left, below.pending), spot, grown.worst_steps)
    }

    fn fill(&mut self, kept: &[u32], region: &Region<N>) -> Grown {
        let tables = self.choice.choose(&self.ground.sights, &self.ground.bounds, kept, region);
        let records = kept.len() as u32;
        let lanes = Lanes::of(records);
        let node = Node::leaf(self.planted.quads, lanes, tables.windows);
        let worst_steps = 1 + tables.most();
        if worst_steps > self.planted.worst_leaf.1 {
            let start = self.planted.records.len();
            self.planted.worst_leaf = (start..start + kept.len(), worst_steps);
        }
        self.planted.quads += (lanes.words() as usize + kept.len() * self.words) as u32 / QUAD;
        self.planted.leaves.push((lanes.words(), records));
        self.planted.tables.extend(tables.words(lanes));
        self.planted.records.extend(kept);
        Grown { node, worst_steps }
    }
}

/// Words before the children of a cut with a side tree.
const SIDE_WORDS: usize = 3;

/// A quick sum of a list: whoever writes rules gains nothing by lists with the same one.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(4) {
            let word = word.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.write_u64(word);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
}

/// Lists of all children, one behind the other.
struct Parts {
    entries: Vec<u32>,
    /// Where each child's list begins, and the end.
    starts: Vec<u32>,
}

impl Parts {
    fn new(cut: Cut, spans: &[(u32, u32, u32)]) -> Self {
        let mask = cut.children() - 1;
        let mut starts = vec![0u32; cut.children() as usize + 1];
        for (_, first, count) in spans {
            for child in *first..first + count {
                starts[(child & mask) as usize + 1] += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut entries = vec![0; sum as usize];
        let mut next = starts.clone();
        for (entry, first, count) in spans {
            for child in *first..first + count {
                let place = &mut next[(child & mask) as usize];
                entries[*place as usize] = *entry;
                *place += 1;
            }
        }
        Self { entries, starts }
    }

    fn of(&self, child: usize) -> &[u32] {
        &self.entries[self.starts[child] as usize..self.starts[child + 1] as usize]
    }

    /// The entries of a child and of those behind it up to the last one with which it shares what grows: they have the same
    /// ones, or no more than `most` together, for which tables of their own would not be worth their memory.
    fn neighbours(&self, child: usize, most: usize) -> (Vec<u32>, usize) {
        let (mut all, mut last) = (self.of(child).to_vec(), child);
        while last + 2 < self.starts.len() {
            let next = self.of(last + 1);
            if all != next {
                if all.len().max(next.len()) > most {
                    break;
                }
                let mut both = [all.as_slice(), next].concat();
                both.sort_unstable();
                both.dedup();
                if both.len() > most {
                    break;
                }
                all = both;
            }
            last += 1;
        }
        (all, last)
    }
}
