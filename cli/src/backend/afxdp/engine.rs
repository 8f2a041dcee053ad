//! The engine: sockets on the queues of its interfaces, and the threads of the workers that serve them.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use firewall_core::tables::{SOCKET_QUEUES, socket_index};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::Pid;
use thiserror::Error;

use super::store::Store;
use super::sys::{Binding, Copying, Socket, Statistics, Umem, frame_bytes, open};
use super::tables::{EnginePolicy, EngineState, EngineTables};
use super::worker::{Kick, Queue, Worker};
use crate::clock;
use crate::cpus;

/// Chunks that a queue has in its fill ring, for what arrives while its worker has to wait for its CPU: 15 ms at 0.55 million frames
/// a second. Steps of 8 ms were seen there. 4096 and 16384 are no faster and no slower.
const FILL: u32 = 8192;
/// Entries of a queue's ring for sending.
const SEND: u32 = 4096;
/// Chunks for each queue: those to receive into, and those on their way out.
const CHUNKS: u32 = FILL + SEND;
/// Bytes of a chunk for frames that fit one of 2 KiB, and for others.
const CHUNK: u32 = 2048;
const LARGE_CHUNK: u32 = 4096;
/// Bytes of a frame beside its IP packet: Ethernet header and a tag, and one more that the frame may come with.
const LINK_BYTES: u32 = 22;

/// Bytes of a chunk where the largest packet of all interfaces has `mtu`.
const fn chunk_bytes(mtu: u32) -> u32 {
    if mtu + LINK_BYTES > frame_bytes(CHUNK) { LARGE_CHUNK } else { CHUNK }
}

/// Bytes that a queue locks where the largest packet of all interfaces has `mtu`.
pub const fn queue_bytes(mtu: u32) -> u64 {
    CHUNKS as u64 * chunk_bytes(mtu) as u64
}

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
    /// Its send queues.
    pub senders: u32,
    /// Its largest packet, bytes.
    pub mtu: u32,
    /// Whether its driver loses what programs in the kernel send of frames that came without being copied.
    pub loses_uncopied: bool,
}

/// How the engine is to work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Frames must not be copied between kernel and engine.
    pub needs_zero_copy: bool,
    /// CPUs for workers, one on each, the first ones if there are more than queues. When there are none: those that the calling
    /// thread may use, the last one first, since the first ones serve most interrupts; no more than its quota is worth.
    pub cpus: Vec<u16>,
    /// Workers ask the driver for frames in place of waiting for interrupts.
    pub busy_poll: bool,
    /// Flows that it follows at one time.
    pub flows: usize,
    /// Fragmented packets.
    pub fragments: usize,
}

impl Plan {
    /// The CPUs for workers; an error if this process cannot use one that is named.
    pub fn places(&self) -> Result<Vec<u16>, EngineError> {
        if self.cpus.is_empty() {
            let most = thread::available_parallelism()?.get();
            return Ok(cpus::own()?.into_iter().rev().take(most).map(|cpu| cpu as u16).collect());
        }
        for &cpu in &self.cpus {
            if !can_stay_on(cpu)? {
                return Err(EngineError::Cpu { cpu });
            }
        }
        Ok(self.cpus.clone())
    }
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
        "interface `{name}`: its driver has no zero-copy mode for AF_XDP, or none for packets of {mtu} bytes, the largest MTU \
         of the engine's interfaces, and `afxdp.zerocopy` asks for it; use \
         `zerocopy = \"auto\"`, or `mode = \"xdp\"`, which is faster than copying"
    )]
    Copies {
        /// The interface.
        name: String,
        /// The largest MTU of all interfaces, which share their memory.
        mtu: u32,
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
    /// A CPU that is not there, or not for this process.
    #[error(
        "`afxdp.cpus` names CPU {cpu}, which is not online (`lscpu` tells) or not for this process (`cpuset.cpus.effective` of \
         its control group): name others, or none for those on which it runs"
    )]
    Cpu {
        /// Its number.
        cpu: u16,
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
    /// The socket. Its worker alone has it: with the worker it is gone, and the programs find nobody in this place.
    pub socket: Weak<Socket>,
}

