//! Connection tracking: the states that packets lead to, and that no honest connection is ever cut.

use firewall_core::conntrack::{Flow, FlowKey, FlowState, half_flag};
use firewall_core::tables::FlowTable;
use firewall_core::{DropReason, Verdict};
use proptest::prelude::*;
use vfw::backend::memory::MemoryFrame;
use vfw_tests::memory::MemoryBackend;
use vfw_tests::packet::{Tcp, flag};
use vfw_tests::scenario::{APP, DB, Family, Host, Scenario, ZONES, scenarios};

fn backend(rules: &str) -> MemoryBackend {
    let mut scenario: Scenario = scenarios().swap_remove(0);
    scenario.policy = format!("{ZONES}{rules}");
    MemoryBackend::new(&scenario)
}

fn send(backend: &MemoryBackend, from: &Host, frame: Vec<u8>) -> Result<(), DropReason> {
    match backend.process(from.interface, &mut MemoryFrame::new(frame)) {
        Verdict::Transmit(_) => Ok(()),
        Verdict::Drop(reason) => Err(reason),
        Verdict::Consume => Err(DropReason::Neighbour),
        Verdict::Punt(punt) => Err(punt.reason),
    }
}

/// The flow between ports 40000 of APP and 5432 of DB, and its table.
fn flow(backend: &MemoryBackend, family: Family, protocol: u8) -> Option<(std::rc::Rc<Flow>, FlowTable)> {
    let address = |host: &Host| host.address(family).parse::<std::net::IpAddr>().expect("address").into();
    let (app, db) = ((address(&APP), 40_000), (address(&DB), 5_432));
    let (low, high) = if firewall_core::Address::is_below(&app.0, &db.0) { (app, db) } else { (db, app) };
    let key = FlowKey { low: low.0, high: high.0, low_port: low.1, high_port: high.1, protocol, tag: 0, padding: 0 };
    [FlowTable::HalfOpen, FlowTable::Established]
        .into_iter()
        .find_map(|table| backend.memory.peek_flow(table, &key).map(|flow| (flow, table)))
}

fn client(family: Family, flags: u8, seq: u32, ack: u32) -> Tcp {
    APP.to(&DB, family).tcp(40_000, 5_432).flags(flags).seq(seq).ack(ack)
}

fn server(family: Family, flags: u8, seq: u32, ack: u32) -> Tcp {
    DB.to(&APP, family).tcp(5_432, 40_000).flags(flags).seq(seq).ack(ack)
}

const SYN: u8 = flag::SYN;
const ACK: u8 = flag::ACK;
const FIN: u8 = flag::FIN | flag::ACK;
const RST: u8 = flag::RST | flag::ACK;
const C: bool = true;
const S: bool = false;

/// A segment and the state that it leads to: sent by the client?, flags, sequence, acknowledgement.
type Line = (bool, u8, u32, u32, FlowState);

const OPEN: [Line; 3] = [
    (C, SYN, 100, 0, FlowState::SynSent),
    (S, SYN | ACK, 900, 101, FlowState::SynReceived),
    (C, ACK, 101, 901, FlowState::Established),
];

fn play(name: &str, lines: &[Line]) {
    for family in [Family::V4, Family::V6] {
        let backend = backend("allow app -> db\n");
        for (number, (by_client, flags, seq, ack, state)) in lines.iter().enumerate() {
            let (host, segment) = if *by_client {
                (APP, client(family, *flags, *seq, *ack))
            } else {
                (DB, server(family, *flags, *seq, *ack))
            };
            assert_eq!(send(&backend, &host, segment.build()), Ok(()), "{name}, segment {number}");
            let (flow, table) = flow(&backend, family, 6).expect("a flow");
            assert_eq!(flow.state(), Some(*state), "{name}, segment {number}");
            let confirmed = lines[..=number].iter().any(|line| line.4.is_confirmed_by(line.0));
            let expected = if confirmed { FlowTable::Established } else { FlowTable::HalfOpen };
            assert_eq!(table, expected, "{name}, segment {number}");
        }
    }
}

