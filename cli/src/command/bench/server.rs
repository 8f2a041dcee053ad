//! `vfw bench server`: the other end of measurements between two machines.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::net::failure;
use crate::bench::net::message::{Limits, PORT};
use crate::bench::net::{NetError, Server, Token, resolve};
use crate::command::{Exit, Failure};

const EXAMPLE: &str = "\
Example:
  (umask 077; head -c 32 /dev/urandom | base64 > token)     # on one machine
  vfw bench server --token-file token                       # here
  vfw bench range --to HERE --token-file token              # on the other, with the same file

Control connections come to TCP port 5211, data to TCP and UDP port 5212: a
firewall in between has to allow both. Clients prove that they hold the token,
which is never sent; what follows is not encrypted. One measurement at a time.
Ctrl-C ends it.
Exit code: 1 the token file or address is bad, 2 the system refused.";

/// `vfw bench server`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    /// Where control connections come to; data goes to the port after it. All addresses when absent
    #[arg(long, value_name = "ADDR[:PORT]")]
    listen: Option<String>,
    /// The secret that clients have too; no one else may be able to read the file
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Longest measurement, its warm-up included
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    max_seconds: u32,
    /// Most data of a measurement
    #[arg(long, default_value_t = 100, value_name = "GIGABYTES", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_gigabytes: u32,
}

/// Serves until it is ended.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let bad = |error: NetError| failure(error.into());
    let token = Token::read(&arguments.token_file).map_err(bad)?;
    let limits = Limits { seconds: arguments.max_seconds, bytes: u64::from(arguments.max_gigabytes) * 1_000_000_000 };
    let server = bind(arguments.listen.as_deref(), &token, limits).map_err(bad)?;
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false);
    // A second logger in one process is of no use, and no harm.
    let _ = log.try_init();
    let (address, data) = (server.address(), server.data_port());
    super::print(&format!("vfw bench server listens at {address}; data goes to port {data}, TCP and UDP\n"));
    server.serve().map_err(bad)?;
    Ok(Exit::Success as u8)
}

/// Listens where the user says, else at all addresses of both families, or of IPv4 where there is no IPv6.
fn bind(listen: Option<&str>, token: &Token, limits: Limits) -> Result<Server, NetError> {
    if let Some(listen) = listen {
        let address = resolve(listen, PORT, false)?.into_iter().next();
        let address = address.ok_or_else(|| NetError::OutOfBounds(format!("{listen} has no address")))?;
        return Server::bind(address, token.clone(), limits);
    }
    let any = |ip: std::net::IpAddr| SocketAddr::new(ip, PORT);
    match Server::bind(any(std::net::Ipv6Addr::UNSPECIFIED.into()), token.clone(), limits) {
        Err(NetError::Listen { source, .. }) if source.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => {
            Server::bind(any(std::net::Ipv4Addr::UNSPECIFIED.into()), token.clone(), limits)
        }
        bound => bound,
    }
}
