//! The engine: sockets on the queues of its interfaces, and the thread of the worker that serves them.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use firewall_core::tables::{SOCKET_QUEUES, socket_index};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use thiserror::Error;

use super::store::Store;
use super::sys::{Binding, Copying, Rings, Socket, Statistics, Umem, open};
use super::tables::{EnginePolicy, EngineTables};
use super::worker::{Kick, Queue, Worker};
use crate::clock;

/// Entries of each ring.
const RING: u32 = 2048;
/// Chunks that a queue has in its fill ring.
const FILL: u32 = 2048;
/// Chunks for each queue: those to receive into, and as many on their way out.
const CHUNKS: u32 = 2 * FILL;
/// Bytes of a chunk for frames that fit one of 2 KiB, and for others.
const CHUNK: u32 = 2048;
const LARGE_CHUNK: u32 = 4096;
/// Bytes of a frame beside its IP packet: Ethernet header and a tag, and one more that the frame may come with.
const LINK_BYTES: u32 = 22;

/// Empty rounds after which the worker sleeps until the kernel wakes it. Under load a round is never empty; a single question
/// and its answer find it awake.
const PATIENCE: u32 = 64;
/// Longest sleep: what is left in a send ring, because a link is down, is tried again.
const SLEEP: Duration = Duration::from_millis(200);
/// How long a queue may be in use by a socket that was closed.
const LEAVE: Duration = Duration::from_secs(3);
/// How long frames are waited for at the end that cannot leave.
const DRAIN: Duration = Duration::from_millis(200);
/// While the programs in the kernel may still be at work on packets that came before the engine.
const SHARED: u64 = 1_000_000_000;

/// An interface whose frames the engine takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    /// Its name.
    pub name: String,
    /// Its number.
    pub ifindex: u32,
    /// Its number among the interfaces of the engine.
    pub port: u16,
    /// Its receive queues.
    pub queues: u32,
    /// Its largest packet, bytes.
    pub mtu: u32,
}

/// How the engine is to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Frames must not be copied between kernel and engine.
    pub needs_zero_copy: bool,
    /// Flows that it follows at one time.
    pub flows: usize,
    /// Fragmented packets.
    pub fragments: usize,
}

/// Why the engine does not work.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The kernel refused a socket.
    #[error("cannot open an AF_XDP socket on queue {queue} of interface `{name}`: {source}")]
    Socket {
        /// The interface.
        name: String,
        /// Its queue.
        queue: u32,
        /// Why not.
        source: io::Error,
    },
    /// Frames would be copied, and must not be.
    #[error(
        "interface `{name}`: its driver has no zero-copy mode for AF_XDP, and `afxdp.zerocopy` asks for it; use \
         `zerocopy = \"auto\"`, or `mode = \"xdp\"`, which is faster than copying"
    )]
    Copies {
        /// The interface.
        name: String,
    },
    /// More queues than the programs can tell apart.
    #[error(
        "interface `{name}` has {queues} queues, and AF_XDP takes {SOCKET_QUEUES}: `ethtool -L {name} combined {SOCKET_QUEUES}`"
    )]
    Queues {
        /// The interface.
        name: String,
        /// Its queues.
        queues: u32,
    },
    /// Memory or a thread is missing.
    #[error("the AF_XDP engine cannot start: {0}")]
    System(#[from] io::Error),
}

/// A socket in its place.
#[derive(Clone)]
pub struct Listening {
    /// Where the programs look for it.
    pub index: u32,
    /// Number of the interface.
    pub ifindex: u32,
    /// The socket.
    pub socket: Arc<Socket>,
}

/// Sockets with their rings and memory, not at work yet.
pub struct Sockets {
    umem: Umem,
    opened: Vec<(Listening, Rings)>,
    is_zero_copy: bool,
}

