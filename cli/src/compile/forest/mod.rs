//! The rule compiler: table entries to a forest of decision trees in one flat image.
//!
//! [`compile`] divides the entries of each family into tuples, in whose bits they are specific, and grows a tree of those
//! that share a hash. A node cuts its entries by the window of key bits that separates them best, and what such a cut would
//! copy too often is left to a side tree of that node; so entries end up beside others that are specific in the same
//! places. Entries that can never be the first match in their part of the space are dropped there, leaves with the same
//! entries are stored once. The result depends on the entries alone.

mod bounds;
mod cut;
mod division;
mod ground;
mod grow;
mod image;
mod region;
mod specific;
mod tuple;

use firewall_core::classify::image::{Block, MAX_STEPS, Node, Root, WORDS, WORDS_V4};
use firewall_core::classify::{Decision, Selector, Tuple};

use bounds::{V4, V6};
use ground::Ground;

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

/// What is compiled.
#[derive(Clone, Debug)]
pub struct Entries {
    /// For IPv4 packets, in order; prefixes lie inside of `::ffff:0:0/96`.
    pub v4: Vec<Entry>,
    /// For IPv6 packets, in order.
    pub v6: Vec<Entry>,
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
    let rank = image::rank_shift(entries.default);
    let v4 = plant(&Ground::new(&V4, &entries.v4, rank), image::FIRST_NODE, WORDS_V4)?;
    let first = v4.first + v4.words.len() as u32;
    let v6 = plant(&Ground::new(&V6, &entries.v6, rank), first, WORDS)?;
    let worst_steps = [v4.worst_steps, v6.worst_steps];
    Ok(Forest { blocks: image::lay_out(entries, &v4, &v6), worst_steps })
}

/// The trees of one family before their records have their places in the image.
#[derive(Clone, Debug)]
struct Planted {
    /// Word index of the first node.
    first: u32,
    /// Nodes, and what stands before the children of a cut with a side tree.
    words: Vec<u64>,
    /// Where two words stand that are no nodes, in order.
    pending: Vec<u32>,
    /// Entry of each record.
    records: Vec<u32>,
    /// Of all tuples.
    roots: Vec<Root>,
    /// With the number of their first root.
    tuples: Vec<Tuple>,
    longest_leaf: Node,
    worst_steps: u32,
}

impl Planted {
    fn new(first: u32) -> Self {
        let (words, pending, records) = (Vec::new(), Vec::new(), Vec::new());
        let (roots, tuples) = (Vec::new(), Vec::new());
        Self { first, words, pending, records, roots, tuples, longest_leaf: Node::EMPTY, worst_steps: 0 }
    }
}

/// How a tree is shaped.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Copies that a cut may add for every 16 entries.
    copies: usize,
    /// What a cut must gain, in bits, to leave half of its entries to a side tree.
    leaving: i64,
}

/// Shapes in the order in which they are tried. The last ones take the least memory.
const SHAPES: [Shape; 4] = [
    Shape { copies: 4, leaving: 6 },
    Shape { copies: 6, leaving: 6 },
    Shape { copies: 4, leaving: 4 },
    Shape { copies: 2, leaving: 4 },
];
/// Entries that are not worth a further cut.
const SMALL: usize = 8;
/// Entries whose memory is no matter.
const FEW: usize = 500;

/// The trees of the first division and shape, cheapest first, whose size and worst steps are within bounds.
fn plant<const N: usize>(ground: &Ground<N>, first: u32, words: usize) -> Result<Planted, TooManySteps> {
    // Half as much again as records without copies take, the header included.
    let room = ground.entries.len().max(FEW) * words * 3 / 2 - image::OTHER_WORDS;
    let excess = |planted: &Planted| {
        let size = planted.words.len() + planted.roots.len() + planted.records.len() * words;
        (planted.worst_steps.saturating_sub(MAX_STEPS), size.saturating_sub(room))
    };
    let mut list: Vec<u32> = (0..ground.entries.len() as u32).collect();
    ground.truncate(&ground.whole(), &mut list);
    let divisions = division::divide(&ground.specific, &list, ground.space.is_v4);
    let attempts = divisions.iter().flat_map(|division| SHAPES.map(|shape| (division, shape)));
    let mut best = Planted { worst_steps: u32::MAX, ..Planted::new(first) };
    for (division, shape) in attempts {
        let planted = grow::Grower::new(ground, first, shape).plant(division);
        if excess(&planted) < excess(&best) {
            best = planted;
        }
        if excess(&best) == (0, 0) {
            break;
        }
    }
    if best.worst_steps > MAX_STEPS {
        return Err(TooManySteps { steps: best.worst_steps, rules: best.worst_rules(ground.entries) });
    }
    Ok(best)
}

impl Planted {
    /// Rules of the longest leaf, each once.
    fn worst_rules(&self, entries: &[Entry]) -> Vec<u32> {
        let leaf = self.longest_leaf;
        let records = self.records.iter().skip(leaf.first() as usize).take(leaf.count() as usize);
        let entries = records.filter_map(|entry| entries.get(*entry as usize));
        let mut rules: Vec<u32> = entries.map(|entry| entry.decision.rule()).collect();
        rules.dedup();
        rules
    }
}
