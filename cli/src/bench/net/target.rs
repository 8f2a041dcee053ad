//! The other end as the user names it: `HOST[:PORT]`.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use super::error::NetError;

/// How long an address may take to answer before the next one is tried.
const PATIENCE: Duration = Duration::from_secs(3);

/// Splits `HOST[:PORT]`. An IPv6 address with a port is in brackets.
pub fn split(text: &str, port: u16) -> Option<(&str, u16)> {
    let (host, given) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None if text.matches(':').count() == 1 => text.split_once(':').map(|(host, port)| (host, Some(port)))?,
        None => (text, None),
    };
    let port = given.map_or(Some(port), |given| given.parse().ok().filter(|port| *port > 0))?;
    (!host.is_empty()).then_some((host, port))
}

/// The addresses of `HOST[:PORT]`, all of them, or those of IPv6.
pub fn resolve(text: &str, port: u16, is_ipv6: bool) -> Result<Vec<SocketAddr>, NetError> {
    let failed = |source| NetError::Resolve { host: text.to_owned(), source };
    let parts = split(text, port);
    let parts = parts.ok_or_else(|| failed(io::Error::other("HOST, HOST:PORT or [IPV6]:PORT is expected")))?;
    let found = parts.to_socket_addrs().map_err(failed)?;
    let found: Vec<SocketAddr> = found.filter(|address| address.is_ipv6() || !is_ipv6).collect();
    let none = if is_ipv6 { "it has no IPv6 address" } else { "it has no address" };
    if found.is_empty() { Err(failed(io::Error::other(none))) } else { Ok(found) }
}

/// Connects to the first of these addresses that answers.
pub fn connect(addresses: &[SocketAddr], hint: &'static str) -> Result<TcpStream, NetError> {
    let mut failure = NetError::Silent("there is no address to connect to".to_owned());
    for address in addresses {
        match TcpStream::connect_timeout(address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(source) => failure = NetError::Connect { address: *address, source, hint },
        }
    }
    Err(failure)
}

/// An address of a socket for both families, as the family that it is of.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddrV4::new(ip, address.port()).into(),
        // With its scope.
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_told_from_ipv6() {
        for (text, expected) in [
            ("10.0.0.1", Some(("10.0.0.1", 5))),
            ("10.0.0.1:77", Some(("10.0.0.1", 77))),
            ("host.example:77", Some(("host.example", 77))),
            ("fd00::1", Some(("fd00::1", 5))),
            ("fe80::1%eth0", Some(("fe80::1%eth0", 5))),
            ("[fd00::1]", Some(("fd00::1", 5))),
            ("[fd00::1]:77", Some(("fd00::1", 77))),
            ("[fd00::1]77", None),
            ("[fd00::1", None),
            ("host:", None),
            ("host:0", None),
            ("host:70000", None),
            (":77", None),
            ("", None),
        ] {
            assert_eq!(split(text, 5), expected, "{text}");
        }
    }

    #[test]
    fn literals_are_resolved() {
        assert_eq!(resolve("[::1]:9", 5, true).expect("an address"), ["[::1]:9".parse().expect("an address")]);
        let error = resolve("127.0.0.1:9", 5, true).expect_err("no such address").to_string();
        assert!(error.contains("it has no IPv6 address"), "{error}");
        let error = resolve("no such host:9", 5, false).expect_err("no address").to_string();
        assert!(error.contains("`no such host:9`"), "{error}");
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:9".parse().expect("an address");
        assert_eq!(canonical(mapped).to_string(), "10.0.0.1:9");
    }
}
