//! A program at a terminal, or a machine at a serial line: what it says is waited for, what it asks is answered.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};

use crate::network::{Network, Process};

/// One end of a line, with what has come in by it.
pub struct Line {
    output: Box<dyn Write>,
    input: Receiver<Vec<u8>>,
    /// What came in since the text that was waited for last.
    unread: String,
    /// All that came in.
    said: String,
    patience: Duration,
}

impl Line {
    /// Listens to `input`, and answers by `output`. Nothing that is waited for takes as long as `patience`.
    pub fn new(mut input: impl Read + Send + 'static, output: impl Write + 'static, patience: Duration) -> Self {
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Ends with the program, which closes a terminal with an error, or with the test.
            while let Ok(count) = input.read(&mut buffer) {
                if count == 0 || send.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { output: Box::new(output), input: receive, unread: String::new(), said: String::new(), patience }
    }

    /// Waits for a text; returns what came before it.
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(at) = self.unread.find(text) {
                let rest = self.unread.split_off(at + text.len());
                let mut before = std::mem::replace(&mut self.unread, rest);
                before.truncate(at);
                return before;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(bytes) = self.input.recv_timeout(left) else {
                panic!("in vain: {text:?}\n--- what was said ---\n{}", self.said);
            };
            let text = String::from_utf8_lossy(&bytes);
            self.said += &text;
            self.unread += &text;
        }
    }

    /// Waits for a question and answers it.
    pub fn answer(&mut self, question: &str, answer: &str) {
        self.expect(question);
        self.send(&format!("{answer}\r"));
    }

    /// Presses keys again and again until a text comes. A program that has just asked may not have taken the terminal yet.
    pub fn insist(&mut self, keys: &str, text: &str) {
        let deadline = Instant::now() + self.patience;
        while !self.unread.contains(text) && Instant::now() < deadline {
            // One that has ended hears no more.
            let _ = self.output.write_all(keys.as_bytes());
            while let Ok(bytes) = self.input.recv_timeout(Duration::from_millis(200)) {
                let text = String::from_utf8_lossy(&bytes);
                self.said += &text;
                self.unread += &text;
            }
        }
        self.expect(text);
    }

    /// Presses keys.
    pub fn send(&mut self, keys: &str) {
        self.output.write_all(keys.as_bytes()).and_then(|()| self.output.flush()).expect("the line is open");
    }
}

/// Starts `command` at `place`, at a terminal of its own that has 80 columns.
pub fn start(network: &Network, place: &str, command: &[&str], patience: Duration) -> (Line, Process) {
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None).expect("a terminal");
    let copy = || Stdio::from(pty.slave.try_clone().expect("a second handle"));
    // With the terminal as its controlling one, as a login has it.
    let mut setsid = Command::new("setsid");
    setsid.args(["--ctty", "--wait"]).args(command).stdin(copy()).stdout(copy()).stderr(copy());
    let process = network.within(place, || Process::start_at(setsid));
    let master = File::from(pty.master);
    let reader = master.try_clone().expect("a second handle");
    (Line::new(reader, master, patience), process)
}
