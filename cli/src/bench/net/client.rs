//! The client of `vfw bench server`: one control connection for each measurement.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use super::control::Control;
use super::cpu;
use super::error::{NetError, is_timeout};
use super::latency::Latencies;
use super::message::{FromClient, FromServer, Login, Report, Request, Test, VERSION, read, write};
use super::target;
use super::timing::{SILENCE, Timing};
use super::token::{Challenges, DataKey, Token, Word};
use super::{connect, datagram, exchange, stream};
use crate::bench::report::Protocol;

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What to do when nobody answers.
const HINT: &str = "; start `vfw bench server` there";
/// After a failure, how long the server may take to say what it knows of it.
const REASON: Duration = Duration::from_secs(1);

/// A server, and the token to be let in.
#[derive(Clone)]
pub struct Agent {
    addresses: Vec<SocketAddr>,
    token: Token,
}

/// What a stream reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamFigures {
    /// Megabits of messages per second that the receiver got.
    pub mbps: f64,
    /// CPU seconds of both ends' machines per gigabit received.
    pub cpu_s_per_gbit: Option<f64>,
    /// TCP: segments sent again in the measured time.
    pub retransmits: Option<u64>,
    /// UDP: share of the datagrams that did not arrive, warm-up included.
    pub loss: Option<f64>,
}

/// A measurement under way.
struct Session {
    control: Control,
    data: SocketAddr,
    key: DataKey,
}

impl Agent {
    /// The server at one of these addresses.
    pub fn new(addresses: Vec<SocketAddr>, token: Token) -> Self {
        Self { addresses, token }
    }

    /// Messages of `size` bytes from here to the server.
    pub fn stream(&self, protocol: Protocol, size: u32, timing: Timing) -> Result<StreamFigures, NetError> {
        let session = self.begin(Test::Stream { protocol, size }, timing)?;
        match protocol {
            Protocol::Tcp => {
                let (sent, report) = session.run(|data, key| {
                    let connection = open_tcp(data, key)?;
                    stream::send(&connection, size as usize, timing)
                })?;
                Ok(figures(&report, sent.cpus, Some(sent.retransmits), None))
            }
            Protocol::Udp => {
                let (sent, report) = session.run(|data, key| {
                    let socket = open_udp(data)?;
                    datagram::prove(&socket, key)?;
                    let sent = datagram::send(&socket, size as usize, timing, |_, _| {})?;
                    datagram::mark_end(&socket);
                    Ok(sent)
                })?;
                let arrived = report.messages.min(sent.datagrams);
                let loss = 1.0 - arrived as f64 / sent.datagrams.max(1) as f64;
                Ok(figures(&report, sent.cpus, None, Some(loss)))
            }
        }
    }

    /// Transactions with messages of `size` bytes there and back.
    pub fn exchange(&self, protocol: Protocol, size: u32, timing: Timing) -> Result<Latencies, NetError> {
        let session = self.begin(Test::Exchange { protocol, size }, timing)?;
        let (latencies, _) = session.run(|data, key| match protocol {
            Protocol::Tcp => exchange::ask_tcp(&open_tcp(data, key)?, size as usize, timing),
            Protocol::Udp => {
                let socket = open_udp(data)?;
                datagram::prove(&socket, key)?;
                let latencies = exchange::ask_udp(&socket, size as usize, timing)?;
                datagram::mark_end(&socket);
                Ok(latencies)
            }
        })?;
        Ok(latencies)
    }

    /// Connections one after the other.
    pub fn connections(&self, timing: Timing) -> Result<Latencies, NetError> {
        let session = self.begin(Test::Connect, timing)?;
        Ok(session.run(|data, key| connect::ask(data, key, timing))?.0)
    }

    /// Logs in and asks for a measurement.
    fn begin(&self, test: Test, timing: Timing) -> Result<Session, NetError> {
        let connection = target::connect(&self.addresses, HINT)?;
        let broken = NetError::broken("the control connection broke off");
        let peer = connection.peer_addr().and_then(|peer| Ok((peer, Control::new(connection, PATIENCE)?)));
        let (server, mut control) = peer.map_err(broken)?;
        let challenges = self.log_in(&mut control, server)?;
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let (warm_up_ms, measured_ms) = (millis(timing.warm_up), millis(timing.measured));
        write(&mut control, &FromClient::Measure(Request { test, warm_up_ms, measured_ms }))?;
        match read(&mut control)? {
            FromServer::Ready(ready) => {
                let mut data = server;
                data.set_port(ready.port);
                Ok(Session { control, data, key: self.token.data_key(&challenges) })
            }
            other => Err(unexpected(other)),
        }
    }

