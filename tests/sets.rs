//! Large sets that meet in rules: few entries, and the same answers as from the rules one after the other.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_core::tables::Tables as _;
use vfw::backend::kernel::Classifier;
use vfw::backend::memory::{Limits, Memory};
use vfw::bench::headers::Numbers;
use vfw::compile::{Link, compile};
use vfw::config::Config;
use vfw::lang::{Policy, SourceFile, load, render};
use vfw_tests::oracle::{Answer, Question, first_match};
use vfw_tests::scenario::ZONES;

/// Addresses and networks of both families, all of a small part of the address space, so that sets overlap.
fn network(numbers: &mut Numbers) -> String {
    let bits = numbers.any();
    let length = [32, 32, 32, 30, 28, 24, 22][numbers.below(7)];
    if numbers.below(3) > 0 {
        let address = 0x0a00_0000 | bits as u32 & 0x0003_ffff & u32::MAX.checked_shl(32 - length).unwrap_or(0);
        format!("{}/{length}", Ipv4Addr::from(address))
    } else {
        let open = u128::from(bits) & 0x3_ffff & u128::MAX << (32 - length);
        format!("{}/{}", Ipv6Addr::from(0xfd00_u128 << 112 | open), 96 + length)
    }
}

fn sets(numbers: &mut Numbers, sizes: &[usize]) -> String {
    let mut text = String::new();
    for (name, size) in sizes.iter().enumerate() {
        let list: Vec<String> = (0..*size).map(|_| network(numbers)).collect();
        let _ = writeln!(text, "set s{name} = {{ {} }}", list.join(", "));
    }
    text
}

fn policy(text: &str) -> Policy {
    let files = [SourceFile::new("sets.fw", format!("{ZONES}{text}"))];
    load(&files).unwrap_or_else(|errors| panic!("{}", render(&errors, &files, false, 100))).policy
}

fn question(numbers: &mut Numbers, policy: &Policy) -> Question {
    let is_v4 = numbers.below(3) > 0;
    let mut address = || -> IpAddr {
        let bits = numbers.any();
        // Most of the part that the sets are of, some just outside.
        if is_v4 {
            Ipv4Addr::from(0x0a00_0000 | bits as u32 & 0x0007_ffff).into()
        } else {
            Ipv6Addr::from(0xfd00_u128 << 112 | u128::from(bits) & 0x7_ffff).into()
        }
    };
    let (source, destination) = (address(), address());
    let zones = policy.zones.len();
    let ports = [22, 80, 443, 5000];
    Question {
        from: numbers.below(zones),
        to: numbers.below(zones),
        source,
        destination,
        protocol: [6, 17][numbers.below(2)],
        source_port: 40_000,
        destination_port: ports[numbers.below(ports.len())],
        icmp: (0, 0),
        flags: 0,
    }
}

fn check(text: &str, seed: u64, most_entries: usize) {
    let (policy, config) = (policy(text), Config::default());
    let image = compile(&policy, &config, &Link::invent(&policy)).expect("fits");
    assert!(image.entries <= most_entries, "{} entries", image.entries);
    let memory = Memory::new(&image, Limits::of(&config));
    let numbers = &mut Numbers::new(seed);
    let questions: Vec<Question> = (0..4_000).map(|_| question(numbers, &policy)).collect();
    let keys: Vec<_> = questions.iter().map(Question::key).collect();
    let in_kernel = Classifier::load(&image.rules.blocks, &keys).and_then(|mut kernel| kernel.run());
    let in_kernel = in_kernel.expect("the kernel takes it").decisions;
    let mut decided = vec![0; policy.rules.len() + 1];
    for ((question, key), kernel) in questions.iter().zip(&keys).zip(in_kernel) {
        let wanted = first_match(&policy, question);
        let found = memory.judge(|| *key).expect("a rule table");
        assert_eq!((Answer::from(found), found), (wanted, kernel), "{question:?}");
        decided[wanted.rule] += 1;
    }
    assert!(decided.iter().all(|count| *count > 0), "a rule was never asked for: {decided:?}");
}

#[test]
fn sets_on_both_sides_do_not_multiply() {
    let numbers = &mut Numbers::new(1);
    let text = sets(numbers, &[300, 400, 500])
        + "drop any -> any  from s0 to s1  service tcp 22  log
allow any -> any  from s1 to s0, s2  service tcp 22, 80
allow app, db -> any  from s2 to s2  service tcp 1-65535
allow any -> any  from s0  service udp 443
allow any -> any  to s1  service udp 443, 5000
drop any -> any  from 10.0.0.0/15  to s2  service udp 80
allow any -> any  from 10.0.0.0/14, fd00::/112  service udp 80
allow any -> any  service tcp 443
";
    check(&text, 2, 40_000);
}

/// Sets inside of sets, and the same one on both sides.
#[test]
fn nested_sets_have_classes_of_their_own() {
    let numbers = &mut Numbers::new(3);
    let text = sets(numbers, &[350])
        + "set wide = { s0, 10.0.0.0/18, fd00::/114 }
set wider = { wide, 10.1.0.0/16, fd00::1:0/112 }
allow any -> any  from s0 to s0
drop any -> any  from wide to wider  service tcp 22
allow any -> any  from wider to wide  service tcp 80, 443
drop any -> any  from wider to wider
";
    check(&text, 4, 40_000);
}

/// A thousand addresses on either side were a million entries for each service.
#[test]
fn thousands_on_both_sides_fit() {
    let numbers = &mut Numbers::new(5);
    let text = sets(numbers, &[3_000, 3_000])
        + "allow any -> any  from s0 to s1  service tcp 22, 80, 443
allow any -> any  from s1 to s0  service udp 5000
";
    let policy = policy(&text);
    let image = compile(&policy, &Config::default(), &Link::invent(&policy)).expect("fits");
    assert!(image.entries < 8_000, "{} entries", image.entries);
}
