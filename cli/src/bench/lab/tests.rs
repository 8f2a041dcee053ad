use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait for what must not come.
const IMPATIENCE: Duration = Duration::from_millis(200);

fn sockets(lab: &Lab, port: u16) -> (TcpListener, SocketAddr) {
    let address = SocketAddr::from((lab.server_address(), port));
    (lab.server().run(|| Ok(TcpListener::bind(address)?)).expect("a listener"), address)
}

/// A question over TCP, and its answer.
fn asks(lab: &Lab) {
    let (listener, address) = sockets(lab, TCP_PORTS[0]);
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut question = [0; 4];
        stream.read_exact(&mut question).expect("a question");
        stream.write_all(&question).expect("an answer");
    });
    let mut stream = lab.client().run(|| Ok(TcpStream::connect_timeout(&address, PATIENCE)?)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(b"ping").expect("a question");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"ping");
    answering.join().expect("the server");
}

/// Whether a datagram arrives at a port of the server.
fn arrives(lab: &Lab, port: u16, patience: Duration) -> bool {
    let address = SocketAddr::from((lab.server_address(), port));
    let server = lab.server().run(|| Ok(UdpSocket::bind(address)?)).expect("a socket");
    server.set_read_timeout(Some(patience)).expect("a timeout");
    lab.client().run(|| Ok(UdpSocket::bind("0.0.0.0:0")?.send_to(b"datagram", address)?)).expect("it is sent");
    server.recv(&mut [0; 16]).is_ok()
}

fn carries(path: Path) {
    let lab = Lab::new(path).expect("a lab");
    asks(&lab);
    assert!(arrives(&lab, UDP_PORTS[1], PATIENCE), "{path}");
    let is_open = arrives(&lab, UDP_PORTS[1] + 1, if path.is_firewall() { IMPATIENCE } else { PATIENCE });
    assert_eq!(is_open, !path.is_firewall(), "{path}");
}

#[test]
fn what_forwards_carries_everything() {
    for path in [Path::Direct, Path::Bridge, Path::Routing] {
        carries(path);
    }
}

#[test]
fn firewalls_of_linux_carry_what_the_rules_allow() {
    carries(Path::Nftables);
    carries(Path::Iptables);
}

#[test]
fn vfw_carries_what_the_rules_allow_on_each_hook() {
    for path in [Path::VfwTc, Path::VfwXdp, Path::VfwAfxdp] {
        carries(path);
    }
}

#[test]
fn flows_are_known_and_forgotten() {
    for path in [Path::Nftables, Path::VfwTc] {
        let mut lane = Lane::new(path, 0, Needs::default()).expect("a lane");
        assert_eq!(lane.establish(300).expect("flows").0, Some(1.0), "{path}");
        let sample = lane.measure(0, 300, 1_000).expect("frames");
        assert!(sample.lost < 0.5, "{path} {sample:?}");
        lane.lab.forget_flows().expect("it forgets");
        assert_eq!(lane.lab.established().expect("a number"), 0, "{path}");
    }
}

#[test]
fn nothing_pinned_outlives_a_lab() {
    let lab = Lab::new(Path::VfwXdp).expect("a lab");
    let own = format!("vfw-bench-{}-", std::process::id());
    let pins = || -> Vec<String> {
        let entries = std::fs::read_dir("/sys/fs/bpf").expect("bpffs").flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.starts_with(&own)).collect()
    };
    let before = pins();
    assert!(!before.is_empty());
    drop(lab);
    assert!(pins().len() < before.len());
}
