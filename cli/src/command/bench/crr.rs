//! `vfw bench crr`: connect, request, response, close.

use super::net::{CpuArguments, NetArguments};
use crate::bench::net::compare::Kind;
use crate::bench::report::Test;
use crate::command::Failure;

const EXAMPLE: &str = "\
Examples:
  vfw bench crr --lab
  vfw bench crr --lab --paths routing,nftables,vfw-tc --rounds 9 --json
  vfw bench crr --to 10.0.20.7 --token-file token

Connects, sends 32 bytes, reads one and the end of the connection, which the
server closes first, and begins anew: one TCP connection after the other. The
time of each is that of all its steps. In a lab, once with CPUs that may sleep and
once with CPUs that are kept awake (--cpus); see `vfw bench rr --help`.
Exit code: 0 measured, 1 bad input, 2 the system or the server refused.";

/// `vfw bench crr`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    #[command(flatten)]
    net: NetArguments,
    #[command(flatten)]
    cpus: CpuArguments,
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    arguments.net.latencies(Test::Crr, vec![Kind::Connections], &arguments.cpus)
}
