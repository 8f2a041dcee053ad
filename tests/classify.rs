//! The compiled rule table decides as the policy itself does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_core::tables::Tables;
use proptest::prelude::*;
use vfw::backend::memory::{Limits, Memory};
use vfw::compile::{Link, compile};
use vfw::config::Config;
use vfw::lang::{Policy, SourceFile, load, render};
use vfw_tests::oracle::{Answer, Question, first_match};
use vfw_tests::scenario::ZONES;

/// Addresses and prefixes from a small stock, so that rules and packets meet; wide ones on both sides of the IPv4
/// part of the address space.
const PREFIXES: &[&str] = &[
    "10.0.10.7",
    "10.0.10.0/25",
    "10.0.20.0/24",
    "10.0.0.0/8",
    "192.0.2.1-192.0.2.77",
    "0.0.0.0/0",
    "128.0.0.0/1",
    "fd00:10::7",
    "fd00:10::/64",
    "fd00::/8",
    "2001:db8::5-2001:db8::ff",
    "::/0",
    "::/1",
    "8000::/1",
    "::/64",
];
const ADDRESSES: &[&str] = &[
    "10.0.10.7",
    "10.0.10.127",
    "10.0.10.128",
    "10.0.20.9",
    "10.255.0.1",
    "192.0.2.76",
    "192.0.2.78",
    "223.255.255.254",
    "8.8.8.8",
    "fd00:10::7",
    "fd00:10::8",
    "fdff::1",
    "2001:db8::5",
    "2001:db8::100",
    "::5",
    "::fffe:a00:a07",
    "9000::1",
    "64:ff9b::a00:a07",
];
const SERVICES: &[&str] = &[
    "tcp 80",
    "tcp 1000-2000",
    "tcp 20 -> 1000-1005",
    "udp 53",
    "udp any",
    "icmp",
    "icmp echo-request",
    "icmp type 3 code 1",
    "icmp6",
    "icmp6 echo-request",
    "ping",
    "gre",
    "proto 6",
    "tcp 80 flags S/SEW",
    "tcp flags E",
    "tcp 1000-2000 flags P/PU",
    "proto 99",
];
const ZONE_NAMES: &[&str] = &["app", "db", "lab", "red"];
const PORTS: &[u16] = &[0, 20, 53, 80, 999, 1000, 1003, 1005, 1006, 2000, 2001, 65535];

fn some(stock: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(stock), 0..=most)
}

fn rule() -> impl Strategy<Value = String> {
    let action = prop::sample::select(vec!["allow", "drop", "reject"]);
    let zones = || some(ZONE_NAMES, 2);
    (action, zones(), zones(), some(PREFIXES, 3), some(PREFIXES, 3), some(SERVICES, 3), any::<bool>()).prop_map(
        |(action, from, to, sources, destinations, services, log)| {
            let list = |keyword: &str, items: &[&str], none: &str| match items {
                [] => none.to_owned(),
                items => format!("{keyword}{}", items.join(", ")),
            };
            format!(
                "{action} {} -> {}{}{}{}{}\n",
                list("", &from, "any"),
                list("", &to, "any"),
                list("  from ", &sources, ""),
                list("  to ", &destinations, ""),
                list("  service ", &services, ""),
                if log { "  log" } else { "" }
            )
        },
    )
}

fn question() -> impl Strategy<Value = Question> {
    let address = || {
        prop_oneof![
            4 => prop::sample::select(ADDRESSES).prop_map(|text| text.parse::<IpAddr>().expect("address")),
            1 => any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from(bits))),
            1 => any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from(bits))),
        ]
    };
    let port = || prop::sample::select(PORTS);
    let protocol = prop::sample::select(vec![1u8, 6, 17, 47, 58, 99, 132]);
    let icmp = (prop::sample::select(vec![0u8, 3, 8, 128]), 0u8..3);
    (0usize..7, 0usize..7, address(), address(), protocol, port(), port(), icmp, any::<u8>())
        .prop_map(|(from, to, source, destination, protocol, source_port, destination_port, icmp, flags)| Question {
            from,
            to,
            source,
            destination,
            protocol,
            source_port,
            destination_port,
            icmp,
            flags: if protocol == 6 { flags } else { 0 },
        })
        .prop_filter("one family, and its own ICMP", |question| {
            let v4 = question.source.is_ipv4();
            v4 == question.destination.is_ipv4() && question.protocol != if v4 { 58 } else { 1 }
        })
}

fn policy(rules: &[String]) -> Policy {
    let files = [SourceFile::new("generated.fw", format!("{ZONES}{}", rules.concat()))];
    load(&files).unwrap_or_else(|errors| panic!("{}", render(&errors, &files, false, 100))).policy
}

fn compiled(memory: &Memory, question: &Question) -> Answer {
    Answer::from(memory.judge(|| question.key()).expect("a rule table"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn compiled_table_decides_as_the_policy(
        rules in prop::collection::vec(rule(), 0..12),
        questions in prop::collection::vec(question(), 100),
    ) {
        let policy = policy(&rules);
        let config = Config::default();
        let image = compile(&policy, &config, &Link::invent(&policy)).expect("fits");
        let memory = Memory::new(&image, Limits::of(&config));
        for question in &questions {
            prop_assert_eq!(compiled(&memory, question), first_match(&policy, question), "{:?}", question);
        }
    }
}
