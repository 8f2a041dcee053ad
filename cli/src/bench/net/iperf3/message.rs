//! What iperf3's control connection carries (`iperf_api.h` and `iperf_api.c` of esnet/iperf): bytes that name states, and JSON
//! after four bytes of length, most significant first.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::bench::net::error::NetError;
use crate::bench::report::Protocol;

/// Most bytes of the server's results. Those of one stream are some hundred.
const LONGEST: usize = 64 << 10;
/// Bytes of the word that tells the connections of one test from others, its final zero included.
pub const COOKIE: usize = 37;

/// What the server says is to be done next, or went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Get ready.
    TestStart,
    /// Send.
    TestRunning,
    /// Send the parameters.
    ParamExchange,
    /// Open the data connections.
    CreateStreams,
    /// The server ends.
    ServerTerminate,
    /// Send the results, and read the server's.
    ExchangeResults,
    /// All is said.
    DisplayResults,
    /// Another test runs.
    AccessDenied,
    /// Two numbers follow: iperf3's own and the system's.
    ServerError,
    /// Something else.
    Other(u8),
}

/// What the client says: no more data comes.
pub const TEST_END: u8 = 4;
/// What the client says: all is said.
pub const IPERF_DONE: u8 = 16;

impl From<u8> for State {
    fn from(byte: u8) -> Self {
        match byte {
            1 => Self::TestStart,
            2 => Self::TestRunning,
            9 => Self::ParamExchange,
            10 => Self::CreateStreams,
            11 => Self::ServerTerminate,
            13 => Self::ExchangeResults,
            14 => Self::DisplayResults,
            0xff => Self::AccessDenied,
            0xfe => Self::ServerError,
            other => Self::Other(other),
        }
    }
}

/// What the test is like.
#[derive(Debug, Serialize)]
pub struct Parameters {
    /// The protocol is TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<bool>,
    /// The protocol is UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<bool>,
    /// Seconds of warm-up.
    pub omit: u64,
    /// Seconds.
    pub time: u64,
    /// Streams.
    pub parallel: u32,
    /// Bytes of a datagram; with TCP, of the server's reads.
    pub len: u32,
    /// Bits per second; 0 for no bound.
    pub bandwidth: u64,
    /// As that of iperf3, which some servers print.
    pub client_version: &'static str,
}

impl Parameters {
    /// One stream of this kind.
    pub fn new(protocol: Protocol, len: u32, omit: u64, time: u64) -> Self {
        let is = |wanted: Protocol| (protocol == wanted).then_some(true);
        let (tcp, udp) = (is(Protocol::Tcp), is(Protocol::Udp));
        Self {
            tcp,
            udp,
            omit,
            time,
            parallel: 1,
            len,
            bandwidth: 0,
            client_version: concat!("vfw ", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// What one end saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Results {
    /// Percent of one CPU that the end's process used.
    pub cpu_util_total: f64,
    /// The part in user mode.
    pub cpu_util_user: f64,
    /// The part in the kernel.
    pub cpu_util_system: f64,
    /// Whether the sender counts segments sent again: 1, 0, or -1 for unknown.
    pub sender_has_retransmits: f64,
    /// Each stream.
    pub streams: Vec<StreamResult>,
}

/// What one end saw of a stream. The warm-up is not in `bytes`; it is in the counts of datagrams. Newer versions tell apart
/// which of them were the warm-up's, 3.12 does not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamResult {
    /// Number of the stream: 1.
    pub id: f64,
    /// Bytes after the warm-up.
    pub bytes: f64,
    /// Segments sent again.
    pub retransmits: f64,
    /// Seconds.
    pub jitter: f64,
    /// Datagrams that are missing.
    pub errors: f64,
    /// Datagrams, the missing ones included.
    pub packets: f64,
    /// 0.
    pub start_time: f64,
    /// Seconds from the end of the warm-up.
    pub end_time: f64,
}

/// Writes JSON with its length.
pub fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    to.write_all(&[&length.to_be_bytes(), json.as_slice()].concat())
}

/// Reads the server's results. No more memory is taken than the longest need, whatever the length says.
pub fn read(from: &mut impl Read) -> Result<Results, NetError> {
    let broken = |source| NetError::Broken { what: "iperf3's results did not arrive", source };
    let mut length = [0; 4];
    from.read_exact(&mut length).map_err(broken)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(NetError::Protocol(format!("iperf3's results have {length} bytes, {LONGEST} are allowed")));
    }
    let mut json = vec![0; length];
    from.read_exact(&mut json).map_err(broken)?;
    serde_json::from_slice(&json).map_err(|error| NetError::Protocol(format!("iperf3's results: {error}")))
}

/// Megabits per second and, for UDP, the share of all datagrams that are missing, as the receiver saw them. `seconds` stand in
/// for the times that old servers do not tell.
pub fn figures(results: &Results, protocol: Protocol, seconds: u64) -> Result<(f64, Option<f64>), NetError> {
    let Some(stream) = results.streams.first() else {
        return Err(NetError::Protocol("iperf3's results have no stream".to_owned()));
    };
    let elapsed = stream.end_time - stream.start_time;
    let elapsed = if elapsed > 0.0 { elapsed } else { seconds as f64 };
    let mbps = stream.bytes * 8.0 / 1e6 / elapsed;
    let loss = if stream.packets > 0.0 { (stream.errors / stream.packets).clamp(0.0, 1.0) } else { 1.0 };
    if !mbps.is_finite() || mbps < 0.0 || !loss.is_finite() {
        return Err(NetError::Protocol("iperf3's results make no sense".to_owned()));
    }
    Ok((mbps, (protocol == Protocol::Udp).then_some(loss)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_a_server_are_understood() {
        let json = br#"{"cpu_util_total":1.5,"sender_has_retransmits":-1,"streams":[{"id":1,"bytes":25000000,"retransmits":-1,
            "jitter":1e-6,"errors":30,"omitted_errors":10,"packets":1500,"omitted_packets":100,"start_time":0,"end_time":2}]}"#;
        let mut framed = (json.len() as u32).to_be_bytes().to_vec();
        framed.extend_from_slice(json);
        let results = read(&mut framed.as_slice()).expect("results");
        let (mbps, loss) = figures(&results, Protocol::Udp, 1).expect("figures");
        assert!((mbps - 100.0).abs() < 1e-9 && loss.is_some_and(|loss| (loss - 0.02).abs() < 1e-9), "{mbps} {loss:?}");
    }

    #[test]
    fn results_without_sense_are_refused() {
        for json in ["{}", r#"{"streams":[]}"#, r#"{"streams":[{"bytes":-1}]}"#, r#"{"streams":[{"bytes":1e308}]}"#] {
            let framed = [&(json.len() as u32).to_be_bytes(), json.as_bytes()].concat();
            let results = read(&mut framed.as_slice()).expect("JSON");
            assert!(figures(&results, Protocol::Tcp, 1).is_err(), "{json}");
        }
        for bytes in [&[0xff; 4][..], b"\0\0\0\x02{", b"\0\0\0\x01{", b"HTTP/1.1"] {
            assert!(read(&mut &*bytes).is_err(), "{bytes:?}");
        }
    }
}
