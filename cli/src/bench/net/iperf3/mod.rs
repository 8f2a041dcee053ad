//! A client of iperf3's servers, for one stream from here to there: iperf3 is what other machines have.
//!
//! iperf3 counts whole seconds. Its server's CPU time is that of its process alone, which is not what is reported here, so
//! there is none.

mod message;

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant, UNIX_EPOCH};

use message::{COOKIE, IPERF_DONE, Parameters, Results, State, StreamResult, TEST_END};
pub use message::{figures as results_to_figures, read as read_results};

use super::client::{StreamFigures, open_udp};
use super::control::Control;
use super::error::NetError;
use super::timing::{SILENCE, Timing};
use super::{datagram, stream, target};
use crate::bench::report::Protocol;

/// iperf3's port.
pub const PORT: u16 = 5201;
/// Least bytes of a datagram: the time and number that it begins with.
pub const UDP_SMALLEST: u32 = 16;
/// Most bytes of a message over TCP.
pub const TCP_LARGEST: u32 = 1 << 20;
/// Bytes that the server reads at once over TCP, when messages are smaller: with reads of the messages' size, they would be what
/// is measured.
const READ: u32 = 128 << 10;
/// How long the server may take between two steps.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a server may be busy, which it is for a moment after each test.
const BUSY: Duration = Duration::from_secs(5);
/// How long it may not listen, which it does not for a moment after each test. Shorter than any test.
const GAP: Duration = Duration::from_secs(1);
/// Pause before it is asked again.
const PAUSE: Duration = Duration::from_millis(50);
/// What to do when nobody answers.
const HINT: &str = "; start `iperf3 -s` there";
/// What a UDP stream begins with, and the answers of new and old servers, in the byte order of both machines.
const UDP_CONNECT: u32 = 0x3637_3839;
const UDP_REPLIES: [u32; 2] = [0x3938_3736, 987_654_321];

/// An iperf3 server.
#[derive(Clone, Debug)]
pub struct Iperf3 {
    addresses: Vec<SocketAddr>,
}

/// The data connection.
enum Data {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

/// A test under way.
struct Run {
    control: Control,
    server: SocketAddr,
    cookie: [u8; COOKIE],
    protocol: Protocol,
    size: u32,
    /// Whole seconds.
    omit: u64,
    seconds: u64,
    data: Option<Data>,
    retransmits: Option<u64>,
}

impl Iperf3 {
    /// The server at one of these addresses.
    pub const fn new(addresses: Vec<SocketAddr>) -> Self {
        Self { addresses }
    }

    /// Messages of `size` bytes from here to the server. Times are rounded up to whole seconds.
    pub fn stream(&self, protocol: Protocol, size: u32, timing: Timing) -> Result<StreamFigures, NetError> {
        let begin = Instant::now();
        loop {
            match Run::begin(&self.addresses, protocol, size, timing).and_then(Run::converse) {
                Err(error) if begin.elapsed() < patience(&error) => std::thread::sleep(PAUSE),
                outcome => return outcome,
            }
        }
    }
}

/// How long such an error may be one of a server that is not ready yet.
const fn patience(error: &NetError) -> Duration {
    match error {
        NetError::Refused(_) => BUSY,
        NetError::Connect { .. } | NetError::Broken { .. } => GAP,
        _ => Duration::ZERO,
    }
}

impl Run {
    fn begin(addresses: &[SocketAddr], protocol: Protocol, size: u32, timing: Timing) -> Result<Self, NetError> {
        let connection = target::connect(addresses, HINT)?;
        let broken = NetError::broken("the control connection to iperf3 broke off");
        let peer = connection.peer_addr().and_then(|peer| Ok((peer, Control::new(connection, PATIENCE)?)));
        let (server, mut control) = peer.map_err(broken)?;
        let cookie = cookie()?;
        control.write_all(&cookie).map_err(NetError::broken("the control connection to iperf3 broke off"))?;
        let whole = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let (omit, seconds) = (whole(timing.warm_up), whole(timing.measured));
        Ok(Self { control, server, cookie, protocol, size, omit, seconds, data: None, retransmits: None })
    }

    /// Does what the server says until all is said.
    fn converse(mut self) -> Result<StreamFigures, NetError> {
        let mut results = None;
        loop {
            match self.state()? {
                State::ParamExchange => self.send_parameters()?,
                State::CreateStreams => self.data = Some(self.open()?),
                State::TestStart => {}
                State::TestRunning => self.send()?,
                State::ExchangeResults => results = Some(self.exchange_results()?),
                State::DisplayResults => break,
                State::AccessDenied => return Err(NetError::Refused("iperf3 is busy with another test".to_owned())),
                State::ServerTerminate => return Err(NetError::Silent("iperf3's server has ended".to_owned())),
                State::ServerError => return Err(self.server_error()),
                State::Other(byte) => return Err(NetError::Protocol(format!("iperf3 does not say {byte}"))),
            }
        }
        self.say(IPERF_DONE)?;
        let results = results.ok_or_else(|| NetError::Protocol("iperf3 gave no results".to_owned()))?;
        let (mbps, loss) = message::figures(&results, self.protocol, self.seconds)?;
        Ok(StreamFigures { mbps, cpu_s_per_gbit: None, retransmits: self.retransmits, loss })
    }

