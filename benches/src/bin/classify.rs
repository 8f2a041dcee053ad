//! What the rule table costs, by number and kind of rules, beside what was aimed at.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use vfw_benches::machine::Machine;
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
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let machine = Machine::inspect(0, format!("classify {command}").trim().to_owned())?;
    let sets = classify::measure(&arguments.sizes, arguments.headers)?;
    let peers = peers::measure(arguments.cpu)?;
    let dpdk = dpdk::measure(arguments.cpu, arguments.headers)?;
    let targets = classify::targets(&sets);
    let text = [
        machine.text("vfw rule table"),
        classify::text(&sets),
        peers::text(&peers),
        dpdk::text(dpdk.as_deref()),
        report::targets_text(&targets),
    ];
    let text = text.join("\n");
    print!("{text}");
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&(&machine, &sets, &peers, &dpdk, &targets))?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &arguments.report {
        let page = report::page("Rule table", &machine, &text);
        std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
