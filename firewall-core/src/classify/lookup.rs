//! The walk.

use super::image::{Blocks, Decision, MAX_STEPS, MAX_TREES, Node, header};
use super::key::Key;
use super::record::{RecordV4, RecordV6};

/// Block that names the trees of IPv4, and that of IPv6.
const TREES_V4: u32 = 1;
const TREES_V6: u32 = 2;

/// The first rule that matches; the default when none does. `None` when the image is damaged.
#[inline(always)]
pub fn lookup<B: Blocks + ?Sized>(image: &B, key: &Key) -> Option<Decision> {
    let default = image.block(0)?[header::DEFAULT] as u32;
    if key.is_v4() {
        walk(image, key, TREES_V4, default, test_v4)
    } else {
        walk(image, key, TREES_V6, default, test_v6)
    }
}

/// One more than steps: the last one ends the walk. Not an inclusive range, which takes stack in the kernel.
const ROUNDS: u32 = MAX_STEPS + 1;

/// What a record says, and whether it matches.
type Test<B> = fn(&B, &Key, u32) -> Option<(u32, bool)>;

/// All trees, best rule first: the rest cannot win once a better rule is found.
///
/// One loop for nodes, records and trees: the compiler bounds their sum, and the verifier follows no more rounds than a
/// packet can take. Between trees it is made to forget what it knows, so that it follows the next one once.
#[inline(always)]
fn walk<B: Blocks + ?Sized>(image: &B, key: &Key, trees: u32, default: u32, test: Test<B>) -> Option<Decision> {
    let trees = image.block(trees)?;
    let (mut best, mut tree, mut node) = (default, 0, Node::EMPTY);
    for _ in 0..ROUNDS {
        if node.is_cut() {
            node = node_at(image, node.child(&key.words))?;
            continue;
        }
        if node.count() > 0 {
            let (decision, matches) = test(image, key, node.first())?;
            if decision < best && !matches {
                node = node.without_first();
                continue;
            }
            // A leaf is in order: behind a match, and behind what cannot win, nothing wins.
            best = best.min(decision);
        }
        let next = trees[tree as usize & (MAX_TREES - 1)];
        if tree as usize >= MAX_TREES || next == 0 || (next >> 32) as u32 >= best {
            return Some(Decision(best));
        }
        (best, tree) = image.forget(best, tree + 1);
        node = node_at(image, next as u32)?;
    }
    None
}

#[inline(always)]
fn node_at<B: Blocks + ?Sized>(image: &B, index: u32) -> Option<Node> {
    Some(Node(image.block(index >> 3)?[(index & 7) as usize]))
}

#[inline(always)]
fn test_v4<B: Blocks + ?Sized>(image: &B, key: &Key, index: u32) -> Option<(u32, bool)> {
    let record = RecordV4::of(image.block(index >> 1)?, index);
    Some((record.decision().0, record.matches(key)))
}

#[inline(always)]
fn test_v6<B: Blocks + ?Sized>(image: &B, key: &Key, index: u32) -> Option<(u32, bool)> {
    let record = RecordV6(*image.block(index)?);
    Some((record.decision().0, record.matches(key)))
}
