//! A running `vfw run`, and what it tells.

use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;

use nix::sys::signal::Signal;
use serde_json::Value;
use vfw::control::{Question, Request, ask};

use super::{Network, PATIENCE, Process, finish, until};

/// What the daemon logs once all is attached.
const READY: &str = "the policy is in force";

/// A firewall in force in its place of a network. Ended when this goes.
pub struct Firewall<'a> {
    network: &'a Network,
    process: Process,
    log: PathBuf,
}

impl Network {
    /// The control socket of this network's firewall.
    pub fn socket(&self) -> PathBuf {
        self.folder().join("control.sock")
    }

    /// The state file of this network's firewall.
    pub fn state_file(&self) -> PathBuf {
        self.folder().join("state.json")
    }

    /// Writes `vfw.toml`: `settings`, and files that no other test has.
    pub fn write_settings(&self, settings: &str) {
        let (socket, state) = (self.socket(), self.state_file());
        let text = format!(
            "{settings}\n[control]\nsocket = \"{}\"\n[state]\nfile = \"{}\"\n",
            socket.display(),
            state.display()
        );
        fs::write(self.folder().join("vfw.toml"), text).expect("the settings file");
    }
}

impl<'a> Firewall<'a> {
    pub(super) fn start(network: &'a Network, settings: &str) -> Self {
        network.write_settings(settings);
        let log = network.folder().join("log");
        let command = network.vfw(&["run", "--config", "vfw.toml", "rules.fw"]);
        let process = network.at_firewall(|| Process::start_logged(command, &log));
        let mut firewall = Self { network, process, log };
        until("vfw run is ready", || {
            let log = firewall.log();
            assert!(firewall.process.is_running(), "vfw run has ended:\n{log}");
            log.contains(READY).then_some(())
        });
        firewall
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The answer of `vfw show WHAT --json`: a list; for drops an object.
    pub fn show(&self, what: &str) -> Value {
        let socket = self.network.socket();
        let socket = socket.to_str().expect("a path in UTF-8");
        let command = self.network.vfw(&["show", what, "--json", "--socket", socket]);
        let output = finish(self.network.at_firewall(|| Process::start(command)), PATIENCE);
        assert!(output.status.success(), "vfw show {what}: {}", String::from_utf8_lossy(&output.stderr));
        let mut answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        answer.get_mut(what).expect("the answer to the question").take()
    }

    /// The counters of dropped packets.
    pub fn drop_counters(&self) -> Value {
        self.show("drops")["counters"].take()
    }

    /// Packets dropped for `reason`, of frames from `zone` (none: from no zone).
    pub fn dropped(&self, zone: Option<&str>, reason: &str) -> u64 {
        let drops = self.drop_counters();
        let mut rows = drops.as_array().expect("a list").iter();
        let row = rows.find(|row| row["zone"].as_str() == zone && row["reason"] == reason);
        row.map_or(0, |row| row["packets"].as_u64().expect("a number"))
    }

    /// All drops as `zone reason`, without the reasons in `but`.
    pub fn drop_reasons(&self, but: &[&str]) -> Vec<String> {
        let drops = self.drop_counters();
        let rows = drops.as_array().expect("a list").iter();
        rows.filter(|row| !but.iter().any(|reason| row["reason"] == *reason))
            .map(|row| format!("{} {}", row["zone"].as_str().unwrap_or("-"), row["reason"].as_str().unwrap_or("?")))
            .collect()
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.process.pid().as_raw()
    }

    /// Sends a signal and waits for the end.
    pub fn stop(self, signal: Signal) -> ExitStatus {
        self.process.signal(signal);
        self.wait()
    }

    /// Waits for the end.
    pub fn wait(mut self) -> ExitStatus {
        self.process.wait(PATIENCE).unwrap_or_else(|| panic!("vfw run did not end:\n{}", self.log()))
    }
}

impl Drop for Firewall<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && self.process.is_running() {
            let socket = self.network.socket();
            for question in [Question::Drops, Question::Neighbours] {
                eprintln!("{:?}", ask(&socket, &Request::Show(question)));
            }
        }
        self.process.signal(Signal::SIGINT);
        if self.process.wait(std::time::Duration::from_secs(5)).is_none() || std::thread::panicking() {
            eprintln!("--- log of vfw run ---\n{}---", self.log());
        }
    }
}
