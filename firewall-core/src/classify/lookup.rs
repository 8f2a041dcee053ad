//! The walk.

use super::image::{Blocks, Decision, MAX_STEPS, Node, Pending, header};
use super::key::Key;
use super::record::{RecordV4, RecordV6};
use super::roots::Roots;

/// The first rule that matches; the default when none does. `None` when the image is damaged. `roots` need not be empty.
#[inline(always)]
pub fn lookup<B: Blocks + ?Sized>(image: &B, key: &Key, roots: &mut Roots) -> Option<Decision> {
    if key.is_v4() {
        let count = roots.fill(image, image.header(header::TUPLES_V4)?, || key.tuple_v4())?;
        visit(image, key, roots, count, test_v4)
    } else {
        let count = roots.fill(image, image.header(header::TUPLES_V6)?, || key.tuple_v6())?;
        visit(image, key, roots, count, test_v6)
    }
}

/// What a record says, and whether it matches.
type Test<B> = fn(&B, &Key, u32) -> Option<(u32, bool)>;

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

/// The best decision behind the roots: of their trees, and the side trees on the way, that can still win.
#[inline(always)]
fn visit<B: Blocks + ?Sized>(image: &B, key: &Key, roots: &Roots, count: usize, test: Test<B>) -> Option<Decision> {
    let mut best = image.header(header::DEFAULT)? as u32;
    let mut pending = nothing(image)?;
    let mut steps = Steps(0);
    let mut place = count;
    loop {
        steps.take()?;
        let mut node;
        if pending.best() < best {
            node = Node(image.word(pending.root())?);
            pending = Pending(image.word(pending.root().wrapping_add(1))?);
        } else {
            let root = roots.at(place);
            place = place.wrapping_sub(1);
            pending = nothing(image)?;
            if root.is_empty() {
                return Some(Decision(best));
            }
            if !root.may_beat(best, image.header(header::RANK)?) {
                continue;
            }
            node = root.leaf();
            if root.count() == 0 {
                node = Node(image.word(root.first())?);
            }
        }
        let leaf = descend(image, key, node, &mut pending, &mut steps)?;
        best = decide(image, key, leaf, best, &mut steps, test)?;
    }
}

/// No side tree. Not the constant, which the verifier would take for another way than what trees say.
#[inline(always)]
fn nothing<B: Blocks + ?Sized>(image: &B) -> Option<Pending> {
    image.header(header::NONE).map(Pending)
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
        node = Node(image.word(node.child(&key.words))?);
    }
    Some(node)
}

/// The better one of a decision and what a leaf says. A leaf is in order: behind a match, and behind what cannot win,
/// nothing wins.
#[inline(always)]
fn decide<B: Blocks + ?Sized>(
    image: &B,
    key: &Key,
    leaf: Node,
    best: u32,
    steps: &mut Steps,
    test: Test<B>,
) -> Option<u32> {
    let mut next = leaf.first();
    let end = next.wrapping_add(leaf.count());
    while next != end {
        steps.take()?;
        let (decision, matches) = test(image, key, next)?;
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
fn test_v4<B: Blocks + ?Sized>(image: &B, key: &Key, index: u32) -> Option<(u32, bool)> {
    let record = RecordV4(*image.record_v4(index)?);
    Some((record.decision().0, record.matches(key)))
}

#[inline(always)]
fn test_v6<B: Blocks + ?Sized>(image: &B, key: &Key, index: u32) -> Option<(u32, bool)> {
    let record = RecordV6(*image.block(index)?);
    Some((record.decision().0, record.matches(key)))
}
