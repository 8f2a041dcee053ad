//! What holds for every tree and every text: printing loses nothing, and no input panics.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use vfw::lang::ast::{
    AddressItem, Default, IcmpVersion, PortRange, Route, Rule, ServiceDefinition, ServiceItem, Set, Statement, Test,
    TestCase, Transport, Zone,
};
use vfw::lang::registry::{EXTENSION_HEADERS, KEYWORDS, Keyword, SERVICES, protocol_named};
use vfw::lang::{Action, IcmpMatch, Log, SourceFile, Span, Spanned, TcpFlags, load, parse, print, render};

fn spanned<T>(value: T) -> Spanned<T> {
    Spanned::new(value, Span::default())
}

fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z_][a-zA-Z0-9_.-]{0,20}"
        .prop_filter("keywords name nothing", |name| Keyword::find(name).is_none() && protocol_named(name).is_none())
}

fn name() -> impl Strategy<Value = Spanned<String>> {
    word().prop_map(spanned)
}

fn interface() -> impl Strategy<Value = Spanned<String>> {
    "[a-zA-Z0-9_.@+%()!,=>'-]{1,15}".prop_filter("not a folder", |name| name != "." && name != "..").prop_map(spanned)
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).into()),
        // The top bit keeps it apart from IPv4 in IPv6 clothes.
        any::<u128>().prop_map(|bits| Ipv6Addr::from(bits | 1 << 127).into()),
    ]
}

fn network() -> impl Strategy<Value = IpNetwork> {
    (address(), any::<Index>()).prop_map(|(address, length)| {
        let lengths = if address.is_ipv4() { 33 } else { 129 };
        IpNetwork::new(address, length.index(lengths) as u8).expect("a valid length")
    })
}

fn address_item() -> impl Strategy<Value = Spanned<AddressItem>> {
    let range = (address(), address()).prop_filter_map("one family", |(a, b)| {
        (a.is_ipv4() == b.is_ipv4()).then(|| AddressItem::Range(a.min(b), a.max(b)))
    });
    prop_oneof![network().prop_map(AddressItem::Network), range, word().prop_map(AddressItem::Set)].prop_map(spanned)
}

fn ports() -> impl Strategy<Value = Vec<PortRange>> {
    vec((any::<u16>(), any::<u16>()).prop_map(|(a, b)| PortRange { start: a.min(b), end: a.max(b) }), 0..4)
}

fn flags() -> impl Strategy<Value = TcpFlags> {
    (any::<u8>(), 1u8..).prop_map(|(set, counted)| TcpFlags { set: set & counted, counted })
}

fn service_item() -> impl Strategy<Value = Spanned<ServiceItem>> {
    let transport = select(vec![Transport::Tcp, Transport::Udp]);
    let version = select(vec![IcmpVersion::V4, IcmpVersion::V6]);
    let message = (any::<u8>(), option::of(any::<u8>())).prop_map(|(kind, code)| IcmpMatch { kind, code });
    let protocol = any::<u8>()
        .prop_filter("has its own form", |n| !EXTENSION_HEADERS.contains(n) && ![1, 6, 17, 58].contains(n))
        .prop_map(ServiceItem::Protocol);
    prop_oneof![
        (transport, ports(), ports(), option::of(flags())).prop_map(|(transport, source, destination, flags)| {
            let flags = flags.filter(|_| transport == Transport::Tcp);
            ServiceItem::Ports { transport, source, destination, flags }
        }),
        (version, option::of(message)).prop_map(|(version, message)| ServiceItem::Icmp(version, message)),
        protocol,
        word().prop_map(ServiceItem::Named),
    ]
    .prop_map(spanned)
}

fn action() -> impl Strategy<Value = Action> {
    select(vec![Action::Allow, Action::Drop, Action::Reject])
}

fn log() -> impl Strategy<Value = Option<Log>> {
    option::of(option::of("[ -~äß€]{0,20}").prop_map(|label| Log { label }))
}

