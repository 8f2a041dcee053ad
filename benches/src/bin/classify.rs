//! What the rule table costs, by number and kind of rules, beside what was aimed at.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use vfw_benches::head::Head;
use vfw_benches::{classify, dpdk, peers, report};

const AFTER: &str = "\
Example:
  cargo run --release -p vfw-benches --bin classify -- --report benches/reports/classify.md

Needs root. Rule sets are generated, the same ones each time. Other work on the machine makes all times longer.";

/// Compiles generated rule sets and looks headers up, in user space and in the kernel.
#[derive(Debug, Parser)]
#[command(after_help = AFTER)]
struct Arguments {
    /// Write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as Markdown.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Numbers of rules.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_values_t = classify::SIZES)]
    sizes: Vec<usize>,
    /// The CPU for everything that other tools do.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    cpu: usize,
    /// Headers of each kind to look up.
    #[arg(long, default_value_t = 5_000, value_name = "NUMBER")]
    headers: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let head = Head::new("classify");
    let sets = classify::measure(&arguments.sizes, arguments.headers)?;
    let peers = peers::measure(arguments.cpu)?;
    let dpdk = dpdk::measure(arguments.cpu, arguments.headers)?;
    let targets = classify::targets(&sets);
    let text = [
        head.text("vfw rule table"),
        classify::text(&sets),
        peers::text(&peers),
        dpdk::text(dpdk.as_deref()),
        report::targets_text(&targets),
    ];
    let text = text.join("\n");
    print!("{text}");
    report::write(arguments.json.as_deref(), || {
        Ok(serde_json::to_string_pretty(&(&head, &sets, &peers, &dpdk, &targets))? + "\n")
    })?;
    report::write(arguments.report.as_deref(), || Ok(report::page("Rule table", &head, &text)))
}
