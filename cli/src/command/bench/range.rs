//! `vfw bench range`: throughput by message size.

use super::net::NetArguments;
use crate::bench::net::compare::Kind;
use crate::bench::net::iperf3::{self, Iperf3};
use crate::bench::net::message::{TCP_LARGEST, UDP_LARGEST};
use crate::bench::net::way::Way;
use crate::bench::report::Protocol;
use crate::command::Failure;

/// The sizes of netperf's range test.
const SIZES: [u32; 9] = [1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536];

const EXAMPLE: &str = "\
Examples:
  vfw bench range --lab --html range.html
  vfw bench range --lab --paths direct,routing,vfw-tc --protocols tcp --sizes 65536
  vfw bench range --to 10.0.20.7 --token-file token --json
  vfw bench range --iperf3 10.0.20.7 --seconds 5

One stream from here to there. Throughput is what the receiver got; loss is the
share of the datagrams that it did not get. CPU time is that of all CPUs of both
machines. Over UDP, messages of more than 65507 bytes are cut to that. With
iperf3, times are rounded up to whole seconds. All sizes, protocols and paths of
a lab take a quarter of an hour.
Exit code: 0 measured, 1 bad input, 2 the system or the server refused.";

/// `vfw bench range`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    #[command(flatten)]
    net: NetArguments,
    /// Measure to `iperf3 -s` on another machine
    #[arg(long, value_name = "HOST[:PORT]", group = "where", conflicts_with_all = ["token_file", "paths"])]
    iperf3: Option<String>,
    /// Protocols
    #[arg(long, value_name = "PROTOCOLS", value_delimiter = ',', default_values = ["tcp", "udp"])]
    protocols: Vec<Protocol>,
    /// Bytes of the messages
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_values_t = SIZES,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(TCP_LARGEST)))]
    sizes: Vec<u32>,
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let (mut kinds, mut notes) = (Vec::new(), Vec::new());
    for &protocol in &arguments.protocols {
        for &size in &arguments.sizes {
            let kind = if arguments.iperf3.is_some() { iperf3_kind(protocol, size) } else { Ok(kind(protocol, size)) };
            match kind {
                Ok(kind) if kinds.contains(&kind) => {}
                Ok(kind) => kinds.push(kind),
                Err(note) => notes.push(note),
            }
        }
    }
    if kinds.is_empty() {
        return Err(Failure::bad_input(notes.join("; ")));
    }
    let ways = arguments
        .iperf3
        .as_ref()
        .map(|host| Ok(vec![Way::Iperf3(Iperf3::new(arguments.net.addresses(host, iperf3::PORT)?))]));
    arguments.net.streams(kinds, ways.transpose()?, notes)
}

fn kind(protocol: Protocol, size: u32) -> Kind {
    let size = if protocol == Protocol::Udp { size.min(UDP_LARGEST) } else { size };
    Kind::Stream(protocol, size)
}

/// iperf3 has bounds of its own.
fn iperf3_kind(protocol: Protocol, size: u32) -> Result<Kind, String> {
    match protocol {
        Protocol::Udp if size < iperf3::UDP_SMALLEST => Err(format!(
            "UDP {size} bytes: not measured: a datagram of iperf3 has at least {} bytes",
            iperf3::UDP_SMALLEST
        )),
        Protocol::Tcp if size > iperf3::TCP_LARGEST => Err(format!(
            "TCP {size} bytes: not measured: a message of iperf3 has at most {} bytes",
            iperf3::TCP_LARGEST
        )),
        _ => Ok(kind(protocol, size)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_cannot_be_are_cut_or_named() {
        assert_eq!(kind(Protocol::Udp, 65_536), Kind::Stream(Protocol::Udp, 65_507));
        assert_eq!(kind(Protocol::Tcp, 65_536), Kind::Stream(Protocol::Tcp, 65_536));
        assert_eq!(iperf3_kind(Protocol::Udp, 16), Ok(Kind::Stream(Protocol::Udp, 16)));
        assert!(iperf3_kind(Protocol::Udp, 15).is_err_and(|note| note.contains("at least 16 bytes")));
        assert!(iperf3_kind(Protocol::Tcp, 2 << 20).is_err_and(|note| note.contains("at most 1048576 bytes")));
    }
}
