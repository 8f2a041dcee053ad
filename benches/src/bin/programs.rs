//! What vfw's programs cost by themselves: time of a run, and size.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use vfw_benches::head::Head;
use vfw_benches::{programs, report};

const AFTER: &str = "\
Example:
  cargo run --release -p vfw-benches --bin programs -- --report benches/reports/programs.md

Needs root. Everything happens in network namespaces that end with the process.
Compare figures of one run only.";

/// Time of a run and size of vfw's eBPF programs.
#[derive(Debug, Parser)]
#[command(after_help = AFTER)]
struct Arguments {
    /// Write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as Markdown.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Rounds of each measurement, of which the middle one counts.
    #[arg(long, default_value_t = 9, value_name = "NUMBER")]
    rounds: usize,
    /// Runs of a program in a round.
    #[arg(long, default_value_t = 1_000_000, value_name = "NUMBER")]
    runs: u32,
    /// CPU for all work.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    cpu: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let head = Head::new("programs");
    let programs = programs::measure(arguments.cpu, arguments.rounds, arguments.runs)?;
    let text = [head.text("vfw programs"), programs::text(&programs)].join("\n");
    print!("{text}");
    report::write(arguments.json.as_deref(), || Ok(serde_json::to_string_pretty(&(&head, &programs))? + "\n"))?;
    report::write(arguments.report.as_deref(), || Ok(report::page("Programs", &head, &text)))
}
