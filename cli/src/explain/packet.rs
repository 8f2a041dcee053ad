//! The packet that a user asks about: `app 10.0.10.7:40000 -> 10.0.20.9:5432 tcp`.

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use crate::lang::registry::{
    EXTENSION_HEADERS, ICMP, ICMP_MESSAGES, ICMP6, PROTOCOLS, SERVICES, TCP, UDP, protocol_named,
};
use crate::lang::tcp_flags::{SYN, TcpFlags};
use crate::lang::{IcmpMatch, Policy, TEST_SOURCE_PORT};

/// The first packet of a flow, as it comes from its zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstPacket {
    /// Ingress zone, an index into [`Policy::zones`].
    pub from: usize,
    /// Source address.
    pub source: IpAddr,
    /// Source port; 0 when the protocol has none.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port; 0 when the protocol has none.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Type and code (always set) of an ICMP message.
    pub icmp: Option<IcmpMatch>,
    /// TCP flags; 0 when the protocol is not TCP.
    pub flags: u8,
}

/// Why a question cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what}\nwrite it like: app 10.0.10.7:40000 -> 10.0.20.9:5432 tcp, or: app fd00:10::7 -> fd00:20::9 ping")]
pub struct FirstPacketError {
    what: String,
}

fn bad<T>(what: impl Into<String>) -> Result<T, FirstPacketError> {
    Err(FirstPacketError { what: what.into() })
}

impl FirstPacket {
    /// Reads a question about the zones of `policy`. The zone may be left out when one zone's subnet holds the source.
    pub fn parse(policy: &Policy, text: &str) -> Result<Self, FirstPacketError> {
        let Some((left, right)) = text.split_once("->") else {
            return bad("`->` is missing between source and destination");
        };
        let (from, source) = match left.split_whitespace().collect::<Vec<_>>()[..] {
            [source] => (None, source),
            [zone, source] => (Some(zone), source),
            _ => return bad("before `->` there must be a zone and a source address"),
        };
        let words: Vec<&str> = right.split_whitespace().collect();
        let Some((destination, service)) = words.split_first() else {
            return bad("the destination is missing after `->`");
        };
        let (source, source_port) = endpoint(source)?;
        let (destination, port) = endpoint(destination)?;
        if source.is_ipv4() != destination.is_ipv4() {
            return bad(format!("{source} and {destination} are of different families"));
        }
        let from = zone(policy, from, source)?;
        let (service, flags) = flags(service)?;
        let service = Service::parse(service, destination.is_ipv4())?;
        let destination_port = service.port(port)?;
        let source_port = match source_port {
            Some(_) if !service.has_ports() => return bad("this protocol has no ports"),
            Some(port) => port,
            None if service.has_ports() => TEST_SOURCE_PORT,
            None => 0,
        };
        let Service { protocol, icmp, .. } = service;
        let flags = match flags {
            Some(_) if protocol != TCP => return bad("only TCP has flags"),
            Some(flags) => flags,
            None if protocol == TCP => SYN,
            None => 0,
        };
        Ok(Self { from, source, source_port, destination, destination_port, protocol, icmp, flags })
    }
}

/// The words before `flags`, and the flags behind it: those of a packet that begins a flow.
fn flags<'a>(words: &'a [&'a str]) -> Result<(&'a [&'a str], Option<u8>), FirstPacketError> {
    let [before @ .., "flags", letters] = words else { return Ok((words, None)) };
    match TcpFlags::parse(letters) {
        Some(flags) => Ok((before, Some(flags.set | SYN))),
        None => bad(format!("`{letters}` are no TCP flags; their letters are F S R P A U E W")),
    }
}

/// An address with or without a port: `10.0.0.7`, `10.0.0.7:80`, `fd00::7`, `[fd00::7]:80`.
fn endpoint(text: &str) -> Result<(IpAddr, Option<u16>), FirstPacketError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address, None));
    }
    match text.parse::<SocketAddr>() {
        Ok(both) => Ok((both.ip(), Some(both.port()))),
        Err(_) => bad(format!("`{text}` is neither an address nor an address with a port")),
    }
}

