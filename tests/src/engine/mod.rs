//! The engine in user space without a kernel: its worker on rings of which the test has the other ends, its flows in memory.

mod rings;
mod store;

pub use rings::{Adapter, Silent};
pub use store::{MemoryStore, Punted};
