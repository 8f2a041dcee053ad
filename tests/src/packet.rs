//! Frames, built from the outside in. Lengths and checksums are right unless a test asks for something else.
//!
//! ```
//! use vfw_tests::packet::{Ethernet, flag};
//!
//! let host = Ethernet::new([2, 0, 0, 0, 0, 7], [2, 0, 0, 0, 0, 1]).vlan(10);
//! let syn = host.ip("10.0.10.7", "10.0.20.9").tcp(40000, 5432).flags(flag::SYN).scale(7).build();
//! assert_eq!(syn.len(), 18 + 20 + 24);
//! ```

use std::net::{IpAddr, Ipv6Addr};

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6Header, TcpHeader};

/// A hardware address.
pub type Mac = [u8; 6];

/// TCP flags.
pub mod flag {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// PSH.
    pub const PSH: u8 = 0x08;
    /// ACK.
    pub const ACK: u8 = 0x10;
    /// URG.
    pub const URG: u8 = 0x20;
    /// The sender echoes congestion, or asks for ECN in a SYN.
    pub const ECE: u8 = 0x40;
    /// The sender has slowed down, or asks for ECN in a SYN.
    pub const CWR: u8 = 0x80;
}

/// IP protocol numbers.
pub mod number {
    /// `ICMPv4`.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// GRE.
    pub const GRE: u8 = 47;
    /// IP authentication header.
    pub const AH: u8 = 51;
    /// `ICMPv6`.
    pub const ICMP6: u8 = 58;
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// The link layer.
#[derive(Clone, Debug)]
pub struct Ethernet {
    source: Mac,
    destination: Mac,
    tags: Vec<(u16, u16)>,
}

impl Ethernet {
    /// A frame from one host to another.
    pub fn new(source: Mac, destination: Mac) -> Self {
        Self { source, destination, tags: Vec::new() }
    }

    /// Adds an 802.1Q tag inside of those already there.
    #[must_use]
    pub fn vlan(self, id: u16) -> Self {
        self.tag(0x8100, id)
    }

    /// Adds any tag: its EtherType and control information.
    #[must_use]
    pub fn tag(mut self, ether_type: u16, control: u16) -> Self {
        self.tags.push((ether_type, control));
        self
    }

    /// Another destination.
    #[must_use]
    pub fn to(mut self, destination: Mac) -> Self {
        self.destination = destination;
        self
    }

    /// Another source.
    #[must_use]
    pub fn from(mut self, source: Mac) -> Self {
        self.source = source;
        self
    }

    /// A frame with any payload.
    pub fn frame(&self, ether_type: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = [self.destination, self.source].concat();
        for (kind, control) in &self.tags {
            bytes.extend(kind.to_be_bytes());
            bytes.extend(control.to_be_bytes());
        }
        bytes.extend(ether_type.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    /// An IP packet of the family of its addresses.
    pub fn ip(&self, source: &str, destination: &str) -> Ip {
        Ip {
            ethernet: self.clone(),
            source: source.parse().expect("source address"),
            destination: destination.parse().expect("destination address"),
            ttl: 64,
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
        }
    }

    /// An ARP message (RFC 826).
    pub fn arp(&self, operation: u16, sender: (Mac, &str), target: (Mac, &str)) -> Vec<u8> {
        let address = |text: &str| match text.parse() {
            Ok(IpAddr::V4(v4)) => v4.octets(),
            _ => panic!("{text} is no IPv4 address"),
        };
        let mut bytes = vec![0, 1, 8, 0, 6, 4];
        bytes.extend(operation.to_be_bytes());
        for (mac, ip) in [sender, target] {
            bytes.extend(mac);
            bytes.extend(address(ip));
        }
        self.frame(0x0806, &bytes)
    }
}

/// The network layer.
#[derive(Clone, Debug)]
pub struct Ip {
    ethernet: Ethernet,
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    fragment: Option<(u32, u16, bool)>,
}

impl Ip {
    /// TTL or hop limit; 64 otherwise.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// IPv4 options, a multiple of four bytes.
    #[must_use]
    pub fn options(mut self, bytes: &[u8]) -> Self {
        self.options = bytes.to_vec();
        self
    }

    /// Adds an IPv6 extension header: what comes after its next-header and length bytes, 6 + n * 8 bytes.
    #[must_use]
    pub fn extension(mut self, kind: u8, content: &[u8]) -> Self {
        self.extensions.push((kind, content.to_vec()));
        self
    }

    /// A fragment: identification, offset in units of eight bytes, whether more follow.
    #[must_use]
    pub fn fragment(mut self, identification: u32, units: u16, more: bool) -> Self {
        self.fragment = Some((identification, units, more));
        self
    }

    /// The frame around these transport bytes.
    pub fn transport(&self, protocol: u8, bytes: &[u8]) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.v4(source.octets(), destination.octets(), protocol, bytes)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.v6(source, destination, protocol, bytes),
            _ => panic!("addresses of two families"),
        }
    }

