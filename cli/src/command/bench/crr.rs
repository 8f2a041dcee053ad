//! `vfw bench crr`: connect, request, response, close.

use super::net::NetArguments;
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
time of each is that of all its steps.
Exit code: 0 measured, 1 bad input, 2 the system or the server refused.";

/// `vfw bench crr`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    #[command(flatten)]
    net: NetArguments,
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    arguments.net.run(Test::Crr, vec![Kind::Connections], None, Vec::new())
}
