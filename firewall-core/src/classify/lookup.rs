//! The walk.

use super::image::{Blocks, Class, Decision, MAX_STEPS, Node, Pending, QUAD, TABLES, WORDS, header, tree};
use super::key::Key;
use super::record::{Record, RecordV4, RecordV6};

/// A look-up at work: its key, and a way to visit a tree.
pub trait Walk {
    /// The key. What it holds in the place of addresses changes on the way, and it has the best decision so far.
    fn key(&mut self) -> &mut Key;
    /// [`visit`]s a tree. `None` when the image is damaged.
    fn visit(&mut self, tree: usize) -> Option<bool>;
    /// [`by_class`]. To be overridden where a call is better.
    #[inline(always)]
    fn by_class(&mut self) -> Option<()>
    where
        Self: Sized,
    {
        by_class(self)
    }
}

/// The first rule that matches; the default when none does. `None` when the image is damaged.
#[inline(always)]
pub fn first_match<W: Walk>(walk: &mut W) -> Option<Decision> {
    if walk.visit(tree::ADDRESSES)? {
        walk.by_class()?;
    }
    Some(Decision(walk.key().best()))
}

/// Goes on with the rules that name classes of addresses. `None` when the image is damaged.
#[inline(always)]
pub fn by_class<W: Walk>(walk: &mut W) -> Option<()> {
    let (best, source, destination) = (walk.key().best(), walk.key().source(), walk.key().destination());
    let source_class = class_of_source(walk)?;
    walk.key().set_source(destination);
    let destination_class = class_of_source(walk)?;
    walk.key().set_best(best);
    if source_class != Class::NONE {
        let place = walk.key().place_of(source_class);
        walk.key().set_source(place);
        walk.visit(tree::SOURCES)?;
    }
    if destination_class != Class::NONE {
        let place = walk.key().place_of(destination_class);
        walk.key().set_destination(place);
        if source_class != Class::NONE {
            walk.visit(tree::BOTH)?;
        }
        walk.key().set_source(source);
        walk.visit(tree::DESTINATIONS)?;
    }
    Some(())
}

#[inline(always)]
fn class_of_source<W: Walk>(walk: &mut W) -> Option<Class> {
    walk.key().set_best(Class::NONE.0);
    walk.visit(tree::CLASSES)?;
    Some(Class(walk.key().best()))
}

/// [`first_match`] in an image that is at hand.
#[inline]
pub fn lookup<B: Blocks + ?Sized>(image: &B, key: Key) -> Option<Decision> {
    first_match(&mut AtHand { image, key })
}

struct AtHand<'a, B: ?Sized> {
    image: &'a B,
    key: Key,
}

impl<B: Blocks + ?Sized> Walk for AtHand<'_, B> {
    #[inline(always)]
    fn key(&mut self) -> &mut Key {
        &mut self.key
    }

    #[inline]
    fn visit(&mut self, tree: usize) -> Option<bool> {
        visit(self.image, &mut self.key, tree)
    }
}

/// Looks whether a [`tree`] of the key's family says something better than the best so far, which for the first tree is the default.
/// The answer is whether there are rules that name classes of addresses; `None` when the image is damaged.
#[inline(always)]
pub fn visit<B: Blocks + ?Sized>(image: &B, key: &mut Key, tree: usize) -> Option<bool> {
    if tree == tree::ADDRESSES {
        key.set_best(image.header(header::DEFAULT)? as u32);
    }
    let trees = if key.is_v4() {
        let best = visit_all(image, key, Pending(image.header(header::TREES_V4 + tree)?), record_v4)?;
        key.set_best(best);
        header::TREES_V4
    } else {
        let best = visit_all(image, key, Pending(image.header(header::TREES_V6 + tree)?), record_v6)?;
        key.set_best(best);
        header::TREES_V6
    };
    Some(Pending(image.header(trees + tree::CLASSES)?) != Pending::NONE)
}

/// Steps that were taken. All loops of a visit share them: the compiler of rules bounds their sum over all visits, and the
/// verifier follows no more rounds than a packet can take.
struct Steps(u32);

impl Steps {
    #[inline(always)]
    const fn take(&mut self) -> Option<()> {
        self.0 += 1;
        if self.0 > MAX_STEPS { None } else { Some(()) }
    }
}

/// The best of what was found before and what a tree says, with the side trees on the way that can still win.
#[inline(always)]
fn visit_all<B: Blocks + ?Sized, R: Record>(
    image: &B,
    key: &Key,
    mut pending: Pending,
    record: impl Fn(&B, u32, u32) -> Option<R>,
) -> Option<u32> {
    let (mut best, mut steps) = (key.best(), Steps(0));
    while pending.best() < best {
        steps.take()?;
        let node = Node(image.word(pending.root())?);
        pending = Pending(image.word(pending.root().wrapping_add(1))?);
        let leaf = descend(image, key, node, &mut pending, &mut steps)?;
        best = decide(image, key, leaf, best, &mut steps, &record)?;
    }
    Some(best)
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
            *pending = Pending(image.word(node.children().wrapping_sub(1))?);
        }
        node = Node(image.word(node.child(key))?);
    }
    Some(node)
}

/// The better one of a decision and what a leaf says. A leaf is in order: behind a match, and behind what cannot win,
/// nothing wins.
#[inline(always)]
fn decide<B: Blocks + ?Sized, R: Record>(
    image: &B,
    key: &Key,
    leaf: Node,
    best: u32,
    steps: &mut Steps,
    record: impl Fn(&B, u32, u32) -> Option<R>,
) -> Option<u32> {
    steps.take()?;
    let mut candidates = candidates(image, key, leaf)?;
    while candidates != 0 {
        steps.take()?;
        let record = record(image, leaf.records(), candidates.trailing_zeros())?;
        candidates &= candidates - 1;
        let decision = record.decision().0;
        if decision >= best {
            break;
        }
        if record.has_addresses(key) && record.has_rest(key) {
            return Some(decision);
        }
    }
    Some(best)
}

/// The records of a leaf that its tables do not rule out, a bit each. Without a branch, which nobody could foretell.
#[inline(always)]
fn candidates<B: Blocks + ?Sized>(image: &B, key: &Key, leaf: Node) -> Option<u64> {
    let mut all = u64::MAX >> (64 - leaf.lanes().count());
    for table in 0..TABLES {
        all &= image.lanes(leaf.place_in(table, key))?;
    }
    Some(all)
}

/// Record `number` of those from a quad on.
#[inline(always)]
fn record_v4<B: Blocks + ?Sized>(image: &B, quad: u32, number: u32) -> Option<RecordV4> {
    image.record_v4(quad.wrapping_add(number)).copied().map(RecordV4)
}

#[inline(always)]
fn record_v6<B: Blocks + ?Sized>(image: &B, quad: u32, number: u32) -> Option<RecordV6> {
    image.block((quad / (WORDS as u32 / QUAD)).wrapping_add(number)).copied().map(RecordV6)
}
