//! Benchmarks of vfw. The data path: `cargo run --release -p vfw-benches --bin datapath`; see `README.md`.

#![allow(clippy::cast_precision_loss, reason = "counts and nanoseconds of a run are far below 2^52")]

pub mod classify;
pub mod cost;
pub mod dpdk;
pub mod firewall;
pub mod frames;
pub mod machine;
pub mod peers;
pub mod place;
pub mod programs;
pub mod report;
pub mod rig;
pub mod throughput;
pub mod topology;

/// The middle one of `samples`, or NaN when there are none.
pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// The sample that this share of `samples` lies below, or NaN when there are none.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length is an index")]
pub fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}
