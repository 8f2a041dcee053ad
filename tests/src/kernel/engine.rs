//! The engine in user space under scenarios: frames over veth, through the program in front, the sockets and the worker.
//!
//! The worker is stepped by the test, so that its chunks can be counted between two frames.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use firewall_core::PuntTask;
use firewall_core::event::{Event, Topic};
use vfw::backend::PolicyTables;
use vfw::backend::afxdp::sys::{Census, Socket};
use vfw::backend::afxdp::{
    EnginePolicy, EngineState, EngineTables, Letterbox, Plan, PortPlan, Sockets, Worker, mailbox,
};
use vfw::backend::kernel::UserSpace;
use vfw::clock;
use vfw::interface::Hook;

use super::test_run::with_tag;
use super::{Firewall, network};
use crate::packet::Mac;
use crate::raw_socket::RawSocket;
use crate::scenario::{Backend, Counters, INTERFACES, Outcome, Scenario};

/// The programs, attached in a new network namespace so that they hand over to an engine on each interface.
pub(super) fn attach(tables: Option<(usize, usize)>) -> (Firewall, Vec<RawSocket>, Vec<PortPlan>) {
    let (mut links, nics) = network::build();
    let mut plans = Vec::new();
    for (number, link) in links.iter_mut().enumerate() {
        link.port = Some(number as u16);
        let (name, ifindex, port, mtu) = (link.name.clone(), link.ifindex, number as u16, link.mtu);
        plans.push(PortPlan { name, ifindex, port, queues: 1, senders: 1, mtu, loses_uncopied: false });
    }
    let mut firewall = Firewall::load(links, tables);
    firewall.set_devices();
    for link in &firewall.links.clone() {
        firewall.kernel.attach(&link.name, link.ifindex, Hook::Xdp).expect("attaches");
    }
    (firewall, nics, plans)
}

/// How the engine works on them.
pub(super) fn plan() -> Plan {
    Plan { needs_zero_copy: false, cpus: Vec::new(), busy_poll: false, flows: 4096, fragments: 64 }
}

/// Programs and engine, with frames of the hosts' ends.
pub struct Engine {
    firewall: Firewall,
    worker: Worker<UserSpace, Arc<Socket>>,
    letters: Letterbox,
    nics: Vec<RawSocket>,
    /// Frames that the worker has taken since the start.
    received: usize,
}

/// How long a frame may take. Reached only when something is wrong, or when nothing at all is to happen.
const PATIENCE: Duration = Duration::from_millis(500);
/// After the frame was counted: how long what became of it may take to show.
const SETTLE: Duration = Duration::from_millis(3);

impl Engine {
    /// Loads and attaches the programs in a new network namespace, in which the calling thread stays, and opens the sockets.
    pub fn new(tables: Option<(usize, usize)>) -> Self {
        let (mut firewall, nics, plans) = attach(tables);
        let (mailbox, letters) = mailbox().expect("a mailbox");
        let plan = plan();
        let sockets = Sockets::open(&plans, &plan).expect("sockets").pop().expect("one queue, one worker");
        firewall.kernel.set_sockets(sockets.listening()).expect("room");
        let store = firewall.kernel.user_space(mailbox).expect("tables");
        let nothing = Arc::new(EnginePolicy { tables: PolicyTables::default(), slot: 0 });
        let state = Arc::new(EngineState::new(1, (plan.flows, plan.fragments), 0));
        let worker = sockets.worker(EngineTables::new(nothing, store, state));
        Self { firewall, worker, letters, nics, received: 0 }
    }

    /// Puts the policy of a scenario in force.
    pub fn begin(&mut self, scenario: &Scenario) {
        self.worker.tables().let_go(true);
        self.firewall.begin(scenario);
        self.follow_policy(true);
        for nic in &self.nics {
            while nic.receive().is_some() {}
        }
        self.step();
        for task in [PuntTask::Resolve, PuntTask::Report] {
            while self.letters.frame(task).is_some() {}
        }
        self.take_drops();
    }

    /// The engine follows the policy that the programs have; `anew`: as after a start.
    fn follow_policy(&mut self, anew: bool) {
        let tables = self.firewall.image.as_ref().map(PolicyTables::of).unwrap_or_default();
        let policy = Arc::new(EnginePolicy { tables, slot: self.firewall.kernel.slot() });
        self.worker.change(|tables| tables.set_policy(policy));
        if anew {
            self.worker.tables().fill_buckets();
        }
    }

