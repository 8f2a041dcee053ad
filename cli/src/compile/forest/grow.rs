//! The growth of a tree.

use std::collections::{HashMap, HashSet};

use firewall_core::classify::image::{MAX_DEPTH, Node};

use super::bounds::{Bounds, Space};
use super::cut::{Chooser, Cut, Plan, Terms};
use super::region::Region;
use super::{Entry, Planted};

/// Entries that are not worth a further cut.
const SMALL: usize = 6;
/// Copies that a cut may add for every 16 entries; on the last tree, more.
const COPIES: usize = 4;
const LAST_COPIES: usize = 64;

/// How trees are shaped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// A leaf above this leaves its last entries to the next tree.
    pub(super) large: usize,
    /// See [`Terms::leaving`].
    pub(super) leaving: i64,
}

/// A grown tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) root: Node,
    /// The best decision in it.
    pub(super) best: u32,
    pub(super) worst_steps: u32,
}

/// Grows the trees of one family.
pub(super) struct Grower<'a, const N: usize> {
    space: &'a Space<N>,
    entries: &'a [Entry],
    bounds: Vec<Bounds<N>>,
    chooser: Chooser,
    nodes: Vec<Node>,
    records: Vec<u32>,
    /// Leaves by their entries.
    leaves: HashMap<Box<[u32]>, Node>,
    shape: Shape,
    is_last: bool,
    /// Entries left to the next tree.
    left: Vec<bool>,
}

impl<'a, const N: usize> Grower<'a, N> {
    pub(super) fn new(space: &'a Space<N>, entries: &'a [Entry], shape: Shape) -> Self {
        Self {
            space,
            entries,
            bounds: entries.iter().map(|entry| space.bounds(entry)).collect(),
            chooser: Chooser::default(),
            nodes: Vec::new(),
            records: Vec::new(),
            leaves: HashMap::new(),
            shape,
            is_last: false,
            left: vec![false; entries.len()],
        }
    }

    /// A tree of `pool`, and what it leaves over. The last one takes everything.
    pub(super) fn tree(&mut self, pool: &[u32], is_last: bool) -> (Tree, Vec<u32>) {
        self.is_last = is_last;
        self.left.fill(false);
        let (root, worst_steps) = self.grow(pool.to_vec(), &Region::whole(&self.space.highest), 1);
        let mut seen = HashSet::new();
        let is_new = |entry: &u32| self.left[*entry as usize] && seen.insert(&self.bounds[*entry as usize]);
        let left: Vec<u32> = pool.iter().copied().filter(is_new).collect();
        let best = pool.iter().find(|entry| !self.left[**entry as usize]).copied().unwrap_or(0);
        let best = self.entries.get(best as usize).map_or(0, |entry| entry.decision.0);
        (Tree { root, best, worst_steps }, left)
    }

    pub(super) fn finish(self, trees: Vec<Tree>) -> Planted {
        Planted { nodes: self.nodes, records: self.records, trees }
    }

    /// The node for a list, and the steps from there to the end of the worst leaf.
    fn grow(&mut self, mut list: Vec<u32>, region: &Region<N>, depth: u32) -> (Node, u32) {
        if let Some(end) = list.iter().position(|entry| region.is_inside(&self.bounds[*entry as usize])) {
            list.truncate(end + 1);
        }
        if list.len() <= SMALL || depth >= MAX_DEPTH {
            return self.leaf(list, region);
        }
        let copies = if self.is_last { LAST_COPIES } else { COPIES };
        let terms = Terms { may_leave: !self.is_last, copies, leaving: self.shape.leaving };
        match self.chooser.choose(&self.bounds, &list, region, terms) {
            Some(plan) if plan.score > 0 || list.len() > self.shape.large => self.split(&list, region, depth, plan),
            _ => self.leaf(list, region),
        }
    }

    fn split(&mut self, list: &[u32], region: &Region<N>, depth: u32, plan: Plan) -> (Node, u32) {
        let cut = plan.cut;
        let parts = self.part(list, region, plan);
        let children = cut.children() as usize;
        let first = self.nodes.len();
        self.nodes.resize(first + children, Node::EMPTY);
        let mut worst = 0;
        let mut child = 0;
        while child < children {
            let own = parts.of(child);
            let alike = (child + 1..children).take_while(|next| parts.of(*next) == own).count();
            if !own.is_empty() {
                // A subtree that neighbours share holds for all of them.
                let below = if alike == 0 { region.child(cut, child as u32) } else { *region };
                let (node, steps) = self.grow(own.to_vec(), &below, depth + 1);
                worst = worst.max(steps);
                self.nodes[first + child..=first + child + alike].fill(node);
            }
            child += alike + 1;
        }
        let slot = self.space.slots[cut.field] as u32;
        (Node::cut(slot, cut.shift, cut.bits, first as u32), worst + 1)
    }

    /// The entries of each child. Those that span too many are left to the next tree.
    fn part(&mut self, list: &[u32], region: &Region<N>, Plan { cut, widest, .. }: Plan) -> Parts {
        let span =
            |grower: &Self, entry: u32| cut.span(region.clip(cut.field, grower.bounds[entry as usize][cut.field]));
        let mut spans = Vec::with_capacity(list.len());
        for entry in list {
            let (first, count) = span(self, *entry);
            if count > widest {
                self.left[*entry as usize] = true;
            } else {
                spans.push((*entry, first, count));
            }
        }
        Parts::new(cut, &spans)
    }

    fn leaf(&mut self, list: Vec<u32>, region: &Region<N>) -> (Node, u32) {
        let mut kept: Vec<u32> = Vec::with_capacity(list.len());
        for entry in list {
            let bounds = &self.bounds[entry as usize];
            if kept.iter().any(|above| region.hides(&self.bounds[*above as usize], bounds)) {
                continue;
            }
            if kept.len() >= self.shape.large && !self.is_last {
                self.left[entry as usize] = true;
            } else {
                kept.push(entry);
            }
        }
        let steps = 1 + kept.len() as u32;
        if kept.is_empty() {
            return (Node::EMPTY, steps);
        }
        if let Some(node) = self.leaves.get(kept.as_slice()) {
            return (*node, steps);
        }
        let node = Node::leaf(self.records.len() as u32, kept.len() as u32);
        self.records.extend(&kept);
        self.leaves.insert(kept.into_boxed_slice(), node);
        (node, steps)
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
}
