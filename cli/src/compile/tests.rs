use std::net::IpAddr;

use firewall_core::Address;
use firewall_core::tables::{MAX_ZONES, RouteKind, Tables, ZONE_PROBES, ZONE_SLOTS, zone_flag, zone_slot_start};

use super::*;
use crate::backend::memory::{Limits, Memory};
use crate::lang::{SourceFile, load, render};

const ZONES: &str = "\
zone app { interface eth1  vlan 10  address 10.0.10.1/24, fd00:10::1/64 }
zone db  { interface eth2  vlan 20  address 10.0.20.1/24, fd00:20::1/64 }
";

fn policy(text: &str) -> Policy {
    let files = [SourceFile::new("test.fw", format!("{ZONES}{text}"))];
    load(&files).unwrap_or_else(|errors| panic!("{}", render(&errors, &files, false, 100))).policy
}

fn image(text: &str) -> Image {
    let policy = policy(text);
    compile(&policy, &Config::default(), &Link::invent(&policy)).expect("compiles")
}

fn entries(text: &str) -> usize {
    image(text).entries
}

#[test]
fn rules_become_their_combinations() {
    // One for each family.
    assert_eq!(entries("allow any -> any"), 2);
    assert_eq!(entries("allow app, db -> db  service tcp 80, 443"), 8);
    assert_eq!(entries("allow any -> any  from 10.0.0.1, 10.0.0.5 to 10.1.0.0/16  service ssh, dns"), 6);
    // One family on each side: the other combinations can never match.
    assert_eq!(entries("allow any -> any  from 10.0.0.1, fd00::1  to 10.1.0.0/16, fd01::/16"), 2);
    assert_eq!(entries("allow any -> any  from 10.0.0.1, fd00::1  service ping"), 2);
    assert_eq!(entries("allow any -> any  from 10.0.0.1  to fd00::1"), 0);
}

#[test]
fn all_of_ipv6_leaves_ipv4_out() {
    assert_eq!(entries("allow any -> any  from ::/0, 0.0.0.0/0"), 2);
    assert_eq!(entries("allow any -> any  from ::/0  to fd00::/8"), 1);
    assert_eq!(entries("allow any -> any  from ::/0  service icmp6 echo-request"), 1);
    assert_eq!(entries("allow any -> any  from ::/0  to ::/0"), 1);
    assert_eq!(entries("allow any -> any  from ::/0  service ssh, ping"), 2);
    let memory = Memory::new(&image("allow any -> any  from ::/0"), Limits::of(&Config::default()));
    let action = |address: &str| {
        let address = Address::from(address.parse::<IpAddr>().expect("address"));
        let key = firewall_core::tables::RuleKey {
            source: address,
            destination: address,
            source_port: 0,
            destination_port: 0,
            from: 0,
            to: 1,
            protocol: 6,
            tcp_flags: 0,
        };
        memory.judge(|| key).expect("a rule table").rule()
    };
    assert_eq!((action("2001:db8::1"), action("::fffe:1:1"), action("10.0.0.1")), (0, 0, 1));
}

#[test]
fn the_count_is_what_is_pushed() {
    for rule in [
        "allow app, db -> any  from 10.0.0.1, ::/0, fd00::1  to ::/0, 10.0.0.0/8  service ping, dns, tcp 80",
        "allow app, db -> db, app  from 10.0.0.1, 10.0.0.9, fd00::1  service ping, dns, gre",
        "allow any -> any  to ::/1  service ping, dns, gre",
        "allow any -> any  from 0.0.0.0/0  to ::/0",
    ] {
        let policy = policy(rule);
        let (entries, _) = rule::table(&policy).expect("fits");
        let counted: usize = rule::counts(&rule::families(&policy)).iter().sum();
        assert_eq!(entries.v4.count() + entries.v6.count(), counted, "{rule}");
    }
}