    fn v4(&self, source: [u8; 4], destination: [u8; 4], protocol: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).expect("fits a packet");
        let mut header = Ipv4Header::new(length, self.ttl, IpNumber(protocol), source, destination).expect("fits");
        header.options = Ipv4Options::try_from(self.options.as_slice()).expect("options");
        header.set_payload_len(bytes.len()).expect("fits a packet");
        if let Some((identification, units, more)) = self.fragment {
            header.identification = identification as u16;
            header.fragment_offset = IpFragOffset::try_new(units).expect("offset");
            header.more_fragments = more;
            header.dont_fragment = false;
        }
        header.header_checksum = header.calc_header_checksum();
        self.ethernet.frame(0x0800, &[&header.to_bytes(), bytes].concat())
    }

    fn v6(&self, source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, bytes: &[u8]) -> Vec<u8> {
        let mut headers = self.extensions.clone();
        if let Some((identification, units, more)) = self.fragment {
            let field = units << 3 | u16::from(more);
            headers.push((number::FRAGMENT, [field.to_be_bytes().as_slice(), &identification.to_be_bytes()].concat()));
        }
        let mut payload = Vec::new();
        for (index, (kind, content)) in headers.iter().enumerate() {
            let next = headers.get(index + 1).map_or(protocol, |(kind, _)| *kind);
            assert_eq!((content.len() + 2) % 8, 0, "an extension header is a multiple of 8 bytes");
            let length = if *kind == number::FRAGMENT { 0 } else { (content.len() + 2) / 8 - 1 };
            payload.extend([next, length as u8]);
            payload.extend(content);
        }
        payload.extend(bytes);
        let header = Ipv6Header {
            payload_length: u16::try_from(payload.len()).expect("fits a packet"),
            next_header: IpNumber(headers.first().map_or(protocol, |(kind, _)| *kind)),
            hop_limit: self.ttl,
            source: source.octets(),
            destination: destination.octets(),
            ..Ipv6Header::default()
        };
        self.ethernet.frame(0x86dd, &[&header.to_bytes(), payload.as_slice()].concat())
    }

    /// A TCP segment.
    pub fn tcp(&self, source: u16, destination: u16) -> Tcp {
        let header = TcpHeader::new(source, destination, 0, u16::MAX);
        Tcp { ip: self.clone(), header, options: Vec::new(), payload: Vec::new(), partial: false }
    }

    /// A UDP datagram.
    pub fn udp(&self, source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
        self.transport(number::UDP, &self.udp_bytes(source, destination, payload))
    }

    /// A UDP datagram whose checksum is left to hardware.
    pub fn partial_udp(&self, source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = self.udp_bytes(source, destination, payload);
        let sum = self.pseudo_sum(number::UDP, bytes.len());
        bytes[6..8].copy_from_slice(&sum.to_be_bytes());
        self.transport(number::UDP, &bytes)
    }

