//! `vfw bench rr`: requests and responses.

use super::net::{CpuArguments, NetArguments};
use crate::bench::net::compare::Kind;
use crate::bench::net::message::UDP_LARGEST;
use crate::bench::report::{Protocol, Test};
use crate::command::Failure;

const EXAMPLE: &str = "\
Examples:
  vfw bench rr --lab
  vfw bench rr --lab --protocols tcp --sizes 1,1024 --html rr.html
  vfw bench rr --to [fd00:20::7]:5211 --token-file token --json

A message goes to the server and the same comes back, then the next one, on one
TCP connection or between two UDP sockets. A UDP answer that does not come within
200 ms is lost. In a lab, once with CPUs that may sleep between two messages, as
they do on a machine at rest, and once with CPUs that are kept awake (--cpus): to
wake one takes longer than what most firewalls do, and hides it.
Exit code: 0 measured, 1 bad input, 2 the system or the server refused.";

/// `vfw bench rr`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    #[command(flatten)]
    net: NetArguments,
    #[command(flatten)]
    cpus: CpuArguments,
    /// Protocols
    #[arg(long, value_name = "PROTOCOLS", value_delimiter = ',', default_values = ["tcp", "udp"])]
    protocols: Vec<Protocol>,
    /// Bytes of the messages
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_values_t = [1],
        value_parser = clap::value_parser!(u32).range(1..=i64::from(UDP_LARGEST)))]
    sizes: Vec<u32>,
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let kinds =
        |protocol: &Protocol| arguments.sizes.iter().map(|size| Kind::Exchange(*protocol, *size)).collect::<Vec<_>>();
    let kinds = arguments.protocols.iter().flat_map(kinds).collect();
    arguments.net.latencies(Test::Rr, kinds, &arguments.cpus)
}
