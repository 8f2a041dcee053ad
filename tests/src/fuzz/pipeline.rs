//! Frames, one after the other, through the pipeline in memory.

use std::cell::RefCell;
use std::sync::LazyLock;

use etherparse::checksum::Sum16BitWords;
use firewall_core::tables::NO_ZONE;
use firewall_core::{DropReason, PuntTask, Verdict};
use vfw::backend::memory::{Limits, Memory, MemoryFrame};
use vfw::compile::Image;
use vfw::config::Config;
use vfw::lang::{Policy, SourceFile, load};

use super::input::{Operation, decode, encode};
use super::oracle::Oracle;
use crate::memory::{MemoryBackend, image};
use crate::packet::{Ethernet, Mac, network, routed};
use crate::scenario::{Backend as _, Counters, INTERFACES, Scenario, Step, ZONES, scenarios};

/// Rules to fuzz under, behind the zones of the scenarios, and the sizes of the half-open and the established table.
const POLICIES: [(&str, (usize, usize)); 4] = [
    ("allow app -> db  service udp, tcp, ping\nallow lab -> db  service udp\n", (64, 64)),
    ("allow any -> any\n", (64, 64)),
    ("allow any -> any  service tcp, udp, ping, proto 47  log\n", (2, 1)),
    (
        "drop app -> any  from 10.0.10.0/28, fd00:10::/124  service tcp 22, udp 53\nreject db -> lab\ndefault allow\n",
        (8, 4),
    ),
];

struct Rules {
    policy: Policy,
    image: Image,
    limits: Limits,
}

static RULES: LazyLock<Vec<Rules>> = LazyLock::new(|| {
    let config = Config::default();
    let compiled = POLICIES.iter().map(|(rules, (half_open, established))| {
        let text = format!("{ZONES}{rules}");
        let loaded = load(&[SourceFile::new("fuzz.fw", text.clone())]).expect("loads");
        let limits = Limits { half_open: *half_open, established: *established, fragments: 16 };
        Rules { policy: loaded.policy, image: image(&text, &config), limits }
    });
    compiled.collect()
});

thread_local!(static SCENARIO: RefCell<Option<Scenario>> = const { RefCell::new(None) });

/// The neighbours of the scenarios' topology.
pub(super) fn add_neighbours(memory: &Memory) {
    SCENARIO.with_borrow_mut(|scenario| {
        let scenario = scenario.get_or_insert_with(|| scenarios().swap_remove(0));
        for (zone, address, mac) in &scenario.neighbours {
            memory.add_neighbour(*zone, *address, *mac);
        }
    });
}

/// One input in progress.
struct Run<'a> {
    backend: MemoryBackend,
    oracle: Oracle<'a>,
    zones: Vec<(Mac, u16)>,
    expected: Counters,
    rule_hits: u64,
    /// The neighbour that a frame waited for.
    waited: Option<(u16, std::net::IpAddr)>,
}

pub(super) fn run(bytes: &[u8]) {
    let (policy, operations) = decode(bytes);
    let rules = &RULES[usize::from(policy) % RULES.len()];
    let memory = Memory::new(&rules.image, rules.limits);
    add_neighbours(&memory);
    let zones = memory.zones().iter().map(|zone| (zone.mac, zone.vlan)).collect();
    let mut run = Run {
        backend: MemoryBackend::around(memory),
        oracle: Oracle::new(&rules.policy),
        zones,
        expected: Counters::default(),
        rule_hits: 0,
        waited: None,
    };
    for operation in &operations {
        run.step(operation);
    }
}