#[test]
fn too_many_entries_name_the_largest_rule() {
    let ports: Vec<String> = (0..3000).map(|port| (port * 2 + 1).to_string()).collect();
    // Too few addresses on a side for a class.
    let hosts = |net: u8, count: u8| (0..count).map(|host| format!("10.{net}.{host}.1")).collect::<Vec<_>>().join(", ");
    let text = format!(
        "allow app -> db\nallow app -> db  from {}  to {}  service tcp {}\ndrop any -> any",
        hosts(1, 50),
        hosts(2, 60),
        ports.join(", ")
    );
    let policy = policy(&text);
    let error = compile(&policy, &Config::default(), &Link::invent(&policy)).expect_err("too many");
    let shown = render(error.diagnostics(), &policy.sources, false, 120);
    assert!(shown.contains("the rules become 9000004 table entries; at most 4194304 fit"), "{shown}");
    assert!(shown.contains("test.fw:4:1") && shown.contains("9000000 entries come from this rule"), "{shown}");
}

#[test]
fn rules_that_take_too_much_memory_are_named() {
    let hosts: Vec<String> = (0..6000).map(|host| format!("10.{}.{}.1", host / 250, host % 250)).collect();
    let (most, more) = (hosts[..4000].join(", "), hosts[4000..].join(", "));
    let policy = policy(&format!("allow app -> db\nallow any -> db  from {more}\ndrop any -> any  from {most}\n"));
    let config = Config::parse("vfw.toml", "[rules]\nbytes = 65536").expect("settings");
    let error = compile(&policy, &config, &Link::invent(&policy)).expect_err("too large");
    let shown = render(error.diagnostics(), &policy.sources, false, 120);
    assert!(shown.contains("at most 65536 are allowed (vfw.toml: rules.bytes)"), "{shown}");
    assert!(shown.contains("test.fw:5:1") && shown.contains("4000 entries come from this rule"), "{shown}");
    assert!(shown.contains("test.fw:4") && shown.contains("2000 from this one"), "{shown}");
    assert!(compile(&policy, &Config::default(), &Link::invent(&policy)).is_ok());
}

#[test]
fn missing_interfaces_are_named() {
    let policy = policy("");
    let links: Vec<Link> = Link::invent(&policy).into_iter().filter(|link| link.name == "eth1").collect();
    let error = compile(&policy, &Config::default(), &links).expect_err("eth2 is not here");
    assert!(matches!(error, CompileError::Interface(_)));
    let shown = render(error.diagnostics(), &policy.sources, false, 120);
    assert!(shown.contains("zone `db` is on interface `eth2`, which is not here"), "{shown}");
}

#[test]
fn rules_have_names() {
    let image = image("default reject log \"rest\"\nallow app -> db  log \"in\"");
    let names: Vec<_> =
        image.rule_names.iter().map(|n| (n.place.as_str(), n.text.as_str(), n.label.as_deref())).collect();
    assert_eq!(
        names,
        [("test.fw:4", "allow app -> db  log \"in\"", Some("in")), ("test.fw:3", "default reject log", Some("rest"))]
    );
    assert_eq!(super::rule::table(&policy("")).expect("fits").1[0].place, "built-in");
}

#[test]
fn routes_follow_from_addresses() {
    let image = image(
        "zone p2p { interface eth3  address 192.0.2.0/31 }\nroute 0.0.0.0/0 via 10.0.20.254\nroute ::/0 via fd00:20::fe",
    );
    let memory = Memory::new(&image, Limits::of(&Config::default()));
    let route = |address: &str| {
        let address = Address::from(address.parse::<IpAddr>().expect("address"));
        memory.route(&address).map(|route| (route.kind, route.zone, route.next_hop.to_string()))
    };
    let own = |kind: RouteKind, zone: u16| Some((kind as u16, zone, "::".to_owned()));
    assert_eq!(route("10.0.10.7"), own(RouteKind::Forward, 0));
    assert_eq!(route("10.0.10.1"), own(RouteKind::Local, 0));
    assert_eq!(route("fd00:20::1"), own(RouteKind::Local, 1));
    assert_eq!(route("10.0.10.0"), own(RouteKind::Unroutable, 0));
    assert_eq!(route("10.0.20.255"), own(RouteKind::Unroutable, 1));
    assert_eq!(route("192.0.2.0"), own(RouteKind::Local, 2));
    assert_eq!(route("192.0.2.1"), own(RouteKind::Forward, 2));
    assert_eq!(route("8.8.8.8"), Some((0, 1, "10.0.20.254".to_owned())));
    assert_eq!(route("2001:db8::1"), Some((0, 1, "fd00:20::fe".to_owned())));
    for address in ["fe80::1", "febf::1", "127.0.0.1", "0.1.2.3", "::", "::1"] {
        assert_eq!(route(address).map(|route| route.0), Some(RouteKind::Unroutable as u16), "{address}");
    }
}

