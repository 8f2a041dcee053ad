//! First match over the compiled rules.
//!
//! The compiler turns rules into one flat [`image`]: little-endian 64-bit words in blocks of 64 bytes, indices instead of
//! pointers. [`lookup`] walks it, the same text over a map in the kernel and over a slice in user space. It is a decision tree
//! for each family: an inner node chooses a child by a few bits of one slot of the [`Key`], a leaf lists the rules that are
//! left, in order. What would have to stand below many children of a node stands in a tree beside them, which is looked at
//! behind the way that led by it, and only if it promises more than was found. How many steps a packet can take at most is
//! computed by the compiler and stands in the image.
//!
//! Rules that name large sets of addresses are in trees of their own, where a class of addresses stands in the place of an
//! address ([`image::tree`]).

pub mod image;
mod key;
mod lookup;
mod record;

pub use image::{Block, Blocks, Class, Decision};
pub use key::{Key, Place, fields, slot};
pub use lookup::{Walk, by_class, first_match, lookup, visit};
pub use record::{Record, RecordV4, RecordV6, Selector};
