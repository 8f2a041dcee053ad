//! Every scenario on every back end. A column plays all of them or fails: no cell of the matrix is empty.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use firewall_core::DropReason;
use vfw::interface::{Hook, add_clsact, ingress_filters, inspect};
use vfw_tests::kernel::{Doomed, Engine, TestRun, Veth};
use vfw_tests::memory::MemoryBackend;
use vfw_tests::scenario::{APP, Backend, DB, Family, Outcome, Scenario, Step, ZONES, run, scenarios};

/// Sizes of the half-open and the established table that a scenario wants.
type Tables = Option<(usize, usize)>;

#[test]
fn names_are_unique_and_nothing_is_missing() {
    let all = scenarios();
    let names: BTreeSet<&str> = all.iter().map(|scenario| scenario.name.as_str()).collect();
    assert_eq!(names.len(), all.len());
    assert!(all.len() >= 100, "{}", all.len());
    assert!(all.iter().all(|scenario| !scenario.steps.is_empty()));
}

/// Plays every scenario; `load` makes a back end for one table size, `begin` gives it the policy of one scenario.
fn play<B: Backend>(load: impl Fn(Tables) -> B, begin: impl Fn(&mut B, &Scenario)) {
    let mut by_tables: BTreeMap<Tables, Vec<Scenario>> = BTreeMap::new();
    for scenario in scenarios() {
        by_tables.entry(scenario.tables).or_default().push(scenario);
    }
    let mut played = 0;
    let mut failures = Vec::new();
    for (tables, scenarios) in by_tables {
        let mut backend = load(tables);
        for scenario in &scenarios {
            begin(&mut backend, scenario);
            failures.extend(run(scenario, &mut backend).err());
            played += 1;
        }
    }
    assert!(failures.is_empty(), "{} of {played} scenarios fail\n\n{}", failures.len(), failures.join("\n\n"));
    assert_eq!(played, scenarios().len(), "a cell is empty");
}

#[test]
fn memory() {
    let nothing = || MemoryBackend::new(&Scenario { steps: Vec::new(), ..scenarios().swap_remove(0) });
    play(|_| nothing(), |backend, scenario| *backend = MemoryBackend::new(scenario));
}

#[test]
fn xdp_test_run() {
    play(|tables| TestRun::new(Hook::Xdp, tables), TestRun::begin);
}

#[test]
fn tc_test_run() {
    play(|tables| TestRun::new(Hook::Tc, tables), TestRun::begin);
}

#[test]
fn xdp_veth() {
    play(|tables| Veth::new(Hook::Xdp, tables), Veth::begin);
}

#[test]
fn tc_veth() {
    play(|tables| Veth::new(Hook::Tc, tables), Veth::begin);
}

#[test]
fn clsact_veth() {
    play(Veth::by_clsact, Veth::begin);
}

#[test]
fn afxdp_veth() {
    play(Engine::new, Engine::begin);
}

/// What it has in hand is lost; all that comes later goes by the programs, and nobody has to see to it.
#[test]
fn a_worker_that_panics_leaves_its_place_to_the_programs() {
    let address = DB.address(Family::V4).parse().expect("an address");
    let doomed = Doomed::new(&Scenario {
        policy: format!("{ZONES}allow any -> any\n"),
        neighbours: vec![(DB.zone(), address, DB.mac)],
        ..scenarios().swap_remove(0)
    });
    let frame = APP.to(&DB, Family::V4).udp(40_000, 53, b"?");
    assert!(!doomed.passes(APP.interface, &frame) && doomed.forwarded() == 0, "the worker has it");
    assert!(doomed.ends());
    assert!(doomed.passes(APP.interface, &frame) && doomed.forwarded() == 1);
}

/// Before Linux 6.6 a program hangs on the interface itself and not on a link that ends with its owner.
#[test]
fn programs_on_clsact_are_found_and_taken_off() {
    let mut veth = Veth::by_clsact(None);
    let kernel = &mut veth.firewall().kernel;
    let index = inspect("eth1").expect("the interface").index;
    let programs = || {
        let filters = ingress_filters(index).expect("the interface").into_iter();
        filters.map(|filter| filter.program).collect::<Vec<_>>()
    };
    assert_eq!(programs(), ["vfw_tc"]);
    add_clsact("eth1").expect("the qdisc may be there");
    let again = kernel.attach_by_clsact("eth1", index).expect_err("one vfw at a time").to_string();
    assert!(again.contains("eth1") && again.contains("`tc qdisc del dev eth1 clsact`"), "{again}");
    assert_eq!(programs(), ["vfw_tc"], "the first one stays");
    kernel.detach();
    assert!(programs().is_empty());
    let qdiscs = Command::new("tc").args(["qdisc", "show", "dev", "eth1"]).output().expect("iproute2").stdout;
    assert!(!String::from_utf8_lossy(&qdiscs).contains("clsact"), "vfw has taken its qdisc away");
}

#[test]
fn every_drop_reason_of_the_pipeline_has_a_scenario() {
    // The kernel's and the daemon's own; memory and the kernel's LRU never refuse a half-open flow; all interfaces are up.
    let elsewhere = [
        DropReason::Unreachable,
        DropReason::QueueFull,
        DropReason::Rewrite,
        DropReason::HalfOpenFull,
        DropReason::InterfaceDown,
    ];
    let shown: BTreeSet<DropReason> = scenarios()
        .iter()
        .flat_map(|scenario| &scenario.steps)
        .filter_map(|step| match step {
            Step::Inject(injection) => match injection.expect {
                Outcome::Drop(reason) | Outcome::Punt { reason, .. } => Some(reason),
                _ => None,
            },
            _ => None,
        })
        .collect();
    let missing: Vec<&DropReason> =
        DropReason::ALL.iter().filter(|reason| !shown.contains(reason) && !elsewhere.contains(reason)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
