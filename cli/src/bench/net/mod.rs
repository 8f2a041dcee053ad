//! Measurements between two TCP/IP stacks: streams, transactions, connections.
//!
//! The server is `vfw bench server`, or in a lab a thread in another namespace. One control connection is one measurement:
//!
//! ```text
//! client                                     server
//!   |            TCP to PORT                   |
//!   | <---- hello: version, challenge -------- |
//!   | ----- login: challenge, proof ---------> |  HMAC over both challenges: the token stays where it is
//!   | <---- welcome: proof ------------------- |
//!   | ----- measure: test, times ------------> |  checked against the server's limits; one at a time
//!   | <---- ready: data port ----------------- |
//!   | ===== TCP or UDP to PORT + 1 ==========> |  begins with a proof made for this conversation
//!   | ----- done ----------------------------> |
//!   | <---- report: bytes, time, CPUs -------- |
//! ```
//!
//! What follows the login is neither encrypted nor signed: the token decides who may use the server, not who may listen.
//! Everything is plain threads and blocking sockets.

mod awake;
mod client;
pub mod compare;
mod connect;
mod control;
mod cpu;
mod datagram;
mod door;
mod error;
mod exchange;
pub mod iperf3;
mod latency;
pub mod message;
mod server;
mod session;
mod stream;
mod target;
#[cfg(test)]
mod tests;
mod timing;
mod token;
pub mod way;

pub use client::{Agent, StreamFigures};
pub use error::NetError;
pub use latency::Latencies;
pub use server::{Running, Server};
pub use session::admit;
pub use target::resolve;
pub use timing::Timing;
pub use token::{Challenges, Token, Word};
