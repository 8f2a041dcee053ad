//! Real traffic between real stacks: each hook, with and without checksum offload, at two MTUs.

use std::fs;
use std::io::{ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
use serde_json::Value;
use vfw_tests::network::{Firewall, Network, Shape, finish};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");

const RULES: &str = "
zone app { interface eth1  address 10.0.10.1/24, fd00:10::1/64 }
zone db  { interface eth2  address 10.0.20.1/24, fd00:20::1/64 }
default drop
allow app -> db  service tcp 8000
allow app -> db  service tcp 5201
allow app -> db  service ping
allow app -> db  service udp 9000
";
const DEFAULT: &str = "rules.fw:4";
const WEB: &str = "rules.fw:5";
const PERF: &str = "rules.fw:6";
const PING: &str = "rules.fw:7";
const BURST: &str = "rules.fw:8";

/// Bytes of the file that is fetched.
const FILE: usize = 5_000_000;
/// Bytes that iperf3 moves, and the least it has to say.
const BULK: &str = "64M";
const BULK_LEAST: u64 = 50_000_000;
/// Long enough for an answer that would come; a packet takes well below a millisecond.
const NO_ANSWER: Duration = Duration::from_millis(300);
/// What the hosts' own stacks multicast at start, which a router drops.
const NOISE: [&str; 1] = ["multicast"];

macro_rules! matrix {
    ($($name:ident: $hook:literal, $offload:literal, $mtu:literal;)+) => {
        $(#[test]
        fn $name() {
            carries($hook, $offload, $mtu);
        })+
    };
}

matrix! {
    xdp_offload_on_mtu_1500: "xdp", true, 1500;
    xdp_offload_on_mtu_9000: "xdp", true, 9000;
    xdp_offload_off_mtu_1500: "xdp", false, 1500;
    xdp_offload_off_mtu_9000: "xdp", false, 9000;
    afxdp_offload_on_mtu_1500: "afxdp", true, 1500;
    afxdp_offload_on_mtu_9000: "afxdp", true, 9000;
    afxdp_offload_off_mtu_1500: "afxdp", false, 1500;
    afxdp_offload_off_mtu_9000: "afxdp", false, 9000;
    tc_offload_on_mtu_1500: "tc", true, 1500;
    tc_offload_on_mtu_9000: "tc", true, 9000;
    tc_offload_off_mtu_1500: "tc", false, 1500;
    tc_offload_off_mtu_9000: "tc", false, 9000;
}

fn carries(hook: &str, offload: bool, mtu: u32) {
    let Some(network) = Shape::new(PROGRAM, RULES).checksum_offload(offload).mtu(mtu).up() else { return };
    let firewall = network.firewall(&format!("mode = \"{hook}\""));
    let interfaces = firewall.show("interfaces");
    for interface in interfaces.as_array().expect("a list") {
        assert_eq!((interface["hook"].as_str(), interface["mtu"].as_u64()), (Some(hook), Some(u64::from(mtu))));
    }
    first_packets_are_kept(&network, &firewall, hook == "tc" && offload);
    large_pings_pass(&network, mtu);
    files_arrive_whole(&network, &firewall);
    bulk_data_moves(&network, &firewall);
    what_no_rule_allows_is_dropped(&network, &firewall);
    assert_eq!(firewall.drop_reasons(&NOISE), ["app policy", "db policy"]);
}

/// Nobody knows anybody's MAC yet. `is_whole`: what the sender's card is to cut comes to the hook in one piece.
fn first_packets_are_kept(network: &Network, firewall: &Firewall, is_whole: bool) {
    assert_eq!(firewall.show("neighbours").as_array().map(Vec::len), Some(0), "the tables are empty at first");
    for v6 in [false, true] {
        ping(network, "app", network.address("db", v6), &["-c", "1"]);
    }
    assert_eq!(rule(firewall, PING, "packets"), 4, "two requests and two replies");
    for new in ["10.0.20.8/24", "fd00:20::8/64"] {
        network.must("db", &["ip", "address", "add", new, "dev", "eth0", "nodad"]);
        let (address, _) = new.split_once('/').expect("a prefix");
        burst(network, address.parse().expect("an address"));
    }
    assert_eq!(rule(firewall, BURST, "packets"), 10);
    for new in ["10.0.20.9/24", "fd00:20::9/64"] {
        network.must("db", &["ip", "address", "add", new, "dev", "eth0", "nodad"]);
        let (address, _) = new.split_once('/').expect("a prefix");
        large_burst(network, address.parse().expect("an address"));
    }
    assert_eq!(rule(firewall, BURST, "packets"), 10 + if is_whole { 2 } else { 10 });
    let neighbours = firewall.show("neighbours");
    let mac = network.mac("db", "eth0").map(|byte| format!("{byte:02x}")).join(":");
    for address in ["10.0.20.7", "10.0.20.8", "fd00:20::7", "fd00:20::8"] {
        let row = neighbours.as_array().expect("a list").iter().find(|row| row["address"] == address);
        let row = row.unwrap_or_else(|| panic!("{address} in {neighbours}"));
        assert_eq!((&row["zone"], &row["state"], &row["queued"]), (&"db".into(), &"reachable".into(), &0.into()));
        assert_eq!(row["mac"].as_str(), Some(mac.as_str()));
    }
    let flows = firewall.show("flows");
    let unreplied = flows.as_array().expect("a list").iter().filter(|flow| flow["state"] == "unreplied");
    assert_eq!(unreplied.filter(|flow| flow["protocol"] == "udp").count(), 4);
}

fn ping(network: &Network, from: &str, to: IpAddr, options: &[&str]) {
    let to = to.to_string();
    let mut command = vec!["ping", "-n", "-W", "5"];
    command.extend(options);
    command.push(&to);
    network.must(from, &command);
}

/// Five datagrams at once to a neighbour that nobody has asked for: all arrive.
fn burst(network: &Network, to: IpAddr) {
    let receiver = network.within("db", || UdpSocket::bind((to, 9000))).expect("a UDP socket");
    receiver.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let from = network.address("app", to.is_ipv6());
    let sender = network.within("app", || UdpSocket::bind((from, 9001))).expect("a UDP socket");
    for number in 0..5_u8 {
        assert_eq!(sender.send_to(&[number; 100], (to, 9000)).expect("sends"), 100);
    }
    let mut received: Vec<u8> = (0..5)
        .map(|_| {
            let mut datagram = [0; 200];
            let (length, source) = receiver.recv_from(&mut datagram).expect("each datagram arrives");
            assert_eq!((length, source), (100, SocketAddr::new(from, 9001)));
            datagram[0]
        })
        .collect();
    received.sort_unstable();
    assert_eq!(received, [0, 1, 2, 3, 4]);
}

/// The same in one packet, which the sender leaves to be cut (`UDP_SEGMENT` of `man 7 udp`): tc sees it whole, and it waits as it is.
fn large_burst(network: &Network, to: IpAddr) {
    const SEGMENT: usize = 1000;
    let receiver = network.within("db", || UdpSocket::bind((to, 9000))).expect("a UDP socket");
    receiver.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let sender = network.within("app", || UdpSocket::bind((network.address("app", to.is_ipv6()), 9001)));
    let sender = sender.expect("a UDP socket");
    let bytes: Vec<u8> = (0..5 * SEGMENT).map(|at| (at / 7) as u8).collect();
    let (parts, size) = ([IoSlice::new(&bytes)], [ControlMessage::UdpGsoSegments(&(SEGMENT as u16))]);
    let to = SockaddrStorage::from(SocketAddr::new(to, 9000));
    let sent = sendmsg(sender.as_raw_fd(), &parts, &size, MsgFlags::empty(), Some(&to));
    assert_eq!(sent, Ok(bytes.len()));
    let mut received = vec![[0; SEGMENT]; 5];
    for datagram in &mut received {
        assert_eq!(receiver.recv(datagram).expect("each segment arrives"), SEGMENT);
    }
    assert_eq!(received.concat(), bytes);
}

/// The largest packets that need no fragments, and larger ones that do.
fn large_pings_pass(network: &Network, mtu: u32) {
    for (v6, headers) in [(false, 28), (true, 48)] {
        for size in [mtu - headers, 2 * mtu] {
            ping(network, "app", network.address("db", v6), &["-c", "2", "-i", "0.01", "-s", &size.to_string()]);
        }
    }
}

fn files_arrive_whole(network: &Network, firewall: &Firewall) {
    let bytes: Vec<u8> = (0..FILE as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(network.folder().join("file"), &bytes).expect("the file");
    let folder = network.folder().to_str().expect("UTF-8");
    let _server =
        network.serve("db", &["python3", "-m", "http.server", "8000", "--bind", "::", "--directory", folder], 8000);
    for v6 in [false, true] {
        let url = format!("http://{}/file", SocketAddr::new(network.address("db", v6), 8000));
        let fetched = network.folder().join("fetched");
        let fetched_name = fetched.to_str().expect("UTF-8");
        network.must("app", &["curl", "-gsS", "--max-time", "20", "-o", fetched_name, &url]);
        assert!(fs::read(&fetched).expect("the fetched file") == bytes, "the file changed on its way");
    }
    assert!(rule(firewall, WEB, "bytes") > 2 * FILE as u64);
    let flows = firewall.show("flows");
    let web = |flow: &&Value| flow["to"]["port"] == 8000;
    let states: Vec<&Value> = flows.as_array().expect("a list").iter().filter(web).collect();
    assert_eq!(states.len(), 2);
    for flow in states {
        assert_eq!((&flow["protocol"], &flow["rule"]), (&"tcp".into(), &WEB.into()));
        assert!(["time-wait", "closing", "fin-wait"].iter().any(|state| flow["state"] == *state), "{flow}");
        assert!(flow["to"]["bytes"].as_u64() > Some(FILE as u64), "{flow}");
    }
}

fn bulk_data_moves(network: &Network, firewall: &Firewall) {
    for v6 in [false, true] {
        let _server = network.serve("db", &["iperf3", "--server", "--one-off"], 5201);
        let to = network.address("db", v6).to_string();
        let client = network.start("app", &["iperf3", "--json", "--bytes", BULK, "--client", &to]);
        let output = finish(client, Duration::from_secs(20));
        let report: Value = serde_json::from_slice(&output.stdout).expect("the JSON of iperf3");
        let received = report["end"]["sum_received"]["bytes"].as_u64();
        assert!(received > Some(BULK_LEAST), "{}", report["error"]);
    }
    assert!(rule(firewall, PERF, "bytes") > 2 * BULK_LEAST);
}

fn what_no_rule_allows_is_dropped(network: &Network, firewall: &Firewall) {
    for v6 in [false, true] {
        // A port that no rule names, with someone listening, and the allowed port in the other direction.
        for (from, to, port) in [("app", "db", 8001), ("db", "app", 8000)] {
            let target = SocketAddr::new(network.address(to, v6), port);
            let listener = network.within(to, || TcpListener::bind(target)).expect("listens");
            let refused = network.within(from, || TcpStream::connect_timeout(&target, NO_ANSWER));
            assert_eq!(refused.map(drop).map_err(|error| error.kind()), Err(ErrorKind::TimedOut), "{from} to {target}");
            drop(listener);
        }
    }
    assert_eq!((firewall.dropped(Some("app"), "policy"), firewall.dropped(Some("db"), "policy")), (2, 2));
    assert_eq!(rule(firewall, DEFAULT, "packets"), 4);
}

fn rule(firewall: &Firewall, place: &str, what: &str) -> u64 {
    let rules = firewall.show("rules");
    let row = rules.as_array().expect("a list").iter().find(|row| row["place"] == place);
    row.unwrap_or_else(|| panic!("{place} in {rules}"))[what].as_u64().expect("a number")
}

/// The test above would not notice waits of seconds; this one does.
#[test]
fn the_first_answer_comes_at_once() {
    for hook in ["xdp", "tc", "afxdp"] {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let _firewall = network.firewall(&format!("mode = \"{hook}\""));
        let start = Instant::now();
        ping(&network, "app", network.address("db", false), &["-c", "1"]);
        assert!(start.elapsed() < Duration::from_millis(900), "{hook}: {:?}: a question was repeated", start.elapsed());
    }
}
