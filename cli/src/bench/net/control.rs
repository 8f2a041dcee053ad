//! A control connection whose whole conversation has to be over in time: a peer that sends a byte now and then does not
//! keep the other end for longer.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A connection with a deadline.
pub struct Control {
    stream: TcpStream,
    deadline: Instant,
}

impl Control {
    /// With this much time from now.
    pub fn new(stream: TcpStream, time: Duration) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, deadline: Instant::now() + time })
    }

    /// Grants this much time from now on.
    pub fn grant(&mut self, time: Duration) {
        self.deadline = Instant::now() + time;
    }

    /// The connection.
    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the other end takes too long"));
        }
        Ok(Some(left))
    }
}

impl Read for Control {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(bytes)
    }
}

impl Write for Control {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
