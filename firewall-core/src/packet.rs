//! What the parser says of one packet. Nothing here points into the frame.

use crate::address::Address;

/// EtherTypes (IEEE 802 numbers, host order).
pub mod ether_type {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// 802.1ad provider tag.
    pub const PROVIDER_VLAN: u16 = 0x88a8;
    /// The older provider tag of some switches.
    pub const OLD_PROVIDER_VLAN: u16 = 0x9100;
}

/// IP protocol numbers (IANA).
pub mod protocol {
    /// `ICMPv4`.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// `ICMPv6`.
    pub const ICMP6: u8 = 58;
}

/// ICMP type of an echo request (RFC 792).
pub const ECHO_REQUEST: u8 = 8;
/// `ICMPv6` type of an echo request (RFC 4443).
pub const ECHO_REQUEST6: u8 = 128;

/// TCP flag bits (RFC 9293 section 3.1).
pub mod tcp_flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;
}

/// The link-layer part of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Ethernet {
    /// Destination MAC.
    pub destination: [u8; 6],
    /// Source MAC.
    pub source: [u8; 6],
    /// VLAN identifier; 0 for untagged and priority-tagged frames.
    pub vlan: u16,
    /// EtherType of the payload, host order.
    pub ether_type: u16,
    /// Bytes of link-layer header in the frame: offset of the payload.
    pub length: u32,
}

/// Which part of a fragmented packet this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fragment {
    /// The whole packet.
    Whole,
    /// The first fragment; it holds the transport header.
    First,
    /// A later fragment: no transport header.
    Later,
}

/// One IP packet: addresses, ports and the positions of its headers.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port, host order; the identifier of an ICMP echo; 0 without ports.
    pub source_port: u16,
    /// Destination port, host order; the identifier of an ICMP echo; 0 without ports.
    pub destination_port: u16,
    /// IP protocol of the transport header.
    pub protocol: u8,
    /// TTL or hop limit as received.
    pub ttl: u8,
    /// TCP flags, or 0.
    pub tcp_flags: u8,
    /// ICMP type, or 0.
    pub icmp_type: u8,
    /// ICMP code, or 0.
    pub icmp_code: u8,
    /// Whole, first or later fragment.
    pub fragment: Fragment,
    /// Fragment identification; 0 for whole packets.
    pub fragment_id: u32,
    /// Bytes of the fragmented packet's payload before this fragment; 0 for whole packets.
    pub fragment_offset: u32,
    /// Offset of the IP header in the frame.
    pub network_offset: u32,
    /// Offset of the transport header in the frame.
    pub transport_offset: u32,
    /// Bytes from the transport header to the end of the packet.
    pub transport_length: u32,
    /// Bytes of the IP packet, headers included.
    pub ip_length: u32,
    /// TCP fields; zero for other protocols. A later fragment has the sequence number of its first byte.
    pub tcp: TcpFields,
    /// Whether ports, flags, ICMP type and code were found, here or in the first fragment.
    pub has_transport: bool,
    /// EtherType of the payload, host order.
    pub ether_type: u16,
    /// VLAN identifier; 0 for untagged and priority-tagged frames.
    pub vlan: u16,
    /// Who sent the frame.
    pub sender: Mac,
    /// To whom it was sent.
    pub receiver: Mac,
    /// Egress zone, once there is a route.
    pub to: Noted,
    /// The rule that refused the packet, or the flow that it belongs to.
    pub refused_by: Noted,
    /// The neighbour that the daemon has to resolve; none unless the packet waits for it. Here and not in the verdict,
    /// because a program's stack has no room for it.
    pub next_hop: Address,
    /// The zone whose flow makes that necessary.
    pub asker: u16,
    /// [`crate::tables::zone_flag::USER_SPACE`] where the engine in user space takes frames of the ingress zone, else 0. Kept
    /// here, because what comes back from memory is no way of its own for the verifier.
    pub engine: u16,
    /// Its socket then.
    pub socket: u32,
}

/// A number that may be missing. Missing is zero: what the kernel clears is empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Noted(u32);

impl Noted {
    /// Missing.
    pub const NOTHING: Self = Self(0);

    /// This number.
    #[inline(always)]
    pub const fn new(number: u32) -> Self {
        Self(number.wrapping_add(1))
    }

    /// The number, or `otherwise`.
    #[inline(always)]
    pub const fn or(self, otherwise: u32) -> u32 {
        if self.0 == 0 { otherwise } else { self.0.wrapping_sub(1) }
    }
}

