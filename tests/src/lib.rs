//! What the test suites and benches of vfw share: a packet builder, oracles that know nothing of the compiled tables,
//! and scenarios that every back end must pass.

#![allow(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: what cannot be built ends the test"
)]

pub mod browser;
pub mod engine;
pub mod fuzz;
pub mod kernel;
pub mod machine;
pub mod memory;
pub mod network;
pub mod oracle;
pub mod packet;
pub mod raw_socket;
pub mod ruleset;
pub mod scenario;
pub mod soak;
pub mod terminal;
