//! Every scenario on the memory back end.

use std::collections::BTreeSet;

use vfw_tests::memory::MemoryBackend;
use vfw_tests::scenario::{run, scenarios};

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
