//! Frames that are not what they were: cut at every byte, changed at every byte. Nothing panics, and nothing that is not
//! whole gets through.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use firewall_core::{DropReason, PuntTask, Verdict};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use vfw::backend::memory::{Limits, Memory, MemoryFrame};
use vfw::compile::Image;
use vfw::config::Config;
use vfw_tests::fuzz::input::{Operation, encode};
use vfw_tests::fuzz::{self, repair};
use vfw_tests::memory::{MemoryBackend, image};
use vfw_tests::packet::{Ethernet, network, number};
use vfw_tests::scenario::{
    APP, DB, Family, GUEST, Host, INTERFACES, Injection, LAB, Outcome, RED, Scenario, Step, ZONES, scenarios,
};

/// Frames longer than this are cut and changed only in their headers.
const HEADERS: usize = 160;

/// Compiled policies, each once.
#[derive(Default)]
struct Images(BTreeMap<String, Image>);

impl Images {
    /// A back end as it is before this step of the scenario.
    fn before(&mut self, scenario: &Scenario, step: usize) -> MemoryBackend {
        let config = Config::default();
        let image = self.0.entry(scenario.policy.clone()).or_insert_with(|| image(&scenario.policy, &config));
        let memory = Memory::new(image, Limits::of(&config));
        for (zone, address, mac) in &scenario.neighbours {
            memory.add_neighbour(*zone, *address, *mac);
        }
        let mut backend = MemoryBackend::around(memory);
        for step in scenario.steps.iter().take(step) {
            step.play(&mut backend);
        }
        backend
    }
}

/// Every frame that gets through in some scenario, and the scenario up to it.
fn accepted() -> Vec<(Scenario, usize, Injection)> {
    let mut all = Vec::new();
    for scenario in scenarios() {
        for (number, step) in scenario.steps.iter().enumerate() {
            if let Step::Inject(injection) = step
                && matches!(injection.expect, Outcome::Transmit { .. } | Outcome::Punt { .. })
            {
                all.push((scenario.clone(), number, injection.clone()));
            }
        }
    }
    all
}

fn process(backend: &MemoryBackend, injection: &Injection, bytes: &[u8]) -> Verdict {
    let mut frame = MemoryFrame { stripped_tag: injection.stripped_tag, ..MemoryFrame::new(bytes.to_vec()) };
    backend.process(injection.interface, &mut frame)
}

fn gets_through(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Transmit(_) => true,
        Verdict::Punt(punt) => punt.task == PuntTask::Resolve,
        Verdict::Drop(_) | Verdict::Consume => false,
    }
}

/// Bytes of a frame without its padding.
fn whole(frame: &[u8]) -> usize {
    let packet = network(frame);
    let link = frame.len() - packet.len();
    let length = match packet[0] >> 4 {
        4 => usize::from(u16::from_be_bytes([packet[2], packet[3]])),
        6 => 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]])),
        _ => 28,
    };
    link + length
}

#[test]
fn a_frame_cut_at_any_byte_does_not_get_through() {
    let mut images = Images::default();
    let mut cuts = 0;
    for (scenario, number, injection) in accepted() {
        let length = injection.frame.len();
        for cut in (0..length).filter(|cut| *cut < HEADERS || cut + 8 > length) {
            let backend = images.before(&scenario, number);
            let verdict = process(&backend, &injection, &injection.frame[..cut]);
            let complete = cut >= whole(&injection.frame);
            assert!(complete || !gets_through(&verdict), "{} step {number} cut at {cut}: {verdict:?}", scenario.name);
            cuts += 1;
        }
    }
    assert!(cuts > 10_000, "{cuts}");
}

/// Every value of every header byte of one frame of each kind; of the others every bit.
#[test]
fn a_frame_changed_at_any_byte_does_not_panic() {
    let mut images = Images::default();
    let mut seen = BTreeMap::new();
    for (scenario, number, injection) in accepted() {
        let kind: String = scenario.name.split('/').take(2).collect();
        let every_value = *seen.entry(kind).and_modify(|count| *count += 1).or_insert(1) == 1;
        let backend = images.before(&scenario, number);
        for at in 0..injection.frame.len().min(HEADERS) {
            let mut bytes = injection.frame.clone();
            for change in 1..=255u8 {
                if every_value || change.is_power_of_two() {
                    bytes[at] = injection.frame[at] ^ change;
                    process(&backend, &injection, &bytes);
                }
            }
        }
    }
}

/// What a packet of random bytes has in common with a real one, so that it comes further than the first check.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent traits, drawn by lot")]
struct Guise {
    /// Sender; its gateway is the receiver.
    host: &'static Host,
    family: Family,
    /// Version and header length are right.
    version: bool,
    /// Addresses of hosts that vfw knows.
    addresses: bool,
    /// A protocol that is parsed further.
    protocol: Option<u8>,
    /// Neither fragment nor used-up TTL.
    whole: bool,
    /// Lengths and checksums of IP are made right.
    repair: bool,
    /// The tag is beside the bytes.
    beside: bool,
}

