//! Benchmarks for those who work on vfw: its programs, its rule table, and other tools beside that; see `README.md`. What users
//! measure is `vfw bench`.

#![allow(clippy::cast_precision_loss, reason = "counts and nanoseconds of a run are far below 2^52")]

pub mod classify;
pub mod dpdk;
pub mod frames;
pub mod head;
pub mod peers;
pub mod programs;
pub mod report;
