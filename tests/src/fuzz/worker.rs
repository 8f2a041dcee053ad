//! Frames through a whole step of the engine's worker, from ring to ring, beside the pipeline in memory: each frame leaves once
//! or is dropped once, with the same bytes and counters, and every chunk is where it belongs.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use firewall_core::{PuntTask, Verdict};
use vfw::backend::PolicyTables;
use vfw::backend::afxdp::sys::{Census, Descriptor, Umem};
use vfw::backend::afxdp::{EnginePolicy, EngineState, EngineTables, Worker};
use vfw::backend::memory::{Limits, Memory, MemoryFrame};
use vfw::compile::Image;
use vfw::config::Config;

use super::input::{Operation, decode};
use super::pipeline::{add_neighbours, repair};
use crate::engine::{Adapter, MemoryStore, Punted, Silent};
use crate::memory::{MemoryBackend, image};
use crate::scenario::{Backend as _, INTERFACES, ZONES};

const POLICIES: [&str; 2] =
    ["allow any -> any  log\n", "allow app -> db  service udp, tcp, ping\nallow lab -> db  service udp\n"];
/// No flow leaves the tables by itself: which one would is another question.
const LIMITS: Limits = Limits { half_open: 4096, established: 4096, fragments: 16 };
/// Flows that the worker follows: few, so that they come and go.
const FOLLOWED: usize = 4;
const ENTRIES: u32 = 32;
const TO_FILL: u32 = 8;
const CHUNKS: u32 = 96;

static IMAGES: LazyLock<Vec<Image>> = LazyLock::new(|| {
    let compiled = POLICIES.iter().map(|rules| image(&format!("{ZONES}{rules}"), &Config::default()));
    compiled.collect()
});

struct Run {
    expected: MemoryBackend,
    worker: Worker<MemoryStore, Silent>,
    adapters: Vec<Adapter>,
    punted: Punted,
    nonsense: usize,
    waited: Option<(u16, IpAddr)>,
}

pub(super) fn run(bytes: &[u8]) {
    let (policy, operations) = decode(bytes);
    let mut run = Run::new(&IMAGES[usize::from(policy) % IMAGES.len()]);
    for (number, operation) in operations.iter().enumerate() {
        run.step(operation, number.wrapping_mul(31).wrapping_add(operation.frame.len()));
    }
    run.end();
}

impl Run {
    fn new(image: &Image) -> Self {
        let [expected, own] = [(); 2].map(|()| Memory::new(image, LIMITS));
        add_neighbours(&expected);
        add_neighbours(&own);
        let store = MemoryStore::new(own);
        let punted = Rc::clone(&store.punted);
        let policy = Arc::new(EnginePolicy { tables: PolicyTables::of(image), slot: 0 });
        let state = Arc::new(EngineState::new(1, (FOLLOWED, LIMITS.fragments), 0));
        let tables = EngineTables::new(policy, store, state);
        let queues = (1..=INTERFACES.len() as u32).map(|index| Adapter::new(index, ENTRIES, TO_FILL).expect("rings"));
        let (adapters, queues) = queues.unzip();
        let worker = Worker::new(Umem::new(CHUNKS, 2048).expect("memory"), queues, tables);
        let mut run =
            Self { expected: MemoryBackend::around(expected), worker, adapters, punted, nonsense: 0, waited: None };
        run.worker.step(0);
        run
    }

