//! Frames out of an interface, past every hook (`packet(7)`).

#![allow(unsafe_code, reason = "AF_PACKET addresses have no safe constructor in libc or nix")]

use std::fs::File;
use std::io::{self, Write};
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `struct virtio_net_hdr` (`include/uapi/linux/virtio_net.h`), in host order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Where the checksum begins and where it is stored, when the kernel has to complete it.
    pub checksum: Option<(u16, u16)>,
    /// Type (`VIRTIO_NET_HDR_GSO_*`), header bytes and payload bytes of each segment of a super-packet.
    pub segments: Option<(u8, u16, u16)>,
}

/// `VIRTIO_NET_HDR_GSO_TCPV4`, `..._UDP_L4`, `..._TCPV6`.
pub const GSO_TCPV4: u8 = 1;
/// See [`GSO_TCPV4`].
pub const GSO_TCPV6: u8 = 4;
/// See [`GSO_TCPV4`].
pub const GSO_UDP: u8 = 5;

const NEEDS_CHECKSUM: u8 = 1;

impl Offload {
    /// The same for a frame whose link-layer header has grown by `bytes`.
    pub fn moved_by(self, bytes: u16) -> Self {
        Self {
            checksum: self.checksum.map(|(start, field)| (start + bytes, field)),
            segments: self.segments.map(|(kind, header, size)| (kind, header + bytes, size)),
        }
    }

    fn bytes(self) -> [u8; 10] {
        let (start, field) = self.checksum.unwrap_or((0, 0));
        let (kind, header, size) = self.segments.unwrap_or((0, 0, 0));
        let flags = if self.checksum.is_some() { NEEDS_CHECKSUM } else { 0 };
        let [h0, h1] = header.to_ne_bytes();
        let [s0, s1] = size.to_ne_bytes();
        let [c0, c1] = start.to_ne_bytes();
        let [f0, f1] = field.to_ne_bytes();
        [flags, kind, h0, h1, s0, s1, c0, c1, f0, f1]
    }
}

/// A socket that sends frames out of one interface. It receives nothing, and it never waits: an interface whose queue does not
/// drain (a shaper, a paused machine) is refused frames, and holds up nobody else's.
pub struct PacketSocket(File);

impl PacketSocket {
    /// Opens a socket on an interface of the calling thread's network namespace.
    pub fn open(ifindex: u32) -> io::Result<Self> {
        // SAFETY: plain system calls; the descriptor is owned at once, the structures are as packet(7) wants them and
        // live during the calls.
        unsafe {
            let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            let fd = libc::socket(libc::AF_PACKET, kind, 0);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = OwnedFd::from_raw_fd(fd);
            let one: libc::c_int = 1;
            let length = size_of::<libc::c_int>() as libc::socklen_t;
            let option = libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_VNET_HDR,
                (&raw const one).cast(),
                length,
            );
            if option < 0 {
                return Err(io::Error::last_os_error());
            }
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as libc::c_ushort;
            address.sll_ifindex = ifindex.cast_signed();
            let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            if libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(File::from(fd)))
        }
    }

    /// Sends one frame.
    pub fn send(&self, frame: &[u8], offload: Offload) -> io::Result<()> {
        let mut message = Vec::with_capacity(10 + frame.len());
        message.extend_from_slice(&offload.bytes());
        message.extend_from_slice(frame);
        (&self.0).write_all(&message)
    }
}
