//! TCP throughput with iperf3 between host A and host B.

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Serialize;
use serde_json::Value;
use vfw::config::Mode;

use crate::cost::Way;
use crate::firewall::{InForce, start_nftables, start_vfw};
use crate::topology::Topology;
use crate::{median, quantile};

/// Bytes of each write, as iperf3 is told.
const MESSAGE: &str = "64K";
/// How long the server may take to listen.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one way reached.
#[derive(Clone, Debug, Serialize)]
pub struct Throughput {
    /// Its name.
    pub way: &'static str,
    /// Median, Gbit/s.
    pub gbits: f64,
    /// Share of what the direct way reached: median of the ratios of each round.
    pub of_direct: f64,
    /// Half of the range that the middle half of these ratios lies in.
    pub spread: f64,
}

/// A way in force between two hosts with real TCP stacks.
struct Pair {
    way: Way,
    topology: Topology,
    _setup: Option<InForce>,
}

/// Measures every way, round by round, each round beginning with another way; `seconds` each.
pub fn measure(rounds: usize, seconds: u32) -> Result<Vec<Throughput>> {
    let ways = [Way::Direct, Way::Routing, Way::Nftables, Way::VfwTc, Way::VfwXdp, Way::VfwAfxdp];
    let pairs = ways.into_iter().map(Pair::new).collect::<Result<Vec<_>>>()?;
    let mut samples = vec![Vec::new(); pairs.len()];
    for round in 0..rounds {
        for place in 0..pairs.len() {
            let way = (round + place) % pairs.len();
            let (Some(pair), Some(samples)) = (pairs.get(way), samples.get_mut(way)) else { continue };
            samples.push(pair.run(seconds).with_context(|| format!("TCP by way of {}", pair.way.name()))?);
        }
    }
    let direct = samples.first().cloned().unwrap_or_default();
    Ok(pairs
        .iter()
        .zip(&samples)
        .map(|(pair, samples)| {
            let ratios: Vec<f64> = samples.iter().zip(&direct).map(|(own, direct)| own / direct).collect();
            let spread = (quantile(&ratios, 0.75) - quantile(&ratios, 0.25)) / 2.0;
            Throughput { way: pair.way.name(), gbits: median(samples), of_direct: median(&ratios), spread }
        })
        .collect())
}

impl Pair {
    fn new(way: Way) -> Result<Self> {
        let topology = Topology::new(way != Way::Direct)?;
        topology.address_hosts()?;
        let mut setup = None;
        if let Some(firewall) = &topology.firewall {
            match way {
                Way::VfwXdp => setup = Some(start_vfw(firewall, Mode::Xdp, 1)?),
                Way::VfwTc => setup = Some(start_vfw(firewall, Mode::Tc, 1)?),
                Way::VfwAfxdp => setup = Some(start_vfw(firewall, Mode::Afxdp, 1)?),
                _ => topology.route_by_kernel()?,
            }
            if way == Way::Nftables {
                start_nftables(firewall)?;
            }
        }
        Ok(Self { way, topology, _setup: setup })
    }

    /// One transfer; Gbit/s that the receiver got.
    fn run(&self, seconds: u32) -> Result<f64> {
        let server = self.topology.b.run(|| Ok(Server(start(&["-s", "-1"])?)))?;
        let deadline = Instant::now() + PATIENCE;
        let seconds = seconds.to_string();
        let arguments = ["-c", "10.0.2.7", "-l", MESSAGE, "-t", &seconds, "-O", "1", "-J", "--connect-timeout", "2000"];
        let report = loop {
            let output = self.topology.a.run(|| Ok(start(&arguments)?.wait_with_output()?))?;
            let report: Value = serde_json::from_slice(&output.stdout).context("iperf3 gave no report")?;
            match report.get("error").and_then(Value::as_str) {
                None => break report,
                // The server may not listen yet.
                Some(error) if error.contains("refused") && Instant::now() < deadline => {
                    sleep(Duration::from_millis(50));
                }
                Some(error) => bail!("iperf3: {error}"),
            }
        };
        drop(server);
        let bits = report.pointer("/end/sum_received/bits_per_second").and_then(Value::as_f64);
        bits.map(|bits| bits / 1e9).ok_or_else(|| anyhow!("iperf3's report lacks the result"))
    }
}

/// A server that ends with the measurement, whatever happens in it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Usually it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str]) -> Result<Child> {
    Command::new("iperf3")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run iperf3 (apt-get install iperf3)")
}
