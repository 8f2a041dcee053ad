//! Request and response, one transaction after the other, over one TCP connection or between two UDP sockets.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::door::is_readable;
use super::error::{NetError, is_timeout};
use super::latency::Latencies;
use super::stream::in_time;
use super::timing::{Meter, Phases, SILENCE, Timing, Turn};

/// How long to wait for a datagram: it is lost then, and the transaction has failed.
const LOST: Duration = Duration::from_millis(200);
/// Transactions that fail one after the other until the path counts as broken.
const BROKEN: u32 = 15;

/// Runs transactions until the time is up. `transaction` says whether it came to its end.
pub fn measure(timing: Timing, mut transaction: impl FnMut() -> Result<bool, NetError>) -> Result<Latencies, NetError> {
    let mut latencies = Latencies::new()?;
    let mut phases = Phases::new(timing);
    let (mut start, mut failures) = (Instant::now(), 0);
    loop {
        match phases.turn() {
            Turn::On => {}
            Turn::Start => {
                latencies.clear();
                start = Instant::now();
            }
            Turn::Stop | Turn::End => break,
        }
        let begin = Instant::now();
        if transaction()? {
            latencies.record(begin.elapsed());
            failures = 0;
        } else {
            latencies.failed += 1;
            failures += 1;
            if failures == BROKEN {
                return Err(NetError::Silent(format!("{BROKEN} transactions in turn got no answer")));
            }
        }
    }
    latencies.elapsed = start.elapsed();
    Ok(latencies)
}

/// The client's end of a connection.
pub fn ask_tcp(mut stream: &TcpStream, size: usize, timing: Timing) -> Result<Latencies, NetError> {
    let broken = |source| NetError::Broken { what: "a transaction broke off", source };
    prepare(stream).map_err(broken)?;
    let (request, mut response) = (vec![b'v'; size], vec![0; size]);
    measure(timing, || {
        stream.write_all(&request).and_then(|()| stream.read_exact(&mut response)).map_err(broken)?;
        Ok(true)
    })
}

/// The server's end of a connection: sends back what comes, until the client closes it.
pub fn answer_tcp(mut stream: &TcpStream, size: usize, mut meter: Meter, deadline: Instant) -> Result<Meter, NetError> {
    let broken = |source| NetError::Broken { what: "a transaction broke off", source };
    prepare(stream).map_err(broken)?;
    let (mut message, mut filled) = (vec![0; size], 0);
    loop {
        in_time(deadline)?;
        match stream.read(message.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => return Ok(meter),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(meter),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(error)),
        }
        if filled == size {
            stream.write_all(&message).map_err(broken)?;
            meter.add(size as u64, 1)?;
            filled = 0;
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))
}

/// The client's end between UDP sockets. A message begins with as much of its number as fits, so that an answer that comes
/// too late is not taken for the next one.
pub fn ask_udp(socket: &UdpSocket, size: usize, timing: Timing) -> Result<Latencies, NetError> {
    let broken = |source| NetError::Broken { what: "a transaction broke off", source };
    socket.set_read_timeout(Some(LOST)).map_err(broken)?;
    let (mut request, mut response) = (vec![b'v'; size], vec![0; size]);
    let mut number = 0u64;
    measure(timing, || {
        number = number.wrapping_add(1);
        for (byte, digit) in request.iter_mut().zip(number.to_le_bytes()) {
            *byte = digit;
        }
        socket.send(&request).map_err(broken)?;
        loop {
            match socket.recv(&mut response) {
                Ok(count) if count == size && response == request => return Ok(true),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => return Ok(false),
                Err(error) => return Err(broken(error)),
            }
        }
    })
}

/// The server's end between UDP sockets: sends back what comes from the peer, until an empty datagram or a word on the
/// control connection.
pub fn answer_udp(
    socket: &UdpSocket,
    size: usize,
    control: &TcpStream,
    mut meter: Meter,
    deadline: Instant,
) -> Result<Meter, NetError> {
    let broken = |source| NetError::Broken { what: "a transaction broke off", source };
    let mut message = vec![0; size];
    while Instant::now() < deadline {
        match socket.recv(&mut message) {
            Ok(0) => return Ok(meter),
            Ok(count) => {
                socket.send(message.get(..count).unwrap_or_default()).map_err(broken)?;
                meter.add(count as u64, 1)?;
            }
            Err(error) if is_timeout(&error) => {
                if is_readable(control)? {
                    return Ok(meter);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(meter),
            Err(error) => return Err(broken(error)),
        }
    }
    Ok(meter)
}