fn rule() -> impl Strategy<Value = Rule> {
    let zones = || vec(name(), 0..4);
    let addresses = || vec(address_item(), 0..8);
    (action(), zones(), zones(), addresses(), addresses(), vec(service_item(), 0..8), log()).prop_map(
        |(action, from, to, sources, destinations, services, log)| {
            let span = Span::default();
            Rule { action, from, to, sources, destinations, services, log, span }
        },
    )
}

fn test_case() -> impl Strategy<Value = TestCase> {
    let end = || (name(), address().prop_map(spanned));
    (end(), end(), service_item(), action()).prop_map(|((from, source), (to, destination), packet, expect)| TestCase {
        from,
        source,
        to,
        destination,
        packet,
        expect,
        span: Span::default(),
    })
}

fn statement() -> impl Strategy<Value = Statement> {
    let vlan = option::of((1_u16..=4094).prop_map(spanned));
    prop_oneof![
        (name(), interface(), vlan, vec(network().prop_map(spanned), 1..4))
            .prop_map(|(name, interface, vlan, addresses)| Statement::Zone(Zone { name, interface, vlan, addresses })),
        (name(), vec(address_item(), 1..20)).prop_map(|(name, items)| Statement::Set(Set { name, items })),
        (name(), vec(service_item(), 1..20))
            .prop_map(|(name, items)| Statement::Service(ServiceDefinition { name, items })),
        (network(), address()).prop_map(|(prefix, via)| Statement::Route(Route {
            prefix: spanned(prefix),
            via: spanned(via),
            span: Span::default()
        })),
        (action(), log()).prop_map(|(action, log)| Statement::Default(Default { action, log, span: Span::default() })),
        rule().prop_map(Statement::Rule),
        ("[ -~äß€]{1,30}", vec(test_case(), 1..4))
            .prop_map(|(name, cases)| Statement::Test(Test { name: spanned(name), cases })),
    ]
}

/// Every text in `rules`, valid or not.
fn corpus() -> Vec<Vec<u8>> {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules");
    let folders = ["examples", "invalid"].map(|folder| fs::read_dir(rules.join(folder)).expect("a folder"));
    let files = folders.into_iter().flatten().map(|entry| entry.expect("an entry").path());
    let rules = files.filter(|path| path.extension().is_some_and(|extension| extension == "fw"));
    rules.map(|path| fs::read(path).expect("a file")).collect()
}

#[derive(Clone, Debug)]
enum Change {
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, usize),
    Flip(Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let pieces: Vec<Vec<u8>> = ["{", "}", ",", "->", "=", "\"", "\\", "\n", " ", "#", "/", "-", ":", "65536", "any"]
        .iter()
        .map(|piece| piece.as_bytes().to_vec())
        .collect();
    prop_oneof![
        (any::<Index>(), 1..40_usize).prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<Index>(), select(pieces)).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (any::<Index>(), 1..200_usize).prop_map(|(at, count)| Change::Repeat(at, count)),
        (any::<Index>(), 1..=255_u8).prop_map(|(at, mask)| Change::Flip(at, mask)),
    ]
}

fn changed(mut text: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let at = |index: &Index| index.index(text.len() + 1);
        match change {
            Change::Remove(index, count) => {
                let start = at(index);
                text.drain(start..(start + count).min(text.len()));
            }
            Change::Insert(index, piece) => {
                let start = at(index);
                text.splice(start..start, piece.iter().copied());
            }
            Change::Repeat(index, count) => {
                let start = at(index);
                let piece = text[start..(start + count).min(text.len())].to_vec();
                text.splice(start..start, piece);
            }
            Change::Flip(index, mask) => {
                let start = at(index);
                if let Some(byte) = text.get_mut(start) {
                    *byte ^= mask;
                }
            }
        }
    }
    text
}

