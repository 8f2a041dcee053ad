//! What cannot be flooded: half-open flows give way, established ones never do; no zone takes the daemon from another one.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use vfw_tests::network::{Firewall, Network, Shape, until};
use vfw_tests::packet::{Ethernet, flag};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");
const HOOKS: [&str; 3] = ["xdp", "tc", "afxdp"];
const RULES: &str = "
zone app { interface eth1  address 10.0.10.1/24 }
zone db  { interface eth2  address 10.0.20.1/24 }
default drop
allow app -> db  service tcp
";
const PORT: u16 = 8000;
/// A port on which the database's host stays silent.
const SILENT: u16 = 8001;
const ESTABLISHED: usize = 64;
const HALF_OPEN: usize = 128;
const FLOOD: u32 = 20_000;
/// A closed connection is soon forgotten.
const SHORT: &str = "[timeouts]\ntcp_fin_wait = 1\ntcp_closing = 1\ntcp_time_wait = 1";
/// Bytes that cross and come back at a time while the flood goes on; fewer than the sockets' buffers hold.
const BLOCK: usize = 50_000;

fn firewall<'a>(network: &'a Network, hook: &str) -> Firewall<'a> {
    network.must(
        "db",
        &[
            "nft",
            &format!(
                "add table inet t {{ chain c {{ type filter hook input priority 0; tcp dport {SILENT} drop; }}; }}"
            ),
        ],
    );
    network
        .firewall(&format!("mode = \"{hook}\"\n[flows]\nestablished = {ESTABLISHED}\nhalf_open = {HALF_OPEN}\n{SHORT}"))
}

fn target(network: &Network) -> SocketAddr {
    SocketAddr::new(network.address("db", false), PORT)
}

fn connect(network: &Network) -> TcpStream {
    let target = target(network);
    let stream = network.within("app", || TcpStream::connect_timeout(&target, Duration::from_secs(5)));
    let stream = stream.unwrap_or_else(|error| panic!("{target}: {error}"));
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream
}

/// A server that returns what it gets, for each connection on a thread of its own.
fn echo_server(network: &Network) {
    let listener = network.within("db", || TcpListener::bind(target(network))).expect("listens");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut stream = stream;
                let mut bytes = vec![0; 64 << 10];
                while let Ok(length @ 1..) = stream.read(&mut bytes) {
                    if stream.write_all(&bytes[..length]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// Whether a byte comes back.
fn lives(stream: &mut TcpStream, patience: Duration) -> bool {
    stream.set_read_timeout(Some(patience)).expect("a timeout");
    let mut byte = [0];
    stream.write_all(&[7]).and_then(|()| stream.read_exact(&mut byte)).is_ok_and(|()| byte == [7])
}

fn flows(firewall: &Firewall, state: &str) -> Vec<Value> {
    let flows = firewall.show("flows");
    flows.as_array().expect("a list").iter().filter(|flow| flow["state"] == state).cloned().collect()
}

#[test]
fn a_flood_of_syns_costs_no_established_flow() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = firewall(&network, hook);
        echo_server(&network);
        let mut idle = connect(&network);
        assert!(lives(&mut idle, Duration::from_secs(5)));
        let busy = connect(&network);
        let flooded = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&flooded);
        let transfer = thread::spawn(move || transfer(busy, &done));

        let wire = network.wire("app");
        let link = Ethernet::new([2, 0, 0, 0, 0, 9], network.mac("fw", "eth1"));
        for number in 0..FLOOD {
            let source = format!("10.0.10.{}", 20 + number % 200);
            let port = 1024 + (number / 200) as u16;
            wire.send(&link.ip(&source, "10.0.20.7").tcp(port, SILENT).flags(flag::SYN).seq(number).build());
            pace(hook, number);
        }
        flooded.store(true, Ordering::Relaxed);
        let _busy = transfer.join().expect("the transfer goes on");
        assert!(lives(&mut idle, Duration::from_secs(5)), "{hook}");
        assert_eq!(flows(&firewall, "established").len(), 2, "{hook}");
        let waiting = flows(&firewall, "syn-sent").len();
        assert!((1..=HALF_OPEN).contains(&waiting), "{hook}: {waiting} half-open flows");
        let rules = firewall.show("rules");
        let rule = rules.as_array().expect("a list").iter().find(|rule| rule["place"] == "rules.fw:5");
        let sent = rule.and_then(|rule| rule["packets"].as_u64());
        assert!(sent > Some(u64::from(FLOOD)), "{hook}: the flood passed as the rule says, {sent:?}");
        // And a new connection still finds a place.
        let mut late = connect(&network);
        assert!(lives(&mut late, Duration::from_secs(5)), "{hook}");
        assert_eq!(firewall.drop_reasons(&["multicast"]), [""; 0], "{hook}");
    }
}

