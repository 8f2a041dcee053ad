//! TCP: opening, closing, resetting, and segments that do not belong.

use firewall_core::DropReason;

use super::{APP, DB, Family, Host, Scenario, Step};
use crate::packet::{Tcp, flag};

const RULES: &str = "allow app -> db  service tcp 5432\n";
const PORTS: (u16, u16) = (40_000, 5_432);
/// First sequence numbers.
const CLIENT: u32 = 1_000;
const SERVER: u32 = 4_294_967_000;
/// What comes next after the handshake. The server's numbers wrap around soon.
const C1: u32 = CLIENT + 1;
const S1: u32 = SERVER + 1;

/// A segment of the client.
fn client(family: Family, flags: u8, seq: u32, ack: u32) -> Tcp {
    APP.to(&DB, family).tcp(PORTS.0, PORTS.1).flags(flags).seq(seq).ack(ack)
}

/// A segment of the server.
fn server(family: Family, flags: u8, seq: u32, ack: u32) -> Tcp {
    DB.to(&APP, family).tcp(PORTS.1, PORTS.0).flags(flags).seq(seq).ack(ack)
}

impl Scenario {
    fn client(self, segment: Tcp) -> Self {
        self.pass(&APP, &DB, &segment.build(), 0)
    }

    fn server(self, segment: Tcp) -> Self {
        self.pass(&DB, &APP, &segment.build(), 0)
    }

    fn refuse(self, from: &Host, segment: Tcp, reason: DropReason) -> Self {
        self.drop(from, &segment.build(), reason)
    }

    /// The three segments of the handshake.
    pub(super) fn open(self, family: Family) -> Self {
        self.client(client(family, flag::SYN, CLIENT, 0))
            .server(server(family, flag::SYN | flag::ACK, SERVER, C1))
            .client(client(family, flag::ACK, C1, S1))
    }
}

pub(super) fn scenarios(family: Family, all: &mut Vec<Scenario>) {
    let new = |name: &str| Scenario::new(format!("tcp/{}/{name}", family.name()), RULES);
    opening(family, &new, all);
    closing(family, &new, all);
    guesses(family, &new, all);
    strangers(family, &new, all);
}

type New<'a> = &'a dyn Fn(&str) -> Scenario;

fn opening(family: Family, new: New, all: &mut Vec<Scenario>) {
    let (ack, data) = (flag::ACK, flag::ACK | flag::PSH);
    new("data-both-ways")
        .open(family)
        .client(client(family, data, C1, S1).payload(b"select 1"))
        .server(server(family, data, S1, C1 + 8).payload(&[b'r'; 1400]))
        .client(client(family, ack, C1 + 8, S1.wrapping_add(1400)))
        .add_to(all);
    new("denied-port").deny(&APP, &APP.to(&DB, family).tcp(PORTS.0, 22).flags(flag::SYN).build(), 1).add_to(all);
    new("denied-direction").deny(&DB, &DB.to(&APP, family).tcp(PORTS.0, 5_432).flags(flag::SYN).build(), 1).add_to(all);
    new("syn-again")
        .client(client(family, flag::SYN, CLIENT, 0))
        .client(client(family, flag::SYN, CLIENT, 0))
        .client(client(family, flag::SYN, CLIENT + 90_000, 0))
        .server(server(family, flag::SYN | ack, SERVER, CLIENT + 90_001))
        .client(client(family, ack, CLIENT + 90_001, S1))
        .add_to(all);
    new("syn-ack-again").open(family).server(server(family, flag::SYN | ack, SERVER, C1)).add_to(all);
    new("simultaneous-open")
        .client(client(family, flag::SYN, CLIENT, 0))
        .server(server(family, flag::SYN, SERVER, 0))
        .client(client(family, flag::SYN | ack, CLIENT, S1))
        .server(server(family, flag::SYN | ack, SERVER, C1))
        .client(client(family, data, C1, S1).payload(b"hello"))
        .add_to(all);
    new("refused-by-server")
        .client(client(family, flag::SYN, CLIENT, 0))
        .server(server(family, flag::RST | ack, 0, C1))
        .client(client(family, flag::SYN, CLIENT + 5_000, 0))
        .add_to(all);
    new("window-scale")
        .client(client(family, flag::SYN, CLIENT, 0).scale(7))
        .server(server(family, flag::SYN | ack, SERVER, C1).scale(2).window(65_535))
        .client(client(family, ack, C1, S1).window(1_000))
        // 128,000 bytes are announced; 100,000 of them come without a word of the client.
        .server(server(family, ack, S1.wrapping_add(100_000), C1).payload(b"far").window(10))
        .refuse(&DB, server(family, ack, S1.wrapping_add(200_000), C1).payload(b"too far"), DropReason::TcpWindow)
        .add_to(all);
}

