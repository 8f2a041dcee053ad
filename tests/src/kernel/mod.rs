//! The kernel back ends under scenarios: the real programs and maps, by `BPF_PROG_TEST_RUN` and over veth.
//!
//! One loaded firewall plays many scenarios: the verifier takes a second. Between two of them rules, flows and
//! neighbours are replaced; counters are read as differences. Time passes by moving the ends of flows closer.

mod doomed;
mod engine;
mod network;
mod test_run;
mod veth;

use std::collections::BTreeMap;
use std::net::IpAddr;

use aya::maps::{Array, HashMap, MapData};
use firewall_core::Address;
use firewall_core::conntrack::{FLOW_BYTES, FLOW_KEY_BYTES, Flow};
use firewall_core::event::{Event, PuntHeader, Topic};
use firewall_core::limit::WORKS;
use firewall_core::tables::{Direction, FragmentKey, FragmentPorts, NO_ZONE, NeighbourKey, NeighbourWord};
use firewall_core::{DropReason, PuntTask};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use vfw::backend::kernel::{Events, Kernel, PuntedFrame, Punts};
use vfw::compile::{Image, Link, compile};
use vfw::config::{Capacity, Config};
use vfw::lang::{SourceFile, load};
use zerocopy::{FromBytes, IntoBytes};

pub use doomed::Doomed;
pub use engine::Engine;
pub use test_run::TestRun;
pub use veth::Veth;

use crate::packet::Mac;
use crate::scenario::{Count, Counters, Outcome, Scenario, ZONES};

/// Stands for no policy.
const NOTHING: &str = "zone nothing { interface eth1  address 10.0.10.1/24 }\n";

/// The interface of each zone of the topology.
const INTERFACE_OF_ZONE: [&str; 7] = ["eth1", "eth2", "eth3", "eth4", "eth4", "eth5", "eth6"];

/// A loaded firewall that can be given one policy after another.
pub struct Firewall {
    /// Programs and maps.
    pub kernel: Kernel,
    /// Frames to resolve, frames to report.
    punts: [Punts; 2],
    /// What was told of drops.
    drops: Events,
    links: Vec<Link>,
    config: Config,
    /// The policy in force.
    image: Option<Image>,
    zones: u16,
    rules: u32,
    epoch: u32,
    /// What rules of policies counted that were replaced.
    carried: BTreeMap<u32, Count>,
    counted_before: Counters,
    neighbours: BTreeMap<(u16, IpAddr), (u32, u16)>,
}

impl Firewall {
    /// Loads the programs for the topology's zones on `links`; `tables` are the sizes of the half-open and the
    /// established table.
    pub fn load(links: Vec<Link>, tables: Option<(usize, usize)>) -> Self {
        let mut config = Config::default();
        if let Some((half_open, established)) = tables {
            config.flows.half_open = Capacity::clamped(half_open as u32);
            config.flows.established = Capacity::clamped(established as u32);
        }
        let image = image(&format!("{ZONES}default drop\n"), &config, &links);
        let mut kernel = Kernel::load(&image, &config).expect("loads");
        let punts = [PuntTask::Resolve, PuntTask::Report].map(|task| kernel.take_punts(task).expect("a ring"));
        let drops = kernel.take_events(Topic::Drop).expect("a ring");
        Self {
            kernel,
            punts,
            drops,
            links,
            config,
            image: None,
            zones: image.zones.len() as u16,
            rules: 0,
            epoch: 0,
            carried: BTreeMap::new(),
            counted_before: Counters::default(),
            neighbours: BTreeMap::new(),
        }
    }

    /// Lets XDP send out of the interface of each zone.
    fn set_devices(&mut self) {
        for (zone, interface) in INTERFACE_OF_ZONE.into_iter().enumerate() {
            let link = self.links.iter().find(|link| link.name == interface).expect("an interface");
            self.kernel.set_device(zone as u16, link.ifindex).expect("an interface");
        }
    }

    /// Puts the policy of a scenario in force, without flows, with its neighbours.
    pub fn begin(&mut self, scenario: &Scenario) {
        stay_on_one_cpu(scenario.tables.is_some());
        for (zone, address) in self.neighbours.keys().copied().collect::<Vec<_>>() {
            self.forget(zone, address);
        }
        let text = if scenario.policy.is_empty() { NOTHING } else { &scenario.policy };
        let mut image = image(text, &self.config, &self.links);
        if scenario.policy.is_empty() {
            image.settings.epoch = 0;
        }
        self.rules = image.rule_names.len() as u32;
        image.settings.rates = scenario.rates.unwrap_or(image.settings.rates);
        self.epoch = image.settings.epoch;
        self.carried.clear();
        self.kernel.publish(&image).expect("fits");
        self.image = Some(image);
        self.kernel.flows().expect("flow tables").clear().expect("clears");
        self.forget_fragments();
        self.change_buckets(|_| 0);
        while self.punted().is_some() {}
        self.take_drops();
        self.counted_before = Counters::default();
        self.counted_before = self.counters();
        for (zone, address, mac) in &scenario.neighbours {
            self.learn(*zone, *address, *mac);
        }
    }

