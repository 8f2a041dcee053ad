//! Layout of a compiled rule table.
//!
//! An image is a row of [`Block`]s. The first three are the header; then come the nodes of both families (8 bytes each), IPv4
//! records (32 bytes) and IPv6 records (64 bytes, one block each). Indices count from the start of the image in units of
//! what they name. Each family has several trees ([`tree`]).
//!
//! A cut may leave entries that belong to too many of its children to a *side* tree, which every packet that comes by has
//! to look at too. The three words before the children of such a cut name it: the root of the side tree, what is
//! still to be looked at behind that tree ([`Pending`] of the place above), and both together as a [`Pending`].

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
/// Most steps (nodes and records) that a look-up may take.
pub const MAX_STEPS: u32 = 128;
/// Most bits by which a node chooses its child.
pub const MAX_CUT_BITS: u32 = 16;

/// Stands in the eBPF object for the number of blocks that a rule table in the kernel has room for.
///
/// A table is one value of a map within a map, whose size is part of a type, and the object's format has no way to change
/// types at load.
pub const RULE_BLOCKS_MARKER: usize = 0x0b10_c5f7;

/// First word of the header: "vfwtable", and changes with the layout ([`VERSION`]).
pub const MAGIC: u64 = u64::from_le_bytes(*b"vfwtable");
/// Number of this layout.
pub const VERSION: u32 = 6;
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
    /// Nodes (low half), first IPv4 record (high half).
    pub const NODES: usize = 6;
    /// IPv4 records (low half), IPv6 records (high half).
    pub const RECORDS: usize = 7;
    /// The [`super::Pending`] of each [`super::tree`] for IPv4.
    pub const TREES_V4: usize = 8;
    /// The same for IPv6.
    pub const TREES_V6: usize = TREES_V4 + super::tree::COUNT;
}

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
    /// A word.
    fn word(&self, index: u32) -> Option<u64>;
    /// An IPv4 record.
    fn record_v4(&self, index: u32) -> Option<&[u64; WORDS_V4]>;
    /// An IPv6 record.
    fn block(&self, index: u32) -> Option<&[u64; WORDS]>;
}

impl Blocks for [Block] {
    #[inline(always)]
    fn header(&self, word: usize) -> Option<u64> {
        self.word(word as u32)
    }

    #[inline(always)]
    fn word(&self, index: u32) -> Option<u64> {
        Some(self.get(index as usize / WORDS)?.0[index as usize % WORDS])
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
/// Cut: word index of the first child (32 bits), mask of the bits that choose (16), shift (5), whether it has a side tree (1), slot
/// of the key word (4); the highest bit is set.
/// Leaf: index of the first record (32 bits), values of its guard (16), number of records (8), a fourth of the guard's shift (3),
/// its slot (4); the highest bit is not set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Node(pub u64);

/// What a packet must have, so that a record of a leaf may match it: four bits of a key word with one of these values. Most packets
/// that no record matches are told by it, and no record has to be fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guard {
    /// Slot of the key.
    pub slot: u32,
    /// The first one of the four bits, a multiple of four.
    pub shift: u32,
    /// A bit for each value.
    pub values: u16,
}

impl Guard {
    /// Every packet may match.
    pub const ANY: Self = Self { slot: 0, shift: 0, values: u16::MAX };
}

impl Node {
    /// A leaf without records.
    pub const EMPTY: Self = Self(0);
    const SIDE: u64 = 1 << 53;
    const CUT: u64 = 1 << 63;

    /// Child `word >> shift & (2^bits - 1)` of those from word `children` on, where `word` is the key's at `slot`.
    pub const fn cut(slot: u32, shift: u32, bits: u32, children: u32) -> Self {
        let mask = (1u64 << (bits & 31)) - 1;
        Self(children as u64 | mask << 32 | ((shift & 31) as u64) << 48 | ((slot & 15) as u64) << 54 | Self::CUT)
    }

    /// The same cut with a side tree before its children.
    #[must_use]
    pub const fn with_side(self) -> Self {
        Self(self.0 | Self::SIDE)
    }

    /// `count` records, fewer than 256, from `first` on.
    pub const fn leaf(first: u32, count: u32, guard: Guard) -> Self {
        let place = ((guard.shift / 4) & 7) as u64 | ((guard.slot & 15) as u64) << 3;
        Self(first as u64 | (guard.values as u64) << 32 | ((count & 0xff) as u64) << 48 | place << 56)
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
        (self.0 as u32).wrapping_add(window)
    }

    /// Index of the first record of a leaf, or word index of the first child of a cut.
    #[inline(always)]
    pub const fn first(self) -> u32 {
        self.0 as u32
    }

    /// Records of a leaf.
    pub const fn count(self) -> u32 {
        (self.0 >> 48 & 0xff) as u32
    }

    /// Records of a leaf that have to be looked at: none when its [`Guard`] tells that none matches. Without a branch, which
    /// nobody could foretell.
    #[inline(always)]
    pub const fn count_for(self, key: &Key) -> u32 {
        let word = key.slot((self.0 >> 59 & 15) as u32);
        let value = word >> (self.0 >> 54 & 0x1c) & 15;
        let may_match = (self.0 >> 32 >> value) as u32 & 1;
        (self.0 >> 48) as u32 & may_match.wrapping_neg() & 0xff
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