#[test]
fn a_default_route_of_ipv6_is_none_of_ipv4() {
    let memory = Memory::new(&image("route ::/0 via fd00:20::fe"), Limits::of(&Config::default()));
    let route = |address: [u8; 4]| memory.route(&Address::from_v4(address)).map(|route| route.kind);
    assert_eq!(route([8, 8, 8, 8]), Some(RouteKind::NoRoute as u16));
    assert_eq!(route([10, 0, 10, 7]), Some(RouteKind::Forward as u16));
}

#[test]
fn any_thousand_vlans_find_room() {
    let zone = |vlan: u32| {
        format!(
            "zone z{vlan} {{ interface eth{}  vlan {}  address 10.{}.{}.1/24 }}\n",
            vlan % 7,
            vlan / 3 + 1,
            vlan / 250,
            vlan % 250
        )
    };
    let text: String = (0..MAX_ZONES).map(zone).collect();
    let policy = load(&[SourceFile::new("many.fw", text)]).expect("valid").policy;
    let image = compile(&policy, &Config::default(), &Link::invent(&policy)).expect("fits");
    assert_eq!(image.zone_index.iter().filter(|slot| **slot != 0).count(), MAX_ZONES as usize);
    for (id, zone) in image.zones.iter().enumerate() {
        let start = zone_slot_start(zone.ifindex, zone.vlan);
        let slots =
            (0..ZONE_PROBES).map(|probe| image.zone_index[(start.wrapping_add(probe) & (ZONE_SLOTS - 1)) as usize]);
        let mut visible = slots.take_while(|slot| *slot != 0);
        assert!(visible.any(|slot| slot as u16 == id as u16 && slot >> 32 == u64::from(zone.ifindex)), "zone {id}");
    }
}

#[test]
fn zones_follow_their_links_and_are_closed_while_these_are_away() {
    let policy = policy("allow any -> any");
    let mut links = Link::invent(&policy);
    let mut image = compile(&policy, &Config::default(), &links).expect("compiles");
    let first = image.clone();
    links[0] = Link::away("eth1");
    image.move_zones(&policy, &links).expect("fits");
    assert_eq!((image.zones[0].ifindex, image.zones[0].flags), (0, zone_flag::DOWN));
    assert_eq!(image.zones[1], first.zones[1]);
    let of_zone = |image: &Image, zone: u16| image.zone_index.iter().any(|slot| *slot != 0 && *slot as u16 == zone);
    assert!(!of_zone(&image, 0) && of_zone(&image, 1), "no frame comes from an interface that is away");
    links[0] = Link { name: "eth1".to_owned(), ifindex: 77, ..Link::invent(&policy)[0].clone() };
    image.move_zones(&policy, &links).expect("fits");
    assert_eq!((image.zones[0].ifindex, image.zones[0].flags), (77, 0));
    assert!(of_zone(&image, 0));
}

#[test]
fn flows_of_a_zone_of_the_engine_may_stay_in_the_kernel() {
    let policy = policy("allow any -> any");
    let mut links = Link::invent(&policy);
    for (number, link) in links.iter_mut().enumerate() {
        link.port = Some(number as u16);
        link.kernel_zones = vec![policy.zones[0].name.clone()];
    }
    let image = compile(&policy, &Config::default(), &links).expect("compiles");
    let flags: Vec<u16> = image.zones.iter().map(|zone| zone.flags).collect();
    assert_eq!(flags[0], 0);
    assert!(flags[1..].iter().all(|flags| *flags == zone_flag::USER_SPACE));
    assert_eq!(image.zones[1].port, 1);
}
