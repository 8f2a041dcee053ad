//! What vfw's data path costs, beside what Linux costs, in one run.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use vfw_benches::machine::Machine;
use vfw_benches::report::Report;
use vfw_benches::{cost, firewall, programs, throughput};

const AFTER: &str = "\
Example:
  cargo run --release -p vfw-benches --bin datapath -- --report benches/reports/datapath.md

Needs root, iperf3 and nft. Everything happens in network namespaces that end
with the process. Compare figures of one run only.";

/// Net cost per packet, cost and size of the programs, TCP throughput.
#[derive(Debug, Parser)]
#[command(after_help = AFTER)]
struct Arguments {
    /// Write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as Markdown.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Fewer and shorter rounds: good enough to see a change of a quarter.
    #[arg(long)]
    quick: bool,
    /// Part to measure; all when absent.
    #[arg(long, value_name = "PART", value_parser = ["cost", "programs", "tcp"])]
    only: Option<String>,
    /// Numbers of flows, ascending, as far as Linux's connection tracking has room
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_values_t = [1, 1_000, 60_000, 240_000])]
    flows: Vec<u32>,
    /// CPU for the measurements of single packets; the last one when absent.
    #[arg(long, value_name = "NUMBER")]
    cpu: Option<usize>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let cpus = std::thread::available_parallelism()?.get();
    let cpu = arguments.cpu.unwrap_or(cpus - 1);
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let machine = Machine::inspect(cpu, format!("datapath {command}").trim().to_owned())?;
    let wanted = |part: &str| arguments.only.as_deref().is_none_or(|only| only == part);
    let (rounds, frames, runs, transfers, seconds) =
        if arguments.quick { (3, 500_000, 200_000, 3, 1) } else { (9, 1_000_000, 1_000_000, 15, 2) };
    let mut costs = Vec::new();
    if wanted("cost") {
        let room = firewall::conntrack_room()?;
        let flows: Vec<u32> = arguments.flows.into_iter().filter(|flows| *flows < room).collect();
        eprintln!("net cost per packet ...");
        costs = cost::measure(cpu, &flows, rounds, frames)?;
    }
    let mut programs = programs::Programs::default();
    if wanted("programs") {
        eprintln!("programs ...");
        programs = programs::measure(cpu, rounds, runs)?;
    }
    let mut tcp = Vec::new();
    if wanted("tcp") {
        eprintln!("TCP throughput ...");
        tcp = throughput::measure(transfers, seconds)?;
    }
    let report = Report::new(machine, costs, programs, tcp);
    print!("{}", report.text());
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &arguments.report {
        std::fs::write(path, report.markdown()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
