//! The control protocol: what client and server say to each other, and how it is written.
//!
//! A message is four bytes of length, most significant first, and that many bytes of JSON. The version is part of the first
//! message of each end, whose shape never changes, so that ends of different versions can say so.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::NetError;
use super::token::Word;
use crate::bench::report::Protocol;

/// Version of the protocol. Whoever changes what is said or measured raises it.
pub const VERSION: u32 = 1;
/// The port of the control connection, when the user names none; data goes to the next one.
pub const PORT: u16 = 5211;
/// Most bytes of a message.
pub const LONGEST: usize = 4096;
/// Most bytes of a message over TCP.
pub const TCP_LARGEST: u32 = 16 << 20;
/// Most bytes that an IPv4 datagram carries, and so of a message over UDP or of a transaction.
pub const UDP_LARGEST: u32 = 65_507;

/// What the server says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromServer {
    /// First of all.
    Hello(Hello),
    /// The client holds the token; so does the server.
    Welcome(Welcome),
    /// No, and why.
    Refused(String),
    /// Data connections are awaited at this port.
    Ready(Ready),
    /// The measurement came to nothing, and why.
    Failed(String),
    /// The measurement is over.
    Report(Report),
}

/// What the client says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromClient {
    /// Who it is.
    Login(Login),
    /// What to measure.
    Measure(Request),
    /// No more data comes.
    Done,
}

/// Who the server is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// `vfw-bench`.
    pub format: Format,
    /// Of the protocol.
    pub version: u32,
    /// Of the program.
    pub vfw: String,
    /// Random; the client's proof answers it.
    pub challenge: Word,
}

/// Who the client is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Login {
    /// Of the protocol.
    pub version: u32,
    /// Of the program.
    pub vfw: String,
    /// Random; the server's proof answers it.
    pub challenge: Word,
    /// That the client holds the token.
    pub proof: Word,
}

/// The word that tells this protocol from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// The only one.
    #[serde(rename = "vfw-bench")]
    VfwBench,
}

/// The server's side of the login.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// That the server holds the token.
    pub proof: Word,
}

/// The server listens for data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// Port of TCP and UDP.
    pub port: u16,
}

/// What the server saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Bytes of messages within the measured time.
    pub bytes: u64,
    /// The measured time, nanoseconds.
    pub nanos: u64,
    /// Datagrams, transactions or connections of the whole run, warm-up included.
    pub messages: u64,
    /// CPUs of the server's machine that were busy in the measured time, on average.
    pub cpus: f64,
    /// Boot identifier of the server's machine: tells whether both ends share one.
    pub machine: String,
}

/// What to measure, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What.
    pub test: Test,
    /// Milliseconds that do not count.
    pub warm_up_ms: u32,
    /// Milliseconds that count.
    pub measured_ms: u32,
}

/// The kinds of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Test {
    /// Messages from client to server, as fast as they go.
    Stream {
        /// TCP or UDP.
        protocol: Protocol,
        /// Bytes of a message.
        size: u32,
    },
    /// A message to the server and the same back, one after the other.
    Exchange {
        /// TCP or UDP.
        protocol: Protocol,
        /// Bytes of a message.
        size: u32,
    },
    /// Connections with one question and one answer each, one after the other.
    Connect,
}

/// Most bytes of a message of a stream.
pub const fn largest(protocol: Protocol) -> u32 {
    match protocol {
        Protocol::Tcp => TCP_LARGEST,
        Protocol::Udp => UDP_LARGEST,
    }
}

/// What a server grants one measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most seconds, warm-up included.
    pub seconds: u32,
    /// Most bytes received.
    pub bytes: u64,
}

impl Request {
    /// Refuses what is out of bounds.
    pub fn check(&self, limits: &Limits) -> Result<(), NetError> {
        let outside = |text: String| Err(NetError::OutOfBounds(text));
        let total = u64::from(self.warm_up_ms) + u64::from(self.measured_ms);
        if self.measured_ms == 0 || total > u64::from(limits.seconds) * 1000 {
            let most = limits.seconds;
            return outside(format!(
                "a measurement lasts up to {most} s with its warm-up, not {total} ms (--max-seconds)"
            ));
        }
        let (size, largest) = match self.test {
            Test::Stream { protocol, size } => (size, largest(protocol)),
            Test::Exchange { size, .. } => (size, UDP_LARGEST),
            Test::Connect => return Ok(()),
        };
        if size == 0 || size > largest {
            return outside(format!("a message of this kind has 1 to {largest} bytes, not {size}"));
        }
        Ok(())
    }
}

/// Writes a message in one piece.
pub fn write<T: Serialize>(to: &mut impl Write, message: &T) -> Result<(), NetError> {
    let broken = NetError::broken("the control connection broke off");
    let frame = serde_json::to_vec(message).map_err(io::Error::other).and_then(|json| {
        let length = u32::try_from(json.len()).ok().filter(|length| *length as usize <= LONGEST);
        let length = length.ok_or_else(|| io::Error::other("a message is too long"))?;
        Ok([&length.to_be_bytes(), json.as_slice()].concat())
    });
    frame.and_then(|frame| to.write_all(&frame)).map_err(broken)
}

/// Reads a message. No more memory is taken than the longest message needs, whatever the length says.
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> Result<T, NetError> {
    let broken = |source| NetError::Broken { what: "the control connection broke off", source };
    let mut length = [0; 4];
    from.read_exact(&mut length).map_err(broken)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(NetError::Protocol(format!("a message of {length} bytes, {LONGEST} are allowed")));
    }
    let mut json = vec![0; length];
    from.read_exact(&mut json).map_err(broken)?;
    serde_json::from_slice(&json).map_err(|error| NetError::Protocol(error.to_string()))
}
