//! What the data path tells the daemon.

use std::net::IpAddr;

use firewall_core::DropReason;
use firewall_core::event::{Event, EventKind, NO_RULE, Topic, found};
use firewall_core::limit::{Rate, WORKS, Work};
use firewall_core::tables::NO_ZONE;
use vfw::backend::memory::MemoryFrame;
use vfw::interface::Hook;
use vfw_tests::kernel::TestRun;
use vfw_tests::memory::MemoryBackend;
use vfw_tests::packet::{Ethernet, Mac, flag};
use vfw_tests::scenario::{APP, Backend, DB, Family, LAB, Scenario, ZONES, scenarios};

const NEW: Mac = [2, 0, 0, 8, 8, 8];
const BROADCAST: Mac = [0xff; 6];
const NOBODY: (Mac, &str) = ([0; 6], "10.0.10.1");

fn scenario(rules: &str) -> Scenario {
    Scenario { policy: format!("{ZONES}{rules}"), ..scenarios().swap_remove(0) }
}

fn backend(rules: &str) -> MemoryBackend {
    MemoryBackend::new(&scenario(rules))
}

fn events(backend: &MemoryBackend, interface: &str, frame: Vec<u8>) -> Vec<Event> {
    backend.process(interface, &mut MemoryFrame::new(frame));
    assert!(backend.memory.counters().lost_events.is_empty());
    [Topic::Log, Topic::Neighbour].into_iter().flat_map(|topic| backend.memory.take_events(topic)).collect()
}

/// Kind, address and MAC of what was heard of a neighbour.
fn heard(events: &[Event]) -> Vec<(u8, String, Mac)> {
    events.iter().map(|event| (event.kind, IpAddr::from(event.source).to_string(), event.mac)).collect()
}

fn seen(address: &str, mac: Mac) -> Vec<(u8, String, Mac)> {
    vec![(EventKind::NeighbourSeen as u8, address.to_owned(), mac)]
}

/// The link layer of a host of VLAN 10.
fn app(mac: Mac) -> Ethernet {
    Ethernet::new(mac, APP.gateway).vlan(10)
}

#[test]
fn logged_rules_tell_of_each_new_flow_once() {
    let backend = backend("allow app -> db  service tcp 5432  log\ndefault drop log\n");
    let syn = APP.to(&DB, Family::V4).tcp(40_000, 5_432).flags(flag::SYN).build();
    let length = syn.len() as u32;
    let told = events(&backend, "eth1", syn.clone());
    let [event] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((event.kind, event.rule, event.action), (EventKind::Rule as u8, 0, 0));
    assert_eq!((event.from, event.to, event.protocol, event.length), (APP.zone(), DB.zone(), 6, length));
    assert_eq!((event.source_port, event.destination_port, event.time), (40_000, 5_432, backend.now));
    assert!(events(&backend, "eth1", syn).is_empty(), "the flow is known");
    let told = events(&backend, "eth1", APP.to(&DB, Family::V6).echo_request(7, b""));
    assert_eq!(
        told.iter().map(|event| (event.rule, event.action, event.destination_port)).collect::<Vec<_>>(),
        [(1, 1, 128 << 8)]
    );
}

#[test]
fn what_is_dropped_after_the_rules_began_no_flow_and_is_not_logged() {
    let backend = backend("allow app -> db  log\n");
    let out = APP.to(&DB, Family::V4);
    assert!(events(&backend, "eth1", out.clone().ttl(1).udp(1, 53, b"")).is_empty(), "its time was up");
    assert!(events(&backend, "eth1", out.udp(1, 53, &[0; 1_500])).is_empty(), "too big");
    assert_eq!(events(&backend, "eth1", out.udp(1, 53, b"")).len(), 1, "the first that begins a flow");
}

/// Two events of a zone at once, then one a second.
const TWO: [Rate; WORKS] = [Rate::new(1, 2); WORKS];

