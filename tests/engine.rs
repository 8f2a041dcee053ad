//! The engine's worker on rings of this process: what the kernel's records say of its flows, and what becomes of frames that
//! cannot leave.

use std::sync::Arc;

use firewall_core::conntrack::{Flow, FlowKey, FlowState, half_flag};
use firewall_core::tables::{FlowTable, NO_ZONE};
use firewall_core::{Address, DropReason};
use vfw::backend::PolicyTables;
use vfw::backend::afxdp::sys::{Census, Descriptor, Umem};
use vfw::backend::afxdp::{EnginePolicy, EngineState, EngineTables, Worker};
use vfw::backend::memory::{Limits, Memory};
use vfw::config::Config;
use vfw_tests::engine::{Adapter, MemoryStore, Silent};
use vfw_tests::memory::{START, image};
use vfw_tests::packet::flag;
use vfw_tests::scenario::{APP, DB, Family, Host, INTERFACES, ZONES};

const SECOND: u64 = 1_000_000_000;

struct Bed {
    worker: Worker<MemoryStore, Silent>,
    adapters: Vec<Adapter>,
    state: Arc<EngineState>,
    now: u64,
}

impl Bed {
    fn new(entries: u32, shared_until: u64) -> Self {
        let image = image(&format!("{ZONES}allow any -> any\n"), &Config::default());
        let memory = Memory::new(&image, Limits::of(&Config::default()));
        for host in [APP, DB] {
            let address: std::net::IpAddr = host.address(Family::V4).parse().expect("an address");
            memory.add_neighbour(host.zone(), address, host.mac);
        }
        let policy = Arc::new(EnginePolicy { tables: PolicyTables::of(&image), slot: 0 });
        let state = Arc::new(EngineState::new(1, (16, 16), shared_until));
        let tables = EngineTables::new(policy, MemoryStore::new(memory), Arc::clone(&state));
        let queues = (1..=INTERFACES.len() as u32).map(|index| Adapter::new(index, entries, entries).expect("rings"));
        let (adapters, queues) = queues.unzip();
        let mut worker = Worker::new(Umem::new(128, 2048).expect("memory"), queues, tables);
        worker.step(START);
        Self { worker, adapters, state, now: START }
    }

    fn arrive(&mut self, from: &Host, frame: &[u8]) {
        let at = INTERFACES.iter().position(|known| known.name == from.interface).expect("an interface");
        assert!(self.adapters[at].arrive(self.worker.umem_mut(), frame), "a chunk");
    }

    /// A frame through the worker; whether it left.
    fn passes(&mut self, from: &Host, frame: &[u8]) -> bool {
        self.arrive(from, frame);
        self.worker.step(self.now);
        let left: usize = self.adapters.iter_mut().map(|adapter| adapter.departed(self.worker.umem_mut()).len()).sum();
        self.adapters.iter_mut().for_each(Adapter::complete);
        left == 1
    }

    fn memory(&self) -> &Memory {
        &self.worker.tables().store().memory
    }

    /// The record outside of the connection between ports 40000 of APP and 5432 of DB.
    fn record(&self) -> (std::rc::Rc<Flow>, FlowTable) {
        let address = |host: &Host| host.address(Family::V4).parse::<std::net::IpAddr>().expect("an address").into();
        let (app, db): ((Address, u16), _) = ((address(&APP), 40_000), (address(&DB), 5_432));
        let (low, high) = if app.0.is_below(&db.0) { (app, db) } else { (db, app) };
        let key =
            FlowKey { low: low.0, high: high.0, low_port: low.1, high_port: high.1, protocol: 6, tag: 0, padding: 0 };
        let tables = [FlowTable::HalfOpen, FlowTable::Established].into_iter();
        let mut found = tables.filter_map(|table| self.memory().peek_flow(table, &key).map(|flow| (flow, table)));
        found.next().expect("a record")
    }

