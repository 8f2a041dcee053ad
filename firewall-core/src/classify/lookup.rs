//! The walk.

use super::image::{Blocks, Decision, MAX_STEPS, Node, Pending, header};
use super::key::Key;
use super::record::{RecordV4, RecordV6};

/// The first rule that matches; the default when none does. `None` when the image is damaged.
#[inline(always)]
pub fn lookup<B: Blocks + ?Sized>(image: &B, key: &Key) -> Option<Decision> {
    if key.is_v4() { walk(image, key, header::ROOT_V4, test_v4) } else { walk(image, key, header::ROOT_V6, test_v6) }
}

/// What a record says, and whether it matches.
type Test<B> = fn(&B, &Key, u32) -> Option<(u32, bool)>;

/// The tree at `root`, and the side trees on the way that can still win.
///
/// One loop for nodes, records and trees: the compiler bounds their sum, and the verifier follows no more rounds than a
/// packet can take.
#[inline(always)]
fn walk<B: Blocks + ?Sized>(image: &B, key: &Key, root: usize, test: Test<B>) -> Option<Decision> {
    let mut best = image.word(header::DEFAULT as u32)? as u32;
    let mut node = Node(image.word(root as u32)?);
    let mut pending = Pending::NONE;
    for _ in 0..MAX_STEPS {
        if node.is_cut() {
            if node.has_side() {
                pending = Pending(image.word(node.first().wrapping_sub(1))?);
            }
            node = Node(image.word(node.child(&key.words))?);
            continue;
        }
        if node.count() > 0 {
            let (decision, matches) = test(image, key, node.first())?;
            node = node.without_first();
            // A leaf is in order: behind a match, and behind what cannot win, nothing wins.
            if !matches && decision < best && node.count() > 0 {
                continue;
            }
            if matches {
                best = best.min(decision);
            }
        }
        if pending.best() >= best {
            return Some(Decision(best));
        }
        node = Node(image.word(pending.root())?);
        pending = Pending(image.word(pending.root().wrapping_add(1))?);
    }
    None
}

#[inline(always)]
fn test_v4<B: Blocks + ?Sized>(image: &B, key: &Key, index: u32) -> Option<(u32, bool)> {
    let record = RecordV4(*image.record_v4(index)?);
    Some((record.decision().0, record.matches(key)))
}

#[inline(always)]
fn test_v6<B: Blocks + ?Sized>(image: &B, key: &Key, index: u32) -> Option<(u32, bool)> {
    let record = RecordV6(*image.record_v6(index)?);
    Some((record.decision().0, record.matches(key)))
}