#[test]
fn tcp_states() {
    use FlowState::{Closed, Closing, Established, FinWait, SynReceived, SynSent, TimeWait};
    let after_open = |lines: &[Line]| [&OPEN[..], lines].concat();
    play("open", &OPEN);
    play("data", &after_open(&[(C, ACK, 101, 901, Established), (S, ACK, 901, 101, Established)]));
    play(
        "client closes",
        &after_open(&[
            (C, FIN, 101, 901, FinWait),
            (S, ACK, 901, 102, FinWait),
            (S, FIN, 901, 102, Closing),
            (C, ACK, 102, 902, TimeWait),
        ]),
    );
    play(
        "server closes, FIN and ACK in one",
        &after_open(&[(S, FIN, 901, 101, FinWait), (C, FIN, 101, 902, Closing), (S, ACK, 902, 102, TimeWait)]),
    );
    play(
        "both close",
        &after_open(&[
            (C, FIN, 101, 901, FinWait),
            (S, FIN, 901, 101, Closing),
            (C, ACK, 102, 902, Closing),
            (S, ACK, 902, 102, TimeWait),
        ]),
    );
    play("reset", &after_open(&[(S, RST, 901, 101, Closed), (C, ACK, 101, 901, Closed)]));
    play("refused", &[(C, SYN, 100, 0, SynSent), (S, RST, 0, 101, Closed)]);
    play("given up", &[(C, SYN, 100, 0, SynSent), (C, flag::RST, 101, 0, Closed)]);
    play("answered, then reset", &[OPEN[0], OPEN[1], (C, flag::RST, 101, 0, Closed)]);
    play(
        "simultaneous open",
        &[
            (C, SYN, 100, 0, SynSent),
            (S, SYN, 900, 0, SynReceived),
            (C, SYN | ACK, 100, 901, SynReceived),
            (S, SYN | ACK, 900, 101, Established),
        ],
    );
    play(
        "again after the end",
        &after_open(&[(C, FIN, 101, 901, FinWait), (S, FIN, 901, 102, Closing), (C, ACK, 102, 902, TimeWait)]),
    );
    let syn_again = (C, SYN, 100, 0, SynReceived);
    play("SYN again", &[OPEN[0], OPEN[0], OPEN[1], syn_again, OPEN[1], OPEN[2]]);
}

/// A segment that a router on the way has cut into fragments is acknowledged as a whole.
#[test]
fn fragments_of_a_segment_count_with_it() {
    for family in [Family::V4, Family::V6] {
        for (flags, end) in [(ACK, 2_101), (FIN, 2_102)] {
            let backend = backend("allow app -> db\n");
            for (by_client, flags, seq, ack, _) in OPEN {
                let (host, segment) = if by_client {
                    (APP, client(family, flags, seq, ack))
                } else {
                    (DB, server(family, flags, seq, ack))
                };
                send(&backend, &host, segment.build()).expect("passes");
            }
            let segment = client(family, flags, 101, 901).payload(&[7; 2_000]).bytes();
            let part =
                |units: u16, more: bool, bytes: &[u8]| APP.to(&DB, family).fragment(5, units, more).transport(6, bytes);
            send(&backend, &APP, part(0, true, &segment[..1_000])).expect("the first");
            send(&backend, &APP, part(125, true, &segment[1_000..1_800])).expect("the second");
            assert_eq!(send(&backend, &DB, server(family, ACK, 901, end).build()), Err(DropReason::TcpWindow));
            send(&backend, &APP, part(225, false, &segment[1_800..])).expect("the last");
            send(&backend, &DB, server(family, ACK, 901, end).build()).expect("the answer to all of it");
        }
    }
}

