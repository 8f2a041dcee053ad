//! Back ends: where the pipeline runs.

pub mod afxdp;
mod fragments;
pub mod kernel;
mod lru;
pub mod memory;
mod policy;

pub use fragments::Fragments;
pub use policy::PolicyTables;
