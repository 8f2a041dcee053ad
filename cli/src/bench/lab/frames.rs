//! What the generator sends.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use etherparse::PacketBuilder;

use super::path::Path;
use super::rig::Plan;
use super::rules::ATTACK_PORTS;
use super::topology::{
    ADDRESS_A, ADDRESS_A6, ADDRESS_B, ADDRESS_B6, ADDRESS_C, ADDRESS_NOBODY, MAC_A, MAC_B, MAC_C, MAC_F0, MAC_F1,
    MAC_F2,
};
use crate::bench::report::Family;

/// Lowest port of the clients, and how many there are.
const CLIENT_PORT: u16 = 2_000;
const CLIENTS: u32 = 60_000;
/// Lowest port of the server.
pub const SERVICE_PORT: u16 = 5_000;
const TTL: u8 = 64;
/// Places in a frame behind Ethernet and an IPv4 header without options.
const IDENTIFICATION: usize = 18;
const UDP_CHECKSUM: usize = 40;
const TCP_SEQUENCE_END: usize = 40;

/// To whom a host sends what goes to the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To the other host.
    Host,
    /// To the firewall.
    Gateway,
}

impl From<Path> for Next {
    fn from(path: Path) -> Self {
        if path.is_one_network() { Self::Host } else { Self::Gateway }
    }
}

/// UDP in the smallest frames from A to B (or, as `reply`, from B to A) on flows `first` to `first + flows`.
pub fn udp_plan(family: Family, next: Next, first: u32, flows: u32, reply: bool) -> Result<Plan> {
    let (from, host, gateway) = if reply { (MAC_B, MAC_A, MAC_F1) } else { (MAC_A, MAC_B, MAC_F0) };
    let to = if next == Next::Host { host } else { gateway };
    let frame = match (family, reply) {
        (Family::Ipv4, false) => udp_frame((from, to), (ADDRESS_A, ADDRESS_B))?,
        (Family::Ipv4, true) => udp_frame((from, to), (ADDRESS_B, ADDRESS_A))?,
        (Family::Ipv6, false) => udp_frame_ipv6((from, to), (ADDRESS_A6, ADDRESS_B6))?,
        (Family::Ipv6, true) => udp_frame_ipv6((from, to), (ADDRESS_B6, ADDRESS_A6))?,
    };
    Ok(Plan {
        frame,
        flows,
        first,
        clients: CLIENTS,
        client_port: CLIENT_PORT,
        service_port: SERVICE_PORT,
        reply: u16::from(reply),
        hosts: 0,
        ipv6: u32::from(family == Family::Ipv6),
        interval: 0,
        until: 0,
    })
}

/// The same straight to B from `clients` addresses, from that of A on, each to `services` ports: all combinations.
pub fn hosts_plan(clients: u32, services: u32) -> Result<Plan> {
    let plan = udp_plan(Family::Ipv4, Next::Host, 0, clients * services, false)?;
    Ok(Plan { frame: countable(plan.frame), clients, hosts: 1, ..plan })
}

/// UDP from the attacker to a port of B that no rule allows: from 60,000 addresses in turn.
pub fn denied_plan() -> Result<Plan> {
    let frame = udp_frame((MAC_C, MAC_F2), (ADDRESS_C, ADDRESS_B))?;
    Ok(attack(Plan { frame, service_port: 9, flows: CLIENTS, ..udp_plan(Family::Ipv4, Next::Gateway, 0, 1, false)? }))
}

/// First segments of TCP connections from the attacker to an address behind the firewall that nobody has, to ports that the
/// rules allow: each from another address or to another port, six million in turn.
pub fn syn_plan() -> Result<Plan> {
    let [first, last] = ATTACK_PORTS;
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(MAC_C, MAC_F2)
        .ipv4(ADDRESS_C.octets(), ADDRESS_NOBODY.octets(), TTL)
        .tcp(CLIENT_PORT, first, 0, 64_240)
        .syn()
        .write(&mut bytes, &[])?;
    let mut frame = cut(&bytes);
    // The generator takes from the end of the sequence number what it adds to addresses and ports. It is zero by another name,
    // which leaves the checksum as it is and room for that.
    frame[TCP_SEQUENCE_END..TCP_SEQUENCE_END + 2].fill(0xff);
    let flows = CLIENTS * u32::from(last - first + 1);
    Ok(Plan {
        hosts: 2,
        ..attack(Plan { frame, service_port: first, flows, ..udp_plan(Family::Ipv4, Next::Gateway, 0, 1, false)? })
    })
}

/// A plan whose clients are addresses.
fn attack(plan: Plan) -> Plan {
    Plan { frame: countable(plan.frame), first: 0, clients: CLIENTS, reply: 0, hosts: 1, ..plan }
}

fn udp_frame((from, to): ([u8; 6], [u8; 6]), (source, destination): (Ipv4Addr, Ipv4Addr)) -> Result<[u8; 64]> {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(from, to)
        .ipv4(source.octets(), destination.octets(), TTL)
        .udp(0, 0)
        .write(&mut bytes, &[0; 18])?;
    let mut frame = cut(&bytes);
    // No checksum (RFC 768): the ports change from frame to frame.
    frame[UDP_CHECKSUM..UDP_CHECKSUM + 2].fill(0);
    Ok(frame)
}

/// With a checksum, and two bytes of payload that take back what ports add to it.
fn udp_frame_ipv6((from, to): ([u8; 6], [u8; 6]), (source, destination): (Ipv6Addr, Ipv6Addr)) -> Result<[u8; 64]> {
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(from, to)
        .ipv6(source.octets(), destination.octets(), TTL)
        .udp(0, 0)
        .write(&mut bytes, &[0; 2])?;
    Ok(cut(&bytes))
}

/// The first 64 bytes, padded with zeros.
fn cut(bytes: &[u8]) -> [u8; 64] {
    let mut frame = [0; 64];
    let length = bytes.len().min(64);
    frame[..length].copy_from_slice(&bytes[..length]);
    frame
}

/// The identification becomes zero by another name, which leaves the checksum as it is and room for as many clients.
fn countable(mut frame: [u8; 64]) -> [u8; 64] {
    frame[IDENTIFICATION..IDENTIFICATION + 2].fill(0xff);
    frame
}