#[test]
fn a_flood_of_logged_packets_hides_neither_neighbours_nor_other_zones() {
    let backend = MemoryBackend::new(&Scenario { rates: Some(TWO), ..scenario("default drop log\n") });
    let play = |interface: &str, frame: Vec<u8>| {
        backend.process(interface, &mut MemoryFrame::new(frame));
    };
    for port in 1..=10 {
        play("eth1", APP.to(&DB, Family::V4).udp(port, 53, b""));
    }
    play("eth2", DB.to(&APP, Family::V4).udp(1, 53, b""));
    play("eth1", app(NEW).to(BROADCAST).arp(1, (NEW, "10.0.10.9"), NOBODY));
    let logged = |topic| backend.memory.take_events(topic).iter().map(|event| event.from).collect::<Vec<_>>();
    assert_eq!(logged(Topic::Log), [APP.zone(), APP.zone(), DB.zone()]);
    assert_eq!(logged(Topic::Neighbour), [APP.zone()]);
    let counters = backend.memory.counters();
    assert_eq!(counters.lost_events.into_iter().collect::<Vec<_>>(), [((APP.zone(), Topic::Log), 8)]);
    assert_eq!(
        counters.drops.values().map(|counter| counter.packets).sum::<u64>(),
        11,
        "they are dropped all the same"
    );
}

#[test]
fn a_flood_of_announcements_is_lost_in_its_own_zone() {
    let backend = MemoryBackend::new(&Scenario { rates: Some(TWO), ..scenario("") });
    for last in 100..120 {
        let announcement = app(NEW).to(BROADCAST).arp(1, (NEW, &format!("10.0.10.{last}")), NOBODY);
        backend.process("eth1", &mut MemoryFrame::new(announcement));
    }
    let reply = DB.link().arp(2, (DB.mac, "10.0.20.7"), (DB.gateway, "10.0.20.1"));
    backend.process("eth2", &mut MemoryFrame::new(reply));
    let heard: Vec<u16> = backend.memory.take_events(Topic::Neighbour).iter().map(|event| event.from).collect();
    assert_eq!(heard, [APP.zone(), APP.zone(), DB.zone()]);
    let lost: Vec<_> = backend.memory.counters().lost_events.into_iter().collect();
    assert_eq!(lost, [((APP.zone(), Topic::Neighbour), 18)]);
}

#[test]
fn rules_without_log_tell_nothing() {
    let backend = backend("allow app -> db\n");
    assert!(events(&backend, "eth1", APP.to(&DB, Family::V4).udp(1, 2, b"")).is_empty());
    assert!(events(&backend, "eth2", DB.to(&APP, Family::V4).udp(1, 3, b"")).is_empty());
}

#[test]
fn arp_tells_of_neighbours_when_that_is_news() {
    let backend = backend("");
    let ask = |mac, address| app(mac).to(BROADCAST).arp(1, (mac, address), NOBODY);
    assert_eq!(heard(&events(&backend, "eth1", ask(NEW, "10.0.10.9"))), seen("10.0.10.9", NEW));
    assert_eq!(heard(&events(&backend, "eth1", ask(NEW, "10.0.10.7"))), seen("10.0.10.7", NEW), "it moved");
    assert!(events(&backend, "eth1", ask(APP.mac, "10.0.10.7")).is_empty(), "known");
    assert!(events(&backend, "eth1", ask(NEW, "0.0.0.0")).is_empty(), "a probe has no address yet");
    assert!(events(&backend, "eth1", ask(NEW, "10.0.20.9")).is_empty(), "an address of another zone");
    assert!(events(&backend, "eth1", ask(NEW, "192.0.2.1")).is_empty(), "an address of no zone");
    assert!(events(&backend, "eth1", ask(NEW, "10.0.10.255")).is_empty(), "a broadcast address");
    // A reply to vfw confirms what is known: the daemon waits for it.
    let reply = app(APP.mac).arp(2, (APP.mac, "10.0.10.7"), (APP.gateway, "10.0.10.1"));
    assert_eq!(heard(&events(&backend, "eth1", reply)), seen("10.0.10.7", APP.mac));
    let announcement = app(NEW).to(BROADCAST).arp(1, (NEW, "10.0.10.7"), (NEW, "10.0.10.7"));
    assert_eq!(heard(&events(&backend, "eth1", announcement)), seen("10.0.10.7", NEW));
}

