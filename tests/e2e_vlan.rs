//! VLAN tags: access ports, trunks, untagged zones, and frames whose tags no zone has.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use etherparse::PacketBuilder;
use vfw::lab::TagPlacement;
use vfw_tests::network::{Network, Shape, Wire};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");
const HOOKS: [&str; 3] = ["xdp", "tc", "afxdp"];
const TWO_TIER: &str = include_str!("../rules/examples/two-tier.fw");
const STICK: &str = include_str!("../rules/examples/router-on-a-stick.fw");
const NO_ANSWER: Duration = Duration::from_millis(300);
/// What the hosts' own stacks multicast at start, which a router drops.
const NOISE: [&str; 1] = ["multicast"];

fn mode(hook: &str) -> String {
    format!("mode = \"{hook}\"")
}

/// Sends a megabyte to `to` and gets it back, each way through vfw.
fn echoes(network: &Network, from: &str, to: &str, v6: bool, port: u16) {
    let target = SocketAddr::new(network.address(to, v6), port);
    let listener = network.within(to, || TcpListener::bind(target)).expect("listens");
    let stream = network.within(from, || TcpStream::connect_timeout(&target, Duration::from_secs(5)));
    let mut stream = stream.unwrap_or_else(|error| panic!("{from} to {target}: {error}"));
    let sent: Vec<u8> = (0..1_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut accepted, _) = listener.accept().expect("accepts");
    for stream in [&stream, &accepted] {
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    }
    let server = std::thread::spawn(move || {
        let mut bytes = vec![0; 1_000_000];
        accepted.read_exact(&mut bytes)?;
        accepted.write_all(&bytes)
    });
    stream.write_all(&sent).expect("sends");
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("receives");
    server.join().expect("the server").expect("the server's socket");
    assert!(received == sent, "the bytes changed on their way");
}

/// How many of two pings are answered, one by IPv4 and one by IPv6.
fn pings(network: &Network, from: &str, to: &str) -> usize {
    let answered = |v6: &bool| {
        let to = network.address(to, *v6).to_string();
        network.run(from, &["ping", "-n", "-c", "1", "-W", "0.3", &to]).status.success()
    };
    [false, true].iter().filter(|v6| answered(v6)).count()
}

#[test]
fn access_ports_on_two_interfaces() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, TWO_TIER).up() else { return };
        let firewall = network.firewall(&mode(hook));
        for v6 in [false, true] {
            echoes(&network, "app", "db", v6, 5432);
        }
        assert_eq!((pings(&network, "app", "db"), pings(&network, "db", "app")), (2, 0), "{hook}");
        assert_eq!(firewall.drop_reasons(&NOISE), ["db policy"]);
        assert_eq!(firewall.dropped(Some("db"), "policy"), 2);
    }
}

#[test]
fn a_trunk_changes_tags_on_one_interface() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, STICK).up() else { return };
        let firewall = network.firewall(&mode(hook));
        for v6 in [false, true] {
            echoes(&network, "office", "printers", v6, 9100);
        }
        assert_eq!((pings(&network, "office", "printers"), pings(&network, "printers", "office")), (2, 0), "{hook}");
        let target = SocketAddr::new(network.address("office", false), 445);
        let _listener = network.within("office", || TcpListener::bind(target)).expect("listens");
        let refused = network.within("printers", || TcpStream::connect_timeout(&target, NO_ANSWER));
        assert!(refused.is_err(), "{hook}: printers stay where they are");
        assert_eq!(firewall.dropped(Some("printers"), "policy"), 3);
    }
}

/// A tagged and an untagged zone on one interface; XDP refuses it on a veth, where tags can hide.
const MIXED: &str = "
zone office { interface eth1  address 10.0.1.1/24, fd00:1::1/64 }
zone lab    { interface eth1  vlan 7  address 10.0.2.1/24, fd00:2::1/64 }
zone web    { interface eth2  address 10.0.3.1/24, fd00:3::1/64 }
default drop
allow office -> lab, web
allow lab -> web
";

