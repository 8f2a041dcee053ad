//! The rule compiler: table entries to a forest of decision trees in one flat image.
//!
//! [`compile`] splits the entries of each family into at most [`MAX_TREES`] trees. A tree is grown from its root: a node cuts
//! its entries by the window of key bits that separates them best, and what such a cut would copy too often is left to
//! the next tree; so entries end up beside others that are specific in the same places. Entries that can never be
//! the first match in their part of the space are dropped there, leaves with the same entries are stored once. The result
//! depends on the entries alone.

mod bounds;
mod cut;
mod grow;
mod image;
mod region;

use firewall_core::classify::image::{Block, MAX_STEPS, MAX_TREES, Node};
use firewall_core::classify::{Decision, Selector};

use bounds::{Space, V4, V6};
use grow::{Shape, Tree};

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
    let v4 = plant(&V4, &entries.v4)?;
    let v6 = plant(&V6, &entries.v6)?;
    let worst_steps = [steps(&v4), steps(&v6)];
    Ok(Forest { blocks: image::lay_out(entries, &v4, &v6, worst_steps), worst_steps })
}

/// A forest of one family before it has its place in the image.
#[derive(Default)]
struct Planted {
    /// Nodes; indices of children and of leaves count from the start of this forest.
    nodes: Vec<Node>,
    /// Entry of each record.
    records: Vec<u32>,
    /// Trees by the best decision in them.
    trees: Vec<Tree>,
}

/// Shapes in the order in which they are tried: the later ones bound the steps of crowded sets better, and take more memory
/// or more trees.
const SHAPES: [Shape; 3] =
    [Shape { large: 16, leaving: 4 }, Shape { large: 12, leaving: 4 }, Shape { large: 8, leaving: 4 }];

fn plant<const N: usize>(space: &Space<N>, entries: &[Entry]) -> Result<Planted, TooManySteps> {
    let mut refused = TooManySteps { steps: u32::MAX, rules: Vec::new() };
    for shape in SHAPES {
        let planted = plant_shaped(space, entries, shape);
        let steps = steps(&planted);
        if steps <= MAX_STEPS {
            return Ok(planted);
        }
        if steps < refused.steps {
            refused = TooManySteps { steps, rules: planted.worst_rules(entries) };
        }
    }
    Err(refused)
}

fn plant_shaped<const N: usize>(space: &Space<N>, entries: &[Entry], shape: Shape) -> Planted {
    let mut grower = grow::Grower::new(space, entries, shape);
    let mut pool: Vec<u32> = (0..entries.len() as u32).collect();
    let mut trees = Vec::new();
    for number in 0..MAX_TREES {
        if pool.is_empty() {
            break;
        }
        let (tree, left) = grower.tree(&pool, number + 1 == MAX_TREES);
        trees.push(tree);
        pool = left;
    }
    trees.sort_by_key(|tree| tree.best);
    grower.finish(trees)
}

/// Steps that a look-up takes at most: the longest way in each tree.
fn steps(planted: &Planted) -> u32 {
    planted.trees.iter().map(|tree| tree.worst_steps).sum()
}

impl Planted {
    /// The leaf with the most records.
    fn longest_leaf(&self) -> Node {
        let roots = self.trees.iter().map(|tree| tree.root);
        let leaves = self.nodes.iter().copied().chain(roots).filter(|node| !node.is_cut());
        leaves.max_by_key(|node| node.count()).unwrap_or(Node::EMPTY)
    }

    /// Rules of that leaf, each once.
    fn worst_rules(&self, entries: &[Entry]) -> Vec<u32> {
        let leaf = self.longest_leaf();
        let records = self.records.iter().skip(leaf.first() as usize).take(leaf.count() as usize);
        let entries = records.filter_map(|entry| entries.get(*entry as usize));
        let mut rules: Vec<u32> = entries.map(|entry| entry.decision.rule()).collect();
        rules.dedup();
        rules
    }
}
