//! The server's door for TCP data connections: only those get in that prove that they belong to the measurement.

use std::collections::VecDeque;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};

use super::error::NetError;
use super::token::{DATA_PROOF, DataKey};

/// Connections that have not proved anything yet; the oldest go first.
const MOST_WAITING: usize = 64;
/// How long one may take to do so.
const PATIENCE: Duration = Duration::from_secs(2);

/// A listening socket and those who knock.
pub struct Door<'a> {
    listener: &'a TcpListener,
    control: &'a TcpStream,
    key: &'a DataKey,
    /// The least number that has not been used: a proof gets one connection in.
    next: u64,
    waiting: VecDeque<Guest>,
}

struct Guest {
    stream: TcpStream,
    since: Instant,
    proof: [u8; DATA_PROOF],
    read: usize,
}

/// What became of somebody at the door.
enum Look {
    Wait,
    In,
    Out,
}

impl<'a> Door<'a> {
    /// A door. The listener must be non-blocking; what comes on `control` closes the door.
    pub const fn new(listener: &'a TcpListener, control: &'a TcpStream, key: &'a DataKey) -> Self {
        Self { listener, control, key, next: 0, waiting: VecDeque::new() }
    }

    /// The next data connection, its proof read; nothing when the client has spoken on the control connection, or gone.
    pub fn next(&mut self, deadline: Instant) -> Result<Option<TcpStream>, NetError> {
        loop {
            let ready = self.wait(deadline)?;
            for position in (0..self.waiting.len()).rev().filter(|position| ready.guests & 1 << position != 0) {
                let Some(guest) = self.waiting.get_mut(position) else { continue };
                match guest.look(self.key, &mut self.next) {
                    Look::Wait => {}
                    Look::In => return Ok(self.waiting.remove(position).map(|guest| guest.stream)),
                    Look::Out => drop(self.waiting.remove(position)),
                }
            }
            if ready.listener {
                self.accept()?;
            } else if ready.control {
                return Ok(None);
            }
            self.waiting.retain(|guest| guest.since.elapsed() < PATIENCE);
        }
    }

    fn accept(&mut self) -> Result<(), NetError> {
        match self.listener.accept() {
            Ok((stream, _)) => {
                if self.waiting.len() == MOST_WAITING {
                    self.waiting.pop_front();
                }
                self.waiting.push_back(Guest { stream, since: Instant::now(), proof: [0; DATA_PROOF], read: 0 });
                Ok(())
            }
            // One that has gone while it queued is none.
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::ConnectionAborted) =>
            {
                Ok(())
            }
            Err(error) => Err(NetError::Broken { what: "the data port", source: error }),
        }
    }

    /// Waits until something happens, but not for those who wait too long.
    fn wait(&self, deadline: Instant) -> Result<Ready, NetError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(NetError::Silent("no data connection of the measurement came".to_owned()));
        }
        let left = if self.waiting.is_empty() { left } else { left.min(PATIENCE) };
        let listeners = [self.listener.as_fd(), self.control.as_fd()];
        let all = listeners.into_iter().chain(self.waiting.iter().map(|guest| guest.stream.as_fd()));
        let mut all: Vec<PollFd> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(left.as_millis().max(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut all, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(NetError::failed("the data port")(errno)),
        }
        let is_ready = |fd: &PollFd| fd.any().unwrap_or(true);
        let (listeners, guests) = all.split_at(2);
        let guests = guests.iter().enumerate().filter(|(_, fd)| is_ready(fd));
        Ok(Ready {
            listener: listeners.first().is_some_and(is_ready),
            control: listeners.last().is_some_and(is_ready),
            guests: guests.fold(0, |bits, (position, _)| bits | 1 << position),
        })
    }
}

/// What can be read from; guests by their positions.
struct Ready {
    listener: bool,
    control: bool,
    guests: u64,
}
const _: () = assert!(MOST_WAITING <= u64::BITS as usize);

impl Guest {
    /// Reads on in the proof.
    fn look(&mut self, key: &DataKey, next: &mut u64) -> Look {
        let Some(rest) = self.proof.get_mut(self.read..) else { return Look::Out };
        match recv(self.stream.as_raw_fd(), rest, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Look::Out,
            Ok(count) => {
                self.read += count;
                if self.read < DATA_PROOF {
                    return Look::Wait;
                }
                match key.number(&self.proof) {
                    Some(number) if number >= *next && number < u64::MAX => {
                        *next = number + 1;
                        Look::In
                    }
                    _ => Look::Out,
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Look::Wait,
            Err(_) => Look::Out,
        }
    }
}

/// Whether something can be read from a connection now, its end included.
pub fn is_readable(stream: &TcpStream) -> Result<bool, NetError> {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(NetError::failed("the control connection")(errno)),
    }
}
