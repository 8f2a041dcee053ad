//! Layout of a compiled rule table.
//!
//! An image is a row of [`Block`]s. The first three are the header; then come the nodes of both families (8 bytes each), the
//! leaves of IPv4 and those of IPv6: tables that tell which records of the leaf may match a packet ([`Window`]), and these
//! records behind them (32 bytes; IPv6 64 bytes, one block each). Indices count from the start of the image in units of what they
//! name. Each family has several trees ([`tree`]).
//!
//! A cut may leave entries that belong to too many of its children to a *side* tree, which every packet that comes by has
//! to look at too. The three words before the children of such a cut name it: the root of the side tree, what is
//! still to be looked at behind that tree ([`Pending`] of the place above), and both together as a [`Pending`].

#[cfg(not(target_arch = "bpf"))]
use zerocopy::IntoBytes;

use super::key::Key;
use crate::tables::Action;

/// 64 bytes, a cache line: the unit in which an image is stored.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(
    not(target_arch = "bpf"),
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
)]
pub struct Block(pub [u64; WORDS]);

/// Words of a block.
pub const WORDS: usize = 8;
/// Words of an IPv4 record.
pub const WORDS_V4: usize = 4;
/// Most steps (nodes, leaves and records of theirs) that a look-up may take.
pub const MAX_STEPS: u32 = 128;
/// Most bits by which a node chooses its child.
pub const MAX_CUT_BITS: u32 = 16;

/// Stands in the eBPF object for the number of blocks that a rule table in the kernel has room for.
///
/// A table is one value of a map within a map, whose size is part of a type, and the object's format has no way to change
/// types at load.
pub const RULE_BLOCKS_MARKER: usize = 0x0b10_c5f7;

/// Blocks of a rule table in the kernel behind those that its room counts, which is a power of two: what reads eight bytes at
/// any of these ends there.
pub const SPARE_BLOCKS: u32 = 1;

/// First word of the header: "vfwtable", and changes with the layout ([`VERSION`]).
pub const MAGIC: u64 = u64::from_le_bytes(*b"vfwtable");
/// Number of this layout.
pub const VERSION: u32 = 8;
/// Blocks before the first node.
pub const HEADER_BLOCKS: u32 = 3;

/// Words of the header.
pub mod header {
    /// [`super::MAGIC`].
    pub const MAGIC: usize = 0;
    /// Layout version (low half), blocks of the image (high half).
    pub const SIZE: usize = 1;
    /// [`super::checksum`] of the image with zero in this word.
    pub const CHECKSUM: usize = 2;
    /// Proven worst number of steps: IPv4 (low half), IPv6 (high half).
    pub const STEPS: usize = 3;
    /// The [`super::Decision`] when no record matches (low half).
    pub const DEFAULT: usize = 4;
    /// Table entries before copying: IPv4 (low half), IPv6 (high half).
    pub const ENTRIES: usize = 5;
    /// Words of nodes (low half), quad of the first IPv4 leaf's tables (high half).
    pub const NODES: usize = 6;
    /// IPv4 records (low half), IPv6 records (high half).
    pub const RECORDS: usize = 7;
    /// The [`super::Pending`] of each [`super::tree`] for IPv4.
    pub const TREES_V4: usize = 8;
    /// The same for IPv6.
    pub const TREES_V6: usize = TREES_V4 + super::tree::COUNT;
}

// The last words of the header are the first table of leaves without records: what one table rules out, no other brings back.
const _: () = assert!(header::TREES_V6 + tree::COUNT + WORDS_V4 <= HEADER_BLOCKS as usize * WORDS);
const _: () = assert!(Window::VALUES / 8 <= WORDS_V4 as u32);

