//! The most steps that a packet can take.
//!
//! While a tree grows, the steps of a cut are those of its worst child and of its side tree: a bound that no packet exceeds. It
//! adds ways that no packet takes together, for a packet that comes to the worst child may not come to the worst leaf of
//! the side tree. Where the bound is too high, all ways that could be too long are followed, with the bits that are known on
//! them.

use firewall_core::classify::image::{Node, Pending};

use super::Planted;
use super::bounds::Space;
use super::region::Region;

/// Places that are visited at most. What is left unseen then counts as it does while a tree grows.
const VISITS: u32 = 4_000_000;

/// A number of steps that no packet exceeds in a tree; a close one above `enough`, below which nobody needs to know.
pub(super) fn steps<const N: usize>(planted: &Planted, space: &Space<N>, enough: u32) -> u32 {
    if !planted.overfull.is_empty() {
        return planted.worst_steps.max(planted.overfull.len() as u32);
    }
    if planted.worst_steps <= enough {
        return planted.worst_steps;
    }
    let mut search = Search { planted, space, worst: 0, enough, visits: 0 };
    search.follow(&Way { steps: 0, region: Region::whole(&space.highest) }, planted.tree);
    search.worst
}

/// A way through the tree.
#[derive(Clone, Copy)]
struct Way<const N: usize> {
    steps: u32,
    /// What is known of the packets that take it.
    region: Region<N>,
}

struct Search<'a, const N: usize> {
    planted: &'a Planted,
    space: &'a Space<N>,
    /// Of all ways that were followed so far.
    worst: u32,
    /// What does not exceed it needs no look.
    enough: u32,
    visits: u32,
}

