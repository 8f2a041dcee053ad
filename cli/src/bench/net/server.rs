//! `vfw bench server`: waits for clients that hold the token, and is the other end of their measurements.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{Shutdown, shutdown};

use super::error::NetError;
use super::message::Limits;
use super::session::{Rules, converse};
use super::token::Token;

/// Control connections at once, those that have not proved anything yet included.
const MOST_GUESTS: usize = 32;
/// A pause when the system has no room for another connection.
const BREATH: Duration = Duration::from_millis(50);

/// A listening server.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    rules: Arc<Rules>,
    guests: Arc<AtomicUsize>,
}

impl Server {
    /// Listens for control connections at `address`. Data connections use the port after it, TCP and UDP.
    pub fn bind(address: SocketAddr, token: Token, limits: Limits) -> Result<Self, NetError> {
        let failed = |source| NetError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let no_port = || failed(io::Error::other("the data connections need the port after it, and there is none"));
        let data_port = address.port().checked_add(1).ok_or_else(no_port)?;
        let rules = Arc::new(Rules { token, limits, data_port, turn: Mutex::new(()) });
        Ok(Self { listener, address, rules, guests: Arc::default() })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Port of the data connections.
    pub fn data_port(&self) -> u16 {
        self.rules.data_port
    }

    /// Serves until the socket is shut down.
    pub fn serve(&self) -> Result<(), NetError> {
        loop {
            match self.listener.accept() {
                Ok((stream, client)) => self.receive(stream, client),
                Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, "no connection could be taken");
                    thread::sleep(BREATH);
                }
            }
        }
    }

    fn receive(&self, stream: TcpStream, client: SocketAddr) {
        if self.guests.fetch_add(1, Ordering::Relaxed) >= MOST_GUESTS {
            self.guests.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(%client, "too many connections at once; this one is closed");
            return;
        }
        let guest = Guest(Arc::clone(&self.guests));
        let rules = Arc::clone(&self.rules);
        let session = move || {
            let _guest = guest;
            match converse(stream, &rules) {
                Ok((request, report)) => {
                    let mbps = report.bytes as f64 * 8e3 / report.nanos.max(1) as f64;
                    tracing::info!(%client, test = ?request.test, messages = report.messages, mbps, "measured");
                }
                Err(error) => tracing::warn!(%client, %error, "no measurement"),
            }
        };
        if let Err(error) = thread::Builder::new().name("bench-session".to_owned()).spawn(session) {
            tracing::warn!(%client, %error, "no thread for a connection");
        }
    }

    /// Serves on a thread of its own, in the network namespace of the calling thread, until the value goes.
    pub fn start(self) -> Result<Running, NetError> {
        let failed = NetError::broken("the server cannot start");
        let thread = thread::Builder::new().name("bench-server".to_owned());
        let listener = self.listener.try_clone();
        let started = listener.and_then(|listener| Ok((listener, thread.spawn(move || self.serve())?)));
        let (listener, thread) = started.map_err(failed)?;
        Ok(Running { listener, thread: Some(thread) })
    }
}

/// One of the connections at once.
struct Guest(Arc<AtomicUsize>);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A server on a thread of its own.
pub struct Running {
    listener: TcpListener,
    thread: Option<JoinHandle<Result<(), NetError>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Wakes the thread up; one that has ended already does not mind.
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
