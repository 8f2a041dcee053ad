//! Back ends: where the pipeline runs.

pub mod memory;
