//! AF_XDP as the kernel offers it, made safe: memory that is shared with it (UMEM), rings, sockets.
//!
//! All unsafe code of the engine is here. What keeps it sound, from the inside out:
//!
//! - [`Mapping`] is memory from `mmap` that goes when its last user does; nobody else gets its address.
//! - A ring ([`Producer`], [`Consumer`]) has one user on each side. The other side is the kernel, or in tests the opposite end
//!   of a [`ring`]; its indices are read as atomics and never trusted to be in range.
//! - A chunk of the [`Umem`] belongs to one owner at a time: nobody, this process (who holds its [`Chunk`]), or a ring of the
//!   kernel. Bytes are lent by the Umem for a chunk that is held, and the kernel touches only those in its rings.

#![allow(unsafe_code, reason = "memory shared with the kernel and system calls; every block states its invariant")]

mod mapping;
mod prefetch;
mod ring;
mod socket;
mod umem;

pub use mapping::Mapping;
pub use prefetch::prefetch;
pub use ring::{Consumer, Descriptor, Producer, ring};
pub use socket::{Binding, Copying, Rings, Socket, Statistics, open};
pub use umem::{Census, Chunk, Umem, frame_bytes};
