//! Frames in and out of an interface, as a host's NIC would put them on the wire (`packet(7)`).

#![allow(unsafe_code, reason = "AF_PACKET needs socket addresses and auxiliary data that no safe API offers")]

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A socket that sends and receives all frames of one interface.
pub struct RawSocket(OwnedFd);

impl AsFd for RawSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl RawSocket {
    /// Opens a socket on an interface of the calling thread's network namespace.
    pub fn open(ifindex: u32) -> io::Result<Self> {
        let all = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: plain system calls; the descriptor is owned at once and the structures live during the calls.
        unsafe {
            let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            let fd = libc::socket(libc::AF_PACKET, kind, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            let socket = Self(OwnedFd::from_raw_fd(fd));
            socket.set(libc::PACKET_AUXDATA, 1)?;
            socket.set(libc::PACKET_IGNORE_OUTGOING, 1)?;
            let mut address: libc::sockaddr_ll = zeroed();
            address.sll_family = libc::AF_PACKET as libc::c_ushort;
            address.sll_protocol = all;
            address.sll_ifindex = ifindex.cast_signed();
            let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            if libc::bind(fd, (&raw const address).cast(), length) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(socket)
        }
    }

    fn set(&self, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: a valid descriptor and an int that lives during the call.
        let done = unsafe {
            libc::setsockopt(self.0.as_raw_fd(), libc::SOL_PACKET, option, (&raw const value).cast(), length)
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Sends past the queues of the interface.
    pub fn bypass(&self) -> io::Result<()> {
        self.set(libc::PACKET_QDISC_BYPASS, 1)
    }

    /// Sends one frame.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: a valid descriptor and a buffer of the length given.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next frame that came in, with a tag that the kernel took out put back; `None` when there is none.
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0u8; 70_000];
        let mut control = [0u64; 16];
        // SAFETY: every pointer in the message header is to a buffer of the length given, alive during the call; the
        // auxiliary data is read only where the kernel says that it is.
        let (length, tag) = unsafe {
            let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            let mut message: libc::msghdr = zeroed();
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = size_of_val(&control);
            let length = libc::recvmsg(self.0.as_raw_fd(), &raw mut message, 0);
            if length < 0 {
                return None;
            }
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            let is_aux = !header.is_null() && (*header).cmsg_type == libc::PACKET_AUXDATA;
            let tag = is_aux.then(|| libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned());
            (length.cast_unsigned(), tag)
        };
        bytes.truncate(length);
        match tag {
            Some(aux) if aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0 => {
                let ([t0, t1], [c0, c1]) = (aux.tp_vlan_tpid.to_be_bytes(), aux.tp_vlan_tci.to_be_bytes());
                bytes.splice(12..12, [t0, t1, c0, c1]);
            }
            _ => {}
        }
        Some(bytes)
    }
}
