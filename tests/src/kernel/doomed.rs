//! An engine whose worker panics at the first frame: what becomes of the next one.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use firewall_core::conntrack::{Flow, FlowKey};
use firewall_core::event::{Event, PuntHeader, Topic};
use firewall_core::tables::{Direction, FlowTable, NeighbourKey, NeighbourWord};
use firewall_core::verdict::DropReason;
use vfw::backend::PolicyTables;
use vfw::backend::afxdp::{Engine, EngineError, EnginePolicy, Store};

use super::{Firewall, engine};
use crate::raw_socket::RawSocket;
use crate::scenario::{INTERFACES, Scenario};

/// How long a frame may take, and a worker to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Programs, and the engine.
pub struct Doomed {
    firewall: Firewall,
    nics: Vec<RawSocket>,
    engine: Engine,
}

impl Doomed {
    /// Under the policy of this scenario, in a new network namespace, in which the calling thread stays.
    pub fn new(scenario: &Scenario) -> Self {
        let (mut firewall, nics, ports) = engine::attach(None);
        firewall.begin(scenario);
        let tables = firewall.image.as_ref().map(PolicyTables::of).unwrap_or_default();
        let policy = Arc::new(EnginePolicy { tables, slot: firewall.kernel.slot() });
        let engine = Engine::start(ports, &engine::plan(), &policy, || Ok::<_, EngineError>(Broken)).expect("starts");
        firewall.kernel.set_sockets(engine.listening()).expect("room");
        Self { firewall, nics, engine }
    }

    /// Sends a frame in; whether one comes out.
    pub fn passes(&self, interface: &str, frame: &[u8]) -> bool {
        let at = INTERFACES.iter().position(|known| known.name == interface).expect("an interface");
        self.nics[at].send(frame).expect("sends");
        soon(|| self.nics.iter().any(|nic| nic.receive().is_some()))
    }

    /// Whether the engine ends.
    pub fn ends(&self) -> bool {
        soon(|| !self.engine.is_running())
    }

    /// Frames that the programs have let out.
    pub fn forwarded(&self) -> u64 {
        self.firewall.counters().zones_out.values().map(|(packets, _)| packets).sum()
    }
}

fn soon(mut what: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if what() {
            return true;
        }
        thread::sleep(Duration::from_millis(1));
    }
    false
}

/// A store that panics when it is asked.
struct Broken;

impl Store for Broken {
    fn flow(&self, _: FlowTable, _: &FlowKey) -> Option<Flow> {
        panic!("on purpose")
    }

    fn add(&self, _: &FlowKey, _: &Flow) -> bool {
        false
    }

    fn confirm(&self, _: &FlowKey, _: &Flow) -> bool {
        false
    }

    fn write(&self, _: FlowTable, _: &FlowKey, _: &Flow) -> bool {
        false
    }

    fn remove(&self, _: FlowTable, _: &FlowKey) {}

    fn neighbour_slot(&self, _: &NeighbourKey) -> Option<u32> {
        None
    }

    fn neighbour(&self, _: u32) -> NeighbourWord {
        NeighbourWord(0)
    }

    fn count_rule(&self, _: u32, _: u32, _: u32, _: u64) {}

    fn count_zone(&self, _: u16, _: Direction, _: u32) {}

    fn count_drop(&self, _: u16, _: DropReason, _: u32) {}

    fn count_lost(&self, _: u16, _: Topic) {}

    fn tell(&self, _: Topic, _: &Event) -> bool {
        false
    }

    fn punt(&self, _: &PuntHeader, _: &[u8]) -> bool {
        false
    }
}
