#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::Stdio;
use std::time::Duration;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::bpf_load::{Instruction, ProgramType, load};
use super::*;
use crate::interface::netlink::Netlink;
use crate::interface::{Changes, Feature, inspect, set_feature, turn_off_rx_vlan_offload};

fn zone(name: &str, interface: &str, vlan: Option<u16>, number: u8) -> ZoneSpec {
    let gateways = [format!("10.0.{number}.1/24"), format!("fd00:{number}::1/64")];
    ZoneSpec {
        name: name.to_owned(),
        interface: interface.to_owned(),
        vlan,
        gateways: gateways.iter().map(|gateway| gateway.parse().unwrap()).collect(),
    }
}

/// A lab with a name that no other test or process has.
fn spec(test: &str, zones: Vec<ZoneSpec>) -> LabSpec {
    LabSpec { name: format!("vfwtest-{}-{test}", std::process::id()), ..LabSpec::new(zones) }
}

/// Runs `check` in a lab that is gone afterwards, however the check ends.
fn in_lab(spec: &LabSpec, check: impl FnOnce(&Lab)) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: network namespaces need root");
        return;
    }
    let names = Lab::plan(spec).unwrap().namespaces();
    {
        let _guard = LabGuard::new(&spec.name);
        check(&Lab::up(spec).unwrap());
    }
    assert!(names.iter().all(|name| !namespace::exists(name)), "{names:?} remain");
    assert!(matches!(Lab::open(&spec.name), Err(LabError::NotUp { .. })));
}

fn address(lab: &Lab, zone: &str, v6: bool) -> IpAddr {
    let host = lab.layout().host(zone).unwrap();
    host.addresses.iter().map(ipnetwork::IpNetwork::ip).find(|address| address.is_ipv6() == v6).unwrap()
}

/// Sends `bytes` over TCP from a zone to another.
fn transfer(lab: &Lab, from: &str, to: &str, v6: bool, bytes: usize) -> io::Result<()> {
    let listener = lab.run(to, || TcpListener::bind(SocketAddr::new(address(lab, to, v6), 0))).unwrap()?;
    let target = listener.local_addr()?;
    let mut stream = lab.run(from, || TcpStream::connect_timeout(&target, Duration::from_secs(8))).unwrap()?;
    let sender = std::thread::spawn(move || stream.write_all(&vec![7; bytes]));
    let (mut accepted, _) = listener.accept()?;
    accepted.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut received = Vec::new();
    accepted.read_to_end(&mut received)?;
    sender.join().unwrap()?;
    assert_eq!(received.len(), bytes);
    Ok(())
}

/// Makes the kernel of the firewall's namespace a router.
fn route(lab: &Lab) {
    lab.run("fw", || {
        for (path, value) in [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/accept_dad", "0"),
            ("net/ipv6/conf/default/accept_dad", "0"),
            ("net/ipv6/conf/all/disable_ipv6", "0"),
            ("net/ipv6/conf/all/forwarding", "1"),
        ] {
            std::fs::write(format!("/proc/sys/{path}"), value).unwrap();
        }
    })
    .unwrap();
}

fn batch(lab: &Lab, lines: &[String]) {
    lab.run("fw", || namespace::ip_batch(lines)).unwrap().unwrap();
}

fn gateway(interface: &str, number: u8) -> [String; 3] {
    [
        format!("address add 10.0.{number}.1/24 dev {interface}"),
        format!("address add fd00:{number}::1/64 dev {interface} nodad"),
        format!("link set {interface} up"),
    ]
}

#[test]
fn hosts_reach_each_other_through_a_router_in_the_firewalls_place() {
    let spec = spec("plain", vec![zone("app", "eth1", None, 1), zone("db", "eth2", None, 2)]);
    in_lab(&spec, |lab| {
        assert_eq!(lab.layout().switch, None);
        route(lab);
        batch(lab, &[gateway("eth1", 1), gateway("eth2", 2)].concat());
        for v6 in [false, true] {
            transfer(lab, "app", "db", v6, 4_000_000).unwrap();
        }
    });
}