    fn step(&mut self, operation: &Operation, chance: usize) {
        self.expected.now = self.expected.now.saturating_add(operation.nanos());
        if operation.learn
            && let Some((zone, address)) = self.waited.take()
        {
            let mac = [2, 0, 0, 9, 9, 9];
            self.expected.learn(zone, address, mac);
            self.worker.tables().store().memory.add_neighbour(zone, address, mac);
        }
        let mut frame = operation.frame.clone();
        if operation.repair {
            repair(&mut frame);
        }
        self.disturb(chance);
        let at = usize::from(operation.interface) % INTERFACES.len();
        if !self.adapters[at].arrive(self.worker.umem_mut(), &frame) {
            // The kernel has no chunk for it: it never comes here.
            self.adapters.iter_mut().for_each(Adapter::complete);
            self.worker.step(self.expected.now);
            return self.check_chunks();
        }
        let mut memory = MemoryFrame::new(frame);
        let verdict = self.expected.process(INTERFACES[at].name, &mut memory);
        let work = self.worker.step(self.expected.now);
        assert_eq!((work.received, work.nonsense), (1, std::mem::take(&mut self.nonsense)));
        self.check_outcome(verdict, &memory.bytes);
        if !chance.is_multiple_of(5) {
            self.adapters.iter_mut().for_each(Adapter::complete);
        }
        self.check_chunks();
    }

    /// Entries that no kernel should write, which must cost nothing but themselves.
    fn disturb(&mut self, chance: usize) {
        let at = chance % self.adapters.len();
        let address = (chance as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        match chance % 11 {
            // Outside of the memory.
            3 => self.adapters[at].lie(Descriptor { address: address | 1 << 40, length: 60, options: 0 }),
            // The first part of a frame that does not go on: its end is another frame's.
            4 => self.adapters[at].lie(Descriptor { address: u64::MAX, length: u32::MAX, options: 0 }),
            // A chunk that nobody has sent, or that was given back before.
            7 => self.adapters[at].lie_of_completion(address | 1 << 40),
            _ => return,
        }
        self.nonsense += 1;
    }

    /// The frame is where it has to be, once, and nowhere else.
    fn check_outcome(&mut self, verdict: Verdict, bytes: &[u8]) {
        let mut left = Vec::new();
        for (number, adapter) in self.adapters.iter_mut().enumerate() {
            let frames = adapter.departed(self.worker.umem_mut());
            left.extend(frames.into_iter().map(|frame| (number as u32 + 1, frame)));
        }
        let punted = std::mem::take(&mut *self.punted.borrow_mut());
        match verdict {
            Verdict::Transmit(egress) => {
                let zone = self.worker.tables().policy().tables.zone(egress.zone).expect("a zone");
                assert_eq!(left, [(zone.ifindex, bytes.to_vec())]);
                assert!(punted.is_empty());
            }
            Verdict::Punt(punt) => {
                let [(header, frame)] = punted.as_slice() else { panic!("{} frames for the daemon", punted.len()) };
                assert_eq!((header.task, header.from, header.to), (punt.task as u8, punt.from, punt.to));
                let expected = if punt.task == PuntTask::Report { &bytes[..bytes.len().min(1_280)] } else { bytes };
                assert_eq!(frame, expected);
                assert!(left.is_empty());
                if punt.task == PuntTask::Resolve {
                    self.waited = Some((punt.to, header.next_hop.into()));
                }
            }
            Verdict::Drop(_) | Verdict::Consume => assert!(left.is_empty() && punted.is_empty(), "{verdict:?}"),
        }
        let counted = self.worker.tables().store().memory.counters();
        assert_eq!(counted, self.expected.memory.counters(), "{verdict:?}");
    }

    fn check_chunks(&mut self) {
        let filled: usize = self.adapters.iter_mut().map(Adapter::filled).sum();
        let in_flight: usize = self.adapters.iter().map(Adapter::in_flight).sum();
        let Census { free, held, filled: lent, sent } = self.worker.umem().census();
        assert_eq!((held, lent, free + lent + sent), (0, filled, CHUNKS as usize));
        // What was given back is in the completion ring until the next step.
        assert!(sent >= in_flight);
    }

    /// At the end nothing is on its way any more.
    fn end(&mut self) {
        self.adapters.iter_mut().for_each(Adapter::complete);
        self.worker.step(self.expected.now);
        self.check_chunks();
        let full = TO_FILL as usize * self.adapters.len();
        let census = self.worker.umem().census();
        assert_eq!(census, Census { free: CHUNKS as usize - full, held: 0, filled: full, sent: 0 });
    }
}
