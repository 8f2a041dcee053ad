//! The walk.

use super::image::{Blocks, Decision, MAX_DEPTH, MAX_LEAF, Node, header};
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
        walk(image, key, TREES_V4, default, scan_v4)
    } else {
        walk(image, key, TREES_V6, default, scan_v6)
    }
}

/// All trees, best rule first: the rest cannot win once a better rule is found.
#[inline(always)]
fn walk<B: Blocks + ?Sized>(
    image: &B,
    key: &Key,
    trees: u32,
    default: u32,
    scan: impl Fn(&B, &Key, Node, u32) -> Option<u32>,
) -> Option<Decision> {
    let trees = image.block(trees)?;
    let mut best = default;
    for tree in trees {
        if *tree == 0 || (*tree >> 32) as u32 >= best {
            break;
        }
        best = scan(image, key, descend(image, key, *tree as u32)?, best)?;
    }
    Some(Decision(best))
}

/// The leaf to which a key leads.
#[inline(always)]
fn descend<B: Blocks + ?Sized>(image: &B, key: &Key, root: u32) -> Option<Node> {
    let mut index = root;
    for _ in 0..MAX_DEPTH {
        let node = Node(image.block(index >> 3)?[(index & 7) as usize]);
        if !node.is_cut() {
            return Some(node);
        }
        index = node.child(&key.words);
    }
    None
}

/// The better one of `best` and the first record of a leaf that matches.
#[inline(always)]
fn scan_v4<B: Blocks + ?Sized>(image: &B, key: &Key, leaf: Node, best: u32) -> Option<u32> {
    for offset in 0..MAX_LEAF {
        if offset >= leaf.count() {
            break;
        }
        let index = leaf.first().wrapping_add(offset);
        let record = RecordV4::of(image.block(index >> 1)?, index);
        let decision = record.decision().0;
        if decision >= best {
            break;
        }
        if record.matches(key) {
            return Some(decision);
        }
    }
    Some(best)
}

/// As [`scan_v4`].
#[inline(always)]
fn scan_v6<B: Blocks + ?Sized>(image: &B, key: &Key, leaf: Node, best: u32) -> Option<u32> {
    for offset in 0..MAX_LEAF {
        if offset >= leaf.count() {
            break;
        }
        let record = RecordV6(*image.block(leaf.first().wrapping_add(offset))?);
        let decision = record.decision().0;
        if decision >= best {
            break;
        }
        if record.matches(key) {
            return Some(decision);
        }
    }
    Some(best)
}
