//! What other threads ask of the loop: it alone changes interfaces and tables.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};

use crate::compile::Image;
use crate::lang::Policy;

/// A request to the loop.
pub enum Call {
    /// Put this policy in force; the answer is why not.
    Replace(Box<(Policy, Image)>, Sender<Result<(), String>>),
}

/// The end that asks.
pub struct Caller {
    calls: Sender<Call>,
    bell: UnixStream,
}

/// The loop's end: readable when there is a call.
pub struct Calls {
    calls: Receiver<Call>,
    bell: UnixStream,
}

/// Both ends.
pub fn calls() -> io::Result<(Caller, Calls)> {
    let (send, receive) = mpsc::channel();
    let (ring, listen) = UnixStream::pair()?;
    listen.set_nonblocking(true)?;
    Ok((Caller { calls: send, bell: ring }, Calls { calls: receive, bell: listen }))
}

impl Caller {
    /// Asks the loop to put a policy in force, and waits until it is.
    pub fn replace(&self, policy: Policy, image: Image) -> Result<(), String> {
        let ended = || "vfw is about to end".to_owned();
        let (answer, done) = mpsc::channel();
        self.calls.send(Call::Replace(Box::new((policy, image)), answer)).map_err(|_| ended())?;
        (&self.bell).write_all(&[0]).map_err(|error| error.to_string())?;
        done.recv().map_err(|_| ended())?
    }
}

impl Calls {
    /// The next call, if there is one.
    pub fn take(&mut self) -> Option<Call> {
        // Before the look at the queue: a call that comes after it rings again.
        let _ = self.bell.read(&mut [0; 64]);
        self.calls.try_recv().ok()
    }
}

impl AsFd for Calls {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
