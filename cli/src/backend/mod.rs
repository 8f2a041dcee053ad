//! Back ends: where the pipeline runs.

pub mod kernel;
pub mod memory;
