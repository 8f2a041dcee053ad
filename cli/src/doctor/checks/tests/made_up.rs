//! Machines and interfaces that nobody has here.

use crate::config::Mode;
use crate::doctor::checks::find;
use crate::doctor::facts::{
    Ability, ClockSource, Facts, InterfaceFacts, Machine, Memlock, Napi, Platform, Programs, Settings, ZoneFacts,
};
use crate::doctor::finding::{Finding, Place, Severity};
use crate::interface::{Counts, Feature, LinkState};

/// A machine with four CPUs on which all is well.
pub fn machine(platform: Platform) -> Machine {
    Machine {
        kernel: "6.12.95-cloud-amd64".to_owned(),
        version: Some((6, 12)),
        platform,
        cpus: 4,
        isolated: Vec::new(),
        btf: true,
        jit: Some(1),
        jit_harden: Some(0),
        bpf_stats: Some(0),
        programs: Ability::yes("tried"),
        tcx: Ability::yes("tried"),
        clsact: Ability::yes("tried"),
        af_xdp: Ability::yes("tried"),
        memlock: Memlock { limit: None, exempt: true },
        clock: Some(ClockSource { current: "tsc".to_owned(), available: vec!["tsc".to_owned()] }),
        clock_follows: Some(true),
        ..Machine::default()
    }
}

/// An interface with a queue for each of four CPUs and one untagged zone, on which all is well.
pub fn interface(driver: &str) -> InterfaceFacts {
    let on =
        ["rx-checksum", "tx-scatter-gather", "tx-tcp-segmentation", "tx-generic-segmentation", "rx-gro", "rx-hashing"];
    InterfaceFacts {
        interface: crate::interface::tests::interface(driver),
        zones: vec![ZoneFacts { name: "app".to_owned(), vlan: None }],
        mode: Mode::Auto,
        running: None,
        programs: Programs::default(),
        link: LinkState::default(),
        offloads: on.into_iter().map(|name| (name, Feature::On)).collect(),
        queues: Some(Counts { receive: 4, send: 4, most_receive: 8, most_send: 8 }),
        rings: Some(Counts { receive: 1024, send: 1024, most_receive: 4096, most_send: 4096 }),
        irqs: Vec::new(),
        napi: Some(Napi::default()),
        rps: vec!["0".to_owned(); 4],
        xps: ["1", "2", "4", "8"].map(ToOwned::to_owned).to_vec(),
        settings: Settings::default(),
        virtio: None,
        virtual_functions: 0,
        peer: None,
    }
}

/// What QEMU and the driver agree on by default.
pub const VIRTIO: u64 = 1 << 1 | 1 << 2 | 1 << 7 | 1 << 8 | 1 << 15;

pub fn virtio(mode: Mode, bits: u64) -> InterfaceFacts {
    InterfaceFacts { mode, virtio: Some(bits), ..interface("virtio_net") }
}

pub fn facts(machine: Machine, interface: InterfaceFacts) -> Facts {
    Facts { machine, interfaces: vec![interface], ..Facts::default() }
}

/// Everything above `ok`, as `severity check`.
pub fn told(facts: &Facts) -> Vec<String> {
    let found = find(facts).into_iter().filter(|finding| finding.severity > Severity::Ok);
    found.map(|finding| format!("{} {}", finding.severity, finding.check)).collect()
}

/// What a check finds above `ok`.
pub fn found(facts: &Facts, check: &str) -> Finding {
    let mut all = find(facts).into_iter().filter(|finding| finding.check == check);
    all.find(|finding| finding.severity > Severity::Ok)
        .unwrap_or_else(|| panic!("{check} finds nothing: {:?}", told(facts)))
}

/// The command for a place.
pub fn command(finding: &Finding, place: Place) -> &str {
    let remedy = finding.remedies.iter().find(|remedy| remedy.place == place);
    remedy.map_or_else(|| panic!("nothing for {place}: {finding:?}"), |remedy| remedy.command.as_str())
}
