//! Streams of numbered datagrams.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::network::Network;

/// Bytes of a socket's receive buffer: seconds of a stream.
const BUFFER: usize = 8 << 20;
/// Silence after which no datagram is on its way any more.
const SILENCE: Duration = Duration::from_millis(300);

/// What became of datagrams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sent.
    pub sent: u64,
    /// Received, each counted once.
    pub received: u64,
    /// Received more than once.
    pub repeated: u64,
    /// Received after one that was sent later.
    pub late: u64,
    /// When some of those were sent that did not arrive: milliseconds since the stream began.
    pub missing_at: Vec<u64>,
}

impl Tally {
    /// Sent and not received.
    pub fn lost(&self) -> u64 {
        self.sent - self.received
    }
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, tally| {
            sum.sent += tally.sent;
            sum.received += tally.received;
            sum.repeated += tally.repeated;
            sum.late += tally.late;
            sum.missing_at.extend(tally.missing_at);
            sum
        })
    }
}

/// One direction of numbered datagrams.
pub struct Stream {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Vec<u64>>,
    receiver: JoinHandle<Vec<u64>>,
}

impl Stream {
    /// Both directions of one flow, which `app` begins.
    pub fn both_ways(network: &Network, v6: bool, port: u16, rate: u32) -> [Self; 2] {
        let server = socket(network, "db", v6, port);
        let client = socket(network, "app", v6, 0);
        connect(&client, network.address("db", v6), port);
        client.send(&u64::MAX.to_be_bytes()).expect("sends");
        let mut first = [0; 8];
        let (_, from) = server.recv_from(&mut first).expect("the first datagram arrives");
        server.connect(from).expect("connects");
        let copy = |socket: &UdpSocket| socket.try_clone().expect("a second handle");
        [Self::start(copy(&client), copy(&server), rate), Self::start(server, client, rate)]
    }

    /// One direction.
    pub fn one_way(network: &Network, from: &str, to: &str, port: u16, rate: u32) -> Self {
        let server = socket(network, to, false, port);
        let client = socket(network, from, false, 0);
        connect(&client, network.address(to, false), port);
        Self::start(client, server, rate)
    }

    fn start(from: UdpSocket, to: UdpSocket, rate: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (sending, receiving) = (Arc::clone(&stop), Arc::clone(&stop));
        Self {
            stop,
            sender: thread::spawn(move || send(&from, rate, &sending)),
            receiver: thread::spawn(move || receive(&to, &receiving)),
        }
    }

    /// Ends it and counts.
    pub fn stop(self) -> Tally {
        self.stop.store(true, Ordering::SeqCst);
        let sent = self.sender.join().expect("the sender lives");
        count(&sent, &self.receiver.join().expect("the receiver lives"))
    }
}

/// The times at which datagrams 0, 1, 2 ... were sent, in milliseconds.
fn send(socket: &UdpSocket, rate: u32, stop: &AtomicBool) -> Vec<u64> {
    let began = Instant::now();
    let mut sent = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let due = Duration::from_secs(1) * sent.len() as u32 / rate;
        if let Some(wait) = due.checked_sub(began.elapsed()) {
            thread::sleep(wait);
        }
        match socket.send(&(sent.len() as u64).to_be_bytes()) {
            Ok(_) => sent.push(began.elapsed().as_millis() as u64),
            // What an ICMP error told of an earlier one.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => panic!("cannot send: {error}"),
        }
    }
    sent
}

/// The numbers in the order in which they came.
fn receive(socket: &UdpSocket, stop: &AtomicBool) -> Vec<u64> {
    socket.set_read_timeout(Some(SILENCE)).expect("a socket");
    let mut numbers = Vec::new();
    loop {
        let mut bytes = [0; 8];
        match socket.recv(&mut bytes) {
            Ok(8) if bytes != [0xff; 8] => numbers.push(u64::from_be_bytes(bytes)),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if stop.load(Ordering::SeqCst) {
                    return numbers;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => panic!("cannot receive: {error}"),
        }
    }
}

fn count(sent: &[u64], received: &[u64]) -> Tally {
    let once: BTreeSet<u64> = received.iter().copied().collect();
    let mut highest = 0;
    let mut late = 0;
    for number in received {
        late += u64::from(*number < highest);
        highest = highest.max(*number);
    }
    let missing = sent.iter().enumerate().filter(|(number, _)| !once.contains(&(*number as u64)));
    Tally {
        sent: sent.len() as u64,
        received: once.len() as u64,
        repeated: (received.len() - once.len()) as u64,
        late,
        missing_at: missing.map(|(_, at)| *at).take(100).collect(),
    }
}

fn socket(network: &Network, place: &str, v6: bool, port: u16) -> UdpSocket {
    let address = network.address(place, v6);
    let socket = network.within(place, || UdpSocket::bind((address, port))).expect("a UDP socket");
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).expect("root may have large buffers");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    socket
}

fn connect(socket: &UdpSocket, address: IpAddr, port: u16) {
    socket.connect(SocketAddr::new(address, port)).expect("connects");
}
