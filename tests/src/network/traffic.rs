//! Generated traffic between two hosts: conversations of TCP, UDP and ICMP, as they should be and as they should not.
//! The same seed gives the same traffic.

use crate::packet::{Ethernet, Ip, Tcp, flag, number};

/// Which host sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The host of zone `app`, which begins most conversations.
    App,
    /// The host of zone `db`.
    Db,
}

impl Side {
    /// The other host.
    #[must_use]
    pub fn other(self) -> Self {
        if self == Self::App { Self::Db } else { Self::App }
    }

    /// Its address.
    pub fn address(self, v6: bool) -> &'static str {
        match (self, v6) {
            (Self::App, false) => "10.0.10.7",
            (Self::App, true) => "fd00:10::7",
            (Self::Db, false) => "10.0.20.7",
            (Self::Db, true) => "fd00:20::7",
        }
    }
}

/// Frames to be sent at once, and what they are.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is sent, for the list of intended differences.
    pub kind: &'static str,
    /// Number of the conversation that it belongs to.
    pub conversation: usize,
    /// Sender.
    pub from: Side,
    /// Frames, untagged, the MACs left zero.
    pub frames: Vec<Vec<u8>>,
}

/// TCP and UDP ports that the policy allows towards `db`.
pub const TCP_TO_DB: u16 = 8000;
/// See [`TCP_TO_DB`].
pub const UDP_TO_DB: u16 = 9000;
/// TCP port that the policy allows towards `app`.
pub const TCP_TO_APP: u16 = 22;
/// A port that it does not allow.
const DENIED: u16 = 8001;

/// A generator of conversations.
pub struct Traffic {
    random: u64,
    port: u16,
    steps: Vec<Step>,
    conversation: usize,
    v6: bool,
}

/// `count` conversations, by `seed`.
pub fn conversations(seed: u64, count: usize) -> Vec<Step> {
    let mut traffic = Traffic { random: seed, port: 20_000, steps: Vec::new(), conversation: 0, v6: false };
    for conversation in 0..count {
        traffic.conversation = conversation;
        traffic.v6 = conversation % 2 == 1;
        traffic.port += 1;
        match conversation / 2 % 8 {
            0..4 => traffic.tcp(),
            4 => traffic.udp(),
            5 => traffic.echo(),
            6 => traffic.fragments(),
            _ => traffic.oddity(),
        }
    }
    traffic.steps
}

/// A TCP connection in the making: who opens it, ports, and the next sequence number of each end.
struct Connection {
    client: Side,
    ports: (u16, u16),
    next: [u32; 2],
    v6: bool,
}

impl Connection {
    fn ip(&self, from: Side) -> Ip {
        link().ip(from.address(self.v6), from.other().address(self.v6))
    }

    fn index(&self, from: Side) -> usize {
        usize::from(from != self.client)
    }

    /// A segment that fits: ACK, right numbers.
    fn segment(&self, from: Side) -> Tcp {
        let (own, peer) = (self.index(from), self.index(from.other()));
        let (client, server) = self.ports;
        let (source, destination) = if own == 0 { (client, server) } else { (server, client) };
        self.ip(from).tcp(source, destination).flags(flag::ACK).seq(self.next[own]).ack(self.next[peer])
    }
}

fn link() -> Ethernet {
    Ethernet::new([0; 6], [0; 6])
}

