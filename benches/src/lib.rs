//! Benchmarks of vfw. The data path: `cargo run --release -p vfw-benches --bin datapath`; see `README.md`.

pub mod cost;
pub mod firewall;
pub mod frames;
pub mod place;
pub mod rig;
pub mod topology;
