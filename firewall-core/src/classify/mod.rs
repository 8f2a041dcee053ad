//! First match over the compiled rules.
//!
//! The compiler turns rules into one flat [`image`]: little-endian 64-bit words in blocks of 64 bytes, indices instead of
//! pointers. [`lookup`] walks it, the same text over a map in the kernel and over a slice in user space. It begins at a few
//! [`Roots`], found by hashes of the bits in which many rules are specific ([`Tuple`]), and visits those that can hold the
//! first match. A root is a list of rules, in order, or a tree: each inner node chooses a child by a few bits of one word of
//! the [`Key`], each leaf lists the rules that are left; what would have to stand below many children of a node stands in a
//! tree beside them, which is looked at last. How many steps a packet can take at most is computed by the compiler and
//! stands in the image.

pub mod image;
mod key;
mod lookup;
mod record;
mod roots;

pub use image::{Block, Blocks, Decision, Tuple};
pub use key::{Key, slot};
pub use lookup::lookup;
pub use record::{RecordV4, RecordV6, Selector};
pub use roots::Roots;