fn zone(policy: &Policy, name: Option<&str>, source: IpAddr) -> Result<usize, FirstPacketError> {
    let known = || policy.zones.iter().map(|zone| zone.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = match name {
        Some(name) => policy.zones.iter().position(|zone| zone.name == name),
        None => policy.zones.iter().position(|zone| zone.addresses.iter().any(|network| network.contains(source))),
    };
    match (found, name) {
        (Some(zone), _) => Ok(zone),
        (None, Some(name)) => bad(format!("there is no zone `{name}`; there are: {}", known())),
        (None, None) => bad(format!("no zone has {source} in a subnet: name the zone it comes from ({})", known())),
    }
}

/// What follows the destination.
struct Service {
    protocol: u8,
    port: Option<u16>,
    icmp: Option<IcmpMatch>,
}

impl Service {
    fn parse(words: &[&str], is_v4: bool) -> Result<Self, FirstPacketError> {
        let icmp = |protocol: u8, kind: u8, code: Option<u8>| {
            let icmp = Some(IcmpMatch { kind, code: Some(code.unwrap_or(0)) });
            Ok(Self { protocol, port: None, icmp })
        };
        match words {
            [] => bad("the protocol is missing: tcp, udp, ping, icmp MESSAGE, ..."),
            ["ping"] if is_v4 => icmp(ICMP, 8, None),
            ["ping"] => icmp(ICMP6, 128, None),
            ["icmp" | "icmp6", ..] => {
                let (protocol, kind, code) = message(words)?;
                icmp(protocol, kind, code)
            }
            ["proto", number] => match number.parse() {
                Ok(ICMP | ICMP6) => bad("write icmp or icmp6 and its message"),
                Ok(protocol) if EXTENSION_HEADERS.contains(&protocol) => {
                    bad(format!("{protocol} is an IPv6 extension header, not a protocol"))
                }
                Ok(protocol) => Ok(Self { protocol, port: None, icmp: None }),
                Err(_) => bad(format!("`{number}` is no protocol number (0 to 255)")),
            },
            [name] => named(name),
            [name, port] if matches!(*name, "tcp" | "udp") => match port.parse() {
                Ok(port) => Ok(Self { port: Some(port), ..named(name)? }),
                Err(_) => bad(format!("`{port}` is no port (0 to 65535)")),
            },
            [name, ..] => bad(format!("what follows `{name}` is not understood")),
        }
    }

    const fn has_ports(&self) -> bool {
        matches!(self.protocol, TCP | UDP)
    }

    /// The destination port, written at the address or behind the protocol.
    fn port(&self, at_address: Option<u16>) -> Result<u16, FirstPacketError> {
        match (at_address, self.port, self.has_ports()) {
            (Some(_), _, false) => bad("this protocol has no ports"),
            (None, None, true) => bad("the destination port is missing"),
            (Some(one), Some(other), _) if one != other => bad(format!("two destination ports, {one} and {other}")),
            (at_address, behind, _) => Ok(at_address.or(behind).unwrap_or(0)),
        }
    }
}

/// A protocol, or a service that means one port of one protocol.
fn named(name: &str) -> Result<Service, FirstPacketError> {
    if let Some(row) = protocol_named(name) {
        return Ok(Service { protocol: row.number, port: None, icmp: None });
    }
    let Some(row) = SERVICES.iter().find(|row| row.text == name) else {
        let known = PROTOCOLS.iter().map(|row| row.text).collect::<Vec<_>>().join(", ");
        return bad(format!("`{name}` is no protocol and no service; protocols are {known}"));
    };
    let parts: Vec<&str> = row.means.split_whitespace().collect();
    match parts[..] {
        [protocol, port] if !row.means.contains([',', '-']) => match (protocol_named(protocol), port.parse()) {
            (Some(row), Ok(port)) => Ok(Service { protocol: row.number, port: Some(port), icmp: None }),
            _ => bad(format!("`{name}` means {}: ask about one of them", row.means)),
        },
        _ => bad(format!("`{name}` means {}: ask about one of them", row.means)),
    }
}

/// `icmp echo-request`, `icmp6 type 128 code 0`.
fn message(words: &[&str]) -> Result<(u8, u8, Option<u8>), FirstPacketError> {
    let number = |text: &str| text.parse::<u8>().or_else(|_| bad(format!("`{text}` is no number from 0 to 255")));
    let protocol = if words.first() == Some(&"icmp") { ICMP } else { ICMP6 };
    match words {
        [_, "type", kind] => Ok((protocol, number(kind)?, None)),
        [_, "type", kind, "code", code] => Ok((protocol, number(kind)?, Some(number(code)?))),
        [_, name] => match ICMP_MESSAGES.iter().find(|row| row.protocol == protocol && row.text == *name) {
            Some(row) => Ok((protocol, row.kind, row.code)),
            None => bad(format!("there is no message `{name}`; by number: icmp type 3 code 1")),
        },
        _ => bad("name the ICMP message: icmp echo-request, or icmp type 3 code 1"),
    }
}