    /// Header and payload of a UDP datagram, to be cut into fragments.
    pub fn udp_bytes(&self, source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len() + 8).expect("fits a packet");
        let mut bytes: Vec<u8> = [source, destination, length, 0].into_iter().flat_map(u16::to_be_bytes).collect();
        bytes.extend(payload);
        let sum = self.checksum(number::UDP, &bytes);
        bytes[6..8].copy_from_slice(&(if sum == 0 { 0xffff } else { sum }).to_be_bytes());
        bytes
    }

    /// An echo request of the addresses' family.
    pub fn echo_request(&self, identifier: u16, payload: &[u8]) -> Vec<u8> {
        self.icmp(if self.source.is_ipv4() { 8 } else { 128 }, 0, echo_rest(identifier), payload)
    }

    /// An echo reply of the addresses' family.
    pub fn echo_reply(&self, identifier: u16, payload: &[u8]) -> Vec<u8> {
        self.icmp(if self.source.is_ipv4() { 0 } else { 129 }, 0, echo_rest(identifier), payload)
    }

    /// An ICMP error that quotes a frame: port unreachable.
    pub fn port_unreachable(&self, quoted: &[u8]) -> Vec<u8> {
        let (kind, code) = if self.source.is_ipv4() { (3, 3) } else { (1, 4) };
        let packet = network(quoted);
        self.icmp(kind, code, [0; 4], packet.get(..packet.len().min(576)).unwrap_or_default())
    }

    /// Any ICMP or `ICMPv6` message, by the addresses' family.
    pub fn icmp(&self, kind: u8, code: u8, rest: [u8; 4], body: &[u8]) -> Vec<u8> {
        let protocol = if self.source.is_ipv4() { number::ICMP } else { number::ICMP6 };
        self.transport(protocol, &self.icmp_bytes(kind, code, rest, body))
    }

    /// Header and body of an ICMP message, to be cut into fragments.
    pub fn icmp_bytes(&self, kind: u8, code: u8, rest: [u8; 4], body: &[u8]) -> Vec<u8> {
        let mut bytes = [[kind, code, 0, 0], rest].concat();
        bytes.extend(body);
        let sum = if self.source.is_ipv4() {
            Sum16BitWords::new().add_slice(&bytes).ones_complement().to_be()
        } else {
            self.checksum(number::ICMP6, &bytes)
        };
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// A neighbour solicitation, with the sender's MAC unless it has no address yet.
    pub fn solicitation(&self, target: &str, mac: Option<Mac>) -> Vec<u8> {
        let mut body = ipv6(target).octets().to_vec();
        if let Some(mac) = mac {
            body.extend([1, 1]);
            body.extend(mac);
        }
        self.icmp(135, 0, [0; 4], &body)
    }

    /// A neighbour advertisement with its flags.
    pub fn advertisement(&self, flags: u8, target: &str, mac: Mac) -> Vec<u8> {
        let mut body = ipv6(target).octets().to_vec();
        body.extend([2, 1]);
        body.extend(mac);
        self.icmp(136, 0, [flags, 0, 0, 0], &body)
    }

    /// The finished transport checksum.
    fn checksum(&self, protocol: u8, bytes: &[u8]) -> u16 {
        self.pseudo_header(protocol, bytes.len()).add_slice(bytes).ones_complement().to_be()
    }

    /// What a stack writes that leaves the checksum to hardware: the sum of the pseudo-header, not complemented.
    fn pseudo_sum(&self, protocol: u8, length: usize) -> u16 {
        !self.pseudo_header(protocol, length).ones_complement().to_be()
    }

    fn pseudo_header(&self, protocol: u8, length: usize) -> Sum16BitWords {
        let mut sum = Sum16BitWords::new();
        for address in [self.source, self.destination] {
            sum = match address {
                IpAddr::V4(v4) => sum.add_4bytes(v4.octets()),
                IpAddr::V6(v6) => sum.add_16bytes(v6.octets()),
            };
        }
        sum.add_2bytes([0, protocol]).add_4bytes((length as u32).to_be_bytes())
    }
}

fn ipv6(text: &str) -> Ipv6Addr {
    text.parse().expect("IPv6 address")
}

fn echo_rest(identifier: u16) -> [u8; 4] {
    let [high, low] = identifier.to_be_bytes();
    [high, low, 0, 1]
}

/// A TCP segment in the making.
#[derive(Clone, Debug)]
pub struct Tcp {
    ip: Ip,
    header: TcpHeader,
    options: Vec<u8>,
    payload: Vec<u8>,
    partial: bool,
}

impl Tcp {
    /// Its flags, bits of [`flag`].
    #[must_use]
    pub fn flags(mut self, flags: u8) -> Self {
        self.header.fin = flags & flag::FIN != 0;
        self.header.syn = flags & flag::SYN != 0;
        self.header.rst = flags & flag::RST != 0;
        self.header.psh = flags & flag::PSH != 0;
        self.header.ack = flags & flag::ACK != 0;
        self.header.urg = flags & flag::URG != 0;
        self.header.ece = flags & flag::ECE != 0;
        self.header.cwr = flags & flag::CWR != 0;
        self
    }

    /// Its sequence number.
    #[must_use]
    pub fn seq(mut self, number: u32) -> Self {
        self.header.sequence_number = number;
        self
    }

    /// Its acknowledgement number; does not set the flag.
    #[must_use]
    pub fn ack(mut self, number: u32) -> Self {
        self.header.acknowledgment_number = number;
        self
    }

    /// Its window field; 65535 otherwise.
    #[must_use]
    pub fn window(mut self, window: u16) -> Self {
        self.header.window_size = window;
        self
    }

    /// Adds the window scale option.
    #[must_use]
    pub fn scale(self, shift: u8) -> Self {
        self.options(&[3, 3, shift, 1])
    }

    /// Adds options, a multiple of four bytes.
    #[must_use]
    pub fn options(mut self, bytes: &[u8]) -> Self {
        self.options.extend(bytes);
        self
    }

    /// Its payload.
    #[must_use]
    pub fn payload(mut self, bytes: &[u8]) -> Self {
        self.payload = bytes.to_vec();
        self
    }