    fn open(&mut self) {
        for (by_client, flags, seq, ack) in
            [(true, flag::SYN, 100, 0), (false, flag::SYN | flag::ACK, 900, 101), (true, flag::ACK, 101, 901)]
        {
            assert!(self.segment(by_client, flags, seq, ack, b""));
        }
    }

    fn segment(&mut self, by_client: bool, flags: u8, seq: u32, ack: u32, payload: &[u8]) -> bool {
        let (from, segment) = if by_client {
            (APP, APP.to(&DB, Family::V4).tcp(40_000, 5_432))
        } else {
            (DB, DB.to(&APP, Family::V4).tcp(5_432, 40_000))
        };
        self.passes(&from, &segment.flags(flags).seq(seq).ack(ack).payload(payload).build())
    }
}

fn is_behind(flow: &Flow) -> bool {
    flow.halves.iter().all(|half| half.flags.get() & half_flag::BEHIND != 0)
}

#[test]
fn the_record_outside_is_good_enough_to_go_on_with() {
    let mut bed = Bed::new(16, 0);
    assert!(bed.segment(true, flag::SYN, 100, 0, b""));
    let (record, table) = bed.record();
    assert_eq!((record.state(), table, is_behind(&record)), (Some(FlowState::SynSent), FlowTable::HalfOpen, false));
    // A client that tries again with another number: the answer to it is checked exactly.
    assert!(bed.segment(true, flag::SYN, 500, 0, b""));
    assert!(bed.record().0.halves.iter().any(|half| half.end() == 501), "at each step of a handshake");
    assert!(bed.segment(false, flag::SYN | flag::ACK, 900, 501, b""));
    assert!(bed.segment(true, flag::ACK, 501, 901, b""));
    let (record, table) = bed.record();
    assert_eq!((record.state(), table), (Some(FlowState::Established), FlowTable::Established));
    assert!(is_behind(&record), "its windows are the engine's from here on");
    assert!(bed.segment(true, flag::ACK, 501, 901, &[7; 100]));
    let counted = |bed: &Bed| bed.record().0.halves.iter().map(|half| half.packets.get()).sum::<u64>();
    let before = counted(&bed);
    bed.now += 6 * SECOND;
    assert!(bed.segment(false, flag::ACK, 901, 601, b""));
    assert!(counted(&bed) > before, "a record is never older than a while");
    assert!(!bed.segment(false, flag::ACK, 901, 5_000, b""), "nobody has sent that");
    bed.worker.tables().let_go(true);
    let (record, _) = bed.record();
    assert!(!is_behind(&record) && record.halves.iter().any(|half| half.end() == 601), "exact at a quiet end");
    // Followed again, exactly.
    assert!(!bed.segment(false, flag::ACK, 901, 5_000, b"") && bed.segment(false, flag::ACK, 901, 601, b""));
}

/// At its start the programs in the kernel may be at work on packets of the same connection still.
#[test]
fn a_connection_that_comes_from_the_kernel_is_not_cut() {
    const FAR: u32 = 50_000_000;
    for (shared_until, passes) in [(START + SECOND, true), (0, false)] {
        let mut bed = Bed::new(16, shared_until);
        bed.open();
        bed.worker.tables().let_go(true);
        // The programs have moved the windows on, and the record that is read is older.
        assert_eq!(bed.segment(true, flag::ACK, FAR, FAR + 900, b""), passes);
    }
}

/// Under another policy the programs in the kernel may forward what the engine has followed: they know more of it from then on.
#[test]
fn what_the_programs_know_better_is_not_written_over() {
    let end = |bed: &Bed| bed.state.write_all(bed.worker.tables().store(), bed.now);
    let mut bed = Bed::new(16, 0);
    bed.open();
    assert!(bed.segment(true, flag::ACK, 101, 901, &[7; 100]));
    let is_known = |bed: &Bed| bed.record().0.halves.iter().any(|half| half.end() == 201);
    assert!(!is_known(&bed));
    bed.now += 6 * SECOND;
    end(&bed);
    assert!(is_known(&bed), "a flow that rests and whose record is older is written");
    let later = bed.now + 500_000 * SECOND;
    let (record, _) = bed.record();
    record.epoch.set(record.epoch.get() + 1);
    record.expires.set(later);
    bed.now += 6 * SECOND;
    end(&bed);
    assert_eq!(bed.record().0.expires.get(), later);
    assert_eq!(bed.worker.tables().followed(), 0, "its next packet reads the record");
}

