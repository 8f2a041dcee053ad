//! Messages over UDP, as fast as they go, from a peer that has proved that it belongs to the measurement.

use std::io::{IoSlice, IoSliceMut};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recv, recvmmsg, sendmmsg, setsockopt, sockopt};

use super::cpu::CpuClock;
use super::door::is_readable;
use super::error::{NetError, is_timeout};
use super::stream::{in_time, within};
use super::timing::{Meter, Phases, Timing, Turn};
use super::token::{DATA_PROOF, DataKey};

/// The number in the server's answer to a proof.
const ANSWER: u64 = u64::MAX;

/// Datagrams of one system call, and bytes of them: without it, small ones would measure system calls.
const BATCH: (usize, usize) = (32, 64 << 10);
/// How long to wait for an answer before a question is repeated, or before looking whether the peer is still there.
const WAIT: Duration = Duration::from_millis(100);
/// Questions before giving up.
const TRIES: u64 = 30;
/// Room that the receiver asks for; the kernel grants what `net.core.rmem_max` allows.
const ROOM: usize = 4 << 20;
/// Empty datagrams that mark the end. The control connection tells it too, only later.
const MARKS: usize = 3;

/// What the sender knows.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Datagrams of the whole run.
    pub datagrams: u64,
    /// CPUs of its machine that were busy in the measured time, on average.
    pub cpus: f64,
}