/// A router that knows VLANs without the 8021q module: the lab's switch the other way round, inside the firewall's namespace.
fn route_vlans(lab: &Lab, zones: &[(u8, Option<u16>)]) {
    route(lab);
    for (number, _) in zones {
        let mtu = lab.layout().mtu.unwrap_or(1500);
        let pair = format!("link add leg{number} mtu {mtu} type veth peer name gw{number} mtu {mtu}");
        batch(lab, &[pair, format!("link set leg{number} up")]);
        batch(lab, &gateway(&format!("gw{number}"), *number));
    }
    lab.run("fw", || {
        let ports = zones
            .iter()
            .map(|(number, vlan)| AccessPort { index: inspect(&format!("leg{number}")).unwrap().index, vlan: *vlan });
        vswitch::join(inspect("eth1").unwrap().index, &ports.collect::<Vec<_>>()).unwrap();
    })
    .unwrap();
}

fn trunk_zones() -> Vec<ZoneSpec> {
    vec![zone("app", "eth1", Some(10), 1), zone("db", "eth1", Some(20), 2), zone("office", "eth1", None, 3)]
}

#[test]
fn a_trunk_carries_each_zone_with_its_tag() {
    in_lab(&spec("trunk", trunk_zones()), |lab| {
        route_vlans(lab, &[(1, Some(10)), (2, Some(20)), (3, None)]);
        for (from, to) in [("app", "db"), ("db", "app"), ("app", "office"), ("office", "db")] {
            for v6 in [false, true] {
                transfer(lab, from, to, v6, 1_000_000).unwrap();
            }
        }
    });
}

#[test]
fn nothing_is_routed_before_the_firewall_routes_it() {
    let spec = spec("dark", vec![zone("app", "eth1", None, 1), zone("db", "eth2", Some(2), 2)]);
    in_lab(&spec, |lab| {
        assert!(transfer(lab, "app", "db", false, 1).is_err());
        let end = lab.run("fw", || inspect("eth1")).unwrap().unwrap();
        assert_eq!(end.addresses, [], "the kernel has no address to speak from");
    });
}

#[test]
fn a_frame_with_the_wrong_tag_reaches_no_host() {
    in_lab(&spec("wrong", trunk_zones()), |lab| {
        route_vlans(lab, &[(1, Some(10)), (2, Some(30))]);
        assert!(transfer(lab, "app", "db", false, 1).is_err());
    });
}

/// XDP that passes frames with a tag in their bytes and drops all others.
const ONLY_TAGGED: [Instruction; 11] = {
    const fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
        Instruction { code, registers, offset, immediate }
    }
    [
        instruction(0x61, 0x12, 0, 0),  // r2 = data
        instruction(0x61, 0x13, 4, 0),  // r3 = data_end
        instruction(0xbf, 0x24, 0, 0),  // r4 = r2
        instruction(0x07, 0x04, 0, 14), // r4 += 14
        instruction(0x2d, 0x34, 4, 0),  // if r4 > r3 drop
        instruction(0x69, 0x25, 12, 0), // r5 = ethertype
        instruction(0x55, 0x05, 2, u16::from_ne_bytes([0x81, 0]) as i32),
        instruction(0xb7, 0, 0, 2), // pass
        instruction(0x95, 0, 0, 0),
        instruction(0xb7, 0, 0, 1), // drop
        instruction(0x95, 0, 0, 0),
    ]
};

fn attach_xdp(name: &str, program: &OwnedFd) {
    let mut request = LinkMessage::default();
    request.header.index = inspect(name).unwrap().index;
    request.attributes = vec![LinkAttribute::Xdp(vec![LinkXdp::Fd(program.as_raw_fd())])];
    Netlink::route().unwrap().call(RouteNetlinkMessage::SetLink(request), 0).unwrap();
}

#[test]
fn xdp_sees_tags_in_the_frame_and_not_those_beside_it() {
    for (tags, visible) in [(TagPlacement::InFrame, true), (TagPlacement::Beside, false)] {
        let zones = vec![zone("app", "eth1", Some(10), 1), zone("db", "eth1", Some(20), 2)];
        in_lab(&LabSpec { tags, ..spec("tags", zones) }, |lab| {
            route_vlans(lab, &[(1, Some(10)), (2, Some(20))]);
            transfer(lab, "app", "db", false, 1).unwrap();
            let program = load(ProgramType::Xdp, &ONLY_TAGGED).unwrap();
            lab.run("fw", || {
                attach_xdp("eth1", &program);
                // What the receiving end says about tags changes nothing: the sender decides.
                turn_off_rx_vlan_offload("eth1", &mut Changes::default()).unwrap();
                // The answers have their tags in the bytes as well, as frames that XDP redirects do.
                set_feature("eth1", "tx-vlan-hw-insert", false).unwrap();
            })
            .unwrap();
            assert_eq!(transfer(lab, "app", "db", false, 1_000_000).is_ok(), visible, "{tags:?}");
        });
    }
}