fn closing(family: Family, new: New, all: &mut Vec<Scenario>) {
    let (ack, fin) = (flag::ACK, flag::FIN | flag::ACK);
    let s2 = S1 + 1;
    new("close-by-client")
        .open(family)
        .client(client(family, fin, C1, S1))
        .server(server(family, ack, S1, C1 + 1))
        .server(server(family, ack, S1, C1 + 1).payload(b"half closed"))
        .client(client(family, ack, C1 + 1, S1 + 11))
        .server(server(family, fin, S1 + 11, C1 + 1))
        .client(client(family, ack, C1 + 1, S1 + 12))
        // The last ACK was lost: the server says FIN again.
        .server(server(family, fin, S1 + 11, C1 + 1))
        .client(client(family, ack, C1 + 1, S1 + 12))
        .add_to(all);
    new("close-by-server")
        .open(family)
        .server(server(family, fin, S1, C1))
        .client(client(family, ack, C1, s2))
        .client(client(family, fin, C1, s2))
        .server(server(family, ack, s2, C1 + 1))
        .add_to(all);
    new("close-together")
        .open(family)
        .client(client(family, fin, C1, S1))
        .server(server(family, fin, S1, C1))
        .client(client(family, ack, C1 + 1, s2))
        .server(server(family, ack, s2, C1 + 1))
        .add_to(all);
    new("again-after-close")
        .open(family)
        .client(client(family, fin, C1, S1))
        .server(server(family, fin, S1, C1 + 1))
        .client(client(family, ack, C1 + 1, s2))
        .client(client(family, flag::SYN, 7_000_000, 0))
        .server(server(family, flag::SYN | ack, 9_000_000, 7_000_001))
        .client(client(family, ack, 7_000_001, 9_000_001))
        .refuse(&DB, server(family, ack, S1, C1), DropReason::TcpWindow)
        .add_to(all);
    new("again-from-the-other-side")
        .open(family)
        .client(client(family, fin, C1, S1))
        .server(server(family, fin, S1, C1 + 1))
        .client(client(family, ack, C1 + 1, s2))
        // The old connection gives no right to open one the other way round.
        .deny(&DB, &server(family, flag::SYN, 9_000_000, 0).build(), 1)
        .add_to(all);
    new("reset")
        .open(family)
        .client(client(family, flag::RST | ack, C1, S1))
        // A new connection between the same ports may follow at once.
        .client(client(family, flag::SYN, 7_000_000, 0))
        .server(server(family, flag::SYN | ack, 9_000_000, 7_000_001))
        .add_to(all);
}

/// Nanoseconds, a little more than a closed flow lives.
const LONGER_THAN_CLOSED: u64 = 11_000_000_000;

/// A RST in the window but not at the next number may come from anybody who guesses (RFC 5961 section 3).
fn guesses(family: Family, new: New, all: &mut Vec<Scenario>) {
    let ack = flag::ACK;
    let guess = || server(family, flag::RST, S1.wrapping_add(1_000), 0);
    let timed = |name: &str| Scenario { needs_clock: true, ..new(name) };
    timed("guessed-reset-does-not-end-a-connection")
        .open(family)
        .server(guess())
        // The client challenges it, which shows that the connection lives.
        .client(client(family, ack, C1, S1))
        .step(Step::Advance(LONGER_THAN_CLOSED))
        .server(server(family, ack, S1, C1).payload(b"still open"))
        .add_to(all);
    timed("unchallenged-reset-ends-a-connection")
        .open(family)
        .server(guess())
        .step(Step::Advance(LONGER_THAN_CLOSED))
        .refuse(&DB, server(family, ack, S1, C1).payload(b"gone"), DropReason::NoFlow)
        .add_to(all);
    timed("reset-ends-a-connection")
        .open(family)
        .server(server(family, flag::RST, S1, 0))
        .client(client(family, ack, C1, S1))
        .step(Step::Advance(LONGER_THAN_CLOSED))
        .refuse(&DB, server(family, ack, S1, C1).payload(b"gone"), DropReason::NoFlow)
        .add_to(all);
}

fn strangers(family: Family, new: New, all: &mut Vec<Scenario>) {
    let ack = flag::ACK;
    for (name, flags) in [
        ("ack-without-flow", ack),
        ("syn-ack-without-flow", flag::SYN | ack),
        ("fin-without-flow", flag::FIN | ack),
        ("rst-without-flow", flag::RST),
    ] {
        new(name).refuse(&APP, client(family, flags, C1, S1), DropReason::NoFlow).add_to(all);
    }
    for (name, flags) in [
        ("flags-none", 0),
        ("flags-syn-fin", flag::SYN | flag::FIN),
        ("flags-syn-rst", flag::SYN | flag::RST),
        ("flags-xmas", flag::FIN | flag::PSH | flag::URG),
        ("flags-all", 0x3f),
    ] {
        new(name).refuse(&APP, client(family, flags, C1, S1), DropReason::TcpFlags).add_to(all);
    }
    new("out-of-window")
        .open(family)
        .refuse(&APP, client(family, ack, C1 + 1_000_000, S1).payload(b"x"), DropReason::TcpWindow)
        .refuse(&APP, client(family, ack, C1.wrapping_sub(1_000_000), S1).payload(b"x"), DropReason::TcpWindow)
        .refuse(&APP, client(family, ack, C1, S1.wrapping_add(10_000)), DropReason::TcpWindow)
        .refuse(&APP, client(family, ack, C1, S1.wrapping_sub(1_000_000)), DropReason::TcpWindow)
        .refuse(&DB, server(family, flag::RST, S1.wrapping_add(1_000_000), 0), DropReason::TcpWindow)
        .client(client(family, ack, C1, S1).payload(b"still open"))
        .add_to(all);
    new("data-before-the-handshake")
        .client(client(family, flag::SYN, CLIENT, 0))
        .refuse(&APP, client(family, ack, C1, S1).payload(b"early"), DropReason::TcpState)
        .refuse(&DB, server(family, ack, S1, C1).payload(b"early"), DropReason::TcpState)
        .refuse(&DB, server(family, flag::SYN | ack, SERVER, C1 + 1_000), DropReason::TcpState)
        .refuse(&DB, server(family, flag::RST | ack, 0, C1 + 1_000), DropReason::TcpWindow)
        .add_to(all);
    new("syn-from-the-server")
        .open(family)
        .refuse(&DB, server(family, flag::SYN, 77, 0), DropReason::TcpState)
        .client(client(family, ack, C1, S1).payload(b"still open"))
        .add_to(all);
}
