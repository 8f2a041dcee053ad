//! State that cannot be flooded: half-open flows give way, established ones never do.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use vfw_tests::network::{Firewall, Network, Shape, until};
use vfw_tests::packet::{Ethernet, flag};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vfw-under-test");
const HOOKS: [&str; 2] = ["xdp", "tc"];
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
