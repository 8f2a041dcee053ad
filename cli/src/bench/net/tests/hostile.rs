//! Those who may not measure, and those who want too much.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use super::{LIMITS, SHORT, TOKEN, address, agent, alone, serve};
use crate::bench::net::message::{
    Format, FromClient, FromServer, Hello, Limits, Login, PORT, Request, Test, VERSION, Welcome, read, write,
};
use crate::bench::net::token::{Challenges, DataKey};
use crate::bench::net::{Agent, NetError, Timing, Token, Word};
use crate::bench::report::Protocol;

const DATA_PORT: u16 = PORT + 1;

/// What a measurement ends with.
fn refusal(agent: &Agent, protocol: Protocol, size: u32, timing: Timing) -> String {
    agent.stream(protocol, size, timing).expect_err("it is refused").to_string()
}

#[test]
fn a_wrong_token_is_refused_and_never_sent() {
    alone(|| {
        let _server = serve("127.0.0.1:5211", LIMITS);
        let wrong = Agent::new(vec![address(false)], Token::from_bytes(b"the token of other tests"));
        let said = refusal(&wrong, Protocol::Tcp, 1, SHORT);
        assert!(said.contains("the token is not the server's"), "{said}");
        agent(false).stream(Protocol::Tcp, 1, SHORT).expect("the right one is let in");
    });
}

/// Plays a server of one conversation; returns what the client has said, as bytes.
fn impostor(answer: impl FnOnce(&mut TcpStream) + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    let listener = TcpListener::bind(address(false)).expect("listens");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        answer(&mut stream);
        let mut rest = Vec::new();
        // A client that leaves with bytes unread resets the connection.
        let _ = stream.read_to_end(&mut rest);
        rest
    })
}

fn hello(version: u32) -> FromServer {
    let vfw = "9.9.9".to_owned();
    FromServer::Hello(Hello { format: Format::VfwBench, version, vfw, challenge: Word([7; 32]) })
}

#[test]
fn another_version_is_named() {
    alone(|| {
        let server = impostor(|stream| write(stream, &hello(VERSION + 1)).expect("said"));
        let said = refusal(&agent(false), Protocol::Tcp, 1, SHORT);
        for part in ["vfw 9.9.9", "speaks version 2", "this one version 1", "install the same vfw"] {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(server.join().expect("a server"), b"", "no proof is given to another version");
    });
}

#[test]
fn a_client_of_another_version_is_told() {
    alone(|| {
        let _server = serve("127.0.0.1:5211", LIMITS);
        let mut control = TcpStream::connect(address(false)).expect("connects");
        let FromServer::Hello(hello) = read(&mut control).expect("a hello") else { panic!("no hello") };
        let challenges = Challenges { server: hello.challenge, client: Word([1; 32]) };
        let proof = Token::from_bytes(TOKEN).client_proof(&challenges);
        let login = Login { version: 99, vfw: "9.9.9".to_owned(), challenge: challenges.client, proof };
        write(&mut control, &FromClient::Login(login)).expect("said");
        let said = read(&mut control);
        assert!(
            matches!(&said, Ok(FromServer::Refused(why)) if why.contains("vfw 9.9.9") && why.contains("version 99")),
            "{said:?}"
        );
    });
}

#[test]
fn a_server_without_the_token_is_found_out() {
    alone(|| {
        let server = impostor(|stream| {
            write(stream, &hello(VERSION)).expect("said");
            write(stream, &FromServer::Welcome(Welcome { proof: Word([7; 32]) })).expect("said");
        });
        let error = agent(false).stream(Protocol::Tcp, 1, SHORT).expect_err("it is no server");
        assert!(matches!(error, NetError::UnprovenServer), "{error}");
        let heard = server.join().expect("a server");
        assert!(!heard.windows(TOKEN.len()).any(|bytes| bytes == TOKEN), "the token went over the wire");
        assert!(heard.len() > 100);
    });
}

#[test]
fn strangers_are_named() {
    alone(|| {
        let nobody = refusal(&agent(false), Protocol::Tcp, 1, SHORT);
        assert!(nobody.contains("127.0.0.1:5211") && nobody.contains("vfw bench server"), "{nobody}");
        let server = impostor(|stream| stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").expect("said"));
        let other = refusal(&agent(false), Protocol::Tcp, 1, SHORT);
        assert!(other.contains("does not speak the protocol"), "{other}");
        drop(server);
    });
}

#[test]
fn more_than_the_server_grants_is_refused() {
    alone(|| {
        let _server = serve("127.0.0.1:5211", Limits { seconds: 1, bytes: 1 << 20 });
        let long = Timing { warm_up: Duration::from_millis(500), measured: Duration::from_millis(600) };
        let said = refusal(&agent(false), Protocol::Tcp, 1, long);
        assert!(said.contains("up to 1 s") && said.contains("1100 ms") && said.contains("--max-seconds"), "{said}");
        let said = refusal(&agent(false), Protocol::Udp, 65_508, SHORT);
        assert!(said.contains("1 to 65507 bytes, not 65508"), "{said}");
        assert!(refusal(&agent(false), Protocol::Tcp, 0, SHORT).contains("not 0"));
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let said = refusal(&agent(false), protocol, 8_000, SHORT);
            assert!(said.contains("more than 1048576 bytes"), "{said}");
        }
    });
}

/// Logs in and asks, and does nothing more.
fn idle_client(test: Test, measured_ms: u32) -> (TcpStream, DataKey) {
    let mut control = TcpStream::connect(address(false)).expect("connects");
    let FromServer::Hello(hello) = read(&mut control).expect("a hello") else { panic!("no hello") };
    let challenges = Challenges { server: hello.challenge, client: Word([1; 32]) };
    let proof = Token::from_bytes(TOKEN).client_proof(&challenges);
    let login = Login { version: VERSION, vfw: String::new(), challenge: challenges.client, proof };
    write(&mut control, &FromClient::Login(login)).expect("said");
    assert!(matches!(read(&mut control), Ok(FromServer::Welcome(_))));
    let request = Request { test, warm_up_ms: 0, measured_ms };
    write(&mut control, &FromClient::Measure(request)).expect("said");
    assert!(matches!(read(&mut control), Ok(FromServer::Ready(_))));
    (control, Token::from_bytes(TOKEN).data_key(&challenges))
}

#[test]
fn one_measures_at_a_time() {
    alone(|| {
        let _server = serve("127.0.0.1:5211", LIMITS);
        for test in [Test::Connect, Test::Exchange { protocol: Protocol::Udp, size: 1 }] {
            let (mut first, _) = idle_client(test, 5_000);
            let said = refusal(&agent(false), Protocol::Tcp, 1, SHORT);
            assert!(said.contains("it measures for another client"), "{said}");
            // Whoever leaves makes room; the server says so by ending the conversation.
            first.shutdown(std::net::Shutdown::Write).expect("ended");
            let _ = first.read_to_end(&mut Vec::new());
            agent(false).exchange(Protocol::Tcp, 1, SHORT).expect("there is room again");
        }
    });
}

#[test]
fn stray_data_connections_are_turned_away() {
    alone(|| {
        let _server = serve("127.0.0.1:5211", LIMITS);
        let mut data = address(false);
        data.set_port(DATA_PORT);
        let token = Token::from_bytes(TOKEN);
        let foreign = token.data_key(&Challenges { server: Word([3; 32]), client: Word([4; 32]) });
        // Strays of all kinds, as long as the measurement runs: silent, talkative, and with a proof of another conversation.
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let disturb = move || {
            let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            let mut silent = Vec::new();
            let mut turned_away = 0;
            while receiver.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                let _ = udp.send_to(&foreign.proof(0), data).and_then(|_| udp.send_to(b"stray", data));
                let Ok(mut stray) = TcpStream::connect(data) else { continue };
                if silent.len() < 10 {
                    silent.push(stray.try_clone().expect("a handle"));
                }
                let _ = stray.write_all(&foreign.proof(0));
                stray.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
                turned_away += u32::from(!matches!(stray.read(&mut [0]), Ok(1..)));
            }
            turned_away
        };
        let strays = thread::spawn(disturb);
        for _ in 0..3 {
            let connections = agent(false).connections(SHORT).expect("a measurement");
            assert_eq!(connections.failed, 0);
            agent(false).stream(Protocol::Tcp, 1000, SHORT).expect("a measurement");
            let found = agent(false).exchange(Protocol::Udp, 5, SHORT).expect("a measurement");
            assert_eq!(found.failed, 0);
        }
        drop(sender);
        assert!(strays.join().expect("strays") > 0, "no stray came while the data port was open");
    });
}

