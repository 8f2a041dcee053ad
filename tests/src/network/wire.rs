//! Frames as they are on a link, tags included: sent and received past the stack of a host (`packet(7)`).
#![allow(unsafe_code, reason = "AF_PACKET addresses and ancillary data have no safe form in libc or nix")]

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Larger than any frame, super-packets of GRO included.
const LARGEST: usize = 70_000;
/// Room for what a test may leave unread.
const RECEIVE_BUFFER: libc::c_int = 8 << 20;

/// One end of a link.
pub struct Wire {
    socket: File,
    buffer: Vec<u8>,
}

impl Wire {
    /// Opens `interface` in the namespace of the calling thread.
    pub fn open(interface: &str) -> io::Result<Self> {
        let name = CString::new(interface)?;
        let everything = (libc::ETH_P_ALL as u16).to_be();
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: plain calls; the descriptor is owned at once, the structures are as packet(7) wants them and outlive the calls.
        unsafe {
            let index = libc::if_nametoindex(name.as_ptr());
            let fd = libc::socket(libc::AF_PACKET, kind, 0);
            if index == 0 || fd < 0 {
                return Err(io::Error::last_os_error());
            }
            let socket = OwnedFd::from_raw_fd(fd);
            option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)?;
            option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
            option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
            let mut address: libc::sockaddr_ll = zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = everything;
            address.sll_ifindex = index.cast_signed();
            let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            if libc::bind(fd, (&raw const address).cast(), size) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { socket: File::from(socket), buffer: vec![0; LARGEST] })
        }
    }

    /// Sends a frame as it is.
    pub fn send(&self, frame: &[u8]) {
        (&self.socket).write_all(frame).unwrap_or_else(|error| panic!("cannot send {} bytes: {error}", frame.len()));
    }

    /// The next frame that came in, its outer tag back in its place; nothing when none comes within `patience`.
    pub fn receive(&mut self, patience: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left.as_millis().min(60_000) as u16).unwrap_or(PollTimeout::ZERO);
            let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            if left.is_zero() || poll(&mut waiting, timeout) == Ok(0) {
                return self.take();
            }
        }
    }

    /// A frame that has come in already.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        // SAFETY: zero is a valid value of these plain structures.
        let (mut message, mut auxiliary): (libc::msghdr, [u64; 16]) = unsafe { (zeroed(), [0; 16]) };
        let mut part = libc::iovec { iov_base: self.buffer.as_mut_ptr().cast(), iov_len: self.buffer.len() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = auxiliary.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&auxiliary);
        // SAFETY: the message points to buffers of the lengths that it states, alive during the call.
        let length = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
        let length = usize::try_from(length).ok()?;
        let mut frame = self.buffer[..length].to_vec();
        if let Some(tag) = tag(&message) {
            frame.splice(12..12, tag);
        }
        Some(frame)
    }
}

/// The tag that the kernel has put beside a frame.
fn tag(message: &libc::msghdr) -> Option<[u8; 4]> {
    // SAFETY: the kernel has filled the control buffer; the macros stay inside of it, the data of this type is one tpacket_auxdata.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_PACKET && (*header).cmsg_type == libc::PACKET_AUXDATA {
                let data = libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned();
                let ([t0, t1], [v0, v1]) = (data.tp_vlan_tpid.to_be_bytes(), data.tp_vlan_tci.to_be_bytes());
                return (data.tp_status & libc::TP_STATUS_VLAN_VALID != 0).then_some([t0, t1, v0, v1]);
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    None
}

fn option(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value is an int of the stated size.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