impl Run<'_> {
    fn step(&mut self, operation: &Operation) {
        self.backend.now = self.backend.now.saturating_add(operation.nanos());
        if operation.learn
            && let Some((zone, address)) = self.waited.take()
        {
            self.backend.learn(zone, address, [2, 0, 0, 9, 9, 9]);
        }
        let mut came = operation.frame.clone();
        if operation.repair {
            repair(&mut came);
        }
        let interface = INTERFACES.get(usize::from(operation.interface)).map_or("none", |interface| interface.name);
        let from = self.oracle.ingress(interface, &came, operation.tag);
        self.oracle.came_in(&came);
        let gso_size = u32::from(operation.gso.unwrap_or(0));
        let mut frame = MemoryFrame { bytes: came.clone(), stripped_tag: operation.tag, gso_size };
        let verdict = self.backend.process(interface, &mut frame);
        self.check(&came, &frame.bytes, from, &verdict);
        self.count(came.len() as u64, from.unwrap_or(NO_ZONE), &verdict);
    }

    /// What the verdict says of the frame must be so.
    fn check(&mut self, came: &[u8], left: &[u8], from: Option<u16>, verdict: &Verdict) {
        match verdict {
            Verdict::Transmit(egress) if egress.reply => {
                assert_eq!(Some(egress.zone), from, "answers go back");
                self.check_link(left, egress.zone);
                assert_eq!(left.get(..6).map(|to| to[0] & 1 == 0 || to[0] == 0x33), Some(true), "to one host");
            }
            Verdict::Transmit(egress) => {
                assert_ne!(left[..6], [0; 6], "a neighbour that is not known");
                self.check_forwarded(came, left, from, egress.zone);
            }
            Verdict::Punt(punt) if punt.task == PuntTask::Resolve => {
                assert_eq!(left[..6], [0; 6], "a neighbour that is known");
                assert_eq!(Some(punt.from), from, "errors go back");
                self.check_forwarded(came, left, from, punt.to);
                self.waited = Some((punt.to, self.backend.packet.get().next_hop.into()));
            }
            Verdict::Drop(DropReason::Policy | DropReason::Reject) => {
                self.oracle.refused(came, from.expect("rules see zones"));
            }
            Verdict::Punt(punt) => {
                assert!(punt.reason.is_reported());
                assert_eq!((Some(punt.from), punt.to), (from, punt.from), "reports go back");
                assert_eq!(left, came, "reports quote what came");
                if matches!(punt.reason, DropReason::TtlExceeded | DropReason::TooBig) {
                    self.oracle.judged(came, punt.from);
                }
            }
            Verdict::Drop(_) | Verdict::Consume => {}
        }
    }

    fn check_link(&self, left: &[u8], zone: u16) {
        let (mac, vlan) = self.zones[usize::from(zone)];
        assert_eq!(left[6..12], mac, "sent by the gateway");
        let tag = (left[12..14] == [0x81, 0]).then(|| u16::from_be_bytes([left[14], left[15]]));
        assert_eq!(tag, (vlan != 0).then_some(vlan), "the tag of its zone");
    }

    fn check_forwarded(&mut self, came: &[u8], left: &[u8], from: Option<u16>, to: u16) {
        let from = from.expect("frames of no zone do not pass");
        let (gateway, _) = self.zones[usize::from(from)];
        assert_eq!(came[..6], gateway, "only what is sent to the gateway is forwarded");
        self.oracle.forwarded(came, from, to);
        self.check_link(left, to);
        let (mac, vlan) = self.zones[usize::from(to)];
        let link = Ethernet::new(mac, left[..6].try_into().expect("six bytes"));
        let expected = routed(came, &if vlan == 0 { link } else { link.vlan(vlan) });
        assert_eq!(left.len(), expected.len());
        let changed: Vec<usize> = (0..left.len()).filter(|&at| left[at] != expected[at]).collect();
        // Where checksums are left to hardware, vfw finishes them: two bytes of the transport header.
        let room = if INTERFACES.iter().any(|known| known.partial_checksums && known.mac == gateway) { 2 } else { 0 };
        assert!(changed.len() <= room && changed.windows(2).all(|pair| pair[1] == pair[0] + 1), "changed: {changed:?}");
    }

    /// Every frame is counted once, as what became of it.
    fn count(&mut self, bytes: u64, from: u16, verdict: &Verdict) {
        let add = |count: &mut (u64, u64)| *count = (count.0 + 1, count.1 + bytes);
        let expected = &mut self.expected;
        if from != NO_ZONE {
            add(expected.zones_in.entry(from).or_default());
        }
        match verdict {
            Verdict::Consume => {}
            Verdict::Transmit(egress) if egress.reply => {}
            Verdict::Transmit(egress) => add(expected.zones_out.entry(egress.zone).or_default()),
            Verdict::Punt(punt) if punt.task == PuntTask::Resolve => {
                add(expected.zones_out.entry(punt.to).or_default());
            }
            Verdict::Punt(punt) => add(expected.drops.entry((from, punt.reason)).or_default()),
            Verdict::Drop(reason) => add(expected.drops.entry((from, *reason)).or_default()),
        }
        let by_rule = match verdict {
            Verdict::Transmit(egress) => !egress.reply,
            Verdict::Punt(punt) => punt.task == PuntTask::Resolve,
            Verdict::Drop(reason) => matches!(reason, DropReason::Policy | DropReason::Reject),
            Verdict::Consume => false,
        };
        self.rule_hits += u64::from(by_rule);
        let mut counted = self.backend.counters().without_zeros();
        let hits: u64 = std::mem::take(&mut counted.rules).values().map(|count| count.0).sum();
        assert_eq!(hits, self.rule_hits, "rules count what they decide: {verdict:?}");
        assert_eq!(counted, self.expected, "{verdict:?}");
    }
}

