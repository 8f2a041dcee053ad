//! The walk.

use super::image::{Blocks, Decision, MAX_STEPS, Node, Pending, header};
use super::key::Key;
use super::record::{Record, RecordV4, RecordV6};

/// The first rule that matches; the default when none does. `None` when the image is damaged.
#[inline(always)]
pub fn lookup<B: Blocks + ?Sized>(image: &B, key: &Key) -> Option<Decision> {
    if key.is_v4() {
        visit(image, key, header::TREE_V4, record_v4)
    } else {
        visit(image, key, header::TREE_V6, record_v6)
    }
}

/// Steps that were taken. All loops of a look-up share them: the compiler of rules bounds their sum, and the verifier follows
/// no more rounds than a packet can take.
struct Steps(u32);

impl Steps {
    #[inline(always)]
    const fn take(&mut self) -> Option<()> {
        self.0 += 1;
        if self.0 > MAX_STEPS { None } else { Some(()) }
    }
}

/// The best decision of a tree, and of the side trees on the way that can still win.
#[inline(always)]
fn visit<B: Blocks + ?Sized, R: Record>(
    image: &B,
    key: &Key,
    tree: usize,
    record: impl Fn(&B, u32) -> Option<R>,
) -> Option<Decision> {
    let mut best = image.header(header::DEFAULT)? as u32;
    let mut pending = Pending(image.header(tree)?);
    let mut steps = Steps(0);
    while pending.best() < best {
        steps.take()?;
        let node = Node(image.word(pending.root())?);
        pending = Pending(image.word(pending.root().wrapping_add(1))?);
        let leaf = descend(image, key, node, &mut pending, &mut steps)?;
        best = decide(key, leaf, best, &mut steps, |index| record(image, index))?;
    }
    Some(Decision(best))
}

/// The leaf below a node. What a cut on the way leaves to a side tree is pending from there on.
#[inline(always)]
fn descend<B: Blocks + ?Sized>(
    image: &B,
    key: &Key,
    mut node: Node,
    pending: &mut Pending,
    steps: &mut Steps,
) -> Option<Node> {
    while node.is_cut() {
        steps.take()?;
        if node.has_side() {
            *pending = Pending(image.word(node.first().wrapping_sub(1))?);
        }
        node = Node(image.word(node.child(key))?);
    }
    Some(node)
}

/// The better one of a decision and what a leaf says. A leaf is in order: behind a match, and behind what cannot win,
/// nothing wins.
#[inline(always)]
fn decide<R: Record>(
    key: &Key,
    leaf: Node,
    best: u32,
    steps: &mut Steps,
    record: impl Fn(u32) -> Option<R>,
) -> Option<u32> {
    let mut next = leaf.first();
    let end = next.wrapping_add(leaf.count());
    while next != end {
        steps.take()?;
        let record = record(next)?;
        let (decision, matches) = (record.decision().0, record.matches(key));
        if decision >= best {
            break;
        }
        if matches {
            return Some(decision);
        }
        next = next.wrapping_add(1);
    }
    Some(best)
}

#[inline(always)]
fn record_v4<B: Blocks + ?Sized>(image: &B, index: u32) -> Option<RecordV4> {
    image.record_v4(index).copied().map(RecordV4)
}

#[inline(always)]
fn record_v6<B: Blocks + ?Sized>(image: &B, index: u32) -> Option<RecordV6> {
    image.block(index).copied().map(RecordV6)
}