#[test]
fn untagged_and_tagged_zones_on_one_interface() {
    let Some(network) = Shape::new(PROGRAM, MIXED).up() else { return };
    let firewall = network.firewall(&mode("tc"));
    for (from, to) in [("office", "lab"), ("office", "web"), ("lab", "web")] {
        for v6 in [false, true] {
            echoes(&network, from, to, v6, 8000);
        }
        assert_eq!((pings(&network, from, to), pings(&network, to, from)), (2, 0), "{from} to {to}");
    }
    assert_eq!(firewall.dropped(Some("lab"), "policy"), 2);
    assert_eq!(firewall.dropped(Some("web"), "policy"), 4);
    drop(firewall);

    network.write_settings(&mode("xdp"));
    let refused = network.vfw_run(&["run", "--config", "vfw.toml", "rules.fw"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("`eth1` carries tagged and untagged zones") && said.contains("mode = \"tc\""), "{said}");
}

/// A trunk of two zones and an untagged zone, all open: only the tags decide.
const OPEN: &str = "
zone red   { interface eth1  vlan 100  address 10.0.1.1/24 }
zone blue  { interface eth1  vlan 200  address 10.0.2.1/24 }
zone plain { interface eth2  address 10.0.3.1/24 }
zone sink  { interface eth3  address 10.0.9.1/24 }
default drop
allow red, blue -> sink
allow plain -> sink
";
const UDP_PORT: u16 = 4000;

/// Tags of a frame, outer first: TPID and control information.
type Tags<'a> = &'a [(u16, u16)];

/// A UDP datagram to the sink, with `number` as its payload.
fn datagram(from: [u8; 4], gateway: [u8; 6], tags: Tags, number: u8) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0x77], gateway).ipv4(from, [10, 0, 9, 7], 64);
    let mut frame = Vec::new();
    builder.udp(4001, UDP_PORT).write(&mut frame, &[number; 32]).expect("builds");
    for (tpid, control) in tags.iter().rev() {
        let ([t0, t1], [c0, c1]) = (tpid.to_be_bytes(), control.to_be_bytes());
        frame.splice(12..12, [t0, t1, c0, c1]);
    }
    frame
}

/// The payload numbers of the datagrams that reach the sink, up to `last`.
fn numbers(sink: &Wire, last: u8) -> Vec<u8> {
    let mut found = Vec::new();
    while let Some(frame) = sink.receive(Duration::from_secs(5)) {
        let is_ours = frame.len() >= 74 && frame[12..14] == [8, 0] && frame[36..38] == UDP_PORT.to_be_bytes();
        if is_ours {
            found.push(frame[42]);
            if frame[42] == last {
                return found;
            }
        }
    }
    panic!("datagram {last}, which is allowed, did not arrive; before it: {found:?}");
}

#[test]
fn frames_with_foreign_tags_go_nowhere() {
    const RED: [u8; 4] = [10, 0, 1, 7];
    const PLAIN: [u8; 4] = [10, 0, 3, 7];
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, OPEN).wire("trunk", "eth1").wire("edge", "eth2").up() else { return };
        let firewall = network.firewall(&mode(hook));
        network.must(
            "sink",
            &["nft", "add table inet quiet { chain in { type filter hook input priority 0; udp dport 4000 drop; }; }"],
        );
        let (trunk, edge, sink) = (network.wire("trunk"), network.wire("edge"), network.wire("sink"));
        let (eth1, eth2) = (network.mac("fw", "eth1"), network.mac("fw", "eth2"));

        // On the trunk: untagged, priority, an unknown VLAN, two tags, provider tags, a flow of the other VLAN.
        let foreign: [(Tags, Option<&str>, &str); 9] = [
            (&[], None, "unknown-vlan"),
            (&[(0x8100, 0xe000)], None, "unknown-vlan"),
            (&[(0x8100, 300)], None, "unknown-vlan"),
            (&[(0x8100, 0x0fff)], None, "unknown-vlan"),
            (&[(0x8100, 100), (0x8100, 200)], None, "double-tag"),
            (&[(0x8100, 100), (0x8100, 100)], None, "double-tag"),
            (&[(0x8100, 0), (0x8100, 100)], None, "double-tag"),
            (&[(0x88a8, 100)], None, "double-tag"),
            (&[(0x8100, 200)], Some("blue"), "other-zone"),
        ];
        for (number, (tags, zone, reason)) in foreign.iter().enumerate() {
            let before = firewall.dropped(*zone, reason);
            trunk.send(&datagram(RED, eth1, tags, number as u8));
            trunk.send(&datagram(RED, eth1, &[(0x8100, 0xe064)], 99));
            assert_eq!(numbers(&sink, 99), [99], "{hook}: {tags:x?}");
            assert_eq!(firewall.dropped(*zone, reason), before + 1, "{hook}: {tags:x?} counts as {reason}");
        }

        // The address of one VLAN in the other: no flow yet.
        trunk.send(&datagram([10, 0, 1, 8], eth1, &[(0x8100, 200)], 1));
        trunk.send(&datagram(RED, eth1, &[(0x8100, 100)], 99));
        assert_eq!(numbers(&sink, 99), [99], "{hook}");
        assert_eq!(firewall.dropped(Some("blue"), "spoofed-source"), 1, "{hook}");

        // On the untagged interface: a priority tag is no VLAN, every other tag is one that no zone has.
        let foreign: [(Tags, &str); 4] = [
            (&[(0x8100, 100)], "unknown-vlan"),
            (&[(0x8100, 1)], "unknown-vlan"),
            (&[(0x8100, 0), (0x8100, 100)], "double-tag"),
            (&[(0x88a8, 0)], "double-tag"),
        ];
        for (number, (tags, reason)) in foreign.iter().enumerate() {
            let before = firewall.dropped(None, reason);
            edge.send(&datagram(PLAIN, eth2, tags, number as u8));
            edge.send(&datagram(PLAIN, eth2, &[(0x8100, 0xa000)], 98));
            edge.send(&datagram(PLAIN, eth2, &[], 99));
            assert_eq!(numbers(&sink, 99), [98, 99], "{hook}: {tags:x?}");
            assert_eq!(firewall.dropped(None, reason), before + 1, "{hook}: {tags:x?} counts as {reason}");
        }
    }
}

