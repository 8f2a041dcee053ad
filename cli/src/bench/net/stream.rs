//! Messages over one TCP connection, as fast as they go.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::sys::socket::getsockopt;

use super::cpu::CpuClock;
use super::error::NetError;
use super::timing::{Meter, Phases, SILENCE, Timing, Turn};

/// Bytes of the receiver's reads: large ones, so that the sender's messages are what is measured.
const READ: usize = 128 << 10;
/// The clock is looked at after this many bytes or messages, whichever are fewer.
const LOOK: (usize, usize) = (64 << 10, 32);

mod option {
    use nix::libc::{IPPROTO_TCP, TCP_INFO, tcp_info};
    use nix::sys::socket::sockopt::GetStruct;

    /// `TCP_INFO`
    #[derive(Clone, Copy, Debug)]
    pub struct TcpInfo;
    nix::getsockopt_impl!(TcpInfo, IPPROTO_TCP, TCP_INFO, tcp_info, GetStruct<tcp_info>);
}

/// What the sender knows of the measured time.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Segments sent again.
    pub retransmits: u64,
    /// CPUs of its machine that were busy, on average.
    pub cpus: f64,
}

/// Segments that a connection has sent again so far.
pub fn retransmits(stream: &impl AsFd) -> Result<u64, NetError> {
    let info = getsockopt(&stream.as_fd(), option::TcpInfo).map_err(NetError::failed("no TCP_INFO"))?;
    Ok(u64::from(info.tcpi_total_retrans))
}

/// Writes messages of `size` bytes until the time is up. Nagle's algorithm is on, as it is for programs that do not care.
pub fn send(stream: &TcpStream, size: usize, timing: Timing) -> Result<Sent, NetError> {
    stream.set_write_timeout(Some(SILENCE)).map_err(NetError::broken("the data connection"))?;
    let (mut writer, message) = (stream, vec![b'v'; size]);
    let burst = (LOOK.0 / size.max(1)).clamp(1, LOOK.1);
    let snapshot = || {
        let cpu = CpuClock::now().map_err(NetError::broken("no CPU time"))?;
        Ok::<_, NetError>((retransmits(stream)?, cpu))
    };
    let (mut start, mut stop) = (snapshot()?, None);
    let mut phases = Phases::new(timing);
    loop {
        match phases.turn() {
            Turn::On => {}
            Turn::Start => start = snapshot()?,
            Turn::Stop => stop = Some(snapshot()?),
            Turn::End => break,
        }
        for _ in 0..burst {
            writer.write_all(&message).map_err(NetError::broken("no more data could be sent"))?;
        }
    }
    let (sent_again, cpu) = stop.map_or_else(snapshot, Ok)?;
    Ok(Sent { retransmits: sent_again.saturating_sub(start.0), cpus: cpu.cpus_since(start.1) })
}

/// Reads to the end and counts; to the deadline where the sender's buffer is full and the link is slow. Ends with an error when
/// nothing comes for too long, more than `most` bytes do, or the deadline comes before the measured time is over.
pub fn receive(mut stream: &TcpStream, mut meter: Meter, most: u64, deadline: Instant) -> Result<Meter, NetError> {
    stream.set_read_timeout(Some(SILENCE)).map_err(NetError::broken("the data connection"))?;
    let mut buffer = vec![0; READ];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(meter),
            Ok(count) => meter.add(count as u64, 0)?,
            // A sender that has gone without a word: what it sent so far is judged by the meter.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(meter),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(NetError::Broken { what: "no more data arrived", source: error }),
        }
        within(&meter, most)?;
        if Instant::now() >= deadline && meter.is_over() {
            return Ok(meter);
        }
        in_time(deadline)?;
    }
}

/// Refuses a run that does not end.
pub fn in_time(deadline: Instant) -> Result<(), NetError> {
    if Instant::now() >= deadline {
        return Err(NetError::OutOfBounds("the measurement took longer than was asked for".to_owned()));
    }
    Ok(())
}

/// Refuses a run that brings more than the server grants.
pub fn within(meter: &Meter, most: u64) -> Result<(), NetError> {
    if meter.total() > most {
        return Err(NetError::OutOfBounds(format!("more than {most} bytes arrived (--max-gigabytes)")));
    }
    Ok(())
}
