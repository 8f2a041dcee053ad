//! AF_XDP sockets: one for each receive queue, all of them on one UMEM.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::Arc;

use super::ring::Layout;
use super::{Consumer, Descriptor, Mapping, Producer, Umem};

/// Whether frames are copied between kernel and UMEM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Copying {
    /// As the driver can: not where it can do without.
    Auto,
    /// They are.
    Copy,
    /// They are not, or it is an error.
    Zero,
}

/// `XDP_MAX_TX_SKB_BUDGET` (`include/uapi/linux/if_xdp.h`): frames that one call sends in copy mode.
const MAX_TX_BUDGET: libc::c_int = 9;
const FRAMES_PER_CALL: u32 = 256;

/// How long the driver may be polled by a call that blocks, microseconds. Those of the engine do not, and poll once
/// (`xsk_recvmsg`, `net/xdp/xsk.c`); 0 would turn it off.
const POLL_MICROS: libc::c_int = 20;
/// Frames for which a driver is polled at one time.
const POLL_BUDGET: libc::c_int = 64;

/// Which queue a socket is for, and how it is to be.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Number of the interface, in the calling thread's network namespace.
    pub ifindex: u32,
    /// Its receive and send queue.
    pub queue: u32,
    /// Entries of the rings by which frames come in, a power of two.
    pub receive: u32,
    /// Of those by which they leave.
    pub send: u32,
    /// How frames come into the UMEM. Asked of the first socket; the others follow it.
    pub copying: Copying,
    /// Frames may be larger than a chunk.
    pub multi_buffer: bool,
    /// A call that receives asks the driver for frames.
    pub busy_poll: bool,
}

/// The rings of a socket, seen from this process.
pub struct Rings {
    /// Chunks for frames that are to be received.
    pub fill: Producer<u64>,
    /// Frames received.
    pub receive: Consumer<Descriptor>,
    /// Frames to be sent.
    pub send: Producer<Descriptor>,
    /// Chunks of frames that were sent.
    pub completion: Consumer<u64>,
}

/// A socket. The kernel forgets it, in every map too, when it is closed.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    /// It must not go before the socket: the kernel writes to it.
    _memory: Arc<Mapping>,
}

/// What the kernel counts of a socket: `struct xdp_statistics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames lost because the receive ring was full, or for another reason.
    pub lost: u64,
    /// Frames lost because there was no chunk to receive them.
    pub without_chunk: u64,
    /// Entries of the send ring that made no sense.
    pub invalid: u64,
}

/// Opens a socket that is to be bound; `first` is the one that the UMEM was registered by, if there is one. Its fill ring wants
/// chunks before [`Socket::bind`]: a driver that finds none there may not look again (`virtnet_xsk_wakeup` of virtio-net, whom a
/// wake-up makes send, not receive).
pub fn open(umem: &Umem, binding: Binding, first: Option<&Socket>) -> io::Result<(Socket, Rings)> {
    // SAFETY: a system call without memory arguments.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened this descriptor for us; nobody else knows it.
    let socket = Socket { fd: unsafe { OwnedFd::from_raw_fd(fd) }, _memory: Arc::clone(umem.lend()) };
    if first.is_none() {
        socket.register(umem)?;
    }
    for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_RX_RING] {
        socket.set(ring, &binding.receive)?;
    }
    for ring in [libc::XDP_UMEM_COMPLETION_RING, libc::XDP_TX_RING] {
        socket.set(ring, &binding.send)?;
    }
    // Fewer calls for as many frames; kernels before 6.17 do not know it and send 32 in each.
    let _ = socket.set(MAX_TX_BUDGET, &binding.send.min(FRAMES_PER_CALL));
    if binding.busy_poll {
        socket.prefer_busy_poll()?;
    }
    let rings = socket.map_rings(binding)?;
    Ok((socket, rings))
}