/// The sockets of one worker with their rings and memory, not at work yet.
pub struct Sockets {
    /// Where the worker runs.
    cpu: u16,
    umem: Umem,
    listening: Vec<Listening>,
    queues: Vec<Queue<Arc<Socket>>>,
    is_zero_copy: bool,
}

impl Sockets {
    /// Opens one for each queue, and deals them out to workers. Each worker has a queue of every interface at the least that
    /// receives and sends, all on one UMEM, so that a frame that is forwarded stays where it is: there are as many as the interface
    /// with the fewest such queues allows.
    pub fn open(ports: &[PortPlan], plan: &Plan) -> Result<Vec<Self>, EngineError> {
        if let Some(port) = ports.iter().find(|port| port.queues > SOCKET_QUEUES) {
            return Err(EngineError::Queues { name: port.name.clone(), queues: port.queues });
        }
        let wanted = if plan.needs_zero_copy {
            Copying::Zero
        } else if lose_uncopied(ports) {
            Copying::Copy
        } else {
            Copying::Auto
        };
        match Self::open_as(ports, wanted, plan) {
            // One driver can do without copies and another one cannot: the memory is shared, so all copy.
            Err(EngineError::Socket { .. }) if !plan.needs_zero_copy => Self::open_as(ports, Copying::Copy, plan),
            Err(EngineError::Socket { name, source, .. })
                if plan.needs_zero_copy && matches!(source.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL)) =>
            {
                Err(EngineError::Copies { name, mtu: largest_mtu(ports) })
            }
            other => other,
        }
    }

    fn open_as(ports: &[PortPlan], copying: Copying, plan: &Plan) -> Result<Vec<Self>, EngineError> {
        let mut cpus = plan.places()?;
        let queues = ports.iter().map(|port| port.queues.min(port.senders)).min().unwrap_or(1);
        cpus.truncate(queues.max(1) as usize);
        let open = |worker| Self::open_for(ports, copying, plan.busy_poll, (worker, &cpus));
        (0..cpus.len()).map(open).collect()
    }

    /// Those of one worker.
    fn open_for(
        ports: &[PortPlan],
        copying: Copying,
        busy_poll: bool,
        (worker, cpus): (usize, &[u16]),
    ) -> Result<Self, EngineError> {
        let queues = |port: &PortPlan| (worker as u32..port.queues).step_by(cpus.len());
        let mtu = largest_mtu(ports);
        let count = ports.iter().map(|port| queues(port).count() as u32).sum::<u32>().max(1);
        let mut umem = Umem::new(count * CHUNKS, chunk_bytes(mtu))?;
        let multi_buffer = mtu + LINK_BYTES > umem.frame_bytes();
        let mut listening: Vec<Listening> = Vec::new();
        let mut own: Vec<Queue<Arc<Socket>>> = Vec::new();
        for port in ports {
            for queue in queues(port) {
                let ifindex = port.ifindex;
                let binding = Binding { ifindex, queue, receive: FILL, send: SEND, copying, multi_buffer, busy_poll };
                let first = own.first().map(|first| Arc::clone(&first.kick));
                let first = first.as_deref();
                let failed = |source| EngineError::Socket { name: port.name.clone(), queue, source };
                let (socket, rings) = open(&umem, binding, first).map_err(failed)?;
                let (index, socket) = (socket_index(port.port, queue), Arc::new(socket));
                let mut filled = Queue::new(ifindex, rings, Arc::clone(&socket), FILL);
                filled.sends = queue < port.senders;
                // The first frame finds a chunk, too, however late the worker gets its CPU.
                filled.top_up(&mut umem, own.len() as u16);
                bind_when_free(&socket, binding, first).map_err(failed)?;
                own.push(filled);
                listening.push(Listening { index, ifindex, socket: Arc::downgrade(&socket) });
            }
        }
        let is_zero_copy = own.first().is_some_and(|first| first.kick.is_zero_copy().unwrap_or(false));
        Ok(Self { cpu: cpus[worker], umem, listening, queues: own, is_zero_copy })
    }

    /// A worker for all of them.
    pub fn worker<S: Store>(self, tables: EngineTables<S>) -> Worker<S, Arc<Socket>> {
        Worker::new(self.umem, self.queues, tables)
    }

    /// Where the programs are to hand frames to.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }
}

