//! Every scenario on the memory back end.

use std::collections::BTreeSet;

use firewall_core::DropReason;
use vfw_tests::memory::MemoryBackend;
use vfw_tests::scenario::{Outcome, Step, run, scenarios};

#[test]
fn names_are_unique_and_nothing_is_missing() {
    let all = scenarios();
    let names: BTreeSet<&str> = all.iter().map(|scenario| scenario.name.as_str()).collect();
    assert_eq!(names.len(), all.len());
    assert!(all.len() >= 100, "{}", all.len());
    assert!(all.iter().all(|scenario| !scenario.steps.is_empty()));
}

#[test]
fn memory_plays_every_scenario() {
    let failures: Vec<String> =
        scenarios().iter().filter_map(|scenario| run(scenario, &mut MemoryBackend::new(scenario)).err()).collect();
    assert!(failures.is_empty(), "{} scenarios fail\n\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn every_drop_reason_of_the_pipeline_has_a_scenario() {
    // The kernel's and the daemon's own; memory and the kernel's LRU never refuse a half-open flow.
    let elsewhere = [DropReason::Unreachable, DropReason::QueueFull, DropReason::Rewrite, DropReason::HalfOpenFull];
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