#[test]
fn mtu_and_checksum_offload_are_as_asked() {
    let zones = vec![zone("app", "eth1", Some(10), 1), zone("db", "eth2", None, 2)];
    let spec = LabSpec { mtu: Some(9000), tx_checksum: false, ..spec("options", zones) };
    in_lab(&spec, |lab| {
        for place in ["app", "db"] {
            let eth0 = lab.run(place, || inspect("eth0")).unwrap().unwrap();
            assert_eq!((eth0.mtu, eth0.features.gro), (9000, Feature::On), "{place}");
            assert!(!eth0.features.tx_checksum.is_on() && !eth0.features.tso.is_on(), "{place}");
        }
        for name in ["eth1", "eth2"] {
            let end = lab.run("fw", || inspect(name)).unwrap().unwrap();
            assert!(end.up && end.carrier && end.mtu == 9000 && end.addresses.is_empty(), "{end:?}");
            assert!(end.xdp.is_none_or(|xdp| xdp.ndo_xmit), "redirected frames find a peer that polls");
        }
        route_vlans(lab, &[(1, Some(10))]);
        batch(lab, &gateway("eth2", 2));
        transfer(lab, "app", "db", false, 1_000_000).unwrap();
    });
}

#[test]
fn commands_run_inside_and_their_exit_code_comes_out() {
    in_lab(&spec("exec", vec![zone("app", "eth1", None, 1)]), |lab| {
        assert_eq!(lab.exec("app", &["sh", "-c", "ip -o address show dev eth0 | grep -q 10.0.1.7"]).unwrap(), 0);
        assert_eq!(lab.exec("fw", &["sh", "-c", "exit 3"]).unwrap(), 3);
        assert_eq!(lab.exec("fw", &["sh", "-c", "kill -9 $$"]).unwrap(), 137);
        assert!(matches!(lab.exec("fw", &["no-such-command"]), Err(LabError::Start { .. })));
        let error = lab.exec("web", &["true"]).unwrap_err().to_string();
        assert_eq!(error, "the lab has no `web`; there are: fw, app");
    });
}

#[test]
fn a_lab_is_built_once_found_again_and_removed_with_its_processes() {
    let spec = spec("twice", vec![zone("app", "eth1", None, 1)]);
    in_lab(&spec, |lab| {
        assert!(matches!(Lab::up(&spec), Err(LabError::Exists { .. })));
        assert_eq!(&Lab::open(&spec.name).unwrap(), lab);
        let mut sleeper = lab.run("app", || Command::new("sleep").arg("60").spawn().unwrap()).unwrap();
        let reaper = std::thread::spawn(move || sleeper.wait().unwrap());
        assert!(Lab::down(&spec.name).unwrap());
        assert_eq!(reaper.join().unwrap().signal(), Some(15));
        assert!(!Lab::down(&spec.name).unwrap());
    });
}

#[test]
fn a_lab_that_cannot_be_completed_leaves_nothing() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: network namespaces need root");
        return;
    }
    let spec = LabSpec { mtu: Some(10), ..spec("broken", vec![zone("app", "eth1", None, 1)]) };
    let error = Lab::up(&spec).unwrap_err().to_string();
    assert!(error.starts_with("`ip link add eth0 mtu 10 netns "), "{error}");
    assert!(Lab::plan(&spec).unwrap().namespaces().iter().all(|name| !namespace::exists(name)));
    assert!(!Lab::down(&spec.name).unwrap());
}

