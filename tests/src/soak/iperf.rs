//! A TCP transfer by iperf3.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::network::{Network, Process, finish};

const PORT: &str = "5201";

/// A transfer under way.
pub struct Iperf {
    client: Process,
    _server: Process,
}

/// What a transfer came to.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Megabits per second, the mean and the least of one second.
    pub megabits: (f64, f64),
    /// Segments sent again.
    pub retransmitted: u64,
}

impl Iperf {
    /// From `app` to `db`, at most this many megabits per second.
    pub fn start(network: &Network, megabits: u32) -> Self {
        let server = network.start("db", &["iperf3", "--server", "--port", PORT]);
        let address = network.address("db", false).to_string();
        let rate = format!("{megabits}M");
        super::until("iperf3 listens", || {
            let listening = network.must("db", &["ss", "-Hltn", "sport", "=", &format!(":{PORT}")]);
            (!listening.is_empty()).then_some(())
        });
        let client = ["iperf3", "-c", &address, "-p", PORT, "-t", "86400", "-b", &rate, "--json"];
        Self { client: network.start("app", &client), _server: server }
    }

    /// Ends it.
    pub fn stop(self) -> Transfer {
        // It tells what it has measured so far.
        self.client.signal(Signal::SIGINT);
        let output = finish(self.client, Duration::from_secs(30));
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report of iperf3");
        let rate = |value: &Value| value["sum"]["bits_per_second"].as_f64().unwrap_or(0.0) / 1e6;
        let intervals = report["intervals"].as_array().cloned().unwrap_or_default();
        // The last one is cut short.
        let whole = &intervals[..intervals.len().saturating_sub(1)];
        let rates: Vec<f64> = whole.iter().map(rate).collect();
        let mean = rates.iter().sum::<f64>() / f64::from(rates.len().max(1) as u32);
        Transfer {
            megabits: (mean, rates.iter().copied().fold(f64::INFINITY, f64::min)),
            retransmitted: report["end"]["sum_sent"]["retransmits"].as_u64().unwrap_or(0),
        }
    }
}