/// Another engine has followed the connection for a while, and only it knows the windows.
#[test]
fn windows_that_are_behind_are_learned_and_then_hold() {
    const FAR: u32 = 50_000_000;
    for (family, is_behind) in [(Family::V4, true), (Family::V6, true), (Family::V4, false)] {
        let backend = backend("allow app -> db\n");
        for (by_client, flags, seq, ack, _) in OPEN {
            let (host, segment) =
                if by_client { (APP, client(family, flags, seq, ack)) } else { (DB, server(family, flags, seq, ack)) };
            send(&backend, &host, segment.build()).expect("passes");
        }
        let (flow, _) = flow(&backend, family, 6).expect("a flow");
        for half in flow.halves.iter().filter(|_| is_behind) {
            half.flags.set(half.flags.get() | half_flag::BEHIND);
        }
        let answer = |ack| send(&backend, &DB, server(family, ACK, FAR + 901, ack).build());
        if !is_behind {
            assert_eq!(answer(FAR + 101), Err(DropReason::TcpWindow));
            continue;
        }
        // A reset that nobody can place ends nothing at once.
        send(&backend, &DB, server(family, RST, 901, 101).build()).expect("may be real");
        assert_ne!(flow.state(), Some(FlowState::Closed));
        answer(FAR + 101).expect("the server goes on");
        send(&backend, &APP, client(family, ACK, FAR + 101, FAR + 901).build()).expect("the client goes on");
        answer(FAR + 101).expect("in the window");
        assert_eq!(answer(FAR + 102), Err(DropReason::TcpWindow), "nobody has sent that");
        let beyond = client(family, ACK, FAR + 1_000_000, FAR + 901).build();
        assert_eq!(send(&backend, &APP, beyond), Err(DropReason::TcpWindow));
    }
}

#[test]
fn a_new_connection_begins_half_open() {
    let family = Family::V4;
    let backend = backend("allow app -> db\n");
    let rest = [(C, FIN, 101, 901), (S, FIN, 901, 102), (C, ACK, 102, 902), (C, SYN, 70_000, 0)];
    for (by_client, flags, seq, ack) in
        OPEN.map(|(who, flags, seq, ack, _)| (who, flags, seq, ack)).into_iter().chain(rest)
    {
        let (host, segment) =
            if by_client { (APP, client(family, flags, seq, ack)) } else { (DB, server(family, flags, seq, ack)) };
        send(&backend, &host, segment.build()).expect("passes");
    }
    let (flow, table) = flow(&backend, family, 6).expect("a flow");
    assert_eq!((flow.state(), table), (Some(FlowState::SynSent), FlowTable::HalfOpen));
    assert_eq!(backend.memory.flow_count(FlowTable::Established), 0);
}

#[test]
fn scale_counts_when_both_offer_it() {
    for (offered, answered, expected) in
        [(Some(7), Some(3), (7, 3)), (Some(7), None, (0, 0)), (Some(15), Some(0), (14, 0))]
    {
        let backend = backend("allow app -> db\n");
        let scaled = |segment: Tcp, shift: Option<u8>| shift.map_or(segment.clone(), |shift| segment.scale(shift));
        let syn = scaled(client(Family::V4, SYN, 100, 0), offered);
        send(&backend, &APP, syn.build()).expect("SYN");
        let syn_ack = scaled(server(Family::V4, SYN | ACK, 900, 101), answered);
        send(&backend, &DB, syn_ack.build()).expect("SYN-ACK");
        let (flow, _) = flow(&backend, Family::V4, 6).expect("a flow");
        let [low, high] = &flow.halves;
        let (app, db) = if flow.low_began != 0 { (low, high) } else { (high, low) };
        assert_eq!((app.scale.get(), db.scale.get()), expected);
        assert_ne!(app.flags.get() & half_flag::SYN_ACKED, 0);
    }
}

/// Options of a real SYN stand before the scale: MSS, SACK permitted, timestamps, NOP.
#[test]
fn scale_is_found_behind_other_options() {
    let backend = backend("allow app -> db\n");
    let options = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 9];
    send(&backend, &APP, client(Family::V6, SYN, 1, 0).options(&options).build()).expect("SYN");
    let (flow, _) = flow(&backend, Family::V6, 6).expect("a flow");
    assert!(flow.halves.iter().any(|half| half.scale.get() == 9));
}

