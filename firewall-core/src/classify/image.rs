//! Layout of a compiled rule table.
//!
//! An image is a row of [`Block`]s. Block 0 is the header, block 1 names the trees for IPv4, block 2 those for IPv6;
//! then come nodes (8 bytes), IPv4 records (32 bytes) and IPv6 records (64 bytes, one block each). Indices count from
//! the start of the image in units of what they name, so that one shift and one mask find it.

use crate::tables::Action;

/// 64 bytes, the unit in which an image is read: what one element of the kernel's map holds.
pub type Block = [u64; 8];

/// Most trees for each family: those that one block names.
pub const MAX_TREES: usize = 8;
/// Most nodes on the way from the root of a tree to a leaf, the leaf included, that the compiler makes.
pub const MAX_DEPTH: u32 = 16;
/// Most steps (nodes and records) that a look-up may take.
pub const MAX_STEPS: u32 = 128;
/// Most bits by which a node chooses its child.
pub const MAX_CUT_BITS: u32 = 14;

/// Stands in the eBPF object for the number of blocks that a rule table in the kernel has room for.
///
/// The kernel walks tables of one size only without a call at each step, and the object's format has no way to set the
/// size of a map within a map at load.
pub const RULE_BLOCKS_MARKER: usize = 0x0b10_c5f7;

/// First word of the header: "vfwtable", and changes with the layout ([`VERSION`]).
pub const MAGIC: u64 = u64::from_le_bytes(*b"vfwtable");
/// Number of this layout.
pub const VERSION: u32 = 1;
/// Blocks before the first node.
pub const HEADER_BLOCKS: u32 = 3;

/// Words of the header block.
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
}

/// Read access to an image, bounded.
pub trait Blocks {
    /// A block; `None` behind the end.
    fn block(&self, index: u32) -> Option<&Block>;
    /// The same numbers. The kernel's verifier, which follows each way by itself as long as it can tell them apart, is made
    /// to forget what it knows of them.
    #[inline(always)]
    fn forget(&self, best: u32, tree: u32) -> (u32, u32) {
        (best, tree)
    }
}

impl Blocks for [Block] {
    #[inline(always)]
    fn block(&self, index: u32) -> Option<&Block> {
        self.get(index as usize)
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

/// A node: a cut (child by bits of a key word) or a leaf (records).
///
/// Cut: index of the first child (32 bits), slot of the key word (4), shift (5), bits less one (4), and the top bit.
/// Leaf: index of the first record (32 bits), number of records (16).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Node(pub u64);

impl Node {
    /// A leaf without records.
    pub const EMPTY: Self = Self(0);
    const CUT: u64 = 1 << 63;

    /// Child `word >> shift & (2^bits - 1)` of those from `children` on, where `word` is the key's at `slot`.
    pub const fn cut(slot: u32, shift: u32, bits: u32, children: u32) -> Self {
        let bits_less_one = bits.wrapping_sub(1) & 15;
        Self(
            Self::CUT
                | children as u64
                | ((slot & 15) as u64) << 32
                | ((shift & 31) as u64) << 36
                | (bits_less_one as u64) << 41,
        )
    }

    /// `count` records from `first` on.
    pub const fn leaf(first: u32, count: u32) -> Self {
        Self(first as u64 | ((count & 0xffff) as u64) << 32)
    }

    /// Whether it is a cut.
    #[inline(always)]
    pub const fn is_cut(self) -> bool {
        self.0 & Self::CUT != 0
    }

    /// Index of the child of a cut.
    #[inline(always)]
    pub const fn child(self, words: &[u32; 16]) -> u32 {
        let word = words[(self.0 >> 32 & 15) as usize];
        let window = (word >> (self.0 >> 36 & 31)) & ((2u32 << (self.0 >> 41 & 15)) - 1);
        (self.0 as u32).wrapping_add(window)
    }

    /// Index of the first record of a leaf, or of the first child of a cut.
    #[inline(always)]
    pub const fn first(self) -> u32 {
        self.0 as u32
    }

    /// Records of a leaf.
    #[inline(always)]
    pub const fn count(self) -> u32 {
        (self.0 >> 32) as u32 & 0xffff
    }

    /// A leaf of at least one record without it.
    #[inline(always)]
    #[must_use]
    pub const fn without_first(self) -> Self {
        Self(self.0.wrapping_add(1).wrapping_sub(1 << 32))
    }

    /// Children of a cut.
    pub const fn children(self) -> u32 {
        2 << (self.0 >> 41 & 15)
    }
}

/// Sum over the words of an image (FNV-1a by words), which the header carries.
pub fn checksum(blocks: &[Block]) -> u64 {
    let words = blocks.iter().flatten().enumerate();
    words.fold(0xcbf2_9ce4_8422_2325, |sum, (index, word)| {
        let word = if index == header::CHECKSUM { 0 } else { *word };
        (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29)
    })
}