/// What the programs in the kernel take at any speed comes to the engine through a ring, which an unoptimised build on a busy
/// machine does not empty as fast. Here every packet is to be counted.
fn pace(hook: &str, number: u32) {
    if hook == "afxdp" && number.is_multiple_of(256) {
        thread::sleep(Duration::from_millis(20));
    }
}

/// Sends blocks and gets them back, before, during and after the flood.
fn transfer(mut stream: TcpStream, flooded: &AtomicBool) -> TcpStream {
    let sent: Vec<u8> = (0..BLOCK as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut received = vec![0; BLOCK];
    let mut last = false;
    while !last {
        last = flooded.load(Ordering::Relaxed);
        stream.write_all(&sent).expect("sends");
        stream.read_exact(&mut received).expect("receives");
        assert!(received == sent, "the bytes changed on their way");
    }
    stream
}

#[test]
fn a_full_table_refuses_new_flows_and_keeps_the_old() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, RULES).up() else { return };
        let firewall = firewall(&network, hook);
        echo_server(&network);
        let mut open: Vec<TcpStream> = (0..ESTABLISHED).map(|_| connect(&network)).collect();
        until("all are established", || (flows(&firewall, "established").len() == ESTABLISHED).then_some(()));
        assert_eq!(firewall.dropped(Some("app"), "table-full"), 0, "{hook}");

        // The last ACK of its handshake finds no room: the server never hears of it.
        let mut refused = connect(&network);
        assert!(!lives(&mut refused, Duration::from_millis(300)), "{hook}");
        assert!(firewall.dropped(Some("app"), "table-full") > 0, "{hook}");
        for stream in &mut open {
            assert!(lives(stream, Duration::from_secs(5)), "{hook}: an established flow was lost");
        }
        assert_eq!(flows(&firewall, "established").len(), ESTABLISHED);
        assert_eq!(firewall.drop_reasons(&["multicast"]), ["app table-full"], "{hook}");

        // A flow ends, its place is swept, and the one that was refused takes it: its host still repeats itself.
        drop(open.pop());
        until("there is room again", || lives(&mut refused, Duration::from_millis(300)).then_some(()));
    }
}

const THREE_ZONES: &str = "
zone app { interface eth1  address 10.0.10.1/24 }
zone lab { interface eth2  address 10.0.30.1/24 }
zone db  { interface eth3  address 10.1.0.1/16 }
default drop log
allow any -> db
";
/// What the hosts' own stacks multicast at start, which a router drops.
const NOISE: &str = "multicast";

/// The packets that came from a zone, and those of them that were dropped.
fn came_and_dropped(firewall: &Firewall, zone: &str) -> (u64, u64) {
    let zones = firewall.show("zones");
    let row = zones.as_array().expect("a list").iter().find(|row| row["zone"] == zone).expect("the zone");
    let drops = firewall.drop_counters();
    let rows = drops.as_array().expect("a list").iter().filter(|row| row["zone"] == zone);
    (row["in"]["packets"].as_u64().expect("a number"), rows.filter_map(|row| row["packets"].as_u64()).sum())
}

