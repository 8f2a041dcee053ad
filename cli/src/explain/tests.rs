use super::*;
use crate::compile::{Link, compile};
use crate::config::Config;
use crate::lang::{SourceFile, load, render};

const ZONES: &str = "\
zone app { interface eth1  vlan 10  address 10.0.10.1/24, fd00:10::1/64 }
zone db  { interface eth2  address 10.0.20.1/24, fd00:20::1/64 }
route 10.9.0.0/16 via 10.0.20.254
";

fn policy(rules: &str) -> Policy {
    let files = [SourceFile::new("test.fw", format!("{ZONES}{rules}"))];
    load(&files).unwrap_or_else(|errors| panic!("{}", render(&errors, &files, false, 100))).policy
}

fn explain(rules: &str, packet: &str) -> Explanation {
    let policy = policy(rules);
    let image = compile(&policy, &Config::default(), &Link::invent(&policy)).expect("compiles");
    let packet = FirstPacket::parse(&policy, packet).expect("a packet");
    Explainer::new(&policy, &image).explain(&packet).expect("explains")
}

#[test]
fn packets_are_read_in_every_form() {
    let policy = policy("");
    let read = |text: &str| FirstPacket::parse(&policy, text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let full = read("app 10.0.10.7:40000 -> 10.0.20.9:5432 tcp");
    assert_eq!((full.from, full.source_port, full.destination_port, full.protocol), (0, 40_000, 5_432, 6));
    assert_eq!(read("10.0.10.7:40000->10.0.20.9 tcp 5432"), full);
    assert_eq!(read("app 10.0.10.7:40000 -> 10.0.20.9 postgres"), full);
    let v6 = read("db [fd00:20::9]:53 -> [fd00:10::7]:1 udp");
    assert_eq!((v6.from, v6.source_port, v6.destination_port, v6.protocol), (1, 53, 1, 17));
    let ping = read("app fd00:10::7 -> fd00:20::9 ping");
    assert_eq!((ping.protocol, ping.icmp), (58, Some(crate::lang::IcmpMatch { kind: 128, code: Some(0) })));
    assert_eq!(
        read("app 10.0.10.7 -> 10.0.20.9 icmp type 3 code 1"),
        read("app 10.0.10.7 -> 10.0.20.9 icmp host-unreachable")
    );
    assert_eq!(read("app 10.0.10.7 -> 10.0.20.9 proto 47"), read("app 10.0.10.7 -> 10.0.20.9 gre"));
}

#[test]
fn what_is_no_packet_gives_a_clear_error() {
    let policy = policy("");
    for (text, expected) in [
        ("app 10.0.10.7 10.0.20.9 tcp", "`->` is missing"),
        ("-> 10.0.20.9 tcp 1", "a zone and a source address"),
        ("app 10.0.10.7 ->", "the destination is missing"),
        ("ap 10.0.10.7 -> 10.0.20.9 tcp 1", "there is no zone `ap`; there are: app, db"),
        ("192.0.2.1 -> 10.0.20.9 tcp 1", "no zone has 192.0.2.1"),
        ("app 10.0.10.7 -> fd00:20::9 tcp 1", "different families"),
        ("app 10.0.10.777 -> 10.0.20.9 tcp 1", "neither an address"),
        ("app 10.0.10.7 -> 10.0.20.9", "the protocol is missing"),
        ("app 10.0.10.7 -> 10.0.20.9 tcp", "the destination port is missing"),
        ("app 10.0.10.7 -> 10.0.20.9:1 tcp 2", "two destination ports, 1 and 2"),
        ("app 10.0.10.7 -> 10.0.20.9:1 ping", "no ports"),
        ("app 10.0.10.7:1 -> 10.0.20.9 gre", "no ports"),
        ("app 10.0.10.7 -> 10.0.20.9 tcp 70000", "no port"),
        ("app 10.0.10.7 -> 10.0.20.9 dns", "tcp 53, udp 53: ask about one"),
        ("app 10.0.10.7 -> 10.0.20.9 icmp nonsense", "no message `nonsense`"),
        ("app 10.0.10.7 -> 10.0.20.9 proto 1", "its message"),
        ("app fd00:10::7 -> fd00:20::9 proto 0", "0 is an IPv6 extension header"),
        ("app 10.0.10.7 -> 10.0.20.9 proto 44", "44 is an IPv6 extension header"),
        ("app 10.0.10.7 -> 10.0.20.9 nonsense", "no protocol and no service"),
    ] {
        let error = FirstPacket::parse(&policy, text).expect_err(text).to_string();
        assert!(error.contains(expected) && error.contains("write it like"), "{text}: {error}");
    }
}

#[test]
fn an_allowed_packet_names_its_rule_and_why_the_others_did_not_match() {
    let rules = "drop db -> app\ndrop app -> db  service ssh\nallow app -> db  from 10.0.10.0/25\n";
    let found = explain(rules, "app 10.0.10.7 -> 10.9.1.1 tcp 80");
    assert_eq!((found.verdict.as_str(), found.to.as_deref()), ("allow", Some("db")));
    assert_eq!(found.route.as_deref(), Some("via 10.0.20.254"));
    assert_eq!(found.decided.expect("a rule").place, "test.fw:6");
    let failed: Vec<_> = found.considered.iter().map(|considered| considered.failed.join("; ")).collect();
    assert_eq!(failed, ["from zone: app is not db; to zone: db is not app", "service: tcp 80 is not tcp 22"]);
    assert_eq!(found.nearest, None);
}

#[test]
fn a_dropped_packet_names_the_rule_that_comes_nearest() {
    let rules = "drop db -> app\nallow app -> db  from 10.0.10.0/29  service http\nallow app -> db  service https\n";
    let found = explain(rules, "app 10.0.10.70 -> 10.0.20.9 tcp 80");
    assert_eq!((found.verdict.as_str(), found.reason.as_deref()), ("drop", Some("policy")));
    assert_eq!(found.decided.expect("the default").place, "built-in");
    let nearest = found.nearest.expect("a rule");
    assert_eq!((nearest.rule.place.as_str(), nearest.failed.len()), ("test.fw:5", 1));
    assert_eq!(nearest.failed, ["source: 10.0.10.70 is not in 10.0.10.0/29"]);
    let late = explain("drop app -> db  service http\nallow app -> db\n", "app 10.0.10.70 -> 10.0.20.9 tcp 80");
    assert_eq!(late.nearest.expect("a rule").failed, Vec::<String>::new());
}

#[test]
fn packets_that_no_rule_sees_say_so() {
    for (packet, reason) in [
        ("app 10.0.20.7 -> 10.0.10.9 tcp 80", "spoofed-source"),
        ("app 10.0.10.7 -> 192.0.2.1 tcp 80", "no-route"),
        ("app 10.0.10.7 -> 10.0.10.1 tcp 80", "local-service"),
        ("app 10.0.10.7 -> 10.0.20.9 icmp echo-reply", "no-flow"),
    ] {
        let found = explain("allow any -> any\n", packet);
        assert_eq!((found.verdict.as_str(), found.reason.as_deref()), ("drop", Some(reason)), "{packet}");
        assert_eq!((found.decided, found.considered, found.nearest), (None, Vec::new(), None), "{packet}");
    }
    assert_eq!(explain("", "app 10.0.10.7 -> 10.0.10.1 ping").verdict, "allow");
}

#[test]
fn every_protocol_number_has_an_answer() {
    let policy = policy("allow app -> db\n");
    let image = compile(&policy, &Config::default(), &Link::invent(&policy)).expect("compiles");
    for (packet, number) in ["app 10.0.10.7 -> 10.0.20.9", "app fd00:10::7 -> fd00:20::9"]
        .into_iter()
        .flat_map(|packet| (0..=u8::MAX).map(move |number| (packet, number)))
    {
        let text = format!("{packet} proto {number}");
        if let Ok(packet) = FirstPacket::parse(&policy, &text) {
            let found = Explainer::new(&policy, &image).explain(&packet).expect(&text);
            assert_eq!(found.verdict, "allow", "{text}: {found:?}");
        }
    }
}

/// The answer where the interfaces of both zones are in these states.
fn explain_on(links: &[Link; 2], packet: &str) -> Explanation {
    let policy = policy("allow app -> db  service tcp 22\ndrop any -> any\n");
    let image = compile(&policy, &Config::default(), links).expect("compiles");
    let packet = FirstPacket::parse(&policy, packet).expect("a packet");
    Explainer::new(&policy, &image).explain(&packet).expect("explains")
}

#[test]
fn a_closed_interface_is_named_and_so_is_the_rule_that_would_decide() {
    let [eth1, eth2] = <[Link; 2]>::try_from(Link::invent(&policy(""))).expect("two interfaces");
    let (ssh, web) = ("app 10.0.10.7 -> 10.0.20.9 ssh", "app 10.0.10.7 -> 10.0.20.9 http");
    let closed = |explanation: &Explanation| {
        let one = |closed: &ClosedInterface| format!("{} {} {}", closed.interface, closed.zone, closed.state);
        explanation.closed.iter().map(one).collect::<Vec<_>>()
    };
    let down = Link { up: false, ..eth2.clone() };
    let found = explain_on(&[eth1.clone(), down.clone()], ssh);
    assert_eq!((found.verdict.as_str(), found.reason.as_deref()), ("drop", Some("interface-down")));
    assert_eq!(found.decided.as_ref().map(|rule| rule.place.as_str()), Some("test.fw:4"));
    assert_eq!(closed(&found), ["eth2 db down"]);
    let found = explain_on(&[eth1.clone(), down], web);
    assert_eq!((found.reason.as_deref(), closed(&found)), (Some("policy"), vec!["eth2 db down".to_owned()]));
    let found = explain_on(&[Link::away("eth1"), Link::away("eth2")], ssh);
    assert_eq!((found.verdict.as_str(), found.reason.as_deref()), ("drop", Some("interface-down")));
    assert_eq!(found.decided.as_ref().map(|rule| rule.place.as_str()), Some("test.fw:4"));
    assert_eq!(closed(&found), ["eth1 app away", "eth2 db away"]);
    let text = crate::command::explain::text(&found, false);
    assert!(text.contains("closed   eth1 (zone app) is away: nothing comes in by it\n"), "{text}");
    assert!(text.contains("closed   eth2 (zone db) is away: nothing leaves by it\n"), "{text}");
    assert!(text.contains("decided  test.fw:4  allow app -> db  service tcp 22\n         would allow it\n"), "{text}");
    let found = explain_on(&[eth1, eth2], ssh);
    assert_eq!((found.verdict.as_str(), closed(&found).len()), ("allow", 0));
}