#[test]
fn what_cannot_be_built_is_refused_before_anything_is_made() {
    let refused = |zones: Vec<ZoneSpec>| Lab::plan(&spec("plan", zones)).unwrap_err().to_string();
    assert!(refused(vec![zone("fw", "eth1", None, 1)]).contains("two namespaces called `fw`"));
    assert!(refused(vec![zone("a/b", "eth1", None, 1)]).contains("zone `a/b`"));
    assert!(refused(vec![zone("a", "a-name-too-long-for-linux", None, 1)]).contains("1 to 15 bytes"));
    assert!(refused(vec![zone("a", "eth1", Some(4095), 1)]).contains("1 to 4094"));
    assert!(refused(vec![zone("a", "eth1", Some(5), 1), zone("b", "eth1", Some(5), 2)]).contains("same tag"));
    let mut full = zone("a", "eth1", None, 1);
    full.gateways = vec!["10.0.0.1/32".parse().unwrap()];
    assert!(refused(vec![full]).contains("no free address"));
    assert!(Lab::down("../../etc/passwd").is_err() && Lab::open("..").is_err());
}

#[test]
fn a_host_takes_number_7_or_the_first_free_address() {
    let host = |gateways: &[&str]| {
        let mut zone = zone("a", "eth1", None, 1);
        zone.gateways = gateways.iter().map(|gateway| gateway.parse().unwrap()).collect();
        let plan = Lab::plan(&spec("plan", vec![zone])).unwrap();
        let host = &plan.hosts[0];
        (host.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "), host.gateways.len())
    };
    assert_eq!(host(&["10.0.10.1/24", "fd00:10::1/64"]), ("10.0.10.7/24 fd00:10::7/64".to_owned(), 2));
    assert_eq!(host(&["10.0.10.7/24"]), ("10.0.10.1/24".to_owned(), 1));
    assert_eq!(host(&["10.0.10.129/30"]), ("10.0.10.130/30".to_owned(), 1));
    assert_eq!(host(&["10.0.10.0/31"]), ("10.0.10.1/31".to_owned(), 1));
    assert_eq!(host(&["255.255.255.254/31"]), ("255.255.255.255/31".to_owned(), 1));
    assert_eq!(host(&["fd00::7/64", "fd01::1/127"]), ("fd00::1/64 fd01::/127".to_owned(), 1));
    assert_eq!(host(&["10.0.0.1/24", "10.0.1.1/24"]), ("10.0.0.7/24 10.0.1.7/24".to_owned(), 1));
}

#[test]
fn every_namespace_has_a_name_of_its_own() {
    let plan = Lab::plan(&spec("names", trunk_zones())).unwrap();
    let names = plan.namespaces();
    assert_eq!(names.len(), 5);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 5);
    assert_eq!(plan.namespace("fw"), Some(plan.firewall.as_str()));
    assert_eq!(plan.namespace("sw"), None);
}

/// Names the lab that a copy of this test is to build, hold and lose to a signal.
const HELD_LAB: &str = "VFW_TEST_HELD_LAB";

#[test]
fn a_signal_removes_the_lab_and_ends_the_process() {
    if let Ok(name) = std::env::var(HELD_LAB) {
        let _guard = LabGuard::new(&name).on_signals().unwrap();
        println!("\nguarded");
        Lab::up(&LabSpec { name, ..LabSpec::new(trunk_zones()) }).unwrap();
        println!("\nup");
        loop {
            std::thread::park();
        }
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: network namespaces need root");
        return;
    }
    // At rest and while it is being built.
    for (moment, signal) in [("up", Signal::SIGINT), ("up", Signal::SIGTERM), ("guarded", Signal::SIGINT)] {
        let spec = spec("signal", trunk_zones());
        let mut holder = Command::new(std::env::current_exe().unwrap())
            .args(["lab::tests::a_signal_removes_the_lab_and_ends_the_process", "--exact", "--nocapture"])
            .env(HELD_LAB, &spec.name)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(holder.stdout.take().unwrap());
        assert!(output.lines().any(|line| line.unwrap() == moment), "{moment} was not reached");
        kill(Pid::from_raw(holder.id().cast_signed()), signal).unwrap();
        assert_eq!(holder.wait().unwrap().signal(), Some(signal as i32), "{moment}");
        let left = Lab::plan(&spec).unwrap().namespaces().into_iter().filter(|name| namespace::exists(name));
        assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new(), "{signal} when {moment}");
    }
}