    fn log_in(&self, control: &mut Control, server: SocketAddr) -> Result<Challenges, NetError> {
        let hello = match read(control) {
            Ok(FromServer::Hello(hello)) => hello,
            Ok(FromServer::Refused(reason)) => return Err(NetError::Refused(reason)),
            Err(NetError::Broken { source, .. }) if !is_timeout(&source) => {
                return Err(NetError::Refused("it closed the connection; it may have too many".to_owned()));
            }
            _ => return Err(NetError::Stranger(server)),
        };
        if hello.version != VERSION {
            return Err(NetError::Version { vfw: hello.vfw, version: hello.version });
        }
        let challenges = Challenges { server: hello.challenge, client: Word::random()? };
        let (vfw, proof) = (env!("CARGO_PKG_VERSION").to_owned(), self.token.client_proof(&challenges));
        let login = Login { version: VERSION, vfw, challenge: challenges.client, proof };
        write(control, &FromClient::Login(login))?;
        match read(control)? {
            FromServer::Welcome(welcome) if self.token.is_server_proof(&challenges, &welcome.proof) => Ok(challenges),
            FromServer::Welcome(_) => Err(NetError::UnprovenServer),
            other => Err(unexpected(other)),
        }
    }
}

impl Session {
    /// Does this end's part, and hears what the server saw.
    fn run<T>(
        mut self,
        part: impl FnOnce(SocketAddr, &DataKey) -> Result<T, NetError>,
    ) -> Result<(T, Report), NetError> {
        let outcome = part(self.data, &self.key);
        self.control.grant(if outcome.is_ok() { PATIENCE + SILENCE } else { REASON });
        if outcome.is_ok() {
            // A server that has given up has said why before; that is read below.
            let _ = write(&mut self.control, &FromClient::Done);
        }
        match (outcome, read(&mut self.control)) {
            (Ok(result), Ok(FromServer::Report(report))) => Ok((result, sound(report)?)),
            (_, Ok(refusal @ (FromServer::Refused(_) | FromServer::Failed(_)))) => Err(unexpected(refusal)),
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            (Ok(_), Ok(other)) => Err(unexpected(other)),
        }
    }
}

fn unexpected(message: FromServer) -> NetError {
    match message {
        FromServer::Refused(reason) => NetError::Refused(reason),
        FromServer::Failed(reason) => NetError::Silent(reason),
        other => NetError::Protocol(format!("{other:?} was not due")),
    }
}

/// A report whose numbers can be divided by.
fn sound(report: Report) -> Result<Report, NetError> {
    if report.nanos == 0 || !report.cpus.is_finite() || report.cpus < 0.0 {
        return Err(NetError::Protocol("a report without sense".to_owned()));
    }
    Ok(report)
}

fn open_tcp(data: SocketAddr, key: &DataKey) -> Result<TcpStream, NetError> {
    use std::io::Write as _;
    let mut connection = target::connect(&[data], "; its data port must be reachable too")?;
    connection.write_all(&key.proof(0)).map_err(NetError::broken("the data connection"))?;
    Ok(connection)
}

/// A UDP socket that hears and reaches this address alone.
pub fn open_udp(data: SocketAddr) -> Result<UdpSocket, NetError> {
    let any: IpAddr = if data.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(data).map(|()| socket));
    socket.map_err(NetError::broken("no UDP socket"))
}

fn figures(report: &Report, own_cpus: f64, retransmits: Option<u64>, loss: Option<f64>) -> StreamFigures {
    let mbps = report.bytes as f64 * 8e3 / report.nanos as f64;
    // Two ends on one machine have seen the same CPUs.
    let is_one = cpu::machine().is_ok_and(|machine| machine == report.machine);
    let cpus = if is_one { report.cpus } else { report.cpus + own_cpus };
    let cpu_s_per_gbit = (mbps > 0.0).then(|| cpus / (mbps / 1e3));
    StreamFigures { mbps, cpu_s_per_gbit, retransmits, loss }
}
