//! Frames as they are on a link, tags included: sent and received past the stack of a host.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::raw_socket::RawSocket;

/// One end of a link.
pub struct Wire(RawSocket);

impl Wire {
    pub(super) fn new(socket: RawSocket) -> Self {
        Self(socket)
    }

    /// Sends a frame as it is.
    pub fn send(&self, frame: &[u8]) {
        self.0.send(frame).unwrap_or_else(|error| panic!("cannot send {} bytes: {error}", frame.len()));
    }

    /// The next frame that came in, its outer tag back in its place; nothing when none comes within `patience`.
    pub fn receive(&self, patience: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(frame) = self.0.receive() {
                return Some(frame);
            }
            let left = deadline.saturating_duration_since(Instant::now()).as_millis().min(60_000) as u16;
            let mut waiting = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            if left == 0 || poll(&mut waiting, PollTimeout::from(left)) == Ok(0) {
                return self.0.receive();
            }
        }
    }
}
