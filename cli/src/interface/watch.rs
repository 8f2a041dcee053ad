//! News of interfaces: the kernel's notifications that a link has changed (`RTNLGRP_LINK`).
//!
//! A notification is a reason to look, not the truth: several may have followed each other, and some may be lost. One thing
//! can be learned here only: that an interface was deleted. Another one of the same name, even of the same number, looks
//! like the old one and has no program.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::constants::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::InterfaceError;
use super::netlink::attributes_of;
use super::receive_buffer;

/// Multicast group of link notifications (`linux/rtnetlink.h`).
const RTNLGRP_LINK: u32 = 1;
/// Bytes of notifications that may wait: thousands.
const RECEIVE_BUFFER: i32 = 8 << 20;
/// `struct nlmsghdr`
const NETLINK_HEADER: usize = 16;
/// `struct ifinfomsg`
const LINK_HEADER: usize = 16;

/// The notifications of the network namespace of the thread that opened it.
pub struct LinkChanges(Socket);

/// What a number of notifications told.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Notices {
    /// Numbers of interfaces that were deleted, or moved to another namespace.
    pub deleted: BTreeSet<u32>,
    /// Numbers of interfaces that are new or have changed.
    pub changed: BTreeSet<u32>,
    /// Their names, new ones included.
    pub names: BTreeSet<String>,
    /// Some notifications were lost: anything may have happened.
    pub lost: bool,
}

impl LinkChanges {
    /// Listens from now on.
    pub fn open() -> Result<Self, InterfaceError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            receive_buffer::force(&socket, RECEIVE_BUFFER)?;
            socket.add_membership(RTNLGRP_LINK)?;
            socket.set_non_blocking(true)?;
            Ok(Self(socket))
        };
        open().map_err(InterfaceError::system("all interfaces", "listen for changes of links"))
    }

    /// Takes all notifications that have come.
    pub fn take(&self) -> io::Result<Notices> {
        let mut notices = Notices::default();
        loop {
            match self.0.recv_from_full() {
                Ok((datagram, _)) => notices.read(&datagram),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(notices),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => notices.lost = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for LinkChanges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Notices {
    /// Whether an interface of this name, or of this number, is among them.
    pub fn concern(&self, name: &str, index: Option<u32>) -> bool {
        let is_told_of = |index| self.deleted.contains(&index) || self.changed.contains(&index);
        self.lost || self.names.contains(name) || index.is_some_and(is_told_of)
    }

    /// Reads the messages of a datagram. By hand, so that no attribute that is new to this program can hide a deletion.
    fn read(&mut self, mut datagram: &[u8]) {
        while let Some(header) = datagram.first_chunk::<NETLINK_HEADER>() {
            let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
            let kind = u16::from_ne_bytes([header[4], header[5]]);
            if let Some(message) = datagram.get(NETLINK_HEADER..length) {
                self.link(kind, message);
            }
            datagram = datagram.get(length.max(NETLINK_HEADER).next_multiple_of(4)..).unwrap_or_default();
        }
    }

    /// Reads one `struct ifinfomsg` and the name behind it.
    fn link(&mut self, kind: u16, message: &[u8]) {
        let Some((header, attributes)) = message.split_first_chunk::<LINK_HEADER>() else { return };
        let index = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
        // A port that leaves its bridge is told of as a deleted link, of the family AF_BRIDGE.
        if kind == libc::RTM_DELLINK && i32::from(header[0]) == libc::AF_UNSPEC {
            self.deleted.insert(index);
        } else if kind == libc::RTM_NEWLINK || kind == libc::RTM_DELLINK {
            self.changed.insert(index);
        } else {
            return;
        }
        let names = attributes_of(attributes).filter(|(kind, _)| *kind == libc::IFLA_IFNAME);
        self.names.extend(names.map(|(_, name)| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()));
    }

    /// Adds what came later.
    pub fn extend(&mut self, later: Self) {
        self.deleted.extend(later.deleted);
        self.changed.extend(later.changed);
        self.names.extend(later.names);
        self.lost |= later.lost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_limit_of_the_system_is_no_limit() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: room past net.core.rmem_max needs root");
            return;
        }
        let changes = LinkChanges::open().expect("a socket");
        // The kernel doubles what it is asked for, to account for its own records (socket(7)).
        let room: i32 = changes.0.get_rx_buf_sz().expect("the room").try_into().expect("a number");
        assert_eq!(room, 2 * RECEIVE_BUFFER);
    }
}
