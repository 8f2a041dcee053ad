//! The rule compiler: table entries to a forest of decision trees in one flat image.
//!
//! [`compile`] grows a tree of the entries of each family. A node cuts its entries by the window of key bits that separates them
//! best, and what such a cut would copy too often is left to a side tree of that node; so entries end up beside others that
//! are specific in the same places. Entries that can never be the first match in their part of the space are dropped there,
//! leaves with the same entries are stored once, and neighbours with few entries share a leaf. The result depends on the entries
//! alone.

mod bounds;
mod cut;
mod ground;
mod grow;
mod image;
mod region;
mod tables;
mod trial;
mod worst;

use std::ops::Range;

use firewall_core::classify::image::{Block, MAX_RECORDS, MAX_STEPS, Pending, QUAD, WORDS, WORDS_V4, tree};
use firewall_core::classify::{Decision, Selector};

use bounds::{Space, V4, V6};
use ground::Ground;
use trial::Trial;

/// First bits of a 128-bit address, IPv4 mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The address, host order; bits that do not count are zero.
    pub first: u128,
    /// Bits that count, 0 to 128.
    pub length: u8,
}

/// One line of the rule table: a rule, or one of its combinations of addresses and services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Source.
    pub source: Prefix,
    /// Destination.
    pub destination: Prefix,
    /// Everything else.
    pub selector: Selector,
    /// What it says, and its place in the order.
    pub decision: Decision,
}

/// Entries of one family, a list for each [`tree`], each in order of its decisions.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Rules that name addresses on both sides.
    pub addresses: Vec<Entry>,
    /// What is of which class: prefixes, in the place of sources.
    pub classes: Vec<Entry>,
    /// Rules whose source is a class.
    pub sources: Vec<Entry>,
    /// Rules whose destination is a class.
    pub destinations: Vec<Entry>,
    /// Rules with a class on each side.
    pub both: Vec<Entry>,
}

impl Lists {
    /// The lists in the order of their trees.
    fn trees(&self) -> [&[Entry]; tree::COUNT] {
        let mut trees: [&[Entry]; tree::COUNT] = [&[]; tree::COUNT];
        trees[tree::ADDRESSES] = &self.addresses;
        trees[tree::CLASSES] = &self.classes;
        trees[tree::SOURCES] = &self.sources;
        trees[tree::DESTINATIONS] = &self.destinations;
        trees[tree::BOTH] = &self.both;
        trees
    }

    /// How many entries there are.
    pub fn count(&self) -> usize {
        self.trees().iter().map(|list| list.len()).sum()
    }
}

/// What is compiled.
#[derive(Clone, Debug)]
pub struct Entries {
    /// For IPv4 packets; prefixes lie inside of `::ffff:0:0/96`.
    pub v4: Lists,
    /// For IPv6 packets.
    pub v6: Lists,
    /// When nothing matches.
    pub default: Decision,
}

/// A compiled table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forest {
    /// The image.
    pub blocks: Vec<Block>,
    /// Proven worst number of steps for IPv4 and for IPv6.
    pub worst_steps: [u32; 2],
}

/// Why entries were not compiled: some packets would take more than [`MAX_STEPS`] steps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a packet could take {steps} steps through the rules, of which {MAX_STEPS} are allowed; rules {rules:?} overlap most"
)]
pub struct TooManySteps {
    /// The steps.
    pub steps: u32,
    /// Rules of the leaf that takes most of them, each once.
    pub rules: Vec<u32>,
}

/// Compiles entries to an image.
pub fn compile(entries: &Entries) -> Result<Forest, TooManySteps> {
    let (v4_lists, v6_lists) = (entries.v4.trees(), entries.v6.trees());
    let v4 = plant_all(&V4, v4_lists, image::FIRST_NODE, WORDS_V4)?;
    let v6 = plant_all(&V6, v6_lists, v4.last().map_or(image::FIRST_NODE, Planted::end), WORDS)?;
    let worst_steps = [&v4, &v6].map(|family| worst_of(family));
    let stands = [stand(&v4, v4_lists), stand(&v6, v6_lists)];
    Ok(Forest { blocks: image::lay_out(entries.default, &stands, worst_steps), worst_steps })
}

/// The trees of a family. The first node stands at word `first`; a record has so many `words`.
fn plant_all<const N: usize>(
    space: &Space<N>,
    lists: [&[Entry]; tree::COUNT],
    mut first: u32,
    words: usize,
) -> Result<Vec<Planted>, TooManySteps> {
    let mut family = Vec::with_capacity(tree::COUNT);
    for list in lists {
        let planted = plant(&Ground::new(space, list), first, words)?;
        first = planted.end();
        family.push(planted);
    }
    let steps = worst_of(&family);
    if steps > MAX_STEPS {
        let named = |tree: &usize| *tree != tree::CLASSES;
        let worst = (0..tree::COUNT).filter(named).max_by_key(|tree| family[*tree].worst_steps).unwrap_or(0);
        return Err(TooManySteps { steps, rules: family[worst].worst_rules(lists[worst]) });
    }
    Ok(family)
}

/// Steps of a look-up that visits all trees of a family: that of classes once for each side.
fn worst_of(family: &[Planted]) -> u32 {
    let all: u32 = family.iter().map(|planted| planted.worst_steps).sum();
    all + family.get(tree::CLASSES).map_or(0, |planted| planted.worst_steps)
}

/// Trees beside their entries.
fn stand<'a>(family: &'a [Planted], lists: [&'a [Entry]; tree::COUNT]) -> Vec<Standing<'a>> {
    family.iter().zip(lists).map(|(planted, entries)| Standing { planted, entries }).collect()
}

/// A tree beside its entries.
#[derive(Clone, Copy)]
struct Standing<'a> {
    planted: &'a Planted,
    entries: &'a [Entry],
}

