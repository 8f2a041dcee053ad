//! The compiled rule table, in user space and in the kernel, against the definition of a rule: files and generated sets of
//! three classes.

use std::path::Path;

use firewall_core::classify::image::{MAX_STEPS, checksum, header};
use firewall_core::classify::{Decision, Key, Selector, lookup};
use firewall_core::tables::{Action, RuleKey};
use vfw::backend::kernel::Classifier;
use vfw::bench::classbench::{self, Rule};
use vfw::bench::headers::Numbers;
use vfw::compile::forest::{self, Entry, Forest, Prefix};
use vfw_tests::ruleset::{self, Class};

/// Headers looked up for each set.
const HEADERS: usize = 10_000;

fn check(name: &str, rules: &[Rule], bytes_per_rule: usize) {
    check_with(name, rules, bytes_per_rule, HEADERS);
}

fn check_with(name: &str, rules: &[Rule], bytes_per_rule: usize, headers: usize) {
    let entries = classbench::entries(rules);
    let forest = forest::compile(&entries).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let headers = ruleset::headers(rules, headers, 11);
    let keys: Vec<RuleKey> = headers.iter().map(RuleKey::from).collect();
    let kernel =
        Classifier::load(&forest.blocks, &keys).and_then(|mut kernel| kernel.run()).expect("the kernel takes it");
    for ((header, key), kernel) in headers.iter().zip(&keys).zip(kernel.decisions) {
        let found = lookup(forest.blocks.as_slice(), Key::of(key));
        let wanted = classbench::first_match(rules, header);
        assert_eq!(found.map(|decision| decision.rule() as usize), Some(wanted), "{name}: {header:?}");
        assert_eq!(Some(kernel), found, "{name}, in the kernel: {header:?}");
    }
    let bytes = size_of_val(forest.blocks.as_slice());
    if rules.len() >= 1000 {
        assert!(bytes <= bytes_per_rule * rules.len(), "{name}: {} bytes a rule", bytes / rules.len());
    }
    check_header(name, &forest);
}

fn check_header(name: &str, forest: &Forest) {
    let head = forest.blocks[0].0;
    assert!(forest.worst_steps.iter().all(|steps| *steps <= MAX_STEPS), "{name}: {:?}", forest.worst_steps);
    assert_eq!(head[header::CHECKSUM], checksum(&forest.blocks), "{name}");
    assert_eq!((head[header::SIZE] >> 32) as usize, forest.blocks.len(), "{name}");
}

fn files(names: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/classbench");
    for name in names {
        let text = std::fs::read_to_string(folder.join(name)).expect("a fixture");
        check(name, &classbench::parse(&text).expect("rules"), 48);
    }
}

fn generated(class: Class, v6: bool) {
    for (count, seed) in [(10, 1), (100, 2), (100, 3), (1_000, 4), (1_000, 5), (10_000, 6)] {
        let rules = ruleset::rules(class, v6, count, seed);
        let name = format!("{class:?} v6={v6} {count} seed {seed}");
        check(&name, &rules, if v6 { 96 } else { 48 });
        check(&format!("{name}, in any order"), &ruleset::shuffled(rules, seed), if v6 { 96 } else { 48 });
    }
}

#[test]
fn files_of_a_thousand_rules() {
    files(&["acl1_1k", "fw1_1k", "ipc1_1k"]);
}

#[test]
fn files_of_ten_thousand_access_rules() {
    files(&["acl1_10k", "acl4_10k"]);
}

#[test]
fn files_of_ten_thousand_firewall_rules() {
    files(&["fw1_10k", "fw4_10k", "ipc1_10k"]);
}

#[test]
fn generated_access_lists() {
    generated(Class::Acl, false);
    generated(Class::Acl, true);
}

#[test]
fn generated_firewalls() {
    generated(Class::Fw, false);
    generated(Class::Fw, true);
}

#[test]
fn generated_chains() {
    generated(Class::Ipc, false);
    generated(Class::Ipc, true);
}

#[test]
fn a_hundred_thousand_rules() {
    for (class, v6) in [(Class::Acl, false), (Class::Fw, false), (Class::Fw, true), (Class::Ipc, true)] {
        let rules = ruleset::rules(class, v6, 100_000, 7);
        check_with(&format!("{class:?} v6={v6}"), &rules, if v6 { 96 } else { 48 }, 500);
    }
    let rules = ruleset::shuffled(ruleset::rules(Class::Ipc, false, 100_000, 8), 8);
    check_with("in any order", &rules, 48, 500);
}