    fn step(&mut self) {
        let work = self.worker.step(clock::now());
        self.received += work.received;
        assert_eq!(work.nonsense, 0, "entries of the kernel that make no sense");
    }

    /// Every chunk is where it belongs.
    fn check_chunks(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.step();
            let (census, chunks) = (self.worker.umem().census(), self.worker.umem().chunks() as usize);
            let Census { free, held, filled, sent } = census;
            assert_eq!((held, free + filled + sent), (0, chunks), "a chunk is lost: {census:?}");
            // The kernel gives a chunk back when whoever has the frame lets go of it.
            if sent == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "chunks do not come back: {census:?}");
        }
    }

    /// The interface and bytes of a frame that left, if one did.
    fn arrived(&self) -> Option<(usize, Vec<u8>)> {
        self.nics.iter().enumerate().find_map(|(at, nic)| nic.receive().map(|frame| (at, frame)))
    }
}

impl Backend for Engine {
    fn inject(&mut self, interface: &str, frame: &[u8], stripped_tag: Option<u16>) -> Outcome {
        let at = INTERFACES.iter().position(|known| known.name == interface).expect("an interface");
        let (before, received) = (self.firewall.counters(), self.received);
        self.nics[at].send(&with_tag(frame, stripped_tag)).expect("sends");
        let deadline = Instant::now() + PATIENCE;
        let mut counted_at = None;
        let outcome = loop {
            self.step();
            let after = self.firewall.counters();
            let letters = &self.letters;
            let by_engine = [PuntTask::Resolve, PuntTask::Report].into_iter().find_map(|task| letters.frame(task));
            let (punted, arrived) = (by_engine.or_else(|| self.firewall.punted()), self.arrived());
            let shows = punted.is_some() || arrived.is_some();
            if counted_at.is_none() && after != before {
                counted_at = Some(Instant::now());
            }
            let settled = counted_at.is_some_and(|at| at.elapsed() > SETTLE);
            if !shows && !settled && Instant::now() < deadline {
                continue;
            }
            let after = self.firewall.counters();
            if let Some((through, _)) = &arrived {
                let zone = after.zones_out.iter().find(|(zone, count)| before.zones_out.get(zone) != Some(count));
                let expected = zone.map(|(zone, _)| super::INTERFACE_OF_ZONE[usize::from(*zone)]);
                assert_eq!(
                    INTERFACES[*through].name,
                    expected.unwrap_or(interface),
                    "left through the wrong interface"
                );
            }
            break self.firewall.outcome(&before, &after, punted, arrived.map(|(_, frame)| frame));
        };
        self.check_chunks();
        let by_engine = match &outcome {
            // What goes on between two zones goes by the engine; vfw's own answers come from the programs.
            Outcome::Transmit { reply, .. } => Some(usize::from(!reply)),
            Outcome::Punt { task: PuntTask::Resolve, .. } => Some(1),
            // A frame that is denied or damaged ends in front of it, one that does not fit its flow in it.
            Outcome::Punt { .. } | Outcome::Consume => Some(0),
            Outcome::Drop(_) => None,
        };
        let taken = self.received - received;
        assert!(by_engine.is_none_or(|expected| expected == taken), "{taken} frames by the engine: {outcome:?}");
        outcome
    }

    fn counters(&mut self) -> Counters {
        self.firewall.counters()
    }

    fn advance(&mut self, nanos: u64) {
        // Time passes in the records of the kernel, to which all flows go back.
        self.worker.tables().let_go(true);
        self.firewall.advance(nanos);
        self.worker.tables().pass(nanos);
    }

    fn learn(&mut self, zone: u16, address: IpAddr, mac: Mac) {
        self.firewall.learn(zone, address, mac);
    }

    fn replace(&mut self, policy: &str) {
        self.firewall.replace(policy);
        self.follow_policy(false);
    }

    fn take_drops(&mut self) -> Vec<Event> {
        let by_engine = std::iter::from_fn(|| self.letters.event(Topic::Drop)).collect::<Vec<_>>();
        [self.firewall.take_drops(), by_engine].concat()
    }

    fn forget(&mut self, zone: u16, address: IpAddr) {
        self.firewall.forget(zone, address);
    }

    fn counted(&self, frame: &[u8], stripped_tag: Option<u16>) -> u64 {
        with_tag(frame, stripped_tag).len() as u64
    }
}