#[test]
fn a_second_owner_of_a_gateway_address_is_a_conflict() {
    let backend = backend("");
    let claim = app(NEW).to(BROADCAST).arp(1, (NEW, "10.0.10.1"), (NEW, "10.0.10.1"));
    let conflict = vec![(EventKind::AddressConflict as u8, "10.0.10.1".to_owned(), NEW)];
    assert_eq!(heard(&events(&backend, "eth1", claim)), conflict);
    let claim = app(NEW).ip("fd00:10::1", "ff02::1").ttl(255).advertisement(0x20, "fd00:10::1", NEW);
    let conflict = vec![(EventKind::AddressConflict as u8, "fd00:10::1".to_owned(), NEW)];
    assert_eq!(heard(&events(&backend, "eth1", claim)), conflict);
}

#[test]
fn neighbour_discovery_tells_of_neighbours() {
    let backend = backend("");
    let ask = |source, mac: Option<Mac>| app(NEW).ip(source, "ff02::1:ff00:1").ttl(255).solicitation("fd00:10::1", mac);
    assert_eq!(heard(&events(&backend, "eth1", ask("fd00:10::9", Some(NEW)))), seen("fd00:10::9", NEW));
    assert!(events(&backend, "eth1", ask("fd00:10::9", None)).is_empty(), "no address option");
    assert!(events(&backend, "eth1", ask("::", None)).is_empty(), "duplicate address detection");
    assert!(events(&backend, "eth1", ask("fe80::9", Some(NEW))).is_empty(), "link-local: never a next hop");
    assert!(events(&backend, "eth1", ask("fd00:20::9", Some(NEW))).is_empty(), "an address of another zone");
    let answer = app(APP.mac).ip("fd00:10::7", "fd00:10::1").ttl(255).advertisement(0x60, "fd00:10::7", APP.mac);
    assert_eq!(heard(&events(&backend, "eth1", answer)), seen("fd00:10::7", APP.mac));
    let far = app(NEW).ip("fd00:10::9", "fd00:10::1").ttl(254).advertisement(0x60, "fd00:10::9", NEW);
    assert!(events(&backend, "eth1", far).is_empty(), "came through a router");
    let group = app(NEW).ip("fd00:10::9", "fd00:10::1").ttl(255).advertisement(0x60, "fd00:10::9", BROADCAST);
    assert!(events(&backend, "eth1", group).is_empty(), "nobody's MAC");
    assert!(
        events(&backend, "eth3", LAB.to(&DB, Family::V6).udp(1, 2, b"")).is_empty(),
        "ordinary packets teach nothing"
    );
}

// What the event of a drop says is asserted after every frame of every scenario, on every back end (`scenario/dropped.rs`).

#[test]
fn a_drop_by_a_rule_tells_of_packet_and_rule() {
    let mut backend = backend("drop app -> db  service tcp 22\nallow app -> db  service tcp\n");
    let syn = APP.to(&DB, Family::V4).tcp(40_000, 22).flags(flag::SYN).build();
    backend.inject("eth1", &syn, None);
    let told = backend.take_drops();
    let [event] = told.as_slice() else { panic!("{told:?}") };
    let expected = Event {
        time: backend.now,
        source: "10.0.10.7".parse::<IpAddr>().expect("an address").into(),
        destination: "10.0.20.7".parse::<IpAddr>().expect("an address").into(),
        rule: 0,
        length: syn.len() as u32,
        ifindex: 1,
        epoch: 1,
        source_port: 40_000,
        destination_port: 22,
        from: APP.zone(),
        to: DB.zone(),
        mac: APP.mac,
        receiver: APP.gateway,
        vlan: 10,
        ether_type: 0x0800,
        protocol: 6,
        kind: EventKind::Dropped as u8,
        reason: DropReason::Policy as u8,
        tcp_flags: flag::SYN,
        found: found::LINK | found::NETWORK | found::TRANSPORT,
        ..Event::EMPTY
    };
    assert_eq!(*event, expected);
    backend.inject("eth1", &APP.to(&DB, Family::V4).udp(1, 2, b""), None);
    assert_eq!(backend.take_drops()[0].rule, 2, "the default comes after the rules");
}

