//! `vfw bench classify`: rule tables of rule sets in files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::bench::{classbench, headers::headers, measure};
use crate::command::{Exit, Failure};

const EXAMPLE: &str = "\
Example:
  vfw bench classify tests/fixtures/classbench/acl1_1k --headers 20000

Headers are corners of the rules' ranges, every fourth one with fields of different rules. Times are those of the best of
several rounds. Exit code: 0 all answers are right, 1 a file is no rule set, cannot be compiled or gave a wrong answer, 2 the
system refused.";

/// `vfw bench classify FILE...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    /// Rule sets.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Headers to look up for each file.
    #[arg(long, default_value_t = 10_000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    headers: u32,
    /// Print one JSON array instead of text.
    #[arg(long)]
    json: bool,
}

/// What one file gave.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    rules: usize,
    /// Of the image.
    bytes: usize,
    compile_ms: f64,
    worst_steps: u32,
    /// Mean of a look-up in user space.
    user_ns: f64,
    /// Mean of a look-up in the kernel, without that of a program that does not look up.
    ebpf_ns: f64,
    /// Headers that got another answer than the rules one after the other give, in user space or in the kernel.
    wrong: usize,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let mut reports = Vec::new();
    for file in &arguments.files {
        reports.push(report(file, arguments.headers as usize)?);
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&reports).map_err(Failure::refused)?);
    } else {
        println!("{}", table(&reports));
    }
    let is_right = reports.iter().all(|report| report.wrong == 0);
    Ok(if is_right { Exit::Success } else { Exit::BadInput } as u8)
}

fn report(file: &Path, count: usize) -> Result<Report, Failure> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {name}")).map_err(Failure::refused)?;
    let bad = |message: String| Failure { exit: Exit::BadInput, message: format!("{name}: {message}") };
    let rules = classbench::parse(&text).map_err(|error| bad(error.to_string()))?;
    if rules.is_empty() {
        return Err(bad("there are no rules in it".to_owned()));
    }
    let compiled = measure::compile(&rules).map_err(|error| bad(error.to_string()))?;
    let found = measure::look_up(&rules, &compiled.forest, &headers(&rules, count, 1)).map_err(Failure::refused)?;
    Ok(Report {
        file: name.clone(),
        rules: rules.len(),
        bytes: size_of_val(compiled.forest.blocks.as_slice()),
        compile_ms: compiled.millis,
        worst_steps: compiled.forest.worst_steps.into_iter().max().unwrap_or(0),
        user_ns: found.user_ns,
        ebpf_ns: found.ebpf_ns,
        wrong: found.wrong,
    })
}

fn table(reports: &[Report]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["file", "rules", "bytes", "compile_ms", "worst_steps", "user_ns", "ebpf_ns", "wrong"]);
    for report in reports {
        table.add_row([
            report.file.clone(),
            report.rules.to_string(),
            report.bytes.to_string(),
            format!("{:.2}", report.compile_ms),
            report.worst_steps.to_string(),
            format!("{:.1}", report.user_ns),
            format!("{:.1}", report.ebpf_ns),
            report.wrong.to_string(),
        ]);
    }
    table
}