/// An option without a length, and one that is longer than what is left: Linux reads nothing behind them. A scale of another length
/// is none.
#[test]
fn no_scale_is_found_behind_a_malformed_option() {
    for options in [
        [8, 0, 3, 3, 9, 0, 0, 0],
        [8, 1, 3, 3, 9, 0, 0, 0],
        [8, 66, 3, 3, 9, 0, 0, 0],
        [3, 0, 9, 0, 0, 0, 0, 0],
        [3, 2, 9, 0, 0, 0, 0, 0],
        [3, 4, 9, 0, 0, 0, 0, 0],
    ] {
        let backend = backend("allow app -> db\n");
        send(&backend, &APP, client(Family::V4, SYN, 1, 0).options(&options).build()).expect("SYN");
        let (flow, _) = flow(&backend, Family::V4, 6).expect("a flow");
        assert!(flow.halves.iter().all(|half| half.scale.get() == 0), "{options:?}");
    }
}

#[test]
fn timeouts_are_those_of_the_state() {
    let second = 1_000_000_000;
    let backend = backend("allow app -> db\n");
    let left =
        |protocol| (flow(&backend, Family::V4, protocol).expect("a flow").0.expires.get() - backend.now) / second;
    for ((by_client, flags, seq, ack, _), seconds) in OPEN.into_iter().zip([120, 60, 432_000]) {
        let (host, segment) = if by_client {
            (APP, client(Family::V4, flags, seq, ack))
        } else {
            (DB, server(Family::V4, flags, seq, ack))
        };
        send(&backend, &host, segment.build()).expect("passes");
        assert_eq!(left(6), seconds);
    }
    send(&backend, &APP, APP.to(&DB, Family::V4).udp(40_000, 5_432, b"")).expect("passes");
    assert_eq!(left(17), 30);
    send(&backend, &DB, DB.to(&APP, Family::V4).udp(5_432, 40_000, b"")).expect("passes");
    assert_eq!(left(17), 120);
}

/// A question and its answer need no place that nothing is evicted from; a side that goes on after the answer does.
#[test]
fn one_answer_does_not_confirm_a_flow() {
    for family in [Family::V4, Family::V6] {
        let backend = backend("allow app -> db\n");
        let out = || APP.to(&DB, family).udp(40_000, 5_432, b"");
        let back = || DB.to(&APP, family).udp(5_432, 40_000, b"");
        for (host, frame, expected) in [
            (&APP, out(), FlowTable::HalfOpen),
            (&APP, out(), FlowTable::HalfOpen),
            (&DB, back(), FlowTable::HalfOpen),
            (&DB, back(), FlowTable::HalfOpen),
            (&APP, out(), FlowTable::Established),
            (&DB, back(), FlowTable::Established),
        ] {
            send(&backend, host, frame).expect("passes");
            assert_eq!(flow(&backend, family, 17).expect("a flow").1, expected);
        }
        for _ in 0..3 {
            send(&backend, &APP, APP.to(&DB, family).echo_request(7, b"")).expect("passes");
            send(&backend, &DB, DB.to(&APP, family).echo_reply(7, b"")).expect("passes");
            assert_eq!(backend.memory.flow_count(FlowTable::HalfOpen), 1);
        }
    }
}

#[test]
fn expiry_removes_what_is_over_and_nothing_else() {
    let backend = backend("allow app -> db\n");
    for port in 0..10 {
        send(&backend, &APP, APP.to(&DB, Family::V4).udp(port, 53, b"")).expect("passes");
        if port < 4 {
            send(&backend, &DB, DB.to(&APP, Family::V4).udp(53, port, b"")).expect("passes");
            send(&backend, &APP, APP.to(&DB, Family::V4).udp(port, 53, b"")).expect("passes");
        }
    }
    let later = |seconds: u64| backend.now + seconds * 1_000_000_000;
    assert_eq!(backend.memory.expire(later(29)), 0);
    assert_eq!(backend.memory.expire(later(31)), 6);
    assert_eq!(backend.memory.flow_count(FlowTable::Established), 4);
    assert_eq!(backend.memory.expire(later(121)), 4);
}

/// One end of a simulated connection. It keeps to RFC 9293: sends inside of the window it was given, never takes back
/// window it gave, and takes in-order data only.
#[derive(Clone, Debug)]
struct End {
    next: u32,
    unacknowledged: u32,
    /// Up to where the peer lets it send.
    limit: u32,
    received: u32,
    /// Up to where it lets the peer send.
    promised: u32,
    scale: u8,
}