    fn state(&mut self) -> Result<State, NetError> {
        let mut byte = [0];
        self.control.grant(PATIENCE);
        match self.control.read_exact(&mut byte) {
            Ok(()) => Ok(State::from(byte[0])),
            Err(source) => Err(NetError::Broken { what: "iperf3 did not go on; is it an iperf3 server?", source }),
        }
    }

    fn say(&mut self, state: u8) -> Result<(), NetError> {
        self.control.write_all(&[state]).map_err(NetError::broken("the control connection to iperf3 broke off"))
    }

    fn send_parameters(&mut self) -> Result<(), NetError> {
        let len = if self.protocol == Protocol::Tcp { self.size.max(READ) } else { self.size };
        let parameters = Parameters::new(self.protocol, len, self.omit, self.seconds);
        message::write(&mut self.control, &parameters).map_err(NetError::broken("iperf3 did not take the parameters"))
    }

    fn open(&self) -> Result<Data, NetError> {
        match self.protocol {
            Protocol::Tcp => {
                let mut connection = target::connect(&[self.server], HINT)?;
                connection.write_all(&self.cookie).map_err(NetError::broken("the data connection"))?;
                Ok(Data::Tcp(connection))
            }
            Protocol::Udp => {
                let socket = open_udp(self.server)?;
                let greeted = greet(&socket).map_err(NetError::broken("UDP does not get through to iperf3"))?;
                greeted.then_some(Data::Udp(socket)).ok_or_else(|| {
                    NetError::Protocol(
                        "what answers over UDP is no iperf3, or runs on another kind of machine".to_owned(),
                    )
                })
            }
        }
    }

    fn send(&mut self) -> Result<(), NetError> {
        let size = self.size as usize;
        let timing = Timing { warm_up: Duration::from_secs(self.omit), measured: Duration::from_secs(self.seconds) };
        match &self.data {
            Some(Data::Tcp(connection)) => self.retransmits = Some(stream::send(connection, size, timing)?.retransmits),
            Some(Data::Udp(socket)) => drop(datagram::send(socket, size, timing, stamp)?),
            None => return Err(NetError::Protocol("iperf3 wants no data connection".to_owned())),
        }
        self.control.grant(PATIENCE);
        self.say(TEST_END)
    }

    /// The server prints what the client says of itself, and answers with what it has seen.
    fn exchange_results(&mut self) -> Result<Results, NetError> {
        let stream = StreamResult {
            id: 1.0,
            retransmits: self.retransmits.map_or(-1.0, |count| count as f64),
            end_time: self.seconds as f64,
            ..StreamResult::default()
        };
        let sender_has_retransmits = if self.retransmits.is_some() { 1.0 } else { 0.0 };
        let own = Results { sender_has_retransmits, streams: vec![stream], ..Results::default() };
        message::write(&mut self.control, &own).map_err(NetError::broken("iperf3 did not take the results"))?;
        message::read(&mut self.control)
    }

    fn server_error(&mut self) -> NetError {
        let mut numbers = [0; 8];
        if self.control.read_exact(&mut numbers).is_err() {
            return NetError::Silent("iperf3's server failed".to_owned());
        }
        let [_, _, _, own, system @ ..] = numbers;
        let system = io::Error::from_raw_os_error(i32::from_be_bytes(system));
        NetError::Silent(format!("iperf3's server failed with its error {own}: {system}"))
    }
}

/// 36 characters and a zero.
fn cookie() -> Result<[u8; COOKIE], NetError> {
    let text = String::from(super::token::Word::random()?);
    let mut cookie = [0; COOKIE];
    cookie.iter_mut().zip(text.bytes()).take(COOKIE - 1).for_each(|(byte, digit)| *byte = digit);
    Ok(cookie)
}

/// Opens a UDP stream. It is not repeated: the server would take the second one for data.
fn greet(socket: &UdpSocket) -> io::Result<bool> {
    socket.set_read_timeout(Some(SILENCE))?;
    socket.send(&UDP_CONNECT.to_ne_bytes())?;
    let mut reply = [0; 4];
    let count = socket.recv(&mut reply)?;
    Ok(count == reply.len() && UDP_REPLIES.contains(&u32::from_ne_bytes(reply)))
}

/// Writes what a datagram begins with: seconds, microseconds and its number, from 1.
fn stamp(datagram: &mut [u8], number: u64) {
    let now = UNIX_EPOCH.elapsed().unwrap_or_default();
    let fields = [now.as_secs() as u32, now.subsec_micros(), number as u32 + 1].map(u32::to_be_bytes);
    datagram.iter_mut().zip(fields.as_flattened()).for_each(|(byte, field)| *byte = *field);
}