/// Loads and draws; the answer must be a policy without errors or errors that can be shown.
fn try_load(bytes: Vec<u8>, width: usize) {
    let files = [SourceFile::from_bytes("input.fw", bytes)];
    match load(&files) {
        Ok(loaded) => {
            assert!(!loaded.warnings.has_errors());
            render(&loaded.warnings, &files, true, width);
            let statements = parse(&files[0]).expect("it loaded");
            let printed = [SourceFile::new("printed.fw", print(&statements))];
            let again = load(&printed).expect("what was printed loads").policy;
            let essence = |policy: &vfw::lang::Policy| {
                let rules = policy.rules.iter();
                rules.map(|r| (r.text.clone(), r.sources.clone(), r.services.clone())).collect::<Vec<_>>()
            };
            assert_eq!(essence(&loaded.policy), essence(&again));
        }
        Err(errors) => {
            assert!(errors.has_errors());
            assert!(!render(&errors, &files, false, width).is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn printing_loses_nothing(statements in vec(statement(), 0..6)) {
        let text = print(&statements);
        let file = SourceFile::new("printed.fw", text.clone());
        let again = parse(&file)
            .map_err(|errors| TestCaseError::fail(render(&errors, std::slice::from_ref(&file), false, 200)))?;
        prop_assert_eq!(again, statements);
    }

    #[test]
    fn a_rule_prints_on_one_line(rule in rule()) {
        let text = rule.to_string();
        prop_assert!(!text.contains('\n'));
        prop_assert_eq!(parse(&SourceFile::new("rule", text)).expect("it parses"), vec![Statement::Rule(rule)]);
    }

    #[test]
    fn any_bytes_are_answered(bytes in vec(any::<u8>(), 0..400), width in 0..200_usize) {
        try_load(bytes, width);
    }

    #[test]
    fn any_words_are_answered(picks in vec((any::<Index>(), any::<bool>()), 0..60), width in 0..200_usize) {
        let mut words: Vec<&str> = KEYWORDS.iter().map(|row| row.text).collect();
        words.extend(SERVICES.iter().map(|row| row.text));
        words.extend(["{", "}", ",", "->", "=", "\"a\"", "\"", "\\", "#", "a", "b", "eth1", "tcp", "icmp", "icmp6"]);
        words.extend(["80", "80-90", "10.0.0.1", "10.0.0.1/24", "fd00::1/64", "10.0.0.1-10.0.0.9", "\u{202e}", "é"]);
        let mut text = String::new();
        for (pick, line) in picks {
            text += words[pick.index(words.len())];
            text += if line { "\n" } else { " " };
        }
        try_load(text.into_bytes(), width);
    }

    #[test]
    fn damaged_files_are_answered(
        file in any::<Index>(),
        changes in vec(change(), 1..6),
        width in 0..200_usize,
    ) {
        let corpus = corpus();
        try_load(changed(corpus[file.index(corpus.len())].clone(), &changes), width);
    }
}

/// Inputs made to be slow, deep or large.
#[test]
fn monsters_are_answered_soon() {
    let mut chain = String::new();
    for i in 0..50_000 {
        writeln!(chain, "set s{i} = {{ s{} }}", i + 1).expect("to memory");
    }
    let mut growing = String::new();
    for i in 0..3_000 {
        let below: Vec<String> = (0..i.min(100)).map(|j| format!("s{}", i - 1 - j)).collect();
        let (high, low) = (i / 256, i % 256);
        writeln!(growing, "set s{i} = {{ 10.{high}.{low}.0/32\n{} }}", below.join("\n")).expect("to memory");
    }
    let many_ports = vec!["1"; 5_000].join(",\n");
    let monsters = [
        "{".repeat(1_000_000),
        "}\n".repeat(500_000),
        "zone a {\n".repeat(100_000),
        "\"".repeat(1_000_000),
        "a".repeat(3_000_000),
        format!("allow {}", "a, ".repeat(20_000)),
        "x\n".repeat(500_000),
        "é".repeat(30_000),
        format!("service s = tcp {many_ports} -> {many_ports}\n"),
        chain,
        growing,
    ];
    for monster in monsters {
        let start = Instant::now();
        let head: String = monster.chars().take(20).collect();
        try_load(monster.into_bytes(), 80);
        assert!(start.elapsed() < Duration::from_secs(30), "{head:?} took {:?}", start.elapsed());
    }
}
