//! Datagrams from ever new ports, which nobody counts at the other end: first packets and known flows for the programs.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::network::Network;

/// Datagrams of one port before the next one takes its place.
const PER_PORT: u32 = 500;
/// Datagrams between two looks at the clock.
const BURST: u32 = 20;

pub struct Generator {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
    _sink: UdpSocket,
}

impl Generator {
    /// From `app` to a port of `db`, `rate` datagrams per second; 0: as many as it can.
    pub fn start(network: &Network, port: u16, rate: u32) -> Self {
        let to = SocketAddr::new(network.address("db", false), port);
        let from = network.address("app", false);
        let sink = network.within("db", || UdpSocket::bind(to)).expect("a UDP socket");
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = network.within("app", move || {
            // In the namespace of its parent.
            thread::spawn(move || {
                let socket = || {
                    let socket = UdpSocket::bind((from, 0)).expect("a UDP socket");
                    socket.connect(to).expect("connects");
                    socket
                };
                generate(socket, rate, &stopping)
            })
        });
        Self { stop, thread, _sink: sink }
    }

    /// Ends it; the number of datagrams sent.
    pub fn stop(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the generator lives")
    }
}

fn generate(open: impl Fn() -> UdpSocket, rate: u32, stop: &AtomicBool) -> u64 {
    let began = Instant::now();
    let mut sent: u64 = 0;
    while !stop.load(Ordering::SeqCst) {
        let socket = open();
        for _ in 0..PER_PORT / BURST {
            for _ in 0..BURST {
                // A full queue is not what is measured.
                sent += u64::from(socket.send(&[0; 18]).is_ok());
            }
            if rate > 0 {
                let due = Duration::from_nanos(sent * 1_000_000_000 / u64::from(rate));
                thread::sleep(due.saturating_sub(began.elapsed()));
            }
        }
    }
    sent
}
