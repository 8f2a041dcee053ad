//! Datagrams from ever new ports, which nobody reads at the other end: first packets and known flows for the programs.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::network::Network;
use crate::packet::Ethernet;
use crate::raw_socket::RawSocket;

/// Datagrams of one port before the next one takes its place.
const PER_PORT: u32 = 500;
/// Ports at a time, and datagrams between two looks at the clock: less than a queue of a link holds.
const BURST: u16 = 100;

pub struct Generator {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
    _sink: UdpSocket,
}

/// Who sends, by what link, and to whom.
struct Route {
    link: Ethernet,
    source: String,
    destination: String,
    port: u16,
}

impl Generator {
    /// From `generator` to a port of `sink`, `rate` datagrams per second; 0: as many as it can. They know each other.
    pub fn start(network: &Network, port: u16, rate: u32) -> Self {
        let destination = network.address("sink", false);
        let sink = network.within("sink", || UdpSocket::bind((destination, port))).expect("a UDP socket");
        let link = Ethernet::new(network.mac("generator", "eth0"), network.mac("fw", "eth3"));
        let source = network.address("generator", false).to_string();
        let route = Route { link, source, destination: destination.to_string(), port };
        let socket = network.within("generator", || {
            let interface = vfw::interface::inspect("eth0").expect("the interface");
            RawSocket::open(interface.index)
        });
        let socket = socket.expect("a packet socket");
        // Queues of the kernel's own would take half of the time.
        socket.bypass().expect("a packet socket without queues");
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = thread::spawn(move || generate(&socket, &route, rate, &stopping));
        Self { stop, thread, _sink: sink }
    }

    /// Ends it; the number of datagrams sent.
    pub fn stop(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the generator lives")
    }
}

fn generate(socket: &RawSocket, route: &Route, rate: u32, stop: &AtomicBool) -> u64 {
    let began = Instant::now();
    let mut sent: u64 = 0;
    let mut first = 0;
    while !stop.load(Ordering::SeqCst) {
        let frames = route.frames(first);
        first = (first + BURST) % (u16::MAX - 1024 - BURST);
        for _ in 0..PER_PORT {
            for frame in &frames {
                // A full queue is not what is measured.
                sent += u64::from(socket.send(frame).is_ok());
            }
            if rate > 0 {
                let rate = u64::from(rate);
                let due = Duration::from_secs(sent / rate) + Duration::from_nanos(sent % rate * 1_000_000_000 / rate);
                thread::sleep(due.saturating_sub(began.elapsed()));
            }
            if stop.load(Ordering::SeqCst) {
                break;
            }
        }
    }
    sent
}

impl Route {
    /// A datagram from each of so many ports.
    fn frames(&self, first: u16) -> Vec<Vec<u8>> {
        let ip = self.link.ip(&self.source, &self.destination);
        (0..BURST).map(|port| ip.udp(1024 + first + port, self.port, &[0; 18])).collect()
    }
}
