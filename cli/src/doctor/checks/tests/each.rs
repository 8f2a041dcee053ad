//! Each check finds what it is for: one change of a machine on which all is well.

use std::collections::BTreeSet;

use super::made_up::{VIRTIO, facts, interface, machine, told};
use crate::config::Mode;
use crate::doctor::checks::all;
use crate::doctor::facts::{Ability, Conntrack, Facts, InterfaceFacts, Irq, Missing, Platform, Program, Running};
use crate::interface::{Feature, Losses, XdpFeatures, XdpPlace};

/// A check, what is changed, and what it says then.
type Row = (&'static str, fn(&mut Facts), &'static str);

fn first(facts: &mut Facts) -> &mut InterfaceFacts {
    &mut facts.interfaces[0]
}

fn driver(facts: &mut Facts, driver: &str) {
    driver.clone_into(&mut first(facts).interface.driver);
}

fn in_use(facts: &mut Facts) {
    facts.vfw_runs = true;
    first(facts).programs.xdp = vec![(XdpPlace::Native, Program { name: "vfw_xdp".to_owned(), own: true })];
    first(facts).running = Some(Running { state: "up".to_owned(), hook: Some("xdp".to_owned()), frames: None });
}

const MACHINE: [Row; 14] = [
    ("kernel", |facts| facts.machine.version = Some((5, 10)), "error"),
    ("programs", |facts| facts.machine.programs = Ability::no("too many"), "error"),
    ("btf", |facts| facts.machine.btf = false, "note"),
    ("jit", |facts| facts.machine.jit = Some(0), "error"),
    ("bpf-stats", |facts| facts.machine.bpf_stats = Some(1), "warning"),
    (
        "memlock",
        |facts| {
            facts.machine.version = Some((5, 10));
            facts.machine.memlock.exempt = false;
            facts.machine.memlock.limit = Some(65_536);
        },
        "error",
    ),
    ("missing", |facts| facts.missing.push(Missing { name: "eth9".to_owned(), reason: "no eth9".to_owned() }), "error"),
    ("governor", |facts| facts.machine.governors.push("powersave".to_owned()), "warning"),
    ("irqbalance", |facts| facts.machine.irqbalance = true, "warning"),
    ("mitigations", |facts| facts.machine.spectre_v2 = Some("Mitigation: Retpolines".to_owned()), "note"),
    ("clock", |facts| facts.machine.clock.get_or_insert_default().current = "hpet".to_owned(), "warning"),
    ("time", |facts| facts.machine.clock_follows = Some(false), "note"),
    ("conntrack", |facts| facts.machine.conntrack = Some(Conntrack::default()), "note"),
    ("backlog", |facts| facts.machine.backlog_dropped = 1, "note"),
];

const INTERFACE: [Row; 29] = [
    (
        "hook",
        |facts| {
            first(facts).mode = Mode::Xdp;
            first(facts).interface.xdp = Some(XdpFeatures::default());
        },
        "error",
    ),
    (
        "hazards",
        |facts| {
            driver(facts, "veth");
            first(facts).mode = Mode::Xdp;
        },
        "note",
    ),
    (
        "in-use",
        |facts| {
            in_use(facts);
            facts.interfaces[0].programs.xdp.clear();
        },
        "error",
    ),
    (
        "others",
        |facts| first(facts).programs.xdp = vec![(XdpPlace::Native, Program { name: "x".to_owned(), own: false })],
        "error",
    ),
    ("link", |facts| first(facts).interface.carrier = false, "warning"),
    ("own", |facts| first(facts).interface.controller = Some(9), "error"),
    (
        "mtu",
        |facts| {
            let mut other = facts.interfaces[0].clone();
            other.interface.mtu = 9000;
            facts.interfaces.push(other);
        },
        "warning",
    ),
    ("forwarding", |facts| first(facts).settings.forwarding_v6 = true, "warning"),
    ("rp-filter", |facts| first(facts).settings.rp_filter = 1, "note"),
    (
        "nic-model",
        |facts| {
            facts.machine.platform = Platform::Qemu;
            driver(facts, "e1000e");
        },
        "warning",
    ),
    ("sr-iov", |facts| first(facts).virtual_functions = 1, "error"),
    (
        "vlan-strip",
        |facts| {
            in_use(facts);
            first(facts).offloads.insert("rx-vlan-hw-parse", Feature::On);
        },
        "error",
    ),
    (
        "vlan-filter",
        |facts| {
            in_use(facts);
            first(facts).zones[0].vlan = Some(10);
            first(facts).offloads.insert("rx-vlan-filter", Feature::On);
        },
        "error",
    ),
    (
        "vlan-trunk",
        |facts| {
            facts.machine.platform = Platform::Vmware;
            first(facts).zones[0].vlan = Some(10);
        },
        "note",
    ),
    ("checksums", |facts| driver(facts, "vmxnet3"), "note"),
    ("lro", |facts| _ = first(facts).offloads.insert("rx-lro", Feature::On), "error"),
    ("gro-hw", |facts| _ = first(facts).offloads.insert("rx-gro-hw", Feature::On), "warning"),
    (
        "gro",
        |facts| {
            first(facts).mode = Mode::Tc;
            first(facts).offloads.insert("rx-gro", Feature::Off);
        },
        "warning",
    ),
    (
        "segmentation",
        |facts| {
            first(facts).mode = Mode::Tc;
            first(facts).offloads.insert("tx-generic-segmentation", Feature::Off);
        },
        "warning",
    ),
    ("steering", |facts| _ = first(facts).offloads.insert("rx-ntuple-filter", Feature::On), "note"),
    ("virtio-offloads", |facts| first(facts).virtio = Some(VIRTIO & !(1 << 2)), "error"),
    ("virtio-buffers", |facts| first(facts).virtio = Some(VIRTIO & !(1 << 15)), "error"),
    ("queues", |facts| first(facts).queues.get_or_insert_default().receive = 1, "warning"),
    (
        "queues-xdp",
        |facts| {
            driver(facts, "mlx5_core");
            first(facts).queues.get_or_insert_default().send = 1;
        },
        "error",
    ),
    ("rings", |facts| first(facts).rings.get_or_insert_default().receive = 256, "note"),
    ("losses", |facts| first(facts).link.losses = Losses { sent: 1, ..Losses::default() }, "note"),
    (
        "rps",
        |facts| {
            first(facts).mode = Mode::Tc;
            first(facts).xps = vec!["0".to_owned(); 4];
        },
        "note",
    ),
    (
        "irq",
        |facts| {
            let irq = |number| Irq { number, name: "eth1-TxRx".to_owned(), cpus: "0".to_owned() };
            first(facts).irqs = vec![irq(40), irq(41)];
        },
        "warning",
    ),
    ("napi", |facts| first(facts).napi.get_or_insert_default().threaded = true, "note"),
];

#[test]
fn each_check_finds_what_it_is_for() {
    for (check, change, severity) in MACHINE.iter().chain(&INTERFACE) {
        let mut facts = facts(machine(Platform::Physical), interface("ixgbe"));
        assert_eq!(told(&facts), [""; 0]);
        change(&mut facts);
        let said = told(&facts);
        assert!(said.contains(&format!("{severity} {check}")), "{check}: {said:?}");
    }
    let rows: BTreeSet<&str> = MACHINE.iter().chain(&INTERFACE).map(|(check, ..)| *check).collect();
    let checks: BTreeSet<&str> = all().map(|check| check.name).collect();
    assert_eq!(rows, checks);
    assert_eq!(checks.len(), all().count(), "names are not used twice");
}
