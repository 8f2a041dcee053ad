//! Frames that are not what they were: cut at every byte, changed at every byte. Nothing panics, and nothing that is not
//! whole gets through.

use std::collections::BTreeMap;

use firewall_core::{PuntTask, Verdict};
use proptest::prelude::*;
use vfw::backend::memory::{Limits, Memory, MemoryFrame};
use vfw::compile::Image;
use vfw::config::Config;
use vfw_tests::memory::{MemoryBackend, START, image};
use vfw_tests::packet::network;
use vfw_tests::scenario::{Backend as _, Injection, Outcome, Scenario, Step, scenarios};

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
        let mut backend = MemoryBackend { memory, now: START };
        for step in scenario.steps.iter().take(step) {
            match step {
                Step::Inject(injection) => {
                    backend.inject(injection.interface, &injection.frame, injection.stripped_tag);
                }
                Step::Advance(nanos) => backend.advance(*nanos),
                Step::Learn(zone, address, mac) => backend.learn(*zone, *address, *mac),
                Step::Forget(zone, address) => backend.forget(*zone, *address),
                Step::Replace(policy) => backend.replace(policy),
            }
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

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
