//! The frames that programs are run on.

use anyhow::Result;
use etherparse::PacketBuilder;
use vfw::bench::lab::{ADDRESS_A, ADDRESS_B, KEPT, MAC_A, MAC_B, MAC_F0, MAC_F1};

const TTL: u8 = 64;
const V6_A: [u8; 16] = [0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
const V6_B: [u8; 16] = [0xfd, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];

/// Which way a frame of a test run goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From A to B, coming in on `f0`.
    Forth,
    /// From B to A, coming in on `f1`.
    Back,
}

/// What a TCP segment says.
#[derive(Clone, Copy)]
pub struct Segment {
    /// SYN.
    pub syn: bool,
    /// Acknowledgement, with ACK.
    pub ack: Option<u32>,
    /// Sequence number.
    pub sequence: u32,
}

fn padded(bytes: &[u8]) -> [u8; KEPT] {
    let mut frame = [0; KEPT];
    let length = bytes.len().min(KEPT);
    frame[..length].copy_from_slice(&bytes[..length]);
    frame
}

/// One UDP packet.
pub fn udp(way: Way, client_port: u16, service_port: u16) -> Result<[u8; KEPT]> {
    let mut bytes = Vec::new();
    match way {
        Way::Forth => PacketBuilder::ethernet2(MAC_A, MAC_F0)
            .ipv4(ADDRESS_A.octets(), ADDRESS_B.octets(), TTL)
            .udp(client_port, service_port)
            .write(&mut bytes, &[0; 18])?,
        Way::Back => PacketBuilder::ethernet2(MAC_B, MAC_F1)
            .ipv4(ADDRESS_B.octets(), ADDRESS_A.octets(), TTL)
            .udp(service_port, client_port)
            .write(&mut bytes, &[0; 18])?,
    }
    Ok(padded(&bytes))
}

/// One TCP segment without payload between port 40,000 of A and 5201 of B.
pub fn tcp(way: Way, v6: bool, segment: Segment) -> Result<[u8; KEPT]> {
    let mut bytes = Vec::new();
    let (ethernet, ports) = match way {
        Way::Forth => (PacketBuilder::ethernet2(MAC_A, MAC_F0), (40_000, 5_201)),
        Way::Back => (PacketBuilder::ethernet2(MAC_B, MAC_F1), (5_201, 40_000)),
    };
    let ip = match (way, v6) {
        (Way::Forth, false) => ethernet.ipv4(ADDRESS_A.octets(), ADDRESS_B.octets(), TTL),
        (Way::Back, false) => ethernet.ipv4(ADDRESS_B.octets(), ADDRESS_A.octets(), TTL),
        (Way::Forth, true) => ethernet.ipv6(V6_A, V6_B, TTL),
        (Way::Back, true) => ethernet.ipv6(V6_B, V6_A, TTL),
    };
    let mut tcp = ip.tcp(ports.0, ports.1, segment.sequence, 60_000);
    if segment.syn {
        tcp = tcp.syn();
    }
    if let Some(number) = segment.ack {
        tcp = tcp.ack(number);
    }
    tcp.write(&mut bytes, &[])?;
    Ok(padded(&bytes))
}

/// A's question for the firewall's MAC.
pub fn arp_request() -> [u8; KEPT] {
    let mut bytes = Vec::new();
    bytes.extend([0xff; 6]);
    bytes.extend(MAC_A);
    bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    bytes.extend(MAC_A);
    bytes.extend(ADDRESS_A.octets());
    bytes.extend([0; 6]);
    bytes.extend([10, 0, 1, 1]);
    padded(&bytes)
}