const HOSTS: [&Host; 5] = [&APP, &DB, &LAB, &RED, &GUEST];
const PROTOCOLS: [u8; 9] = [
    number::TCP,
    number::UDP,
    number::ICMP,
    number::ICMP6,
    number::HOP_BY_HOP,
    number::ROUTING,
    number::FRAGMENT,
    number::DESTINATION_OPTIONS,
    number::AH,
];

fn guise() -> impl Strategy<Value = Guise> {
    let often = || prop::bool::weighted(0.9);
    (
        prop::sample::select(&HOSTS[..]),
        prop::sample::select(vec![Family::V4, Family::V6]),
        (often(), often(), often(), often(), any::<bool>()),
        prop::option::weighted(0.9, prop::sample::select(&PROTOCOLS[..])),
    )
        .prop_map(|(host, family, (version, addresses, whole, repair, beside), protocol)| Guise {
            host,
            family,
            version,
            addresses,
            protocol,
            whole,
            repair,
            beside,
        })
}

/// Random bytes behind a valid Ethernet header for the gateway, dressed up.
fn dressed(guise: &Guise, mut bytes: Vec<u8>) -> Operation {
    let v4 = guise.family == Family::V4;
    let mut put = |at: usize, value: &[u8]| {
        if let Some(place) = bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    };
    if guise.version {
        put(0, if v4 { &[0x45] } else { &[0x60] });
    }
    if let Some(protocol) = guise.protocol {
        put(if v4 { 9 } else { 6 }, &[protocol]);
    }
    if guise.addresses {
        let to = if guise.host.zone() == DB.zone() { &APP } else { &DB };
        for (number, host) in [guise.host, to].into_iter().enumerate() {
            match host.address(guise.family).parse().expect("an address") {
                IpAddr::V4(address) => put(12 + number * 4, &address.octets()),
                IpAddr::V6(address) => put(8 + number * 16, &address.octets()),
            }
        }
    }
    if guise.whole {
        put(if v4 { 6 } else { 7 }, if v4 { &[0x40, 0, 64] } else { &[64] });
    }
    let is_beside = guise.beside && guise.host.vlan != 0;
    let link = if is_beside { Ethernet::new(guise.host.mac, guise.host.gateway) } else { guise.host.link() };
    let interface = INTERFACES.iter().position(|known| known.name == guise.host.interface).expect("an interface");
    Operation {
        interface: interface as u8,
        tag: is_beside.then_some(guise.host.vlan),
        repair: guise.repair,
        frame: link.frame(if v4 { 0x0800 } else { 0x86dd }, &bytes),
        ..Operation::default()
    }
}

fn packet_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..200)
}

/// Without this the test below could pass because nothing comes further than the link layer.
#[test]
fn random_packets_in_guise_reach_every_parser() {
    let mut runner = TestRunner::deterministic();
    let (mut reasons, mut through) = (BTreeSet::new(), 0);
    let rules = format!("{ZONES}drop any -> any  service proto 51\nallow any -> any\n");
    let backend = MemoryBackend::new(&Scenario { policy: rules, ..scenarios().swap_remove(0) });
    for _ in 0..20_000 {
        let (guise, bytes) = (guise(), packet_bytes()).new_tree(&mut runner).expect("a value").current();
        let mut operation = dressed(&guise, bytes);
        if operation.repair {
            repair(&mut operation.frame);
        }
        let mut frame = MemoryFrame { stripped_tag: operation.tag, ..MemoryFrame::new(operation.frame) };
        match backend.process(guise.host.interface, &mut frame) {
            Verdict::Drop(reason) => {
                reasons.insert(reason);
            }
            verdict => through += u32::from(gets_through(&verdict)),
        }
    }
    let parsers = [
        DropReason::Truncated,
        DropReason::IpHeader,
        DropReason::IpChecksum,
        DropReason::IpOptions,
        DropReason::Ipv6Extension,
        DropReason::Fragment,
        DropReason::TransportHeader,
        DropReason::TcpFlags,
        DropReason::MartianSource,
        DropReason::SpoofedSource,
        DropReason::Neighbour,
        DropReason::NoFlow,
        DropReason::Policy,
    ];
    let missing: Vec<&DropReason> = parsers.iter().filter(|reason| !reasons.contains(reason)).collect();
    assert!(missing.is_empty() && through > 20, "{missing:?} of {reasons:?}; {through} got through");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Each verdict is one that the naive view allows, and each frame is counted once: the fuzzer's oracle looks.
    #[test]
    fn random_packets_get_what_they_deserve(
        packets in prop::collection::vec((guise(), packet_bytes()), 1..6),
        policy in 0..4u8,
    ) {
        let operations: Vec<Operation> = packets.into_iter().map(|(guise, bytes)| dressed(&guise, bytes)).collect();
        fuzz::run("pipeline", &encode(policy, &operations));
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), tag: Option<u16>, gso: u16) {
        thread_local!(static BACKEND: MemoryBackend = MemoryBackend::new(&scenarios()[0]));
        BACKEND.with(|backend| {
            let mut frame = MemoryFrame { bytes, stripped_tag: tag, gso_size: u32::from(gso) };
            for interface in ["eth1", "eth3", "eth4", "eth5"] {
                backend.process(interface, &mut frame);
            }
        });
    }
}