/// Makes the lengths fit the frame and the IPv4 and neighbour discovery checksums right.
pub fn repair(frame: &mut [u8]) {
    let start = frame.len() - network(frame).len();
    let packet = &mut frame[start..];
    let room = packet.len();
    match packet.first().map(|byte| byte >> 4) {
        Some(4) if room >= 20 => {
            if usize::from(u16::from_be_bytes([packet[2], packet[3]])) > room {
                packet[2..4].copy_from_slice(&(room as u16).to_be_bytes());
            }
            let header = (usize::from(packet[0] & 15) * 4).clamp(20, room.max(20)).min(room);
            packet[10..12].fill(0);
            let sum = Sum16BitWords::new().add_slice(&packet[..header]).ones_complement().to_be();
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        Some(6) if room >= 40 => {
            if usize::from(u16::from_be_bytes([packet[4], packet[5]])) > room - 40 {
                packet[4..6].copy_from_slice(&((room - 40) as u16).to_be_bytes());
            }
            let length = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
            if packet[6] == 58 && length >= 4 {
                packet[42..44].fill(0);
                let sum = Sum16BitWords::new().add_slice(&packet[8..40 + length]).add_2bytes([0, 58]);
                let sum = sum.add_2bytes((length as u16).to_be_bytes()).ones_complement().to_be();
                packet[42..44].copy_from_slice(&sum.to_be_bytes());
            }
        }
        _ => {}
    }
}

/// Every scenario's frames, under one policy after the other and under the one that allows all.
pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (number, scenario) in scenarios().iter().enumerate() {
        let policy = (number % POLICIES.len()) as u8;
        let operations = operations(scenario);
        for policy in [policy, 1] {
            seeds.push((format!("{}-{policy}", scenario.name), encode(policy, &operations)));
        }
    }
    seeds.sort();
    seeds.dedup_by(|a, b| a.0 == b.0);
    seeds
}

fn operations(scenario: &Scenario) -> Vec<Operation> {
    let mut operations = Vec::new();
    let (mut time, mut learn) = (None, false);
    for step in &scenario.steps {
        match step {
            Step::Advance(nanos) => time = Some(nanos.next_power_of_two().trailing_zeros() as u8),
            Step::Learn(..) => learn = true,
            Step::Forget(..) | Step::Replace(_) => {}
            Step::Inject(injection) => {
                let interface = INTERFACES.iter().position(|known| known.name == injection.interface);
                operations.push(Operation {
                    interface: interface.unwrap_or(INTERFACES.len()) as u8,
                    tag: injection.stripped_tag,
                    time: time.take(),
                    repair: true,
                    gso: None,
                    learn: std::mem::take(&mut learn),
                    frame: injection.frame.clone(),
                });
            }
        }
    }
    operations
}