impl<const N: usize> Search<'_, N> {
    /// Goes on with a side tree, or ends there.
    fn follow(&mut self, way: &Way<N>, pending: Pending) {
        if pending == Pending::NONE {
            self.worst = self.worst.max(way.steps);
        } else {
            let place = self.place(pending.root());
            let next = Pending(self.planted.words[place + 1]);
            self.visit(&Way { steps: way.steps + 1, ..*way }, place, next);
        }
    }

    /// Goes on with the node at a place.
    fn visit(&mut self, way: &Way<N>, place: usize, pending: Pending) {
        self.visits += 1;
        let most = way.steps + self.planted.steps[place] + self.bound(pending);
        if most <= self.enough.max(self.worst) || self.visits > VISITS {
            self.worst = self.worst.max(most);
            return;
        }
        let node = Node(self.planted.words[place]);
        if !node.is_cut() {
            return self.follow(&Way { steps: way.steps + self.planted.steps[place], ..*way }, pending);
        }
        let first = self.place(node.children());
        let pending = if node.has_side() { Pending(self.planted.words[first - 1]) } else { pending };
        let (cut, children) = (self.space.cut(node), &self.planted.words[first..]);
        let mut child = 0;
        while child < cut.children() {
            let alike =
                (child + 1..cut.children()).take_while(|next| children[*next as usize] == children[child as usize]);
            let last = alike.last().unwrap_or(child);
            if (child..=last).any(|child| way.region.may_be(cut, child)) {
                // Packets of several children have no more bits in common.
                let region = if child == last { way.region.child(cut, child) } else { way.region };
                self.visit(&Way { steps: way.steps + 1, region }, first + child as usize, pending);
            }
            child = last + 1;
        }
    }

    /// Steps of all side trees that are pending, each for itself.
    fn bound(&self, mut pending: Pending) -> u32 {
        let mut sum = 0;
        while pending != Pending::NONE {
            let place = self.place(pending.root());
            sum += 1 + self.planted.steps[place];
            pending = Pending(self.planted.words[place + 1]);
        }
        sum
    }

    fn place(&self, word: u32) -> usize {
        (word - self.planted.first) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use firewall_core::classify::image::{Block, Blocks, TABLES, WORDS, WORDS_V4};
    use firewall_core::classify::{Decision, Key, Selector, lookup};
    use firewall_core::tables::{ANY_ZONE, Action, RuleKey};

    use super::super::bounds::V4;
    use super::super::ground::Ground;
    use super::super::trial::{Numbers, packets};
    use super::super::{Entry, LAST_RESORTS, Planted, Prefix, SHAPES, Standing, grow, image};
    use super::*;

    /// Counts what the walk counts: nodes, the tables of a leaf together, and records.
    struct Counted<'a> {
        blocks: &'a [Block],
        planted: &'a Planted,
        steps: Cell<u32>,
        tables: Cell<u32>,
    }

    impl Counted<'_> {
        fn count(&self) {
            self.steps.set(self.steps.get() + 1);
        }

        /// Whether a word tells what is pending.
        fn is_pending(&self, index: u32) -> bool {
            let place = index - self.planted.first;
            [place, place.wrapping_sub(1)].iter().any(|place| self.planted.pending.binary_search(place).is_ok())
        }
    }

    impl Blocks for Counted<'_> {
        fn header(&self, word: usize) -> Option<u64> {
            self.blocks.header(word)
        }

        fn lanes(&self, offset: u32) -> Option<u64> {
            self.tables.set(self.tables.get() + 1);
            if self.tables.get().is_multiple_of(TABLES) {
                self.count();
            }
            self.blocks.lanes(offset)
        }

        fn word(&self, index: u32) -> Option<u64> {
            if !self.is_pending(index) {
                self.count();
            }
            self.blocks.word(index)
        }

        fn record_v4(&self, index: u32) -> Option<&[u64; WORDS_V4]> {
            self.count();
            self.blocks.record_v4(index)
        }

        fn block(&self, index: u32) -> Option<&[u64; WORDS]> {
            self.blocks.block(index)
        }
    }

    /// Prefixes and ports that overlap a great deal.
    fn entries(count: u32) -> Vec<Entry> {
        let mut state = 7u32;
        let mut number = |end: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % end
        };
        let prefix = |number: &mut dyn FnMut(u32) -> u32| {
            let length = [0, 1, 4, 6, 8][number(5) as usize];
            let first = u32::checked_shl(number(256), 24).unwrap_or(0) & u32::MAX.checked_shl(32 - length).unwrap_or(0);
            Prefix { first: 0xffff_0000_0000 | u128::from(first), length: 96 + length as u8 }
        };
        let entry = |rule: u32| {
            let low = number(60_000) as u16;
            let selector = Selector {
                source_ports: [0, u16::MAX],
                destination_ports: [low, low + number(5_000) as u16],
                from: ANY_ZONE,
                to: ANY_ZONE,
                protocol: [None, Some(6), Some(17)][number(3) as usize],
                tcp_flags: [0; 2],
            };
            let (source, destination) = (prefix(&mut number), prefix(&mut number));
            Entry { source, destination, selector, decision: Decision::new(rule, Action::Allow, false) }
        };
        (0..count).map(entry).collect()
    }

    #[test]
    fn no_packet_takes_more_steps_and_some_nearly_as_many() {
        // Of the records of a large leaf that are left, one matches mostly before the last is looked at: its bound is looser than
        // that of small leaves, which are taken where steps are short.
        let shapes = [(SHAPES[0], 60), (LAST_RESORTS[0], 20)];
        for (count, (shape, looser)) in [20, 200, 600].into_iter().flat_map(|count| shapes.map(|shape| (count, shape)))
        {
            let v4 = entries(count);
            let ground = Ground::new(&V4, &v4);
            let list: Vec<u32> = (0..count).collect();
            let planted = grow::Grower::new(&ground, image::FIRST_NODE, shape, WORDS_V4).plant(&list);
            let exact = steps(&planted, ground.space, 0);
            assert!(exact <= planted.worst_steps, "{exact} of {}", planted.worst_steps);
            let blocks = image::alone(Standing { planted: &planted, entries: &v4 }, WORDS_V4);
            let taken = most_taken(&v4, |packet| taken(&blocks, &planted, packet));
            assert!(taken <= exact, "{taken} of {exact}, {count} entries");
            assert!(taken + taken * looser / 100 >= exact, "{taken} of {exact}, {count} entries");
        }
    }

    fn taken(blocks: &[Block], planted: &Planted, packet: &RuleKey) -> u32 {
        let counted = Counted { blocks, planted, steps: Cell::new(0), tables: Cell::new(0) };
        lookup(&counted, Key::of(packet)).map_or(u32::MAX, |_| counted.steps.get())
    }

    /// Steps of the worst packet that was found. Who comes to many records has mostly found one of them before, and no packet that
    /// looks like entries comes to many everywhere: from several, one field after the other takes what leads further.
    fn most_taken(entries: &[Entry], taken: impl Fn(&RuleKey) -> u32) -> u32 {
        let numbers = &mut Numbers(0);
        let mut starts: Vec<(u32, RuleKey)> = packets(entries, numbers).iter().map(|key| (taken(key), *key)).collect();
        starts.sort_by_key(|(steps, _)| std::cmp::Reverse(*steps));
        let climb = |(mut most, mut best): (u32, RuleKey)| {
            for other in (0..40).flat_map(|_| packets(entries, numbers)) {
                let changed = [
                    RuleKey { source: other.source, ..best },
                    RuleKey { destination: other.destination, ..best },
                    RuleKey { destination_port: other.destination_port, ..best },
                    RuleKey { destination_port: best.destination_port ^ (other.source_port & 0xfff), ..best },
                    RuleKey { protocol: other.protocol, ..best },
                    RuleKey { protocol: 1, ..best },
                ];
                for next in changed {
                    let steps = taken(&next);
                    if steps >= most {
                        (most, best) = (steps, next);
                    }
                }
            }
            most
        };
        starts.into_iter().take(8).map(climb).max().unwrap_or(0)
    }
}
