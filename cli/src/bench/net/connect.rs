//! Connect, request, response, close: one TCP connection after the other.
//!
//! The request is the proof that the connection belongs to the measurement, the response is one byte. The server closes first,
//! so that the state that TCP keeps after a connection (TIME-WAIT) is on its side and the client does not run out of ports.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::door::Door;
use super::error::{NetError, is_timeout};
use super::exchange::measure;
use super::latency::Latencies;
use super::timing::{Meter, Timing};
use super::token::DataKey;

/// How long a connection may take, a lost SYN and its repetition included.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The response.
const RESPONSE: [u8; 1] = *b"v";

/// The client's end.
pub fn ask(address: SocketAddr, key: &DataKey, timing: Timing) -> Result<Latencies, NetError> {
    let mut number = 0;
    measure(timing, || {
        let proof = key.proof(number);
        number += 1;
        match once(address, &proof) {
            Ok(()) => Ok(true),
            // Lost packets and full tables in the way are what is measured; the rest would not get better.
            Err(error) if is_lost(&error) => Ok(false),
            Err(error) => Err(NetError::Broken { what: "a connection broke off", source: error }),
        }
    })
}

fn is_lost(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::ConnectionReset, io::ErrorKind::ConnectionRefused, io::ErrorKind::UnexpectedEof];
    // What connect() says when its time is up.
    is_timeout(error) || kinds.contains(&error.kind()) || error.raw_os_error() == Some(Errno::EINPROGRESS as i32)
}

fn once(address: SocketAddr, request: &[u8]) -> io::Result<()> {
    let mut stream = open(address)?;
    stream.write_all(request)?;
    let mut response = RESPONSE;
    stream.read_exact(&mut response)?;
    // The end of the server's data, which has closed its side.
    match stream.read(&mut response)? {
        0 => Ok(()),
        _ => Err(io::Error::other("more came than the response")),
    }
}

/// Connects with bounded waits. The standard library's way to bound them takes four system calls more for each connection.
fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let patience = TimeVal::milliseconds(PATIENCE.as_millis() as i64);
    setsockopt(&socket, sockopt::SendTimeout, &patience)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &patience)?;
    match address {
        SocketAddr::V4(address) => connect(socket.as_raw_fd(), &SockaddrIn::from(address))?,
        SocketAddr::V6(address) => connect(socket.as_raw_fd(), &SockaddrIn6::from(address))?,
    }
    Ok(TcpStream::from(socket))
}

/// The server's end, until the client says that no more come.
pub fn answer(mut door: Door, mut meter: Meter, deadline: Instant) -> Result<Meter, NetError> {
    while let Some(mut stream) = door.next(deadline)? {
        // A client that has gone does not end the measurement.
        if stream.write_all(&RESPONSE).is_ok() {
            meter.add(RESPONSE.len() as u64, 1)?;
        }
    }
    Ok(meter)
}
