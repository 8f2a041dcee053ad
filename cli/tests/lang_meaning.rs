//! What texts mean once they are loaded.

use std::fmt::Write as _;

use vfw::lang::{
    Action, Diagnostic, Diagnostics, IcmpMatch, Policy, Service, SourceFile, TEST_SOURCE_PORT, TcpFlags, ZoneMatch,
    limits, load, render,
};

const ZONES: &str = "\
zone app { interface eth1  vlan 10  address 10.0.10.1/24, fd00:10::1/64 }
zone db  { interface eth2  vlan 20  address 10.0.20.1/24, fd00:20::1/64 }
";

fn policy(text: &str) -> Policy {
    let files = [SourceFile::new("test.fw", format!("{ZONES}{text}"))];
    load(&files).unwrap_or_else(|errors| panic!("{}", render(&errors, &files, false, 100))).policy
}

fn messages(files: &[SourceFile]) -> Vec<String> {
    let found = load(files).map_or_else(|errors| errors, |loaded| loaded.warnings);
    found.iter().map(|diagnostic| diagnostic.message.clone()).collect()
}

fn prefixes(text: &str) -> Vec<String> {
    let policy = policy(text);
    policy.rules[0].sources.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_means_drop() {
    let policy = load(&[]).expect("no files, no errors").policy;
    assert_eq!((policy.default.action, policy.default.location), (Action::Drop, None));
}

#[test]
fn sets_and_ranges_become_the_fewest_prefixes() {
    let text = "allow any -> any  from a, 10.0.0.0/25\nset a = { b, 10.0.0.128-10.0.1.255 }\nset b = { fd00::1 }";
    assert_eq!(prefixes(text), ["10.0.0.0/23", "fd00::1/128"]);
    assert_eq!(prefixes("allow any -> any  from 0.0.0.0/1, 128.0.0.0-255.255.255.255"), ["0.0.0.0/0"]);
    assert!(prefixes("allow any -> any").is_empty());
}

#[test]
fn services_become_protocols_and_ports() {
    let services = |text: &str| policy(&format!("allow any -> any  service {text}")).rules[0].services.clone();
    let tcp = |source: u16, from: u16, to: u16| Service {
        protocol: 6,
        source_ports: if source == 0 { 0..=65535 } else { source..=source },
        destination_ports: from..=to,
        icmp: None,
        flags: None,
    };
    assert_eq!(services("tcp 80, 8000-8100, http"), [tcp(0, 80, 80), tcp(0, 8000, 8100)]);
    assert_eq!(services("tcp 20, 21 -> any"), [tcp(20, 0, 65535), tcp(21, 0, 65535)]);
    assert_eq!(services("proto 6"), [tcp(0, 0, 65535)]);
    let no_ecn = Service { flags: TcpFlags::parse("S/SEW"), ..tcp(0, 443, 443) };
    assert_eq!(services("tcp 443 flags S/SEW, tcp 443"), [no_ecn, tcp(0, 443, 443)]);
    assert_eq!(services("tcp flags F")[0].flags, TcpFlags::parse("F/F"));
    let icmp = |text: &str| services(text)[0].icmp;
    assert_eq!(icmp("icmp"), None);
    assert_eq!(icmp("icmp port-unreachable"), Some(IcmpMatch { kind: 3, code: Some(3) }));
    assert_eq!(icmp("icmp6 type 1 code 4"), Some(IcmpMatch { kind: 1, code: Some(4) }));
    assert_eq!(services("ping").iter().map(|s| s.protocol).collect::<Vec<_>>(), [1, 58]);
    assert_eq!(services("gre, proto 47").len(), 1);
}

#[test]
fn a_declared_service_replaces_a_built_in_one() {
    let policy = policy("service ssh = tcp 2222\nallow any -> any  service ssh");
    assert_eq!(policy.rules[0].services[0].destination_ports, 2222..=2222);
}

#[test]
fn statements_end_with_the_line_unless_they_cannot() {
    let text = "allow app ->\n  db \\\n  service ssh, # why\n  http\n  \ndrop any -> any";
    let policy = policy(text);
    let texts: Vec<&str> = policy.rules.iter().map(|rule| rule.text.as_str()).collect();
    assert_eq!(texts, ["allow app -> db  service ssh, http", "drop any -> any"]);
    assert_eq!((policy.rules[0].location.line, policy.rules[1].location.line), (3, 8));
}

#[test]
fn windows_line_ends_and_byte_order_marks_are_space() {
    let text = format!("\u{feff}{ZONES}allow app -> db # x\r\n\r\ndrop any -> any\r\n");
    assert_eq!(load(&[SourceFile::new("w.fw", text)]).expect("it loads").policy.rules.len(), 2);
}

#[test]
fn zones_of_a_rule_are_sorted_and_single() {
    let policy = policy("allow db, app, db -> any");
    assert_eq!(policy.rules[0].from, ZoneMatch::Zones(vec![0, 1]));
    assert_eq!(policy.rules[0].to, ZoneMatch::Any);
}

#[test]
fn routes_belong_to_the_zone_of_their_next_hop() {
    let policy = policy("route 0.0.0.0/0 via 10.0.20.254\nroute fd00:99::/64 via fd00:10::9");
    assert_eq!(policy.routes.iter().map(|route| route.zone).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn tests_follow_the_longest_prefix() {
    let routes = "route 0.0.0.0/0 via 10.0.20.254\nroute 10.8.0.0/16 via 10.0.10.9\nroute 10.8.1.0/24 via 10.0.20.9\n";
    let case = |to: &str, address: &str| format!("{routes}test \"t\" {{ app 10.0.10.7 -> {to} {address} ssh = drop }}");
    policy(&case("db", "192.0.2.1"));
    policy(&case("db", "10.8.1.1"));
    policy(&case("app", "10.8.2.1"));
    let wrong = SourceFile::new("t.fw", format!("{ZONES}{}", case("db", "10.8.2.1")));
    assert_eq!(messages(&[wrong]), ["10.8.2.1 is not in zone `db`"]);
}

#[test]
fn a_test_tries_every_packet_of_its_service() {
    let text = "test \"t\" {\n app 10.0.10.7 -> db 10.0.20.9 dns = drop\n app fd00:10::7 -> db fd00:20::9 ping = drop\n \
                app 10.0.10.7 -> db 10.0.20.9 tcp 40000 -> 22 = reject\n app 10.0.10.7 -> db 10.0.20.9 gre = allow }";
    let cases = policy(text).tests[0].cases.clone();
    let ports: Vec<(u8, u16, u16)> =
        cases.iter().map(|case| (case.protocol, case.source_port, case.destination_port)).collect();
    let source = TEST_SOURCE_PORT;
    assert_eq!(ports, [(6, source, 53), (17, source, 53), (58, 0, 0), (6, 40000, 22), (47, 0, 0)]);
    assert_eq!(cases[2].icmp, Some(IcmpMatch { kind: 128, code: Some(0) }));
    assert_eq!(cases[3].expect, Action::Reject);
}

#[test]
fn files_form_one_policy_and_keep_their_places() {
    let zones = SourceFile::new("zones.fw", ZONES);
    let rules = SourceFile::new("rules.fw", "allow app -> db  from admins\nset admins = { 10.0.10.5 }\n");
    let policy = load(&[rules.clone(), zones.clone()]).expect("it loads").policy;
    assert_eq!((policy.rules[0].location.file, policy.zones[0].location.file), (0, 1));
    assert_eq!(policy.sources[1].name, "zones.fw");

    let files = [zones, rules, SourceFile::new("more.fw", "\nset admins = { 10.0.10.6 }\n")];
    let errors = load(&files).expect_err("declared twice");
    let shown = render(&errors, &files, false, 80);
    assert!(shown.contains("more.fw:2:5") && shown.contains("rules.fw:2:5"), "{shown}");
}

#[test]
fn a_broken_declaration_is_reported_once() {
    let text = "zone app { interfac eth1  address 10.0.1.1/24 }\nset s = { 10.0.0.300 }\nallow app -> app  from s\n";
    assert_eq!(messages(&[SourceFile::new("t.fw", text)]).len(), 2);
}

#[test]
fn a_failing_test_points_at_the_case_and_at_the_rule() {
    let text = "drop app -> db\ntest \"db\" { app 10.0.10.7 -> db 10.0.20.9 ssh = allow }\n";
    let policy = policy(text);
    let (test, rule) = (&policy.tests[0], &policy.rules[0]);
    let failure = Diagnostic::test_failed(test, &test.cases[0], Action::Drop, Some(&rule.location));
    let all: Diagnostics = [failure].into_iter().collect();
    let shown = render(&all, &policy.sources, false, 100);
    for part in ["test \"db\": expected allow, got drop", "test.fw:4:13", "test.fw:3:1", "decided here"] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
}

#[test]
fn rules_behind_wider_ones_are_warned_of() {
    let hidden = |earlier: &str, later: &str| {
        let text = format!("{ZONES}set s = {{ 10.0.10.0/25, fd00:10::/80 }}\n{earlier}\n{later}\n");
        let found = messages(&[SourceFile::new("t.fw", text)]);
        assert!(found.len() < 2, "{found:?}");
        found == ["this rule is never reached"]
    };
    for (earlier, later) in [
        ("drop any -> any", "allow app -> db  from s  service ssh  log"),
        ("allow app, db -> any", "drop db -> app, db"),
        ("allow app -> db  from s", "allow app -> db  from 10.0.10.4-10.0.10.9, fd00:10::1"),
        ("allow app -> db  service tcp 1-1024, udp", "drop app -> db  service dns, ssh"),
        ("allow app -> db  service icmp", "drop app -> db  service icmp echo-request"),
        ("allow app -> db  service icmp type 8", "drop app -> db  service icmp echo-request"),
        ("allow app -> db  service tcp", "drop app -> db  service tcp 20 -> 1024-65535"),
    ] {
        assert!(hidden(earlier, later), "{earlier} / {later}");
    }
    for (earlier, later) in [
        ("allow app -> db", "drop any -> db"),
        ("allow app -> db  from s", "drop app -> db"),
        ("allow app -> db  from s", "drop app -> db  from 10.0.10.0/24"),
        ("allow app -> db  from 10.0.10.0/24", "drop app -> db  from s"),
        ("allow app -> db  to 10.0.20.0/24", "drop app -> db  from 10.0.10.7"),
        ("allow app -> db  service tcp 1-1024", "drop app -> db  service tcp 1000-2000"),
        ("allow app -> db  service tcp 20 -> any", "drop app -> db  service tcp"),
        ("allow app -> db  service icmp echo-request", "drop app -> db  service icmp"),
        (
            "allow app -> db  service port-check\nservice port-check = icmp type 8 code 0",
            "drop app -> db  service icmp type 8",
        ),
        ("allow app -> db  service icmp", "drop app -> db  service ping"),
    ] {
        assert!(!hidden(earlier, later), "{earlier} / {later}");
    }
}

#[test]
fn limits_hold() {
    let zone = |i: usize| {
        format!(
            "zone z{i} {{ interface e{}  vlan {}  address 10.{}.{}.1/24 }}\n",
            i / 4000,
            i % 4000 + 1,
            i / 256,
            i % 256
        )
    };
    let zones = |count: usize| (0..count).map(zone).collect::<String>();
    let load_zones = |count: usize| messages(&[SourceFile::new("z.fw", zones(count))]);
    assert!(load_zones(limits::ZONES).is_empty());
    assert_eq!(load_zones(limits::ZONES + 1), ["a policy has at most 1024 zones; this one is too many"]);

    let line = format!("# {}\n", "x".repeat(limits::LINE));
    assert_eq!(messages(&[SourceFile::new("l.fw", line)]), ["this line is longer than 65536 bytes"]);

    let ports = vec!["1"; 10_000].join(",\n");
    let text = format!("service s = tcp {ports} -> {ports}");
    assert_eq!(messages(&[SourceFile::new("s.fw", text)]), ["the services have too many members in all"]);
}

#[test]
fn many_rules_load_in_time() {
    let mut text = ZONES.to_owned();
    for i in 0..100_000 {
        let (high, low) = (i / 256 % 256, i % 256);
        writeln!(text, "allow app -> db  from 10.0.{high}.{low}  service tcp {}", i % 65536).expect("to memory");
    }
    let start = std::time::Instant::now();
    let policy = load(&[SourceFile::new("big.fw", text)]).expect("it loads").policy;
    assert_eq!(policy.rules.len(), 100_000);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