/// The trees of one family.
///
/// Where large sets of addresses meet in a rule, or many rules name them, their products would be too many records. Addresses that
/// the same of these sets have are a *class* then: a packet's classes are looked up, one for each side, and the rules name
/// classes in place of addresses.
pub mod tree {
    /// Rules that name addresses on both sides.
    pub const ADDRESSES: usize = 0;
    /// Classes: prefixes, in the place of a source. What it says is a [`super::Class`], the longest prefix first.
    pub const CLASSES: usize = 1;
    /// Rules whose source is a class.
    pub const SOURCES: usize = 2;
    /// Rules whose destination is a class.
    pub const DESTINATIONS: usize = 3;
    /// Rules with a class on each side.
    pub const BOTH: usize = 4;
    /// How many there are.
    pub const COUNT: usize = 5;
}

/// Read access to an image, bounded: `None` behind the end, or anything that the image holds.
pub trait Blocks {
    /// A word of the header, by [`header`].
    fn header(&self, word: usize) -> Option<u64>;
    /// Eight bytes from any byte offset on, as a number in the byte order of words.
    fn lanes(&self, offset: u32) -> Option<u64>;
    /// A word.
    fn word(&self, index: u32) -> Option<u64>;
    /// An IPv4 record.
    fn record_v4(&self, index: u32) -> Option<&[u64; WORDS_V4]>;
    /// An IPv6 record.
    fn block(&self, index: u32) -> Option<&[u64; WORDS]>;
}

/// Eight bytes from an offset on. One comparison, where a block, or what is left behind the offset, would be two.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
fn number_at(blocks: &[Block], offset: usize) -> Option<u64> {
    let bytes = blocks.as_bytes().get(offset..offset + size_of::<u64>())?;
    Some(u64::from_ne_bytes(*bytes.first_chunk()?))
}

#[cfg(not(target_arch = "bpf"))]
impl Blocks for [Block] {
    #[inline(always)]
    fn header(&self, word: usize) -> Option<u64> {
        self.word(word as u32)
    }

    #[inline(always)]
    fn lanes(&self, offset: u32) -> Option<u64> {
        number_at(self, offset as usize)
    }

    #[inline(always)]
    fn word(&self, index: u32) -> Option<u64> {
        number_at(self, index as usize * size_of::<u64>())
    }

    #[inline(always)]
    fn record_v4(&self, index: u32) -> Option<&[u64; WORDS_V4]> {
        let (records, _) = self.get(index as usize / 2)?.0.as_chunks();
        records.get(index as usize % 2)
    }

    #[inline(always)]
    fn block(&self, index: u32) -> Option<&[u64; WORDS]> {
        self.get(index as usize).map(|block| &block.0)
    }
}

/// What a rule says, in one word: rule (24 bits), log (1 bit), [`Action`] code (7 bits). Earlier rules are smaller
/// numbers, so the smallest decision wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Decision(pub u32);

/// Most rules that a [`Decision`] can name, the default included.
pub const MAX_RULES: u32 = 1 << 24;

impl Decision {
    /// The word for a rule below [`MAX_RULES`].
    pub const fn new(rule: u32, action: Action, log: bool) -> Self {
        Self(rule << 8 | (log as u32) << 7 | action as u32)
    }

    /// Rule of the file, counted from 0; the default comes after the last.
    #[inline(always)]
    pub const fn rule(self) -> u32 {
        self.0 >> 8
    }

    /// Whether the first packet of each flow is logged.
    #[inline(always)]
    pub const fn is_logged(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// What to do. A code that is none of the known ones drops.
    #[inline(always)]
    pub const fn action(self) -> Action {
        match self.0 & 0x7f {
            0 => Action::Allow,
            2 => Action::Reject,
            _ => Action::Drop,
        }
    }
}

/// A class of addresses as the tree of classes says it: bits of the address that its prefix leaves open (8 bits), number (24 bits).
/// As of decisions, the smallest wins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class(pub u32);

impl Class {
    /// Of addresses that no set has.
    pub const NONE: Self = Self(u32::MAX);