/// A segment on its way: sequence, length, acknowledgement, up to where the sender lets the peer send.
#[derive(Clone, Copy, Debug)]
struct Flying {
    to_client: bool,
    sequence: u32,
    length: u32,
    acknowledged: u32,
    edge: u32,
}

const fn after(a: u32, b: u32) -> bool {
    b.wrapping_sub(a).cast_signed() < 0
}

impl End {
    /// What it has to say now: acknowledgement, and a window of about `wish` bytes that keeps the promise.
    fn window(&mut self, wish: u32) -> u16 {
        let unit = 1u32 << self.scale;
        let kept = self.promised.wrapping_sub(self.received).div_ceil(unit);
        let field = (wish / unit).max(kept).min(65_535);
        let edge = self.received.wrapping_add(field * unit);
        if after(edge, self.promised) {
            self.promised = edge;
        }
        field as u16
    }

    fn take(&mut self, segment: &Flying) {
        if segment.sequence == self.received {
            self.received = self.received.wrapping_add(segment.length);
        }
        if after(segment.acknowledged, self.unacknowledged) {
            self.unacknowledged = segment.acknowledged;
        }
        if after(segment.edge, self.limit) {
            self.limit = segment.edge;
        }
    }
}

struct Session {
    backend: MemoryBackend,
    family: Family,
    ends: [End; 2],
    flying: Vec<Flying>,
}

impl Session {
    fn open(family: Family, numbers: [u32; 2], scales: [Option<u8>; 2], windows: [u16; 2]) -> Self {
        let backend = backend("allow app -> db\n");
        let scaled = |segment: Tcp, shift: Option<u8>| shift.map_or(segment.clone(), |shift| segment.scale(shift));
        let [c, s] = numbers;
        let syn = scaled(client(family, SYN, c, 0), scales[0]).window(windows[0]);
        send(&backend, &APP, syn.build()).expect("SYN");
        let syn_ack = scaled(server(family, SYN | ACK, s, c.wrapping_add(1)), scales[1]).window(windows[1]);
        send(&backend, &DB, syn_ack.build()).expect("SYN-ACK");
        let both = scales[0].is_some() && scales[1].is_some();
        let end = |own: u32, peer: u32, scale: Option<u8>, window: u16, peer_window: u16| End {
            next: own.wrapping_add(1),
            unacknowledged: own.wrapping_add(1),
            limit: own.wrapping_add(1).wrapping_add(u32::from(peer_window)),
            received: peer.wrapping_add(1),
            promised: peer.wrapping_add(1).wrapping_add(u32::from(window)),
            scale: if both { scale.unwrap_or(0) } else { 0 },
        };
        let ends = [end(c, s, scales[0], windows[0], windows[1]), end(s, c, scales[1], windows[1], windows[0])];
        let mut session = Self { backend, family, ends, flying: Vec::new() };
        session.emit(0, 0, 0, 1).expect("ACK");
        session
    }

    /// Lets one end send `length` bytes that begin `offset` bytes behind what is acknowledged.
    fn emit(&mut self, who: usize, offset: u32, length: u32, wish: u32) -> Result<(), DropReason> {
        let end = &mut self.ends[who];
        let sequence = end.unacknowledged.wrapping_add(offset);
        let window = end.window(wish);
        let edge = end.received.wrapping_add(u32::from(window) << end.scale);
        let acknowledged = end.received;
        let behind = sequence.wrapping_add(length);
        if after(behind, end.next) {
            end.next = behind;
        }
        self.flying.push(Flying { to_client: who == 1, sequence, length, acknowledged, edge });
        let (host, segment) = if who == 0 {
            (APP, client(self.family, ACK, sequence, acknowledged))
        } else {
            (DB, server(self.family, ACK, sequence, acknowledged))
        };
        send(&self.backend, &host, segment.window(window).payload(&vec![0; length as usize]).build())
    }

