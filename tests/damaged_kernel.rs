//! Damaged frames in the kernel: frames cut at every byte and headers changed at every byte give the programs, at XDP and
//! at tc by `BPF_PROG_TEST_RUN`, the same outcome as the pipeline in memory: verdict, reason and bytes.
//!
//! Differences that are known and left out:
//! - a test run does not take every short frame ([`TestRun::takes`]);
//! - at tc the checksum that hardware is to finish stays as it is, in memory and at XDP it is finished: of frames that
//!   came in where that happens, bytes are not compared at tc.

use std::collections::BTreeMap;

use vfw::interface::Hook;
use vfw_tests::kernel::TestRun;
use vfw_tests::memory::MemoryBackend;
use vfw_tests::scenario::{Backend, INTERFACES, Injection, Outcome, Scenario, Step, scenarios};

/// Bytes of a frame that are changed.
const HEADERS: usize = 100;
/// Changes to each header byte.
const CHANGES: [u8; 2] = [0x01, 0xff];
/// Frames that may change the state (equally in both) before both begin anew.
const BEFORE_ANEW: usize = 16;

/// The first frame of each kind that leaves in some scenario: its scenario and step.
fn one_of_each() -> Vec<(Scenario, usize)> {
    let mut seen = BTreeMap::new();
    for scenario in scenarios() {
        let ours = !scenario.policy.is_empty() && scenario.tables.is_none() && !scenario.needs_clock;
        for (number, step) in scenario.steps.iter().enumerate() {
            if let Step::Inject(injection) = step
                && ours
                && matches!(injection.expect, Outcome::Transmit { .. } | Outcome::Punt { .. })
            {
                seen.entry(kind(injection)).or_insert_with(|| (scenario.clone(), number));
            }
        }
    }
    seen.into_values().collect()
}

/// What tells frames apart here: tag, IP version, header length or extension, protocol, first byte of ICMP, TCP flags.
fn kind(injection: &Injection) -> (bool, Vec<u8>, bool) {
    let packet = vfw_tests::packet::network(&injection.frame);
    let byte = |at: usize| packet.get(at).copied().unwrap_or(0);
    let (protocol, transport) = match byte(0) >> 4 {
        4 => (byte(9), usize::from(byte(0) & 15) * 4),
        6 => (byte(6), 40),
        _ => (0, 7),
    };
    let detail = match protocol {
        0 | 1 | 58 => byte(transport),
        6 => byte(transport + 13),
        _ => 0,
    };
    let tagged = injection.frame.len() - packet.len() > 14 || injection.stripped_tag.is_some();
    (tagged, vec![byte(0), protocol, detail], matches!(injection.expect, Outcome::Punt { .. }))
}

/// Memory and the kernel side by side.
struct Pair {
    memory: MemoryBackend,
    kernel: TestRun,
    hook: Hook,
    differences: Vec<String>,
    frames: usize,
}

impl Pair {
    /// Both as they are before this step of the scenario.
    fn begin(&mut self, scenario: &Scenario, step: usize) {
        self.memory = MemoryBackend::new(scenario);
        self.kernel.begin(scenario);
        for step in &scenario.steps[..step] {
            for backend in [&mut self.memory as &mut dyn Backend, &mut self.kernel] {
                step.play(backend);
            }
        }
    }

    /// Gives both the frame; whether it changed the state (it may have, unless it was dropped).
    fn compare(&mut self, interface: &str, frame: &[u8], what: &str) -> bool {
        let mut expected = self.memory.inject(interface, frame, None);
        let mut got = self.kernel.inject(interface, frame, None);
        let partial = INTERFACES.iter().any(|known| known.name == interface && known.partial_checksums);
        if partial && self.hook == Hook::Tc {
            without_bytes(&mut expected);
            without_bytes(&mut got);
        }
        if got != expected {
            self.differences.push(format!("{what}\n  memory {expected:?}\n  kernel {got:?}\n  frame  {frame:02x?}"));
        }
        self.frames += 1;
        !matches!(expected, Outcome::Drop(_))
    }
}

fn without_bytes(outcome: &mut Outcome) {
    if let Outcome::Transmit { frame, .. } | Outcome::Punt { frame, .. } = outcome {
        frame.clear();
    }
}

/// A test run takes no tag beside the bytes: it is among them for both.
fn bytes_of(injection: &Injection) -> Vec<u8> {
    let mut frame = injection.frame.clone();
    if let Some(tag) = injection.stripped_tag {
        let [high, low] = tag.to_be_bytes();
        frame.splice(12..12, [0x81, 0, high, low]);
    }
    frame
}

/// Every cut and every change of one frame.
fn damaged(frame: &[u8]) -> Vec<(String, Vec<u8>)> {
    let cuts = (0..frame.len()).filter(|cut| *cut < 200 || cut + 8 > frame.len());
    let cuts = cuts.map(|cut| (format!("cut at {cut}"), frame[..cut].to_vec()));
    let changes = (0..frame.len().min(HEADERS)).flat_map(|at| {
        CHANGES.map(|change| {
            let mut bytes = frame.to_vec();
            bytes[at] ^= change;
            (format!("byte {at} changed by {change:#x}"), bytes)
        })
    });
    cuts.chain(changes).collect()
}

fn compare(hook: Hook) {
    let all = one_of_each();
    let mut pair = Pair {
        memory: MemoryBackend::new(&all[0].0),
        kernel: TestRun::new(hook, None),
        hook,
        differences: Vec::new(),
        frames: 0,
    };
    for (scenario, number) in &all {
        let Step::Inject(injection) = &scenario.steps[*number] else { continue };
        pair.begin(scenario, *number);
        let mut passed = 0;
        for (how, frame) in damaged(&bytes_of(injection)) {
            if !pair.kernel.takes(&frame) {
                continue;
            }
            let what = format!("{}, step {number}, {how}", scenario.name);
            passed += usize::from(pair.compare(injection.interface, &frame, &what));
            if passed == BEFORE_ANEW {
                passed = 0;
                pair.begin(scenario, *number);
            }
        }
    }
    let Pair { differences, frames, .. } = pair;
    println!("{frames} frames of {} kinds", all.len());
    assert!(frames > 5_000 && all.len() > 20, "{frames} frames of {} kinds", all.len());
    let shown = differences.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} of {frames} differ\n{shown}", differences.len());
}

#[test]
fn xdp() {
    compare(Hook::Xdp);
}

#[test]
fn tc() {
    compare(Hook::Tc);
}
