//! Bytes as what the ends of `vfw bench` hear from each other: no panic, nobody is let in without the token, nothing is granted
//! that is out of bounds, and messages are what they are when written and read again.

use std::fmt::Debug;
use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use vfw::bench::net::message::{FromClient, FromServer, Limits, Login, Request, Test, VERSION, read, write};
use vfw::bench::net::{Challenges, Token, Word, admit, iperf3};
use vfw::bench::report::Protocol;

const TOKEN: &[u8] = b"the token of the fuzzer";
const SERVER: Word = Word([1; 32]);
const LIMITS: Limits = Limits { seconds: 60, bytes: 1 << 30 };

/// What the first byte says the others are.
mod part {
    /// What a server hears from the first byte on.
    pub const STRANGER: u8 = 0;
    /// What it hears from a client that holds the token, after the login.
    pub const CLIENT: u8 = 1;
    /// What a client hears.
    pub const SERVER: u8 = 2;
    /// What a client hears from iperf3.
    pub const IPERF3: u8 = 3;
}

/// A connection on which everything is said already.
struct Wire<'a> {
    heard: &'a [u8],
    said: Vec<u8>,
}

impl Read for Wire<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.heard.read(bytes)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.said.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn run(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    match first % 4 {
        part::STRANGER => serve(rest),
        part::CLIENT => serve(&[framed(&login(Word([2; 32]))), rest.to_vec()].concat()),
        part::SERVER => all::<FromServer>(rest),
        part::IPERF3.. => {
            if let Ok(results) = iperf3::read_results(&mut &*rest) {
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    if let Ok((mbps, loss)) = iperf3::results_to_figures(&results, protocol, 1) {
                        assert!(mbps.is_finite() && mbps >= 0.0 && loss.is_none_or(|loss| (0.0..=1.0).contains(&loss)));
                    }
                }
            }
        }
    }
}

/// The login of a client that holds the token.
fn login(client: Word) -> FromClient {
    let challenges = Challenges { server: SERVER, client };
    let proof = Token::from_bytes(TOKEN).client_proof(&challenges);
    FromClient::Login(Login { version: VERSION, vfw: String::from("0.1.0"), challenge: client, proof })
}

fn serve(heard: &[u8]) {
    let token = Token::from_bytes(TOKEN);
    let mut wire = Wire { heard, said: Vec::new() };
    if let Ok(admitted) = admit(&mut wire, &token, &LIMITS, SERVER) {
        admitted.request.check(&LIMITS).expect("within the limits");
        let mut again = heard;
        let Ok(FromClient::Login(theirs)) = read(&mut again) else { panic!("let in without a login") };
        let FromClient::Login(right) = login(theirs.challenge) else { return };
        assert_eq!((theirs.proof, theirs.version), (right.proof, VERSION), "let in without the token");
    }
    assert!(!wire.said.windows(TOKEN.len()).any(|bytes| bytes == TOKEN), "the token went over the wire");
    all::<FromClient>(heard);
}

/// Every message in these bytes, written and read again.
fn all<T: Serialize + DeserializeOwned + PartialEq + Debug>(mut bytes: &[u8]) {
    while let Ok(message) = read::<T>(&mut bytes) {
        let mut written = Vec::new();
        // A message of escapes can be longer when it is written.
        if write(&mut written, &message).is_ok() {
            assert_eq!(read::<T>(&mut written.as_slice()).expect("what was written"), message);
        }
    }
}

fn framed(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, message).expect("short enough");
    bytes
}

/// Conversations as they should be.
pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let tests = [
        Test::Stream { protocol: Protocol::Tcp, size: 65_536 },
        Test::Stream { protocol: Protocol::Udp, size: 1 },
        Test::Exchange { protocol: Protocol::Udp, size: 1 },
        Test::Connect,
    ];
    let mut seeds = Vec::new();
    for (number, test) in tests.into_iter().enumerate() {
        let request = FromClient::Measure(Request { test, warm_up_ms: 200, measured_ms: 1_000 });
        let rest = [framed(&request), framed(&FromClient::Done)].concat();
        let whole = [framed(&login(Word([3; 32]))), rest.clone()].concat();
        seeds.push((format!("stranger-{number}"), [&[part::STRANGER], whole.as_slice()].concat()));
        seeds.push((format!("client-{number}"), [&[part::CLIENT], rest.as_slice()].concat()));
    }
    let mut wire = Wire { heard: &[framed(&login(Word([3; 32])))].concat(), said: Vec::new() };
    let refused = admit(&mut wire, &Token::from_bytes(TOKEN), &LIMITS, SERVER).map(drop);
    wire.said.extend(framed(&FromServer::Refused(format!("{refused:?}"))));
    seeds.push(("server-login".to_owned(), [&[part::SERVER], wire.said.as_slice()].concat()));
    for (name, json) in [
        ("ready", r#"{"ready":{"port":5212}}"#),
        ("failed", r#"{"failed":"no data arrived"}"#),
        ("report", r#"{"report":{"bytes":1,"nanos":2,"messages":3,"cpus":0.5,"machine":"m"}}"#),
    ] {
        seeds.push((format!("server-{name}"), part_of(part::SERVER, json)));
    }
    let results = r#"{"cpu_util_total":1.5,"sender_has_retransmits":-1,"streams":[{"id":1,"bytes":25000000,"errors":30,
        "omitted_errors":10,"packets":1100,"omitted_packets":100,"start_time":0,"end_time":2.5e0}]}"#;
    seeds.push(("iperf3-udp".to_owned(), part_of(part::IPERF3, results)));
    seeds
}

fn part_of(part: u8, json: &str) -> Vec<u8> {
    [&[part], (json.len() as u32).to_be_bytes().as_slice(), json.as_bytes()].concat()
}