impl Socket {
    fn register(&self, umem: &Umem) -> io::Result<()> {
        let registration = libc::xdp_umem_reg {
            addr: umem.lend().start().as_ptr().addr() as u64,
            len: umem.lend().bytes() as u64,
            chunk_size: umem.chunk_bytes(),
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        self.set(libc::XDP_UMEM_REG, &registration)
    }

    /// The driver is polled by calls on this socket, not by interrupts as long as they come (`Documentation/networking/napi.rst`).
    fn prefer_busy_poll(&self) -> io::Result<()> {
        let set = |option, value: libc::c_int| set_option(self.fd.as_fd(), (libc::SOL_SOCKET, option), &value);
        set(libc::SO_PREFER_BUSY_POLL, 1)?;
        set(libc::SO_BUSY_POLL, POLL_MICROS)?;
        set(libc::SO_BUSY_POLL_BUDGET, POLL_BUDGET)
    }

    /// Sets an option whose value is plain data.
    fn set<T>(&self, option: libc::c_int, value: &T) -> io::Result<()> {
        set_option(self.fd.as_fd(), (libc::SOL_XDP, option), value)
    }

    /// Reads an option, whose value is plain numbers; what the kernel does not know of it stays zero.
    fn get<T: Copy>(&self, option: libc::c_int, zero: T) -> io::Result<T> {
        let mut value = zero;
        let mut length = size_of::<T>() as libc::socklen_t;
        // SAFETY: `value` has `length` bytes and lives during the call; the kernel writes numbers, for which all bit patterns
        // are valid.
        let done = unsafe {
            let fd = self.fd.as_raw_fd();
            libc::getsockopt(fd, libc::SOL_XDP, option, (&raw mut value).cast(), &raw mut length)
        };
        if done == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
    }

    fn map_rings(&self, binding: Binding) -> io::Result<Rings> {
        let none = libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
        let none = libc::xdp_mmap_offsets { rx: none, tx: none, fr: none, cr: none };
        let offsets = self.get(libc::XDP_MMAP_OFFSETS, none)?;
        let map = |offset: &libc::xdp_ring_offset, page: libc::off_t, bytes: usize| {
            let layout = Layout {
                producer: offset.producer as usize,
                consumer: offset.consumer as usize,
                flags: offset.flags as usize,
                entries: offset.desc as usize,
            };
            let memory = Mapping::of(self.fd.as_fd(), layout.entries + bytes, page);
            memory.map(|memory| (Arc::new(memory), layout))
        };
        let frames = |entries: u32| entries as usize * size_of::<Descriptor>();
        let addresses = |entries: u32| entries as usize * size_of::<u64>();
        let Binding { receive: inward, send: outward, .. } = binding;
        let (fill, fill_layout) = map(&offsets.fr, libc::XDP_UMEM_PGOFF_FILL_RING.cast_signed(), addresses(inward))?;
        let (done, done_layout) =
            map(&offsets.cr, libc::XDP_UMEM_PGOFF_COMPLETION_RING.cast_signed(), addresses(outward))?;
        let (receive, receive_layout) = map(&offsets.rx, libc::XDP_PGOFF_RX_RING, frames(inward))?;
        let (send, send_layout) = map(&offsets.tx, libc::XDP_PGOFF_TX_RING, frames(outward))?;
        Ok(Rings {
            fill: Producer::new(&fill, fill_layout, inward)?,
            receive: Consumer::new(&receive, receive_layout, inward)?,
            send: Producer::new(&send, send_layout, outward)?,
            completion: Consumer::new(&done, done_layout, outward)?,
        })
    }

    /// Binds it; from now on frames come that programs hand to it. After an error it can be tried again.
    pub fn bind(&self, binding: Binding, first: Option<&Self>) -> io::Result<()> {
        let copying = match binding.copying {
            Copying::Auto => 0,
            Copying::Copy => libc::XDP_COPY,
            Copying::Zero => libc::XDP_ZEROCOPY,
        };
        let parts = if binding.multi_buffer { libc::XDP_USE_SG } else { 0 };
        // A socket that shares a UMEM takes over how the first one has it.
        let flags = match first {
            Some(_) => libc::XDP_SHARED_UMEM,
            None => copying | libc::XDP_USE_NEED_WAKEUP | parts,
        };
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: flags,
            sxdp_ifindex: binding.ifindex,
            sxdp_queue_id: binding.queue,
            sxdp_shared_umem_fd: first.map_or(0, |first| first.fd.as_raw_fd().cast_unsigned()),
        };
        // SAFETY: the address has the size that is told and lives during the call.
        let done = unsafe {
            let length = size_of_val(&address) as libc::socklen_t;
            libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), length)
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Whether frames are not copied.
    pub fn is_zero_copy(&self) -> io::Result<bool> {
        let options = self.get(libc::XDP_OPTIONS, libc::xdp_options { flags: 0 })?;
        Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
    }

    /// What was lost.
    pub fn statistics(&self) -> io::Result<Statistics> {
        let none = libc::xdp_statistics {
            rx_dropped: 0,
            rx_invalid_descs: 0,
            tx_invalid_descs: 0,
            rx_ring_full: 0,
            rx_fill_ring_empty_descs: 0,
            tx_ring_empty_descs: 0,
        };
        let found = self.get(libc::XDP_STATISTICS, none)?;
        Ok(Statistics {
            lost: found.rx_dropped + found.rx_ring_full,
            without_chunk: found.rx_fill_ring_empty_descs,
            invalid: found.rx_invalid_descs + found.tx_invalid_descs,
        })
    }

    /// Lets the kernel send what is in the send ring; in copy mode it does so during the call, a bounded number at a time.
    pub fn send(&self) -> io::Result<()> {
        // SAFETY: no memory is passed.
        let done =
            unsafe { libc::sendto(self.fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
        if done >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Wakes a driver that waits for chunks.
    pub fn receive(&self) -> io::Result<()> {
        // SAFETY: no memory is passed.
        let done = unsafe {
            let (fd, nothing) = (self.fd.as_raw_fd(), std::ptr::null_mut());
            libc::recvfrom(fd, nothing, 0, libc::MSG_DONTWAIT, std::ptr::null_mut(), std::ptr::null_mut())
        };
        if done >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn set_option<T>(fd: BorrowedFd<'_>, (level, option): (libc::c_int, libc::c_int), value: &T) -> io::Result<()> {
    // SAFETY: `value` has the size that is told and lives during the call, which only reads it.
    let done = unsafe {
        let length = size_of::<T>() as libc::socklen_t;
        libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const *value).cast(), length)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