/// A tree with its side trees before its records have their places in the image.
#[derive(Clone, Debug)]
struct Planted {
    /// Word index of the first node.
    first: u32,
    /// Nodes, and what stands before the children of a cut with a side tree.
    words: Vec<u64>,
    /// Steps behind each node, those of its side trees included.
    steps: Vec<u32>,
    /// Where two words stand that are no nodes, in order.
    pending: Vec<u32>,
    /// Words of the tables and number of records of each leaf.
    leaves: Vec<(u32, u32)>,
    /// Words of the tables of all leaves.
    tables: Vec<u64>,
    /// Entry of each record.
    records: Vec<u32>,
    /// What tables and records take.
    quads: u32,
    tree: Pending,
    /// Records of the leaf that takes most steps, and these.
    worst_leaf: (Range<usize>, u32),
    /// Entries of a leaf that no packet could be led through. There is nothing else then.
    overfull: Vec<u32>,
    worst_steps: u32,
}

impl Planted {
    fn new(first: u32) -> Self {
        Self {
            first,
            words: Vec::new(),
            steps: Vec::new(),
            pending: Vec::new(),
            leaves: Vec::new(),
            tables: Vec::new(),
            records: Vec::new(),
            quads: 0,
            tree: Pending::NONE,
            worst_leaf: (0..0, 0),
            overfull: Vec::new(),
            worst_steps: 0,
        }
    }

    /// Word index behind the last node.
    fn end(&self) -> u32 {
        self.first + self.words.len() as u32
    }
}

/// How a tree is shaped.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Copies that a cut may add for every 16 entries.
    copies: usize,
    /// What a cut must gain, in bits, to leave half of its entries to a side tree.
    leaving: i64,
    /// Entries that are not cut further.
    most: usize,
    /// Entries that children may have together to share one leaf.
    shared: usize,
}

impl Shape {
    const fn new(copies: usize, leaving: i64) -> Self {
        Self { copies, leaving, most: MAX_RECORDS as usize, shared: 16 }
    }

    /// With leaves so small that steps are few, and nobody's memory spared.
    const fn short(copies: usize, leaving: i64) -> Self {
        Self { copies, leaving, most: 4, shared: 0 }
    }
}

/// Shapes in the order in which they are tried.
const SHAPES: [Shape; 3] = [Shape::new(2, 8), Shape::new(4, 6), Shape::new(8, 8)];
/// Shapes for entries that overlap so much that steps are short: they take memory instead.
const LAST_RESORTS: [Shape; 2] = [Shape::short(8, 10), Shape::short(16, 12)];
/// Entries whose memory is no matter.
const FEW: usize = 500;
/// Entries that take so little time that all shapes are tried.
const QUICK: usize = 4096;

/// The tree of a shape within bounds of size and worst steps: the first one, or of few entries the one in which packets find
/// their rules fastest.
fn plant<const N: usize>(ground: &Ground<N>, first: u32, words: usize) -> Result<Planted, TooManySteps> {
    // Half as much again as records without copies take, the header included.
    let room = ground.entries.len().max(FEW) * words * 3 / 2 - image::OTHER_WORDS;
    let mut list: Vec<u32> = (0..ground.entries.len() as u32).collect();
    ground.truncate(&ground.whole(), &mut list);
    let trial = Trial::new(ground.entries);
    let grow = |shape: Shape| {
        let mut planted = grow::Grower::new(ground, first, shape, words).plant(&list);
        planted.worst_steps = worst::steps(&planted, ground.space, MAX_STEPS);
        let size = planted.words.len() + (planted.quads * QUAD) as usize;
        let excess = (planted.worst_steps.saturating_sub(MAX_STEPS), size.saturating_sub(room));
        // Where the first shape that fits is taken, its cost is no matter.
        let is_tried = excess == (0, 0) && ground.entries.len() <= QUICK;
        let cost = if is_tried {
            trial.cost(&image::alone(Standing { planted: &planted, entries: ground.entries }, words))
        } else {
            u64::MAX
        };
        ((excess, cost), planted)
    };
    let better = |best: Graded, next: Graded| if next.0 < best.0 { next } else { best };
    let [first_shape, others @ ..] = SHAPES;
    let mut best = grow(first_shape);
    for shape in others {
        if best.0.0 == (0, 0) && ground.entries.len() > QUICK {
            break;
        }
        best = better(best, grow(shape));
    }
    for shape in LAST_RESORTS {
        if best.0.0.0 > 0 {
            best = better(best, grow(shape));
        }
    }
    let (_, best) = best;
    if best.worst_steps > MAX_STEPS {
        return Err(TooManySteps { steps: best.worst_steps, rules: best.worst_rules(ground.entries) });
    }
    Ok(best)
}

/// A tree behind its grade: steps and words beyond the bounds, and what a trial cost; less is better.
type Graded = (((u32, usize), u64), Planted);

impl Planted {
    /// Rules of the worst leaf, each once.
    fn worst_rules(&self, entries: &[Entry]) -> Vec<u32> {
        let records = self.records.get(self.worst_leaf.0.clone()).unwrap_or_default();
        let worst = if self.overfull.is_empty() { records } else { &self.overfull };
        let entries = worst.iter().filter_map(|entry| entries.get(*entry as usize));
        let mut rules: Vec<u32> = entries.map(|entry| entry.decision.rule()).collect();
        rules.dedup();
        rules
    }
}