    /// One thing that happens on the way.
    fn act(&mut self, (action, number): (u8, u32)) -> Result<(), DropReason> {
        let who = usize::from(action & 1);
        let end = &self.ends[who];
        let flight = end.next.wrapping_sub(end.unacknowledged);
        let room = end.limit.wrapping_sub(end.next);
        let room = if after(end.next, end.limit) { 0 } else { room };
        let wish = number % 300_000;
        match action >> 1 {
            // New data, as much as the window allows.
            0..=2 => self.emit(who, flight, room.min(number % 1_400), wish),
            // New data behind a burst that was lost before it came to vfw.
            3 => {
                let lost = (number % 20_000).min(room);
                self.emit(who, flight + lost, (room - lost).min(700), wish)
            }
            // Some of what was sent, again.
            4 if flight > 0 => {
                let offset = number % flight;
                self.emit(who, offset, (flight - offset).min(1_400), wish)
            }
            4 | 5 => self.emit(who, flight, 0, wish),
            // A segment is lost between vfw and its receiver.
            6 if !self.flying.is_empty() => {
                self.flying.swap_remove(number as usize % self.flying.len());
                Ok(())
            }
            // A segment arrives, in whatever order.
            _ if !self.flying.is_empty() => {
                let segment = self.flying.remove(number as usize % self.flying.len());
                self.ends[usize::from(!segment.to_client)].take(&segment);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn scale() -> impl Strategy<Value = Option<u8>> {
    prop_oneof![Just(None), (0u8..=14).prop_map(Some)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is lost, repeated or reordered on the way: an honest segment always passes.
    #[test]
    fn honest_connections_are_never_cut(
        v4: bool,
        numbers: [u32; 2],
        scales in [scale(), scale()],
        windows in [1u16.., 1u16..],
        actions in prop::collection::vec((0u8..24, any::<u32>()), 1..200),
    ) {
        let family = if v4 { Family::V4 } else { Family::V6 };
        let mut session = Session::open(family, numbers, scales, windows);
        for (number, action) in actions.into_iter().enumerate() {
            let done = session.act(action);
            prop_assert_eq!(done, Ok(()), "action {} {:?} {:?}", number, action, session.ends);
        }
    }

    /// Segments of a stranger who knows addresses and ports but no numbers: what passes is near the window, and whatever
    /// he sends, the honest ends go on.
    #[test]
    fn blind_segments_far_from_the_window_are_refused(
        numbers: [u32; 2],
        distance in 300_000u32..4_000_000_000,
        by_client: bool,
        flags in prop::sample::select(vec![ACK, FIN, RST, flag::RST, ACK | flag::PSH, SYN | ACK]),
    ) {
        let mut session = Session::open(Family::V4, numbers, [None, None], [65_535, 65_535]);
        let end = session.ends[usize::from(!by_client)].clone();
        let (seq, ack) = (end.next.wrapping_add(distance), end.received);
        let (host, segment) =
            if by_client { (APP, client(Family::V4, flags, seq, ack)) } else { (DB, server(Family::V4, flags, seq, ack)) };
        prop_assert!(send(&session.backend, &host, segment.payload(b"x").build()).is_err());
        prop_assert_eq!(session.emit(0, 0, 100, 60_000), Ok(()));
        prop_assert_eq!(session.emit(1, 0, 100, 60_000), Ok(()));
        let state = flow(&session.backend, Family::V4, 6).and_then(|(flow, _)| flow.state());
        prop_assert_eq!(state, Some(FlowState::Established));
    }

    /// Only a SYN begins a flow, and only what the rules allow.
    #[test]
    fn nothing_but_an_allowed_syn_opens(flags in 0u8..64, seq: u32, ack: u32, from_db: bool) {
        let backend = backend("allow app -> db  service tcp\n");
        let (host, segment) =
            if from_db { (DB, server(Family::V6, flags, seq, ack)) } else { (APP, client(Family::V6, flags, seq, ack)) };
        let passed = send(&backend, &host, segment.build()).is_ok();
        let syn = flags & (SYN | ACK | flag::RST | flag::FIN) == SYN;
        prop_assert_eq!(passed, syn && !from_db);
        prop_assert_eq!(backend.memory.flow_count(FlowTable::HalfOpen), usize::from(passed));
        prop_assert_eq!(backend.memory.flow_count(FlowTable::Established), 0);
    }
}