/// Bytes of the largest packet on these.
fn largest_mtu(ports: &[PortPlan]) -> u32 {
    ports.iter().map(|port| port.mtu).max().unwrap_or(0)
}

/// Whether a driver of these loses what programs in the kernel send of frames that came without being copied.
fn lose_uncopied(ports: &[PortPlan]) -> bool {
    ports.iter().any(|port| port.loses_uncopied)
}

/// Binds a socket; waits for the one before, of which the kernel takes its leave after it was closed.
fn bind_when_free(socket: &Socket, binding: Binding, first: Option<&Socket>) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match socket.bind(binding, first) {
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
    /// Forward what has come, and end.
    End,
}

/// Raised by a worker that ends in a panic. Its sockets go with it; those of the others have to go too, for what the engine and the
/// programs both forward has two records.
#[derive(Clone, Default)]
struct Alarm(Arc<AtomicBool>);

impl Alarm {
    fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// A worker at work.
struct Hand {
    cpu: u16,
    orders: Sender<Order>,
    bell: Arc<EventFd>,
    thread: JoinHandle<()>,
}

impl Hand {
    fn start<S: Store + Send + 'static>(
        sockets: Sockets,
        tables: EngineTables<S>,
        is_polling: bool,
        alarm: Alarm,
    ) -> io::Result<Self> {
        let cpu = sockets.cpu;
        let (sender, orders) = mpsc::channel();
        let bell = Arc::new(EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
        let heard = Arc::clone(&bell);
        let thread = thread::Builder::new().name("afxdp".into()).spawn(move || {
            if let Err(error) = stay_on(cpu) {
                tracing::warn!(%error, cpu, "a worker of the AF_XDP engine runs where the scheduler has it");
            }
            // Made here: a worker stays in one thread.
            let worker = sockets.worker(tables);
            Loop { worker, bell: heard, orders, is_polling, alarm }.run();
        })?;
        Ok(Self { cpu, orders: sender, bell, thread })
    }

    fn order(&self, order: Order) {
        // One that has ended answers by dropping its end.
        if self.orders.send(order).is_ok() {
            let _ = self.bell.write(1);
        }
    }
}

/// The engine at work. Dropping it ends it as [`Self::end`] does.
pub struct Engine {
    /// The interfaces that it serves.
    ports: Vec<PortPlan>,
    listening: Vec<Listening>,
    is_zero_copy: bool,
    state: Arc<EngineState>,
    hands: Vec<Hand>,
}

impl Engine {
    /// Opens the sockets and starts the workers, each with a store of its own. Nothing comes until the programs know of
    /// [`Self::listening`].
    pub fn start<S: Store + Send + 'static, E: From<EngineError>>(
        ports: Vec<PortPlan>,
        plan: &Plan,
        policy: &Arc<EnginePolicy>,
        store: impl Fn() -> Result<S, E>,
    ) -> Result<Self, E> {
        let crew = Sockets::open(&ports, plan)?;
        let state = Arc::new(EngineState::new(crew.len(), (plan.flows, plan.fragments), clock::now() + SHARED));
        let listening = crew.iter().flat_map(Sockets::listening).cloned().collect();
        let is_zero_copy = crew.iter().all(|sockets| sockets.is_zero_copy);
        let mut engine = Self { ports, listening, is_zero_copy, state: Arc::clone(&state), hands: Vec::new() };
        let alarm = Alarm::default();
        for sockets in crew {
            let tables = EngineTables::new(Arc::clone(policy), store()?, Arc::clone(&state));
            let hand = Hand::start(sockets, tables, plan.busy_poll, alarm.clone());
            engine.hands.push(hand.map_err(EngineError::from)?);
        }
        Ok(engine)
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

    /// Whether a driver loses what programs in the kernel answer when frames are not copied.
    pub fn loses_uncopied(&self) -> bool {
        lose_uncopied(&self.ports)
    }

    /// The CPUs on which workers run, one on each.
    pub fn cpus(&self) -> impl Iterator<Item = u16> {
        self.hands.iter().map(|hand| hand.cpu)
    }

    /// Whether the workers are at work; one ends by itself only when something is wrong with it.
    pub fn is_running(&self) -> bool {
        !self.hands.is_empty() && self.hands.iter().all(|hand| !hand.thread.is_finished())
    }

    /// What the kernel has lost of an interface's frames on their way to the engine.
    pub fn statistics(&self, ifindex: u32) -> Statistics {
        let own = self.listening.iter().filter(|listening| listening.ifindex == ifindex);
        let sockets = own.filter_map(|listening| listening.socket.upgrade());
        sockets.filter_map(|socket| socket.statistics().ok()).fold(Statistics::default(), |sum, more| Statistics {
            lost: sum.lost + more.lost,
            without_chunk: sum.without_chunk + more.without_chunk,
            invalid: sum.invalid + more.invalid,
        })
    }

    /// Puts a policy in force, and waits until no worker goes by another one.
    pub fn set_policy(&self, policy: &Arc<EnginePolicy>) {
        let (done, wait) = mpsc::channel();
        for hand in &self.hands {
            hand.order(Order::Policy(Arc::clone(policy), done.clone()));
        }
        drop(done);
        while wait.recv().is_ok() {}
    }

    /// Has the kernel's records say what is known of the flows. In the caller's thread: workers have frames to forward.
    pub fn write_flows(&self, store: &impl Store) {
        self.state.write_all(store, clock::now());
    }

    /// Forwards what has come and ends. The programs must have been told before to hand nothing over any more.
    pub fn end(&mut self) {
        self.hands.iter().for_each(|hand| hand.order(Order::End));
        for hand in self.hands.drain(..) {
            if hand.thread.join().is_err() {
                tracing::error!("a worker of the AF_XDP engine had ended with an error");
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether a thread of this process can be put there. CPUs that are isolated (`isolcpus`) are not among those on which it runs unless
/// told to, so only trying tells.
fn can_stay_on(cpu: u16) -> io::Result<bool> {
    let trial = thread::Builder::new().spawn(move || stay_on(cpu).is_ok())?;
    Ok(trial.join().unwrap_or(false))
}

fn stay_on(cpu: u16) -> nix::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(usize::from(cpu))?;
    sched_setaffinity(Pid::from_raw(0), &cpus)
}

/// What the thread owns.
struct Loop<S> {
    worker: Worker<S, Arc<Socket>>,
    bell: Arc<EventFd>,
    orders: Receiver<Order>,
    /// It asks the driver for frames.
    is_polling: bool,
    alarm: Alarm,
}

impl<S: Store> Loop<S> {
    fn run(&mut self) {
        let mut empty = 0;
        loop {
            if self.is_polling {
                self.worker.poll();
            }
            let work = self.worker.step(clock::now());
            empty = if work.received > 0 { 0 } else { empty + 1 };
            if empty >= PATIENCE {
                self.sleep();
                empty = 0;
            }
            if self.alarm.is_raised() {
                return self.drain();
            }
            while let Ok(order) = self.orders.try_recv() {
                match order {
                    Order::Policy(policy, done) => {
                        self.worker.change(|tables| tables.set_policy(policy));
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

    /// Forwards what is left in the rings.
    fn drain(&mut self) {
        let (mut empty, start) = (0, Instant::now());
        while empty < 3 && start.elapsed() < DRAIN {
            let work = self.worker.step(clock::now());
            empty = if work.received > 0 || self.worker.is_sending() { 0 } else { empty + 1 };
        }
    }
}