    /// The word for a class below [`MAX_RULES`] less one.
    pub const fn new(open: u8, number: u32) -> Self {
        Self((open as u32) << 24 | number & (MAX_RULES - 1))
    }

    /// Its number: what stands in the place of an address.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.0 & (MAX_RULES - 1)
    }
}

/// A node: a cut (child by bits of a key word) or a leaf (records).
///
/// Cut: word index of the first child (31 bits), 1, mask of the bits that choose (16 bits), shift (5), whether it has a side tree
/// (1), slot of the key word (4).
/// Leaf: index of its tables in units of [`QUAD`] words (27 bits), its [`Lanes`] (3), a bit of zero (but in [`Node::EMPTY`]), 0,
/// and the [`Window`] of each table (8 each). Its records stand behind its tables.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Node(pub u64);

/// Words of the unit in which the tables and records of leaves are laid out: an IPv4 record, or half an IPv6 one.
pub const QUAD: u32 = WORDS_V4 as u32;
/// Quads that a leaf can name.
pub const MAX_QUADS: u32 = 1 << 27;
/// Tables of a leaf.
pub const TABLES: u32 = 4;
/// Most records of a leaf.
pub const MAX_RECORDS: u32 = 64;

/// Bits of the key by whose value a table of a leaf tells which records may match: [`Window::BITS`] of them.
///
/// A table has so many bytes for each value as the leaf's [`Lanes`] say: the bit of a record is set when some packet with that
/// value matches it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window(u8);

impl Window {
    /// Bits of the key.
    pub const BITS: u32 = 4;
    /// Values of these.
    pub const VALUES: u32 = 1 << Self::BITS;
    /// What the first bit of a window is a multiple of.
    pub const STEP: u32 = 2;

    /// The window of a slot of the key whose first bit is `shift`.
    pub const fn new(slot: u32, shift: u32) -> Self {
        Self(((slot * 32 + shift) / Self::STEP) as u8)
    }

    /// Word of the key, and first bit there.
    #[inline(always)]
    pub(super) const fn place(self) -> (usize, u32) {
        ((self.0 >> 5) as usize, self.0 as u32 * Self::STEP % u64::BITS)
    }
}

/// Room of a leaf's tables for records: bytes of the word that a table has for each value, less one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lanes(u32);

impl Lanes {
    /// The fewest for so many records, 1 to [`MAX_RECORDS`].
    pub const fn of(records: u32) -> Self {
        Self((records.saturating_sub(1) / 8) & 7)
    }

    /// Bytes of a table for each value.
    #[inline(always)]
    pub const fn bytes(self) -> u32 {
        self.0 + 1
    }

    /// Records that there is room for.
    #[inline(always)]
    pub const fn count(self) -> u32 {
        self.bytes() * 8
    }

    /// Words of all tables: whole blocks.
    #[inline(always)]
    pub const fn words(self) -> u32 {
        TABLES * Window::VALUES / 8 * self.bytes()
    }
}

// What follows the tables is aligned.
const _: () = assert!(Lanes::of(1).words() as usize == WORDS);

impl Node {
    /// A leaf without records: its first table is words of the header that are zero. No other leaf has bit 30.
    pub const EMPTY: Self = Self((HEADER_BLOCKS * WORDS as u32 / QUAD - 1) as u64 | 1 << 30);
    const CUT: u64 = 1 << 31;
    const SIDE: u64 = 1 << 53;

    /// Child `word >> shift & (2^bits - 1)` of those from word `children` (below 2^31) on, where `word` is the key's at `slot`.
    pub const fn cut(slot: u32, shift: u32, bits: u32, children: u32) -> Self {
        let mask = (1u64 << (bits & 31)) - 1;
        Self(children as u64 | mask << 32 | ((shift & 31) as u64) << 48 | ((slot & 15) as u64) << 54 | Self::CUT)
    }