    /// Puts another policy in force between two frames; flows stay.
    pub fn replace(&mut self, policy: &str) {
        for rule in 0..self.rules {
            let counter = self.kernel.rule_counter(rule).expect("a counter");
            let carried = self.carried.entry(rule).or_default();
            *carried = (carried.0 + counter.packets, carried.1 + counter.bytes);
        }
        let mut image = image(policy, &self.config, &self.links);
        self.epoch += 1;
        image.settings.epoch = self.epoch;
        self.rules = image.rule_names.len() as u32;
        self.kernel.publish(&image).expect("fits");
        self.image = Some(image);
    }

    /// What was counted since [`Self::begin`].
    pub fn counters(&self) -> Counters {
        let mut counters = Counters { rules: self.carried.clone(), ..Counters::default() };
        for rule in 0..self.rules {
            let counter = self.kernel.rule_counter(rule).expect("a counter");
            let carried = counters.rules.entry(rule).or_default();
            *carried = (carried.0 + counter.packets, carried.1 + counter.bytes);
        }
        for zone in (0..self.zones).chain([NO_ZONE]) {
            for reason in DropReason::ALL {
                let counter = self.kernel.drop_counter(zone, *reason).expect("a counter");
                counters.drops.insert((zone, *reason), (counter.packets, counter.bytes));
            }
            if zone != NO_ZONE {
                let count = |direction| {
                    let counter = self.kernel.zone_counter(zone, direction).expect("a counter");
                    (counter.packets, counter.bytes)
                };
                counters.zones_in.insert(zone, count(Direction::In));
                counters.zones_out.insert(zone, count(Direction::Out));
            }
        }
        difference(counters, &self.counted_before).without_zeros()
    }

    /// Lets flows and fragments age.
    pub fn advance(&mut self, nanos: u64) {
        type FlowMap<'a> = HashMap<&'a mut MapData, [u8; FLOW_KEY_BYTES], [u8; FLOW_BYTES]>;
        for name in ["ESTABLISHED", "HALF_OPEN"] {
            let map = self.kernel.ebpf_mut().map_mut(name).expect("a map");
            let mut map = FlowMap::try_from(map).expect("a flow table");
            let all: Vec<_> = map.iter().flatten().collect();
            for (key, bytes) in all {
                let flow = Flow::read_from_bytes(&bytes).expect("a flow");
                flow.expires.set(flow.expires.get().saturating_sub(nanos));
                let bytes: [u8; FLOW_BYTES] = zerocopy::transmute!(flow);
                map.insert(key, bytes, 0).expect("the same flow");
            }
        }
        self.change_buckets(|empty_at| if empty_at == 0 { 0 } else { empty_at - nanos.cast_signed() });
        self.change_fragments(|mut ports| {
            ports.expires = ports.expires.saturating_sub(nanos);
            Some(ports)
        });
    }

    /// Makes a neighbour known, or changes its MAC.
    pub fn learn(&mut self, zone: u16, address: IpAddr, mac: Mac) {
        let key = key(zone, address);
        if let Some((slot, generation)) = self.neighbours.get(&(zone, address)) {
            return self.kernel.change_neighbour(*slot, NeighbourWord::new(mac, *generation));
        }
        let slot =
            (0..u32::MAX).find(|slot| self.neighbours.values().all(|(used, _)| used != slot)).expect("a free slot");
        self.neighbours.insert((zone, address), (slot, 1));
        self.kernel.add_neighbour(slot, &key, NeighbourWord::new(mac, 1)).expect("room");
    }

    /// Forgets a neighbour.
    pub fn forget(&mut self, zone: u16, address: IpAddr) {
        if let Some((slot, _)) = self.neighbours.remove(&(zone, address)) {
            self.kernel.remove_neighbour(slot, &key(zone, address));
        }
    }

    fn forget_fragments(&mut self) {
        self.change_fragments(|_| None);
    }