#[test]
fn of_a_frame_without_a_packet_only_the_link_layer_is_told() {
    let mut backend = backend("");
    let frame = Ethernet::new(NEW, APP.gateway).vlan(11).ip("10.0.10.7", "10.0.20.7").udp(1, 2, b"");
    backend.inject("eth1", &frame, None);
    let told = backend.take_drops();
    let [event] = told.as_slice() else { panic!("{told:?}") };
    let expected = Event {
        time: backend.now,
        rule: NO_RULE,
        length: frame.len() as u32,
        ifindex: 1,
        epoch: 1,
        from: NO_ZONE,
        to: NO_ZONE,
        mac: NEW,
        receiver: APP.gateway,
        vlan: 11,
        ether_type: 0x0800,
        kind: EventKind::Dropped as u8,
        reason: DropReason::UnknownVlan as u8,
        found: found::LINK,
        ..Event::EMPTY
    };
    assert_eq!(*event, expected);
}

/// A flood of drops in one zone and one of frames from no zone: both are told of as often as their buckets hold, and the drop of
/// another zone all the same.
fn floods_hide_nothing_of_others(backend: &mut dyn Backend) {
    for port in 1..=100 {
        backend.inject("eth1", &APP.to(&DB, Family::V4).udp(port, 53, b""), None);
        let nowhere = Ethernet::new(NEW, APP.gateway).vlan(11).ip("10.0.10.7", "10.0.20.7").udp(port, 2, b"");
        backend.inject("eth1", &nowhere, None);
    }
    backend.inject("eth2", &DB.to(&APP, Family::V4).udp(7, 53, b""), None);
    let told: Vec<_> = backend.take_drops().iter().map(|event| (event.from, event.source_port)).collect();
    assert_eq!(told, [(APP.zone(), 1), (NO_ZONE, 0), (APP.zone(), 2), (NO_ZONE, 0), (DB.zone(), 7)]);
    let counted: u64 = backend.counters().drops.values().map(|(packets, _)| packets).sum();
    assert_eq!(counted, 201, "all are counted");
}

/// Two at once, then one an hour: longer than any back end takes. Of everything else there is plenty.
fn two_drops() -> Scenario {
    const HOUR: u64 = 3_600_000_000_000;
    let mut rates = [Rate::new(1_000, 1_000); WORKS];
    rates[Work::Drop as usize] = Rate { interval: HOUR, depth: 2 * HOUR };
    Scenario { rates: Some(rates), ..scenario("default drop\n") }
}

#[test]
fn floods_hide_nothing_of_others_in_memory() {
    floods_hide_nothing_of_others(&mut MemoryBackend::new(&two_drops()));
}

#[test]
fn floods_hide_nothing_of_others_in_the_kernel() {
    for hook in [Hook::Xdp, Hook::Tc] {
        let mut backend = TestRun::new(hook, None);
        backend.begin(&two_drops());
        floods_hide_nothing_of_others(&mut backend);
    }
}

/// The list of drops takes nothing from the log and from neighbours, and is not in their way.
#[test]
fn other_topics_have_room_of_their_own() {
    let mut rates = [Rate::new(1, 2); WORKS];
    rates[Work::Drop as usize] = Rate::NONE;
    let backend = MemoryBackend::new(&Scenario { rates: Some(rates), ..scenario("default drop log\n") });
    backend.process("eth1", &mut MemoryFrame::new(APP.to(&DB, Family::V4).udp(1, 53, b"")));
    let waiting = Topic::ALL.map(|topic| backend.memory.take_events(topic).len());
    assert_eq!(waiting, [1, 0, 0]);
    assert!(backend.memory.counters().lost_events.is_empty(), "drops are counted, that is enough");
}