#[test]
fn a_frame_that_cannot_leave_is_dropped_and_counted() {
    const ENTRIES: u32 = 4;
    let mut bed = Bed::new(ENTRIES, 0);
    let datagram = APP.to(&DB, Family::V4).udp(1, 2, b"x");
    // Nobody empties the send ring.
    for _ in 0..=ENTRIES {
        bed.arrive(&APP, &datagram);
        bed.worker.step(bed.now);
    }
    let counters = bed.memory().counters();
    assert_eq!(counters.drops.get(&(APP.zone(), DropReason::Rewrite)).map(|counter| counter.packets), Some(1));
    assert!(counters.drops.keys().all(|(zone, _)| *zone != NO_ZONE));
    let Census { held, sent, .. } = bed.worker.umem().census();
    assert_eq!((held, sent), (0, ENTRIES as usize), "the chunk of the one that was dropped is free");
    assert!(bed.worker.is_sending());
}

/// The worker may sleep over them: the kernel would refuse them at each look.
#[test]
fn frames_for_a_link_that_is_down_have_time() {
    let mut bed = Bed::new(4, 0);
    let set_down = |bed: &Bed, is_down| bed.worker.queues().iter().for_each(|queue| queue.kick.is_down.set(is_down));
    set_down(&bed, true);
    bed.arrive(&APP, &APP.to(&DB, Family::V4).udp(1, 2, b"x"));
    bed.worker.step(bed.now);
    assert!(!bed.worker.is_sending());
    set_down(&bed, false);
    bed.worker.step(bed.now);
    assert!(bed.worker.is_sending(), "it is tried again");
    let left: usize = bed.adapters.iter_mut().map(|adapter| adapter.departed(bed.worker.umem_mut()).len()).sum();
    assert_eq!(left, 1);
}

/// What is taken together leaves one by one, each frame whole and in its place, whatever else is between them.
#[test]
fn frames_that_come_together_leave_in_their_order() {
    let mut bed = Bed::new(64, 0);
    let frame = |number: u16| {
        // One in five is damaged.
        let payload = vec![number as u8; usize::from(number) * 30];
        let mut frame = APP.to(&DB, Family::V4).udp(1_000 + number % 5, 2, &payload);
        if number % 5 == 3 {
            frame.truncate(20);
        }
        (payload, frame)
    };
    let numbers = 1..=40_u16;
    for number in numbers.clone() {
        bed.arrive(&APP, &frame(number).1);
        if number == 17 {
            let nowhere = Descriptor { address: u64::MAX, length: 60, options: 0 };
            bed.adapters[0].lie(nowhere);
        }
    }
    let work = bed.worker.step(bed.now);
    assert_eq!((work.received, work.nonsense), (40, 1));
    let at = INTERFACES.iter().position(|known| known.name == DB.interface).expect("an interface");
    let left = bed.adapters[at].departed(bed.worker.umem_mut());
    let whole: Vec<_> = numbers.map(frame).filter(|(_, frame)| frame.len() > 20).collect();
    assert_eq!(left.len(), whole.len());
    for (left, (payload, _)) in left.iter().zip(&whole) {
        assert!(left.ends_with(payload) && left.len() < payload.len() + 60, "{left:?}");
    }
    bed.adapters.iter_mut().for_each(Adapter::complete);
    bed.worker.step(bed.now);
    let Census { held, sent, .. } = bed.worker.umem().census();
    assert_eq!((held, sent), (0, 0));
}