impl Sockets {
    /// Opens one for each queue, all on one UMEM, so that a frame that is forwarded stays where it is.
    pub fn open(ports: &[PortPlan], plan: Plan) -> Result<Self, EngineError> {
        if let Some(port) = ports.iter().find(|port| port.queues > SOCKET_QUEUES) {
            return Err(EngineError::Queues { name: port.name.clone(), queues: port.queues });
        }
        let wanted = if plan.needs_zero_copy { Copying::Zero } else { Copying::Auto };
        match Self::open_as(ports, wanted) {
            // One driver can do without copies and another one cannot: the memory is shared, so all copy.
            Err(EngineError::Socket { .. }) if !plan.needs_zero_copy => Self::open_as(ports, Copying::Copy),
            Err(EngineError::Socket { name, source, .. })
                if plan.needs_zero_copy && matches!(source.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL)) =>
            {
                Err(EngineError::Copies { name })
            }
            other => other,
        }
    }

    fn open_as(ports: &[PortPlan], copying: Copying) -> Result<Self, EngineError> {
        let largest = ports.iter().map(|port| port.mtu + LINK_BYTES).max().unwrap_or(0);
        let queues: u32 = ports.iter().map(|port| port.queues).sum();
        let mut umem = Umem::new(queues.max(1) * CHUNKS, CHUNK)?;
        if largest > umem.frame_bytes() {
            umem = Umem::new(queues.max(1) * CHUNKS, LARGE_CHUNK)?;
        }
        let multi_buffer = largest > umem.frame_bytes();
        let mut opened: Vec<(Listening, Rings)> = Vec::new();
        for port in ports {
            for queue in 0..port.queues {
                let binding = Binding { ifindex: port.ifindex, queue, entries: RING, copying, multi_buffer };
                let first = opened.first().map(|(first, _)| &*first.socket);
                let (socket, rings) = open_when_free(&umem, binding, first).map_err(|source| EngineError::Socket {
                    name: port.name.clone(),
                    queue,
                    source,
                })?;
                let index = socket_index(port.port, queue);
                opened.push((Listening { index, ifindex: port.ifindex, socket: Arc::new(socket) }, rings));
            }
        }
        let is_zero_copy = opened.first().is_some_and(|(first, _)| first.socket.is_zero_copy().unwrap_or(false));
        Ok(Self { umem, opened, is_zero_copy })
    }

    /// Where the programs are to hand frames to.
    pub fn listening(&self) -> Vec<Listening> {
        self.opened.iter().map(|(listening, _)| listening.clone()).collect()
    }

    /// A worker for all of them.
    pub fn worker<S: Store>(self, tables: EngineTables<S>) -> Worker<S, Arc<Socket>> {
        let queue =
            |(listening, rings): (Listening, Rings)| Queue::new(listening.ifindex, rings, listening.socket, FILL);
        Worker::new(self.umem, self.opened.into_iter().map(queue).collect(), tables)
    }
}