/// A MAC as one word, first byte lowest: the verifier wants records on the stack to have fields of natural size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mac(u64);

impl Mac {
    /// Nobody's.
    pub const NONE: Self = Self(0);

    /// From its bytes.
    #[inline(always)]
    pub const fn new([a, b, c, d, e, f]: [u8; 6]) -> Self {
        Self(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// Its bytes.
    #[inline(always)]
    pub const fn bytes(self) -> [u8; 6] {
        let [a, b, c, d, e, f, ..] = self.0.to_le_bytes();
        [a, b, c, d, e, f]
    }
}

/// What connection tracking needs of a TCP header (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpFields {
    /// Sequence number of the first payload byte (of SYN when set).
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Window field, not scaled.
    pub window: u16,
    /// Header bytes, options included.
    pub header_length: u8,
}

impl Packet {
    /// Nothing parsed yet. The parser fills a packet in place: the kernel's stack has no room for copies.
    pub const EMPTY: Self = Self {
        source: Address::UNSPECIFIED,
        destination: Address::UNSPECIFIED,
        source_port: 0,
        destination_port: 0,
        protocol: 0,
        ttl: 0,
        tcp_flags: 0,
        icmp_type: 0,
        icmp_code: 0,
        fragment: Fragment::Whole,
        fragment_id: 0,
        fragment_offset: 0,
        network_offset: 0,
        transport_offset: 0,
        transport_length: 0,
        ip_length: 0,
        tcp: TcpFields { sequence: 0, acknowledgement: 0, window: 0, header_length: 0 },
        has_transport: false,
        ether_type: 0,
        vlan: 0,
        sender: Mac::NONE,
        receiver: Mac::NONE,
        to: Noted::NOTHING,
        refused_by: Noted::NOTHING,
        next_hop: Address::UNSPECIFIED,
        asker: 0,
        engine: 0,
        socket: 0,
    };

    /// Notes the link layer.
    #[inline(always)]
    pub const fn note_link(&mut self, ethernet: &Ethernet) {
        self.sender = Mac::new(ethernet.source);
        self.receiver = Mac::new(ethernet.destination);
        self.vlan = ethernet.vlan;
        self.ether_type = ethernet.ether_type;
    }

    /// Whether the packet is IPv4.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.source.is_v4()
    }

    /// Whether all of `flags` are set.
    #[inline(always)]
    pub const fn has_flags(&self, flags: u8) -> bool {
        self.tcp_flags & flags == flags
    }

    /// TCP payload bytes.
    #[inline(always)]
    pub const fn tcp_payload(&self) -> u32 {
        self.transport_length.saturating_sub(self.tcp.header_length as u32)
    }

    /// An ICMP or `ICMPv6` echo request or reply.
    #[inline(always)]
    pub const fn is_echo(&self) -> bool {
        self.is_echo_request() || self.is_echo_reply()
    }

    /// An echo request (RFC 792 type 8, RFC 4443 type 128).
    #[inline(always)]
    pub const fn is_echo_request(&self) -> bool {
        (self.protocol == protocol::ICMP && self.icmp_type == ECHO_REQUEST)
            || (self.protocol == protocol::ICMP6 && self.icmp_type == ECHO_REQUEST6)
    }

    /// An echo reply (RFC 792 type 0, RFC 4443 type 129).
    #[inline(always)]
    pub const fn is_echo_reply(&self) -> bool {
        (self.protocol == protocol::ICMP && self.icmp_type == 0)
            || (self.protocol == protocol::ICMP6 && self.icmp_type == 129)
    }

    /// An ICMP message that quotes another packet: unreachable, source quench, time exceeded, parameter problem
    /// (RFC 792 types 3, 4, 11, 12; RFC 4443 types 1 to 4).
    #[inline(always)]
    pub const fn is_icmp_error(&self) -> bool {
        (self.protocol == protocol::ICMP && matches!(self.icmp_type, 3 | 4 | 11 | 12))
            || (self.protocol == protocol::ICMP6 && matches!(self.icmp_type, 1..=4))
    }

    /// Neighbour discovery and its relatives, which never cross a router (RFC 4861: types 133 to 137).
    #[inline(always)]
    pub const fn is_neighbour_discovery(&self) -> bool {
        self.protocol == protocol::ICMP6 && matches!(self.icmp_type, 133..=137)
    }
}