    /// Leaves the checksum to hardware.
    #[must_use]
    pub fn partial(mut self) -> Self {
        self.partial = true;
        self
    }

    /// Header and payload.
    pub fn bytes(mut self) -> Vec<u8> {
        self.header.set_options_raw(&self.options).expect("options");
        let length = self.header.header_len() + self.payload.len();
        self.header.checksum = match (self.ip.source, self.ip.destination) {
            _ if self.partial => self.ip.pseudo_sum(number::TCP, length),
            (IpAddr::V4(source), IpAddr::V4(destination)) => self
                .header
                .calc_checksum_ipv4_raw(source.octets(), destination.octets(), &self.payload)
                .expect("fits a packet"),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self
                .header
                .calc_checksum_ipv6_raw(source.octets(), destination.octets(), &self.payload)
                .expect("fits a packet"),
            _ => panic!("addresses of two families"),
        };
        [&self.header.to_bytes(), self.payload.as_slice()].concat()
    }

    /// The frame.
    pub fn build(self) -> Vec<u8> {
        let ip = self.ip.clone();
        ip.transport(number::TCP, &self.bytes())
    }
}

/// The bytes behind the link header and its tag.
pub fn network(frame: &[u8]) -> &[u8] {
    let tagged = frame.get(12..14) == Some(&[0x81, 0]);
    frame.get(if tagged { 18 } else { 14 }..).unwrap_or_default()
}

/// Bytes of a frame's transport header and payload, for packets without options and extension headers.
pub fn transport_length(frame: &[u8]) -> usize {
    let packet = network(frame);
    let field = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    if packet[0] >> 4 == 4 { field(2) - 20 } else { field(4) }
}

/// What a router sends on for a frame that it received: a new link header and one less TTL. Written down again from
/// RFC 1812, not taken from the pipeline; the header checksum is computed from nothing.
pub fn routed(frame: &[u8], link: &Ethernet) -> Vec<u8> {
    let mut packet = network(frame).to_vec();
    if packet[0] >> 4 == 4 {
        let header = usize::from(packet[0] & 0xf) * 4;
        packet[8] -= 1;
        packet[10..12].fill(0);
        let sum = Sum16BitWords::new().add_slice(&packet[..header]).ones_complement().to_be();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        link.frame(0x0800, &packet)
    } else {
        packet[7] -= 1;
        link.frame(0x86dd, &packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, VlanId};

    const HOST: Mac = [2, 0, 0, 0, 0, 7];
    const GATEWAY: Mac = [2, 0, 0, 0, 0, 1];

    /// The builder of etherparse, written by others, gives the same bytes.
    #[test]
    fn frames_are_as_others_build_them() {
        let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let (c, d): (Ipv6Addr, Ipv6Addr) = ("fd00::1".parse().expect("address"), "fd00::2".parse().expect("address"));
        let link = || PacketBuilder::ethernet2(HOST, GATEWAY).single_vlan(VlanId::try_new(10).expect("id"));
        let v4 = || link().ipv4(a, b, 64);
        let v6 = || link().ipv6(c.octets(), d.octets(), 64);
        let ours = |source, destination| Ethernet::new(HOST, GATEWAY).vlan(10).ip(source, destination);
        for (ip, theirs) in [
            (ours("10.0.0.1", "10.0.0.2"), &v4 as &dyn Fn() -> etherparse::PacketBuilderStep<etherparse::IpHeaders>),
            (ours("fd00::1", "fd00::2"), &v6),
        ] {
            for payload in [b"".as_slice(), b"odd", b"even"] {
                let mut expected = Vec::new();
                theirs().tcp(1, 2, 77, 4000).ack(99).psh().write(&mut expected, payload).expect("frame");
                let segment = ip.tcp(1, 2).seq(77).window(4000).ack(99).flags(flag::ACK | flag::PSH);
                assert_eq!(segment.payload(payload).build(), expected);
                let mut expected = Vec::new();
                theirs().udp(1, 2).write(&mut expected, payload).expect("frame");
                assert_eq!(ip.udp(1, 2, payload), expected);
            }
        }
        let mut expected = Vec::new();
        v4().icmpv4_echo_request(5, 1).write(&mut expected, b"ping!").expect("frame");
        assert_eq!(ours("10.0.0.1", "10.0.0.2").echo_request(5, b"ping!"), expected);
        let mut expected = Vec::new();
        v6().icmpv6_echo_reply(5, 1).write(&mut expected, b"ping!").expect("frame");
        assert_eq!(ours("fd00::1", "fd00::2").echo_reply(5, b"ping!"), expected);
    }
}