/// The client's way in: proves that the socket belongs to the measurement. It must be connected.
pub fn prove(socket: &UdpSocket, key: &DataKey) -> Result<(), NetError> {
    let broken = NetError::broken("UDP does not get through");
    let knock = || {
        socket.set_read_timeout(Some(WAIT))?;
        let mut answer = [0; DATA_PROOF + 1];
        for number in 0..TRIES {
            let proof = key.proof(number);
            socket.send(&proof)?;
            match socket.recv(&mut answer) {
                Ok(count) if number_of(key, answer.get(..count)) == Some(ANSWER) => return Ok(true),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    };
    if knock().map_err(broken)? {
        return Ok(());
    }
    Err(NetError::Silent("UDP does not get through: the server's data port did not answer".to_owned()))
}

/// The number of a proof, if these bytes are one.
fn number_of(key: &DataKey, bytes: Option<&[u8]>) -> Option<u64> {
    bytes?.try_into().ok().and_then(|proof| key.number(proof))
}

/// The server's way in: waits for the peer that proves that it belongs to the measurement, and hears no other from then on.
/// Returns when the first message is there.
pub fn admit(socket: &UdpSocket, key: &DataKey, control: &TcpStream, deadline: Instant) -> Result<(), NetError> {
    socket.set_read_timeout(Some(WAIT)).map_err(NetError::broken("the data port"))?;
    let mut bytes = [0; DATA_PROOF + 1];
    loop {
        in_time(deadline)?;
        match socket.recv_from(&mut bytes) {
            Ok((count, from)) if is_proof(number_of(key, bytes.get(..count))) => {
                socket.connect(from).map_err(NetError::broken("the data port"))?;
                break;
            }
            // Others are not answered.
            Ok(_) => {}
            Err(error) if is_timeout(&error) => alive(control)?,
            Err(error) => return Err(NetError::Broken { what: "the data port", source: error }),
        }
    }
    // What others have sent before is in the queue still.
    while recv(socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT).is_ok() {}
    loop {
        in_time(deadline)?;
        // An answer that is lost is asked for again.
        socket.send(&key.proof(ANSWER)).map_err(NetError::broken("the data port"))?;
        if is_message(socket, key, control, deadline)? {
            return Ok(());
        }
    }
}

fn is_proof(number: Option<u64>) -> bool {
    number.is_some_and(|number| number != ANSWER)
}

/// Waits for the next datagram: whether it is a message. A proof is taken out of the queue.
fn is_message(socket: &UdpSocket, key: &DataKey, control: &TcpStream, deadline: Instant) -> Result<bool, NetError> {
    let mut bytes = [0; DATA_PROOF + 1];
    loop {
        in_time(deadline)?;
        match socket.peek(&mut bytes) {
            Ok(count) if is_proof(number_of(key, bytes.get(..count))) => {
                return socket.recv(&mut bytes).map(|_| false).map_err(NetError::broken("the data port"));
            }
            Ok(_) => return Ok(true),
            Err(error) if is_timeout(&error) => alive(control)?,
            Err(error) => return Err(NetError::Broken { what: "the data port", source: error }),
        }
    }
}

/// An error when the client says something on the control connection, which it should not yet.
fn alive(control: &TcpStream) -> Result<(), NetError> {
    if is_readable(control)? {
        return Err(NetError::Silent("no datagram of the measurement arrived".to_owned()));
    }
    Ok(())
}

/// Sends messages of `size` bytes until the time is up. `stamp` writes the head of each, given its number from 0.
pub fn send(socket: &UdpSocket, size: usize, timing: Timing, stamp: impl Fn(&mut [u8], u64)) -> Result<Sent, NetError> {
    let clock = || CpuClock::now().map_err(NetError::broken("no CPU time"));
    let batch = (BATCH.1 / size.max(1)).clamp(1, BATCH.0);
    let mut messages = vec![vec![b'v'; size]; batch];
    let nowhere = vec![None::<()>; batch];
    let mut headers = MultiHeaders::preallocate(batch, None);
    let (mut start, mut stop, mut datagrams) = (clock()?, None, 0);
    let mut phases = Phases::new(timing);
    loop {
        match phases.turn() {
            Turn::On => {}
            Turn::Start => start = clock()?,
            Turn::Stop => stop = Some(clock()?),
            Turn::End => break,
        }
        for (message, number) in messages.iter_mut().zip(datagrams..) {
            stamp(message, number);
        }
        let slices: Vec<_> = messages.iter().map(|message| [IoSlice::new(message)]).collect();
        match sendmmsg(socket.as_raw_fd(), &mut headers, &slices, &nowhere, [], MsgFlags::empty()) {
            Ok(sent) => datagrams += sent.count() as u64,
            Err(Errno::EINTR | Errno::ENOBUFS) => {}
            Err(errno) => return Err(NetError::failed("no more datagrams could be sent")(errno)),
        }
    }
    let stop = stop.map_or_else(clock, Ok)?;
    Ok(Sent { datagrams, cpus: stop.cpus_since(start) })
}

/// Sends the mark of the end.
pub fn mark_end(socket: &UdpSocket) {
    for _ in 0..MARKS {
        // Whoever has heard the first one does not listen any longer.
        let _ = socket.send(&[]);
    }
}

/// Counts messages of up to `size` bytes until the mark of the end, or until the client says on the control connection that
/// no more comes and nothing has for a moment.
pub fn receive(
    socket: &UdpSocket,
    size: usize,
    control: &TcpStream,
    mut meter: Meter,
    most: u64,
    deadline: Instant,
) -> Result<Meter, NetError> {
    let batch = (BATCH.1 / size.max(1)).clamp(1, BATCH.0);
    let mut buffers = vec![vec![0; size]; batch];
    let mut headers = MultiHeaders::<()>::preallocate(batch, None);
    while Instant::now() < deadline {
        let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        match recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, MsgFlags::MSG_WAITFORONE, None) {
            Ok(received) => {
                let (mut bytes, mut messages, mut is_end) = (0, 0, false);
                for message in received {
                    is_end |= message.bytes == 0;
                    bytes += message.bytes as u64;
                    messages += u64::from(message.bytes > 0);
                }
                meter.add(bytes, messages)?;
                if is_end {
                    return Ok(meter);
                }
                within(&meter, most)?;
            }
            Err(Errno::EAGAIN) => {
                if is_readable(control)? {
                    return Ok(meter);
                }
            }
            Err(Errno::EINTR) => {}
            // The client's socket is closed already.
            Err(Errno::ECONNREFUSED) => return Ok(meter),
            Err(errno) => return Err(NetError::failed("no more datagrams arrived")(errno)),
        }
    }
    Ok(meter)
}

/// Asks for room for the datagrams that wait to be counted.
pub fn widen(socket: &UdpSocket) -> Result<(), NetError> {
    setsockopt(socket, sockopt::RcvBuf, &ROOM).map_err(NetError::failed("the data port"))
}