/// Opens a socket; waits for the one before, of which the kernel takes its leave after it was closed.
fn open_when_free(umem: &Umem, binding: Binding, first: Option<&Socket>) -> io::Result<(Socket, Rings)> {
    let start = Instant::now();
    loop {
        match open(umem, binding, first) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && start.elapsed() < LEAVE => {
                thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

impl Kick for Arc<Socket> {
    fn send(&self) -> io::Result<()> {
        Socket::send(self)
    }

    fn receive(&self) -> io::Result<()> {
        Socket::receive(self)
    }
}

enum Order {
    /// This policy is in force from now on; the answer when it is.
    Policy(Arc<EnginePolicy>, Sender<()>),
    /// What is known of the flows goes to the kernel's records; the answer when it has.
    WriteFlows(Sender<()>),
    /// Forward what has come, and end.
    End,
}

/// The engine at work. Dropping it ends it as [`Self::end`] does.
pub struct Engine {
    /// The interfaces that it serves.
    ports: Vec<PortPlan>,
    listening: Vec<Listening>,
    is_zero_copy: bool,
    orders: Sender<Order>,
    bell: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Opens the sockets and starts the worker. Nothing comes until the programs know of [`Self::listening`].
    pub fn start<S: Store + Send + 'static>(
        ports: Vec<PortPlan>,
        plan: Plan,
        policy: Arc<EnginePolicy>,
        store: S,
    ) -> Result<Self, EngineError> {
        let sockets = Sockets::open(&ports, plan)?;
        let (listening, is_zero_copy) = (sockets.listening(), sockets.is_zero_copy);
        let (orders, incoming) = mpsc::channel();
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let bell = Arc::new(EventFd::from_value_and_flags(0, flags).map_err(io::Error::from)?);
        let heard = Arc::clone(&bell);
        let thread = thread::Builder::new().name("afxdp".into()).spawn(move || {
            // Made here: the records of flows stay in one thread.
            let room = (plan.flows, plan.fragments);
            let worker = sockets.worker(EngineTables::new(policy, store, room, clock::now() + SHARED));
            Loop { worker, bell: heard, orders: incoming }.run();
        })?;
        Ok(Self { ports, listening, is_zero_copy, orders, bell, thread: Some(thread) })
    }

    /// The interfaces that it serves.
    pub fn ports(&self) -> &[PortPlan] {
        &self.ports
    }

    /// Where the programs are to hand frames to.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// Whether frames come and go without being copied.
    pub fn is_zero_copy(&self) -> bool {
        self.is_zero_copy
    }

    /// Whether the worker is at work; it ends by itself only when something is wrong with it.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// What the kernel has lost of an interface's frames on their way to the engine.
    pub fn statistics(&self, ifindex: u32) -> Statistics {
        let own = self.listening.iter().filter(|listening| listening.ifindex == ifindex);
        own.filter_map(|listening| listening.socket.statistics().ok()).fold(Statistics::default(), |sum, more| {
            Statistics {
                lost: sum.lost + more.lost,
                without_chunk: sum.without_chunk + more.without_chunk,
                invalid: sum.invalid + more.invalid,
            }
        })
    }

    /// Puts a policy in force, and waits until it is.
    pub fn set_policy(&self, policy: Arc<EnginePolicy>) {
        self.order(|done| Order::Policy(policy, done));
    }

    /// Has the kernel's records say what is known of the flows, and waits until they do.
    pub fn write_flows(&self) {
        self.order(Order::WriteFlows);
    }

    fn order(&self, order: impl FnOnce(Sender<()>) -> Order) {
        let (done, wait) = mpsc::channel();
        if self.orders.send(order(done)).is_ok() && self.bell.write(1).is_ok() {
            // A worker that ended answers by dropping its end.
            let _ = wait.recv();
        }
    }

    /// Forwards what has come and ends. The programs must have been told before to hand nothing over any more.
    pub fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let _ = self.orders.send(Order::End);
        let _ = self.bell.write(1);
        if thread.join().is_err() {
            tracing::error!("the AF_XDP engine had ended with an error");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the thread owns.
struct Loop<S> {
    worker: Worker<S, Arc<Socket>>,
    bell: Arc<EventFd>,
    orders: Receiver<Order>,
}

impl<S: Store> Loop<S> {
    fn run(&mut self) {
        let mut empty = 0;
        loop {
            let work = self.worker.step(clock::now());
            empty = if work.received > 0 { 0 } else { empty + 1 };
            if empty >= PATIENCE {
                self.sleep();
                empty = 0;
            }
            while let Ok(order) = self.orders.try_recv() {
                match order {
                    Order::Policy(policy, done) => {
                        self.worker.change(|tables| tables.set_policy(policy));
                        let _ = done.send(());
                    }
                    Order::WriteFlows(done) => {
                        self.worker.tables().write_all(clock::now());
                        let _ = done.send(());
                    }
                    Order::End => return self.drain(),
                }
            }
        }
    }

    /// Until a frame comes, an order comes, or a while has passed.
    fn sleep(&mut self) {
        let wait = if self.worker.is_sending() { Duration::from_millis(1) } else { SLEEP };
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        let bell = std::iter::once(self.bell.as_fd());
        let sockets = self.worker.queues().iter().map(|queue| queue.kick.as_fd());
        let mut waiting: Vec<PollFd> = bell.chain(sockets).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // Interrupted, or out of memory for a moment: the next round looks again.
        let _ = poll(&mut waiting, timeout);
        let _ = self.bell.read();
    }

    /// Forwards what is left in the rings, and lets the flows go.
    fn drain(&mut self) {
        let (mut empty, start) = (0, Instant::now());
        while empty < 3 && start.elapsed() < DRAIN {
            let work = self.worker.step(clock::now());
            empty = if work.received > 0 || self.worker.is_sending() { 0 } else { empty + 1 };
        }
    }
}
