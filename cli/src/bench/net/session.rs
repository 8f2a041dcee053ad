//! The server's side of a control connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};

use super::control::Control;
use super::door::Door;
use super::error::NetError;
use super::message::{
    Format, FromClient, FromServer, Hello, Limits, Ready, Report, Request, Test, VERSION, Welcome, read, write,
};
use super::target::canonical;
use super::timing::{Meter, SILENCE, Timing};
use super::token::{Challenges, DataKey, Token, Word};
use super::{connect, datagram, exchange, stream};
use crate::bench::report::Protocol;

/// How long a client may take to say who it is and what it wants.
const LOGIN: Duration = Duration::from_secs(10);

/// What every session of a server shares.
pub struct Rules {
    /// The secret.
    pub token: Token,
    /// What one measurement is granted.
    pub limits: Limits,
    /// Port of the data connections.
    pub data_port: u16,
    /// Held by the session that measures: two measurements at once would measure each other.
    pub turn: Mutex<()>,
}

/// A client that holds the token, and what it wants.
pub struct Admitted {
    /// What to measure; within the limits.
    pub request: Request,
    /// For its data connections.
    pub key: DataKey,
}

/// Lets a client in that proves that it holds the token, and hears what it wants.
pub fn admit<S: Read + Write>(
    control: &mut S,
    token: &Token,
    limits: &Limits,
    challenge: Word,
) -> Result<Admitted, NetError> {
    let vfw = env!("CARGO_PKG_VERSION").to_owned();
    write(control, &FromServer::Hello(Hello { format: Format::VfwBench, version: VERSION, vfw, challenge }))?;
    let FromClient::Login(login) = read(control)? else {
        return Err(NetError::Protocol("a login was due".to_owned()));
    };
    if login.version != VERSION {
        return Err(NetError::Version { vfw: login.vfw, version: login.version });
    }
    let challenges = Challenges { server: challenge, client: login.challenge };
    if !token.is_client_proof(&challenges, &login.proof) {
        return Err(NetError::WrongToken);
    }
    write(control, &FromServer::Welcome(Welcome { proof: token.server_proof(&challenges) }))?;
    let FromClient::Measure(request) = read(control)? else {
        return Err(NetError::Protocol("a request was due".to_owned()));
    };
    request.check(limits)?;
    Ok(Admitted { request, key: token.data_key(&challenges) })
}

/// One conversation, from the hello to the report. A client that is refused is told why.
pub fn converse(stream: std::net::TcpStream, rules: &Rules) -> Result<(Request, Report), NetError> {
    let broken = NetError::broken("the control connection broke off");
    let mut control = Control::new(stream, LOGIN).map_err(broken)?;
    let outcome = serve(&mut control, rules);
    if let Err(error) = &outcome
        && !matches!(error, NetError::Broken { what: "the control connection broke off", .. })
    {
        control.grant(SILENCE);
        // Whoever has gone is told nothing.
        let said = error.to_string();
        let message = if error.is_of_the_path() { FromServer::Failed(said) } else { FromServer::Refused(said) };
        let _ = write(&mut control, &message);
    }
    outcome
}

fn serve(control: &mut Control, rules: &Rules) -> Result<(Request, Report), NetError> {
    let admitted = admit(control, &rules.token, &rules.limits, Word::random()?)?;
    let turn = match rules.turn.try_lock() {
        Ok(turn) => turn,
        // A measurement that panicked has left nothing behind.
        Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
        Err(TryLockError::WouldBlock) => {
            return Err(NetError::OutOfBounds(
                "it measures for another client; try again when that is done".to_owned(),
            ));
        }
    };
    let timing = Timing::of(&admitted.request);
    let deadline = timing.deadline();
    control.grant(deadline.saturating_duration_since(Instant::now()) + SILENCE);
    let meter = measure(control, rules, &admitted, timing, deadline)?;
    let FromClient::Done = read(control)? else {
        return Err(NetError::Protocol("the end was due".to_owned()));
    };
    let report = meter.report()?;
    // Whoever has the report may ask for the next measurement at once.
    drop(turn);
    write(control, &FromServer::Report(report.clone()))?;
    Ok((admitted.request, report))
}

/// Opens the data port at the address that the client has reached, and counts what comes.
fn measure(
    control: &mut Control,
    rules: &Rules,
    admitted: &Admitted,
    timing: Timing,
    deadline: Instant,
) -> Result<Meter, NetError> {
    let address = control.stream().local_addr().map_err(NetError::broken("the control connection broke off"))?;
    let mut address = canonical(address);
    address.set_port(rules.data_port);
    match admitted.request.test {
        Test::Stream { protocol: Protocol::Tcp, .. }
        | Test::Exchange { protocol: Protocol::Tcp, .. }
        | Test::Connect => measure_tcp(control, address, rules, admitted, Meter::new(timing), deadline),
        Test::Stream { size, protocol: Protocol::Udp } => {
            let socket = open_udp(control, address, admitted, deadline)?;
            let (stream, most) = (control.stream(), rules.limits.bytes);
            datagram::receive(&socket, size as usize, stream, Meter::new(timing), most, deadline)
        }
        Test::Exchange { size, protocol: Protocol::Udp } => {
            let socket = open_udp(control, address, admitted, deadline)?;
            exchange::answer_udp(&socket, size as usize, control.stream(), Meter::new(timing), deadline)
        }
    }
}

fn measure_tcp(
    control: &mut Control,
    address: SocketAddr,
    rules: &Rules,
    admitted: &Admitted,
    meter: Meter,
    deadline: Instant,
) -> Result<Meter, NetError> {
    let listen = |source| NetError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    write(control, &FromServer::Ready(Ready { port: address.port() }))?;
    let mut door = Door::new(&listener, control.stream(), &admitted.key);
    if admitted.request.test == Test::Connect {
        return connect::answer(door, meter, deadline);
    }
    let Some(data) = door.next(deadline)? else {
        return Err(NetError::Silent("the client ended the measurement before any data came".to_owned()));
    };
    match admitted.request.test {
        Test::Exchange { size, .. } => exchange::answer_tcp(&data, size as usize, meter, deadline),
        _ => stream::receive(&data, meter, rules.limits.bytes, deadline),
    }
}

fn open_udp(
    control: &mut Control,
    address: SocketAddr,
    admitted: &Admitted,
    deadline: Instant,
) -> Result<UdpSocket, NetError> {
    let socket = UdpSocket::bind(address).map_err(|source| NetError::Listen { address, source })?;
    datagram::widen(&socket)?;
    write(control, &FromServer::Ready(Ready { port: address.port() }))?;
    datagram::admit(&socket, &admitted.key, control.stream(), deadline)?;
    Ok(socket)
}