/// Tags that a sender's stack keeps beside the frame: tc sees them, XDP on a veth cannot.
#[test]
fn a_tag_beside_the_frame_never_passes_as_none() {
    let Some(network) = Shape::new(PROGRAM, TWO_TIER).tags(TagPlacement::Beside).up() else { return };
    let firewall = network.firewall(&mode("tc"));
    for v6 in [false, true] {
        echoes(&network, "app", "db", v6, 5432);
    }
    assert_eq!((pings(&network, "app", "db"), pings(&network, "db", "app")), (2, 0));
    drop(firewall);

    let firewall = network.firewall(&mode("xdp"));
    assert_eq!(pings(&network, "app", "db"), 0, "a frame that looks untagged is of no zone here");
    assert!(firewall.dropped(None, "unknown-vlan") > 0);
    assert_eq!(firewall.drop_reasons(&["unknown-vlan"]), [""; 0]);
    assert!(firewall.log().contains("senders must have `tx-vlan-offload off`"), "the operator is told");
}

/// Between a tagged and an untagged zone a frame changes its length, also one that waits for its neighbour.
#[test]
fn first_packets_gain_and_lose_tags_whole() {
    const RULES: &str = "
zone tagged { interface eth1  vlan 100  address 10.0.1.1/24, fd00:1::1/64 }
zone plain  { interface eth2  address 10.0.2.1/24, fd00:2::1/64 }
default allow
";
    for hook in HOOKS {
        for (from, to) in [("tagged", "plain"), ("plain", "tagged")] {
            let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
            let firewall = network.firewall(&mode(hook));
            for v6 in [false, true] {
                let address = network.address(to, v6);
                let receiver = network.within(to, || UdpSocket::bind((address, 9000))).expect("a UDP socket");
                receiver.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
                let any = network.address(from, v6);
                let sender = network.within(from, || UdpSocket::bind((any, 0))).expect("a UDP socket");
                let sent: Vec<u8> = (0..1000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
                sender.send_to(&sent, (address, 9000)).expect("sends");
                let mut received = [0; 2000];
                let length = receiver.recv(&mut received).unwrap_or_else(|error| {
                    panic!("{hook}: {from} to {to}: {error}: {:?}", firewall.drop_reasons(&NOISE))
                });
                assert!(received[..length] == sent, "{hook}: {from} to {to}");
            }
            assert_eq!(firewall.drop_reasons(&NOISE), [""; 0]);
        }
    }
}

/// A veth whose other end is in vfw's own namespace, a port of a bridge as with containers and guests of a hypervisor: the
/// kernel drops what is sent into that end directly (`bpf_redirect_peer`), so frames have to leave through the interface.
#[test]
fn a_veth_into_a_bridge_of_the_same_namespace() {
    const RULES: &str = "
zone guest { interface eth1  address 10.0.1.1/24, fd00:1::1/64 }
zone lan   { interface eth2  vlan 20  address 10.0.2.1/24, fd00:2::1/64 }
default drop
allow guest -> lan
";
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        // The link of the guest becomes one port of a bridge, the other end of vfw's interface another.
        let lines = [
            "link set eth1 down",
            "link set eth1 name tap0",
            "link add br0 type bridge mcast_snooping 0",
            "link add eth1 type veth peer name port0",
            "link set port0 master br0 up",
            "link set tap0 master br0 up",
            "link set br0 up",
        ];
        network.ip_batch(&lines.map(ToOwned::to_owned));
        // XDP redirects into a veth only while its other end polls.
        network.within("fw", || vfw::interface::set_feature("port0", "rx-gro", true)).expect("veth has GRO");
        let firewall = network.firewall(&mode(hook));
        for v6 in [false, true] {
            echoes(&network, "guest", "lan", v6, 8080);
        }
        assert_eq!((pings(&network, "guest", "lan"), pings(&network, "lan", "guest")), (2, 0), "{hook}");
        assert_eq!(firewall.drop_reasons(&NOISE), ["lan policy"], "{hook}");
    }
}