    /// Changes the state of every bucket: the time at which it was empty, 0 for a full one.
    fn change_buckets(&mut self, change: impl Fn(i64) -> i64) {
        type BucketMap<'a> = Array<&'a mut MapData, [i64; WORKS]>;
        let map = self.kernel.ebpf_mut().map_mut("BUCKETS").expect("a map");
        let mut map = BucketMap::try_from(map).expect("buckets");
        for zone in (0..u32::from(self.zones)).chain([u32::from(NO_ZONE)]) {
            let buckets = map.get(&zone, 0).expect("a zone");
            map.set(zone, buckets.map(&change), 0).expect("a zone");
        }
    }

    fn change_fragments(&mut self, change: impl Fn(FragmentPorts) -> Option<FragmentPorts>) {
        type FragmentMap<'a> =
            HashMap<&'a mut MapData, [u8; size_of::<FragmentKey>()], [u8; size_of::<FragmentPorts>()]>;
        let map = self.kernel.ebpf_mut().map_mut("FRAGMENTS").expect("a map");
        let mut map = FragmentMap::try_from(map).expect("fragments");
        let all: Vec<_> = map.iter().flatten().collect();
        for (key, bytes) in all {
            match change(FragmentPorts::read_from_bytes(&bytes).expect("ports")) {
                Some(ports) => {
                    let mut bytes = [0; size_of::<FragmentPorts>()];
                    bytes.copy_from_slice(ports.as_bytes());
                    map.insert(key, bytes, 0).expect("the same entry");
                }
                None => map.remove(&key).expect("an entry"),
            }
        }
    }

    /// What was told of drops.
    pub fn take_drops(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.drops.take()).collect()
    }

    /// A frame that was punted, if one was.
    pub fn punted(&mut self) -> Option<PuntedFrame> {
        self.punts.iter_mut().find_map(Punts::take)
    }

    /// The verdict that the changes from `before` to `after`, a punted frame and a transmitted one tell of.
    pub fn outcome(
        &self,
        before: &Counters,
        after: &Counters,
        punted: Option<PuntedFrame>,
        transmitted: Option<Vec<u8>>,
    ) -> Outcome {
        let change = difference(after.clone(), before).without_zeros();
        if let Some(punted) = punted {
            let task = if punted.header.task == PuntTask::Resolve as u8 { PuntTask::Resolve } else { PuntTask::Report };
            let next_hop = punted.header.next_hop;
            let PuntHeader { from, to: zone, .. } = punted.header;
            return Outcome::Punt {
                task,
                from,
                reason: DropReason::from_code(punted.header.reason).expect("a reason"),
                zone,
                next_hop: (!next_hop.is_unspecified()).then(|| next_hop.into()),
                frame: punted.bytes,
            };
        }
        if let Some((_, reason)) = change.drops.keys().next() {
            return Outcome::Drop(*reason);
        }
        match (transmitted, change.zones_out.keys().next(), change.zones_in.keys().next()) {
            (Some(frame), Some(zone), _) => Outcome::Transmit { zone: *zone, reply: false, frame },
            (Some(frame), None, Some(zone)) => Outcome::Transmit { zone: *zone, reply: true, frame },
            (Some(_), None, None) => panic!("a frame that was not counted left"),
            (None, ..) => Outcome::Consume,
        }
    }
}

fn key(zone: u16, address: IpAddr) -> NeighbourKey {
    NeighbourKey { address: Address::from(address), zone: u32::from(zone) }
}

fn image(text: &str, config: &Config, links: &[Link]) -> Image {
    let loaded = load(&[SourceFile::new("scenario.fw", text)]).unwrap_or_else(|errors| panic!("{}", errors.summary()));
    compile(&loaded.policy, config, links).expect("compiles")
}

fn difference(mut after: Counters, before: &Counters) -> Counters {
    fn subtract<K: Ord>(after: &mut BTreeMap<K, Count>, before: &BTreeMap<K, Count>) {
        for (key, count) in after {
            let (packets, bytes) = before.get(key).copied().unwrap_or_default();
            *count = (count.0 - packets, count.1 - bytes);
        }
    }
    subtract(&mut after.rules, &before.rules);
    subtract(&mut after.zones_in, &before.zones_in);
    subtract(&mut after.zones_out, &before.zones_out);
    subtract(&mut after.drops, &before.drops);
    after
}

/// Keeps the calling thread on the CPU that it is on, or lets it go where it likes. Which flow of a full half-open table is
/// the oldest is exact for one CPU only: the kernel keeps a list for each.
fn stay_on_one_cpu(stay: bool) {
    let here = nix::sched::sched_getcpu().expect("a CPU");
    let mut cpus = CpuSet::new();
    for cpu in (0..CpuSet::count()).filter(|cpu| !stay || *cpu == here) {
        cpus.set(cpu).expect("a CPU");
    }
    sched_setaffinity(Pid::from_raw(0), &cpus).expect("a thread may choose its CPUs");
}
