//! `vfw show drops`: real packets that were refused are listed with what they were and the line that refused them.

use serde_json::Value;
use vfw_tests::network::{Firewall, Network, Shape, until};
use vfw_tests::packet::Ethernet;

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");
const HOOKS: [&str; 3] = ["xdp", "tc", "afxdp"];

const RULES: &str = "
zone app { interface eth1  address 10.0.10.1/24, fd00:10::1/64 }
zone db  { interface eth2  vlan 20  address 10.0.20.1/24, fd00:20::1/64 }
allow app -> db  service tcp 5432
drop app -> db  service tcp 8080
";
const NO_WEB: &str = "rules.fw:5";

/// The recent drops of IP packets, without what the hosts' own stacks multicast.
fn recent(firewall: &Firewall) -> Vec<Value> {
    let drops = firewall.show("drops");
    let rows = drops["recent"].as_array().expect("a list").clone();
    rows.into_iter().filter(|row| row["reason"] != "multicast").collect()
}

/// Waits until there are `count` kinds of recent drops.
fn wait_for(firewall: &Firewall, count: usize) -> Vec<Value> {
    until("the drops are listed", || Some(recent(firewall)).filter(|rows| rows.len() >= count))
}

/// One field of each row.
fn fields<'a>(rows: &'a [Value], name: &str) -> Vec<&'a Value> {
    rows.iter().map(|row| &row[name]).collect()
}

fn refused_packets_are_listed(hook: &str) {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let firewall = network.firewall(&format!("mode = \"{hook}\""));
    // The SYN is sent again once a second: one kind of drop, two or three packets.
    let curl = network.run("app", &["curl", "--silent", "--max-time", "2.5", "http://10.0.20.7:8080/"]);
    assert!(!curl.status.success());
    let ping = network.run("app", &["ping", "-6", "-c1", "-W1", "fd00:20::7"]);
    assert!(!ping.status.success());
    let rows = wait_for(&firewall, 2);
    let [web, ping] = rows.as_slice() else { panic!("{rows:?}") };
    let expected = serde_json::json!({
        "zone": "app", "to_zone": "db", "interface": "eth1", "reason": "policy", "protocol": "tcp",
        "source": "10.0.10.7", "destination": "10.0.20.7", "destination_port": 8080, "tcp_flags": "SYN",
        "decided": { "place": NO_WEB, "rule": "drop app -> db  service tcp 8080" },
    });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&web[name], value, "{hook}: {name} of {web}");
    }
    assert!(web["packets"].as_u64() >= Some(2), "{hook}: {web}");
    assert_eq!((&ping["protocol"], &ping["icmp_type"]), (&"icmp6".into(), &128.into()), "{hook}");
    assert_eq!(ping["decided"]["place"], "built-in", "{hook}: nobody wrote the default");
    assert_eq!(firewall.show("drops")["unlisted"], 0, "{hook}: all are listed");
    let text = network.vfw_run(&["show", "drops", "--socket", network.socket().to_str().expect("UTF-8")]);
    let text = String::from_utf8(text.stdout).expect("UTF-8");
    assert!(text.contains(&format!("policy: {NO_WEB}  drop app -> db  service tcp 8080")), "{text}");
    assert!(text.contains("icmp6 echo-request fd00:10::7 -> fd00:20::7"), "{text}");
    assert!(text.lines().all(|line| line.trim_end().len() <= 80), "{text}");
    println!("{text}");
}

#[test]
fn refused_packets_are_listed_xdp() {
    refused_packets_are_listed(HOOKS[0]);
}

#[test]
fn refused_packets_are_listed_tc() {
    refused_packets_are_listed(HOOKS[1]);
}

/// What the daemon drops itself stands in the same list; a frame that found no zone is told by interface and tag.
#[test]
fn frames_without_a_zone_and_frames_that_waited_in_vain() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = network.firewall(&format!("mode = \"{hook}\""));
        let wire = network.wire("app");
        let link = Ethernet::new([2, 0, 0, 0, 0, 9], mac_of(&network));
        wire.send(&link.clone().vlan(77).ip("10.0.10.9", "10.0.20.7").udp(1, 2, b"nowhere"));
        wire.send(&link.ip("10.0.10.9", "10.0.20.99").tcp(4_000, 5_432).flags(2).build());
        let rows = wait_for(&firewall, 2);
        assert_eq!(fields(&rows, "reason"), ["unknown-vlan", "unreachable"], "{hook}");
        assert_eq!(fields(&rows, "zone"), [&Value::Null, &"app".into()], "{hook}");
        assert_eq!(fields(&rows, "to_zone"), [&Value::Null, &"db".into()], "{hook}");
        assert_eq!((&rows[0]["interface"], &rows[0]["vlan"]), (&"eth1".into(), &77.into()), "{hook}");
        assert_eq!(rows[0]["source"], Value::Null, "{hook}: nobody has looked into it");
        assert_eq!(rows[1]["destination"], "10.0.20.99", "{hook}");
        assert_eq!(rows[1]["destination_port"], 5_432, "{hook}");
    }
}

fn mac_of(network: &Network) -> [u8; 6] {
    network.mac("fw", "eth1")
}

/// A flood in one zone fills its part of the list; another zone's only drop stays in it, and the rest is counted.
#[test]
fn a_flood_hides_no_drop_of_another_zone() {
    let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
    let firewall = network.firewall("mode = \"xdp\"\n[limits]\ndrop_rate = 10\ndrop_burst = 50");
    let wire = network.wire("app");
    let link = Ethernet::new([2, 0, 0, 0, 0, 9], mac_of(&network));
    for port in 1..=1_000 {
        wire.send(&link.ip("10.0.10.9", "10.0.20.7").udp(9, port, b"flood"));
    }
    let refused = network.run("db", &["ping", "-c1", "-W1", "10.0.10.7"]);
    assert!(!refused.status.success());
    until("both are seen", || (firewall.dropped(Some("db"), "policy") > 0).then_some(()));
    let rows =
        until("both are listed", || Some(recent(&firewall)).filter(|rows| rows.iter().any(|row| row["zone"] == "db")));
    let of_app = rows.iter().filter(|row| row["zone"] == "app").count();
    assert!((50..200).contains(&of_app), "{of_app}");
    let unlisted = firewall.show("drops")["unlisted"].as_u64().expect("a number");
    assert!((800..=950).contains(&unlisted), "{unlisted}");
}