#[test]
fn a_scan_of_absent_hosts_leaves_other_zones_their_neighbours() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, THREE_ZONES).up() else { return };
        let firewall = network.firewall(&format!("mode = \"{hook}\"\n[neighbours]\nmax = 64"));
        let wire = network.wire("app");
        let link = Ethernet::new([2, 0, 0, 0, 0, 9], network.mac("fw", "eth1"));
        let scan = |from: u32| {
            for number in from..from + FLOOD / 2 {
                let target = format!("10.1.{}.{}", 100 + number / 250 % 100, 1 + number % 250);
                wire.send(&link.ip("10.0.10.9", &target).udp(1, 9, b"anyone"));
                pace(hook, number);
            }
        };
        scan(0);
        // In the midst of it, nobody knows the other zone's neighbours yet.
        let db = network.address("db", false).to_string();
        network.must("lab", &["ping", "-n", "-c", "1", "-W", "2", &db]);
        scan(FLOOD / 2);
        network.must("lab", &["ping", "-n", "-c", "1", "-W", "2", &db]);
        assert!(firewall.dropped(Some("app"), "resolve-limit") > u64::from(FLOOD / 2), "{hook}");
        // Three questions later each packet of the scan has been counted as a drop, once.
        until("the scan is over", || {
            let (came, dropped) = came_and_dropped(&firewall, "app");
            assert!(dropped <= came, "{hook}: {dropped} of {came}");

            (dropped >= u64::from(FLOOD)).then_some(())
        });
        assert_eq!(firewall.drop_reasons(&[NOISE, "resolve-limit", "queue-full", "unreachable"]), [""; 0], "{hook}");
        let of_others = firewall.drop_reasons(&[NOISE]).into_iter().filter(|drop| !drop.starts_with("app ")).count();
        assert_eq!(of_others, 0, "{hook}");
    }
}

/// The queue of one interface does not drain: of a shaper here, of a machine that is paused elsewhere.
#[test]
fn an_interface_that_stalls_holds_up_nobody() {
    let Some(network) = Shape::new(PROGRAM, &format!("{THREE_ZONES}allow lab -> app\n")).up() else { return };
    let firewall = network.firewall("mode = \"tc\"");
    let stalled = "tc qdisc add dev eth3 root tbf rate 8bit burst 1600 limit 100mb";
    network.must("fw", &stalled.split(' ').collect::<Vec<_>>());
    let wire = network.wire("app");
    let link = Ethernet::new([2, 0, 0, 0, 0, 9], network.mac("fw", "eth1"));
    // Each of them makes vfw ask for a neighbour there; more than a socket may have under way.
    let mut asked = 0;
    until("the socket can send no more", || {
        for _ in 0..50 {
            asked += 1;
            wire.send(
                &link.ip("10.0.10.9", &format!("10.1.{}.{}", 100 + asked / 250, 1 + asked % 250)).udp(1, 9, b"x"),
            );
        }
        thread::sleep(Duration::from_millis(50));
        firewall.log().contains("cannot send").then_some(())
    });
    let app = network.address("app", false).to_string();
    network.must("lab", &["ping", "-n", "-c", "1", "-W", "2", &app]);
    assert_eq!(firewall.stop(Signal::SIGINT).code(), Some(0));
}

#[test]
fn logged_packets_above_the_rate_are_told_of() {
    for hook in HOOKS {
        let Some(network) = Shape::new(PROGRAM, THREE_ZONES).up() else { return };
        let firewall = network.firewall(&format!("mode = \"{hook}\""));
        let wire = network.wire("app");
        let link = Ethernet::new([2, 0, 0, 0, 0, 9], network.mac("fw", "eth1"));
        for port in 1..=2_000 {
            wire.send(&link.ip("10.0.10.9", "10.0.30.7").udp(port, 9, b"no"));
        }
        until("all are dropped", || (firewall.dropped(Some("app"), "policy") == 2_000).then_some(()));
        let interfaces = firewall.show("interfaces");
        let lost = &interfaces[0]["lost_events"][0];
        assert_eq!((&lost["zone"], &lost["topic"]), (&"app".into(), &"log".into()), "{hook}: {interfaces}");
        let lost = lost["events"].as_u64().expect("a number");
        assert!((1_000..2_000).contains(&lost), "{hook}: {lost}");
        assert_eq!(interfaces[1]["lost_events"], Value::Array(Vec::new()), "{hook}");
        until("the log says so", || firewall.log().contains("logged packets without a line").then_some(()));
        until("the others are written", || {
            let written = firewall.log().matches("source=10.0.10.9").count() as u64;
            (written == 2_000 - lost).then_some(())
        });
        let socket = network.socket();
        let shown = network.vfw_run(&["show", "interfaces", "--socket", socket.to_str().expect("UTF-8")]);
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("events of zone app"), "{hook}: {shown}");
    }
}