#[test]
fn whoever_dribbles_is_cut_off() {
    alone(|| {
        let _server = serve("127.0.0.1:5211", LIMITS);
        let (mut control, key) = idle_client(Test::Exchange { protocol: Protocol::Tcp, size: 1000 }, 100);
        let mut data = address(false);
        data.set_port(DATA_PORT);
        let mut stream = TcpStream::connect(data).expect("connects");
        stream.write_all(&key.proof(0)).expect("said");
        // A byte now and then is less than the message, and never silence.
        let begin = std::time::Instant::now();
        while stream.write_all(b"v").is_ok() {
            assert!(begin.elapsed() < Duration::from_secs(10), "it may go on for ever");
            thread::sleep(Duration::from_millis(20));
        }
        let said = read(&mut control);
        assert!(matches!(&said, Ok(FromServer::Refused(why)) if why.contains("took longer")), "{said:?}");
    });
}

#[test]
fn strays_over_udp_do_not_keep_the_server() {
    alone(|| {
        let _server = serve("127.0.0.1:5211", LIMITS);
        let (mut control, _) = idle_client(Test::Stream { protocol: Protocol::Udp, size: 1 }, 100);
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        udp.connect((address(false).ip(), DATA_PORT)).expect("an address");
        let begin = std::time::Instant::now();
        // Until the port is closed. Its queue is never empty for as long as a timeout.
        while udp.send(b"stray").is_ok() {
            assert!(begin.elapsed() < Duration::from_secs(10), "it listens for ever");
            thread::sleep(Duration::from_millis(5));
        }
        let said = read(&mut control);
        assert!(matches!(&said, Ok(FromServer::Refused(why)) if why.contains("took longer")), "{said:?}");
    });
}

#[test]
fn a_proof_gets_one_connection_in() {
    alone(|| {
        let _server = serve("127.0.0.1:5211", LIMITS);
        let (control, key) = idle_client(Test::Connect, 5_000);
        let mut data = address(false);
        data.set_port(DATA_PORT);
        let answer = |proof: &[u8]| {
            let mut stream = TcpStream::connect(data).expect("connects");
            stream.write_all(proof).expect("said");
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            answer
        };
        assert_eq!(answer(&key.proof(5)), b"v");
        assert_eq!(answer(&key.proof(5)), b"", "seen before");
        assert_eq!(answer(&key.proof(4)), b"", "older than what was seen");
        assert_eq!(answer(&[0; 32]), b"", "no proof");
        assert_eq!(answer(&key.proof(6)), b"v");
        drop(control);
    });
}
