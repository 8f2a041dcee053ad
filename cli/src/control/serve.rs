//! Answering at the control socket: several clients at a time, none for long, and whatever happens to one, the others are
//! answered.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use super::view::{Answer, Request};
use crate::lang::limits;

/// Longest question, bytes: a policy whose text is as long as it may be, every character of it escaped.
const MAX_QUESTION: u64 = 2 * limits::BYTES as u64 + (1 << 20);
/// How long a client may take to ask.
const TO_ASK: Duration = Duration::from_secs(2);
/// How long a client may take to read the answer: that may be a hundred thousand flows.
const TO_READ: Duration = Duration::from_secs(10);
/// Clients that are answered at one time.
const CLIENTS: usize = 8;
/// Pause after the system has refused a connection, for lack of descriptors for example.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers clients for as long as the process lives.
pub fn serve(listener: &UnixListener, answer: impl Fn(Request) -> Answer + Sync) {
    thread::scope(|scope| {
        for _ in 1..CLIENTS {
            scope.spawn(|| serve_one_by_one(listener, &answer));
        }
        serve_one_by_one(listener, &answer);
    });
}

fn serve_one_by_one(listener: &UnixListener, answer: impl Fn(Request) -> Answer) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Err(error) = converse(&stream, &answer) {
                    tracing::debug!(%error, "control client");
                }
            }
            Err(error) => {
                tracing::debug!(%error, "control socket");
                thread::sleep(PAUSE);
            }
        }
    }
}

fn converse(stream: &UnixStream, answer: impl Fn(Request) -> Answer) -> io::Result<()> {
    let mut line = String::new();
    BufReader::new(Timed::new(stream, TO_ASK)).take(MAX_QUESTION).read_line(&mut line)?;
    let reply = match serde_json::from_str::<Request>(&line) {
        // What has panicked has said so on standard error; locks outlive it.
        Ok(request) => catch_unwind(AssertUnwindSafe(|| answer(request))).unwrap_or_else(|_| {
            Answer::Error("vfw failed at this question: a mistake in vfw, please report it".into())
        }),
        Err(error) => Answer::Error(format!("not a request: {error}")),
    };
    let mut text = serde_json::to_vec(&reply)?;
    text.push(b'\n');
    Timed::new(stream, TO_READ).write_all(&text)
}

/// A stream that ends in time, however often the other side moves a little.
struct Timed<'a> {
    stream: &'a UnixStream,
    end: Instant,
}

impl<'a> Timed<'a> {
    fn new(stream: &'a UnixStream, patience: Duration) -> Self {
        Self { stream, end: Instant::now() + patience }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Question, Server, ask};
    use super::*;

    /// A server whose answer to `show zones` is to panic.
    fn server(name: &str) -> (Server, std::path::PathBuf) {
        let path = std::env::temp_dir().join(format!("vfw-{name}-{}.sock", std::process::id()));
        let server = Server::bind(&path).expect("a socket");
        let listener = server.listener().expect("a handle");
        // Ends with the process.
        thread::spawn(move || {
            serve(&listener, |request| {
                assert_ne!(request, Request::Show(Question::Zones), "as asked");
                Answer::Rules(Vec::new())
            });
        });
        (server, path)
    }

    fn rules(path: &std::path::Path) -> bool {
        ask(path, &Request::Show(Question::Rules)).is_ok_and(|answer| answer == Answer::Rules(Vec::new()))
    }

    #[test]
    fn slow_clients_keep_nobody_waiting() {
        let (_server, path) = server("slow");
        // One says nothing, one a little at a time, one does not end its line.
        let slow: Vec<UnixStream> = (0..CLIENTS - 1).map(|_| UnixStream::connect(&path).expect("connects")).collect();
        (&slow[1]).write_all(b"{").expect("writes");
        let start = Instant::now();
        assert!((0..10).all(|_| rules(&path)));
        assert!(start.elapsed() < TO_ASK / 2, "{:?}", start.elapsed());
        // They are not waited for without an end, also where they move.
        let trickle = thread::spawn(move || {
            (0..100).find(|_| {
                thread::sleep(Duration::from_millis(100));
                slow.iter().all(|mut stream| stream.write_all(b" ").is_err())
            })
        });
        let ended = trickle.join().expect("ends").expect("they are shut out");
        assert!((10..60).contains(&ended), "after {ended} tenths of a second");
    }

    #[test]
    fn a_panic_is_an_answer_and_not_the_end() {
        let (_server, path) = server("panic");
        for _ in 0..2 * CLIENTS {
            let error = ask(&path, &Request::Show(Question::Zones)).expect_err("fails").to_string();
            assert!(error.contains("a mistake in vfw"), "{error}");
        }
        assert!(rules(&path));
    }
}
