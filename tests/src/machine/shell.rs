//! Commands in a machine of an [`super::Initramfs`], by its second serial port.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::ChildStdin;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use super::{PATIENCE, Qemu, Start};
use crate::network::Network;

/// A running machine that takes commands.
pub struct Machine {
    qemu: Qemu,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Machine {
    /// Boots a machine, as [`Qemu::start`] does. Returns when it answers.
    pub fn boot(network: &Network, interfaces: &[&str], start: &Start) -> Self {
        let mut qemu = Qemu::start(network, interfaces, start);
        let input = qemu.child.stdin.take().expect("its input");
        let output = BufReader::new(qemu.child.stdout.take().expect("its output"));
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            // Ends with the machine, or with the test.
            let text = |line: Vec<u8>| String::from_utf8_lossy(&line).into_owned();
            output.split(b'\n').map_while(Result::ok).try_for_each(|line| send.send(text(line)))
        });
        let mut machine = Self { qemu, input, lines };
        assert_eq!(machine.answer().1, "ready");
        machine
    }

    /// Runs a line of shell in the machine; returns its exit code and what it printed.
    pub fn run(&mut self, line: &str) -> (i32, String) {
        writeln!(self.input, "{line}").expect("the machine runs");
        let (said, code) = self.answer();
        (code.parse().unwrap_or(-1), said)
    }

    /// Runs a line of shell that has to succeed.
    pub fn must(&mut self, line: &str) -> String {
        let (code, said) = self.run(line);
        assert_eq!(code, 0, "{line}: {said}\n--- console ---\n{}", self.qemu.console());
        said
    }

    /// Lines up to the end of a command, and how that ends.
    fn answer(&mut self) -> (String, String) {
        let deadline = Instant::now() + PATIENCE;
        let mut said = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("the machine does not answer\n{said}\n--- console ---\n{}", self.qemu.console());
            };
            if let Some(end) = line.strip_prefix("=== ") {
                return (said, end.trim().to_owned());
            }
            said += &line;
            said.push('\n');
        }
    }
}