impl Traffic {
    /// The next number of `SplitMix64`, below `bound`.
    fn below(&mut self, bound: u32) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % u64::from(bound)) as u32
    }

    fn push(&mut self, kind: &'static str, from: Side, frames: Vec<Vec<u8>>) {
        self.steps.push(Step { kind, conversation: self.conversation, from, frames });
    }

    fn one(&mut self, kind: &'static str, from: Side, frame: Vec<u8>) {
        self.push(kind, from, vec![frame]);
    }

    fn tcp(&mut self) {
        let client = if self.below(4) == 0 { Side::Db } else { Side::App };
        let open = if client == Side::App { TCP_TO_DB } else { TCP_TO_APP };
        let server = if self.below(5) == 0 { DENIED } else { open };
        let next = [self.below(u32::MAX), self.below(u32::MAX)];
        let mut tcp = Connection { client, ports: (self.port, server), next, v6: self.v6 };
        if !self.opening(&mut tcp) {
            return;
        }
        for _ in 0..self.below(5) {
            self.exchange(&mut tcp);
        }
        self.closing(&mut tcp);
    }

    /// The handshake, or something like it. True when the connection is open.
    fn opening(&mut self, tcp: &mut Connection) -> bool {
        let (client, server) = (tcp.client, tcp.client.other());
        let style = self.below(10);
        if style == 0 {
            self.one("ack-without-flow", client, tcp.segment(client).build());
            self.one("data-without-flow", server, tcp.segment(server).payload(b"hello").build());
            self.one("syn-ack-without-flow", server, tcp.segment(server).flags(flag::SYN | flag::ACK).build());
            self.one("rst-without-flow", client, tcp.segment(client).flags(flag::RST).build());
            self.one("fin-without-flow", client, tcp.segment(client).flags(flag::FIN | flag::ACK).build());
            return false;
        }
        let syn = tcp.segment(client).flags(flag::SYN).ack(0).scale(7).build();
        self.one("syn", client, syn.clone());
        tcp.next[0] = tcp.next[0].wrapping_add(1);
        match style {
            1 => self.one("syn-again", client, syn),
            2 => {
                let refusal = tcp.segment(server).flags(flag::RST | flag::ACK).seq(0);
                self.one("refusal-of-another-syn", server, refusal.clone().ack(tcp.next[0].wrapping_add(5)).build());
                self.one("refusal", server, refusal.build());
                return false;
            }
            3 => {
                self.one("data-before-handshake", client, tcp.segment(client).payload(b"early").build());
                return false;
            }
            _ => {}
        }
        let accept = tcp.segment(server).flags(flag::SYN | flag::ACK).scale(7);
        if style == 4 {
            let foreign = accept.clone().ack(tcp.next[0].wrapping_add(1_000_000)).build();
            self.one("syn-ack-of-another-syn", server, foreign);
        }
        self.one("syn-ack", server, accept.clone().build());
        tcp.next[1] = tcp.next[1].wrapping_add(1);
        if style == 5 {
            self.one("syn-ack-again", server, accept.build());
        }
        self.one("handshake-ack", client, tcp.segment(client).build());
        true
    }

    /// Data one way or something wrong in between.
    fn exchange(&mut self, tcp: &mut Connection) {
        let from = if self.below(2) == 0 { tcp.client } else { tcp.client.other() };
        let own = tcp.index(from);
        let payload = vec![b'x'; 1 + self.below(1200) as usize];
        let segment = tcp.segment(from);
        let seq = tcp.next[own];
        let ack = tcp.next[1 - own];
        let (kind, odd) = match self.below(14) {
            0 => ("beyond-window", segment.clone().seq(seq.wrapping_add(20_000_000)).payload(&payload)),
            1 => ("before-window", segment.clone().seq(seq.wrapping_sub(20_000_000)).payload(&payload)),
            2 => ("ack-of-unsent", segment.clone().ack(ack.wrapping_add(100_000))),
            3 => ("ack-long-ago", segment.clone().ack(ack.wrapping_sub(20_000_000))),
            4 => ("flags-syn-fin", segment.clone().flags(flag::SYN | flag::FIN)),
            5 => ("flags-none", segment.clone().flags(0)),
            6 => ("flags-fin-only", segment.clone().flags(flag::FIN)),
            7 => ("flags-christmas-tree", segment.clone().flags(flag::FIN | flag::PSH | flag::URG)),
            8 => ("flags-syn-rst", segment.clone().flags(flag::SYN | flag::RST)),
            9 => ("rst-beyond-window", segment.clone().flags(flag::RST).seq(seq.wrapping_add(20_000_000))),
            10 => ("rst-before-window", segment.clone().flags(flag::RST).seq(seq.wrapping_sub(20_000_000))),
            11 => ("keep-alive", segment.clone().seq(seq.wrapping_sub(1))),
            _ => ("bare-ack", segment.clone()),
        };
        self.one(kind, from, odd.build());
        let data = segment.flags(flag::ACK | flag::PSH).payload(&payload).build();
        self.one("data", from, data.clone());
        tcp.next[own] = seq.wrapping_add(payload.len() as u32);
        if self.below(4) == 0 {
            self.one("data-again", from, data.clone());
        }
        self.one("data-acknowledged", from.other(), tcp.segment(from.other()).build());
        if self.below(6) == 0 {
            let error = tcp.ip(from.other()).port_unreachable(&data);
            self.one("error-about-data", from.other(), error);
        }
    }

    /// The end: FIN both ways, RST, or none.
    fn closing(&mut self, tcp: &mut Connection) {
        let from = if self.below(2) == 0 { tcp.client } else { tcp.client.other() };
        let (own, peer) = (tcp.index(from), tcp.index(from.other()));
        match self.below(6) {
            0 => {
                self.one("rst", from, tcp.segment(from).flags(flag::RST | flag::ACK).build());
                self.one("data-after-rst", from.other(), tcp.segment(from.other()).payload(b"late").build());
            }
            1 => {
                let guess = tcp.segment(from).flags(flag::RST).seq(tcp.next[own].wrapping_add(10)).ack(0);
                self.one("rst-inside-window", from, guess.build());
                self.one("data-after-guessed-rst", from.other(), tcp.segment(from.other()).payload(b"on").build());
            }
            2 => {
                self.one("syn-while-open", from, tcp.segment(from).flags(flag::SYN).ack(0).build());
                self.one("data-after-syn", from, tcp.segment(from).payload(b"on").build());
            }
            _ => {
                self.one("fin", from, tcp.segment(from).flags(flag::FIN | flag::ACK).build());
                tcp.next[own] = tcp.next[own].wrapping_add(1);
                self.one("fin-acknowledged", from.other(), tcp.segment(from.other()).build());
                self.one("second-fin", from.other(), tcp.segment(from.other()).flags(flag::FIN | flag::ACK).build());
                tcp.next[peer] = tcp.next[peer].wrapping_add(1);
                self.one("last-ack", from, tcp.segment(from).build());
                let again = tcp.segment(tcp.client).flags(flag::SYN).ack(0);
                let seq = tcp.next[0].wrapping_add(1_000_000);
                self.one("syn-after-close", tcp.client, again.seq(seq).build());
            }
        }
    }

    fn udp(&mut self) {
        let port = if self.below(4) == 0 { DENIED } else { UDP_TO_DB };
        let (there, back) = (self.ip(Side::App), self.ip(Side::Db));
        let request = there.udp(self.port, port, b"question");
        if self.below(3) == 0 {
            self.one("udp-answer-to-nothing", Side::Db, back.udp(port, self.port, b"answer"));
        }
        self.one("udp", Side::App, request.clone());
        self.one("error-from-elsewhere", Side::Db, back.port_unreachable(&back.udp(self.port, port, b"question")));
        match self.below(3) {
            0 => self.one("udp-refused", Side::Db, back.port_unreachable(&request)),
            1 => self.one("udp-other-port", Side::Db, back.udp(port + 1, self.port, b"answer")),
            _ => {}
        }
        self.one("udp-answer", Side::Db, back.udp(port, self.port, b"answer"));
        self.one("udp-more", Side::App, there.udp(self.port, port, &[7; 1400]));
        let foreign = there.udp(self.port + 1, port, b"never sent");
        self.one("error-about-nothing", Side::Db, back.port_unreachable(&foreign));
        self.one("udp-against-policy", Side::Db, back.udp(self.port, UDP_TO_DB, b"question"));
    }

    fn echo(&mut self) {
        let (there, back) = (self.ip(Side::App), self.ip(Side::Db));
        if self.below(2) == 0 {
            self.one("reply-to-nothing", Side::Db, back.echo_reply(self.port, b"ping"));
        }
        let request = there.echo_request(self.port, b"ping");
        self.one("echo", Side::App, request.clone());
        self.one("reply-of-another", Side::Db, back.echo_reply(self.port.wrapping_add(9), b"ping"));
        if self.below(2) == 0 {
            self.one("echo-refused", Side::Db, back.port_unreachable(&request));
        }
        self.one("echo-reply", Side::Db, back.echo_reply(self.port, b"ping"));
        self.one("echo-reply-again", Side::Db, back.echo_reply(self.port, b"ping"));
        self.one("echo-more", Side::App, there.echo_request(self.port, &[8; 500]));
        self.one("echo-against-policy", Side::Db, back.echo_request(self.port, b"ping"));
    }

    /// A datagram in three fragments of 1200 bytes, in order and not, whole and not.
    fn fragments(&mut self) {
        let style = self.below(4);
        let port = if style == 0 { DENIED } else { UDP_TO_DB };
        let ip = self.ip(Side::App);
        let bytes = ip.udp_bytes(self.port, port, &[9; 3000]);
        let id = u32::from(self.port);
        let mut parts: Vec<Vec<u8>> = bytes
            .chunks(1200)
            .enumerate()
            .map(|(index, part)| {
                let more = (index + 1) * 1200 < bytes.len();
                ip.clone().fragment(id, (index * 150) as u16, more).transport(number::UDP, part)
            })
            .collect();
        let kind = match style {
            0 => "fragments-against-policy",
            1 => {
                parts.reverse();
                "fragments-last-first"
            }
            2 => {
                parts.remove(0);
                "fragments-without-the-first"
            }
            _ => "fragments",
        };
        self.push(kind, Side::App, parts);
    }

    /// Single packets that no router forwards, or hardly.
    fn oddity(&mut self) {
        let ip = self.ip(Side::App);
        let (app, db) = (Side::App.address(self.v6), Side::Db.address(self.v6));
        let (port, to) = (self.port, UDP_TO_DB);
        let from = |source: &str| link().ip(source, db).udp(port, to, b"odd");
        self.one("ttl-1", Side::App, ip.clone().ttl(1).udp(port, to, b"odd"));
        self.one("ttl-2", Side::App, ip.clone().ttl(2).udp(port, to, b"odd"));
        self.one("from-loopback", Side::App, from(if self.v6 { "::1" } else { "127.0.0.1" }));
        self.one("from-multicast", Side::App, from(if self.v6 { "ff02::7" } else { "224.0.0.7" }));
        self.one("from-unspecified", Side::App, from(if self.v6 { "::" } else { "0.0.0.0" }));
        self.one(
            "to-nowhere",
            Side::App,
            link().ip(app, if self.v6 { "2001:db8::1" } else { "192.0.2.1" }).udp(port, to, b"odd"),
        );
        self.one("gre", Side::App, ip.transport(number::GRE, &[0; 40]));
        let mut damaged = ip.udp(port + 500, to, b"odd");
        let last = damaged.len() - 1;
        damaged[last] ^= 0x55;
        self.one("wrong-udp-checksum", Side::App, damaged);
        if self.v6 {
            let options = ip.clone().extension(number::DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]);
            self.one("destination-options", Side::App, options.udp(port, to, b"odd"));
            let routing = ip.extension(number::ROUTING, &[0, 1, 0, 0, 0, 0]);
            self.one("routing-header", Side::App, routing.udp(port, to, b"odd"));
        } else {
            self.one("timestamp-option", Side::App, ip.clone().options(&[1, 1, 1, 0]).udp(port, to, b"odd"));
            let route = [131, 7, 4, 10, 0, 20, 7, 0];
            self.one("source-route", Side::App, ip.clone().options(&route).udp(port, to, b"odd"));
            let mut header = ip.udp(port, to, b"odd");
            header[24] ^= 0xff;
            self.one("wrong-header-checksum", Side::App, header);
        }
        let mut short = self.ip(Side::App).udp(port, to, &[1; 100]);
        short.truncate(80);
        self.one("cut-short", Side::App, short);
    }

    fn ip(&self, from: Side) -> Ip {
        link().ip(from.address(self.v6), from.other().address(self.v6))
    }
}