    /// The same cut with a side tree before its children.
    #[must_use]
    pub const fn with_side(self) -> Self {
        Self(self.0 | Self::SIDE)
    }

    /// A leaf whose tables begin at quad `first`, below [`MAX_QUADS`].
    pub const fn leaf(first: u32, lanes: Lanes, windows: [Window; TABLES as usize]) -> Self {
        let [a, b, c, d] = windows;
        let windows = u32::from_le_bytes([a.0, b.0, c.0, d.0]);
        Self(first as u64 | ((lanes.0 & 7) as u64) << 27 | (windows as u64) << 32)
    }

    /// Whether it is a cut.
    #[inline(always)]
    pub const fn is_cut(self) -> bool {
        self.0 & Self::CUT != 0
    }

    /// Whether a cut has a side tree.
    #[inline(always)]
    pub const fn has_side(self) -> bool {
        self.0 & Self::SIDE != 0
    }

    /// Slot of the key, first bit and number of bits by which a cut chooses.
    pub const fn window(self) -> (usize, u32, u32) {
        ((self.0 >> 54 & 15) as usize, (self.0 >> 48 & 31) as u32, (self.0 >> 32 & 0xffff).count_ones())
    }

    /// Word index of the child of a cut.
    #[inline(always)]
    pub const fn child(self, key: &Key) -> u32 {
        let word = key.slot((self.0 >> 54 & 15) as u32);
        let window = (word >> (self.0 >> 48 & 31)) & (self.0 >> 32) as u32 & 0xffff;
        self.children().wrapping_add(window)
    }

    /// Word index of the first child of a cut.
    #[inline(always)]
    pub const fn children(self) -> u32 {
        self.0 as u32 & 0x7fff_ffff
    }

    /// Quad of a leaf's tables.
    #[inline(always)]
    pub const fn tables(self) -> u32 {
        self.0 as u32 & (MAX_QUADS - 1)
    }

    /// Lanes of a leaf.
    #[inline(always)]
    pub const fn lanes(self) -> Lanes {
        Lanes((self.0 >> 27 & 7) as u32)
    }

    /// Quad of a leaf's first record.
    #[inline(always)]
    pub const fn records(self) -> u32 {
        self.tables().wrapping_add(self.lanes().words() / QUAD)
    }

    /// What a packet has in a window.
    #[inline(always)]
    const fn value(self, number: u32, key: &Key) -> u32 {
        key.value(Window((self.0 >> (32 + 8 * number)) as u8))
    }

    /// Where a leaf's table says which records may match a packet: a byte offset, from which on each has a bit.
    #[inline(always)]
    pub const fn place_in(self, table: u32, key: &Key) -> u32 {
        let lane = table * Window::VALUES + self.value(table, key);
        self.tables().wrapping_mul(QUAD * 8).wrapping_add(lane * self.lanes().bytes())
    }
}

/// What a packet still has to look at when it has come to a leaf: word index of a side tree's root (low half), behind which
/// the next [`Pending`] stands, and the best decision in that tree and all behind it (high half).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pending(pub u64);

impl Pending {
    /// Nothing: no decision is worse than what it promises.
    pub const NONE: Self = Self(u64::MAX << 32);

    /// The side tree whose root stands at word `root`.
    pub const fn new(root: u32, best: u32) -> Self {
        Self(root as u64 | (best as u64) << 32)
    }

    /// Word index of the root.
    #[inline(always)]
    pub const fn root(self) -> u32 {
        self.0 as u32
    }

    /// The best decision there.
    #[inline(always)]
    pub const fn best(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Sum over the words of an image (FNV-1a by words), which the header carries.
pub fn checksum(blocks: &[Block]) -> u64 {
    let words = blocks.iter().flat_map(|block| block.0).enumerate();
    words.fold(0xcbf2_9ce4_8422_2325, |sum, (index, word)| {
        let word = if index == header::CHECKSUM { 0 } else { word };
        (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29)
    })
}