#[test]
fn tcp_flags_decide() {
    let rules = ruleset::rules(Class::Acl, false, 50, 51);
    let mut entries = classbench::entries(&rules);
    let any = Prefix { first: 0xffff_0000_0000, length: 96 };
    let selector = Selector { protocol: Some(6), tcp_flags: [0x12, 0x02], ..entries.v4.addresses[0].selector };
    let selector = Selector { source_ports: [0, u16::MAX], destination_ports: [0, u16::MAX], ..selector };
    let first = Decision::new(0, Action::Drop, false);
    // The first entry differs from the second in flags alone, and must not hide it.
    entries.v4.addresses.insert(0, Entry { source: any, destination: any, selector, decision: first });
    let other = Selector { tcp_flags: [0; 2], ..selector };
    let second = Decision::new(0, Action::Reject, true);
    entries.v4.addresses.insert(1, Entry { source: any, destination: any, selector: other, decision: second });
    let forest = forest::compile(&entries).expect("compiles");
    let mut key = RuleKey::from(&ruleset::headers(&rules, 1, 1)[0]);
    key.protocol = 6;
    for (flags, wanted) in [(0x02, first), (0xc2, first), (0x12, second), (0x10, second), (0, second)] {
        key.tcp_flags = flags;
        assert_eq!(lookup(forest.blocks.as_slice(), Key::of(&key)), Some(wanted), "{flags:x}");
    }
}

/// Entries of `rules` rules that differ in their port ranges and TCP flags alone, none of which hides another one.
fn overlapping(rules: u16, flags: u16) -> forest::Entries {
    let mut entries = classbench::entries(&ruleset::rules(Class::Acl, false, 1, 1));
    let prefix = |top: u128, length: u8| Prefix { first: 0xffff_0000_0000 | top << 24, length: 96 + length };
    let pattern = Entry { source: prefix(64, 2), destination: prefix(0, 0), ..entries.v4.addresses[0] };
    let entry = |rule: u16, flag: u16| Entry {
        selector: Selector {
            source_ports: [0, u16::MAX],
            destination_ports: [rule, rule + 32_768],
            protocol: None,
            tcp_flags: if flags > 1 { [0xff, flag as u8] } else { [0; 2] },
            ..pattern.selector
        },
        decision: Decision::new(u32::from(rule), Action::Drop, false),
        ..pattern
    };
    entries.v4.addresses = (0..rules).flat_map(|rule| (0..flags).map(move |flag| entry(rule, flag))).collect();
    // Others, so that a cut has a child without any.
    for top in [128, 192] {
        let other = |rule: u32| Entry {
            source: prefix(top, 2),
            decision: Decision::new(1_000 + rule, Action::Allow, false),
            selector: Selector { destination_ports: [0, u16::MAX], ..pattern.selector },
            ..pattern
        };
        entries.v4.addresses.extend((0..600).map(other));
    }
    entries.default = Decision::new(2_000, Action::Allow, false);
    entries
}

#[test]
fn lists_that_no_packet_could_be_led_through_are_refused() {
    // 65,536 records were once taken for none.
    for (rules, flags) in [(256, 256), (300, 1), (200, 2)] {
        let error = forest::compile(&overlapping(rules, flags)).expect_err("too many steps");
        assert!(error.steps > MAX_STEPS && !error.rules.is_empty(), "{error:?}");
        assert!(error.rules.iter().all(|rule| *rule < 256), "those that overlap: {error:?}");
    }
    assert!(forest::compile(&overlapping(100, 1)).is_ok());
}

#[test]
fn both_families_share_an_image() {
    let mut rules = ruleset::rules(Class::Fw, false, 300, 21);
    for (place, rule) in ruleset::rules(Class::Ipc, true, 300, 22).into_iter().enumerate() {
        rules.insert(place * 2, rule);
    }
    check("both families", &rules, 96);
}

#[test]
fn nothing_matches_without_rules() {
    let forest = forest::compile(&classbench::entries(&[])).expect("no rules");
    let header = ruleset::headers(&ruleset::rules(Class::Acl, false, 1, 1), 1, 1)[0];
    let found = lookup(forest.blocks.as_slice(), Key::of(&RuleKey::from(&header))).expect("the default");
    assert_eq!(found.rule(), 0);
}

#[test]
fn the_same_rules_give_the_same_bytes() {
    let rules = ruleset::rules(Class::Ipc, false, 2_000, 31);
    let compile = || forest::compile(&classbench::entries(&rules)).expect("compiles");
    assert_eq!(compile(), compile());
}

#[test]
fn a_damaged_image_is_not_walked_out_of() {
    let rules = ruleset::rules(Class::Fw, false, 200, 41);
    let forest = forest::compile(&classbench::entries(&rules)).expect("compiles");
    let headers = ruleset::headers(&rules, 50, 42);
    let mut numbers = Numbers::new(43);
    for _ in 0..2_000 {
        let mut blocks = forest.blocks.clone();
        let word = numbers.below(blocks.len() * 8);
        blocks[word / 8].0[word % 8] ^= 1 << numbers.below(64);
        for header in &headers {
            // Any answer will do, as long as there is one.
            let _ = lookup(blocks.as_slice(), Key::of(&RuleKey::from(header)));
        }
    }
}
