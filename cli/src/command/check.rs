//! `vfw check`: is this policy good, and does it do what its tests say?

use std::io::Write as _;

use serde::Serialize;

use super::{Exit, Failure, Inputs, show_diagnostics};
use crate::compile::{CompileError, Image, Link, compile};
use crate::config::Config;
use crate::lang::{Diagnostic, Diagnostics, Loaded, Policy, Severity, SourceFile, load};
use crate::preview;

const EXAMPLE: &str = "\
Example:
  vfw check rules/examples/two-tier.fw

Interfaces need not exist: each is stood in for by a made-up one.
Exit code: 0 the policy is good, 1 it is not, 2 a file could not be read.";

/// `vfw check FILE...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    /// What to read.
    #[command(flatten)]
    pub inputs: Inputs,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// What the check found out.
#[derive(Debug, Default, Serialize)]
struct Summary {
    ok: bool,
    zones: usize,
    rules: usize,
    entries: usize,
    worst_steps: u32,
    routes: usize,
    bytes: Vec<TableBytes>,
    tests_passed: usize,
    tests_failed: usize,
    diagnostics: Vec<Message>,
}

#[derive(Debug, Serialize)]
struct TableBytes {
    table: &'static str,
    bytes: usize,
}

/// A diagnostic for machines.
#[derive(Debug, Serialize)]
struct Message {
    severity: &'static str,
    #[serde(rename = "message")]
    what: String,
    file: String,
    line: u32,
    column: u32,
    label: String,
    hint: Option<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    let (sources, config) = match arguments.inputs.read() {
        Ok(inputs) => inputs,
        Err(Failure { exit, message }) => {
            eprintln!("error: {message}");
            return exit;
        }
    };
    let mut found = Diagnostics::default();
    let mut summary = check(&sources, &config, &mut found);
    summary.ok = !found.has_errors();
    if arguments.json {
        summary.diagnostics = found.iter().map(|diagnostic| message(diagnostic, &sources)).collect();
        match serde_json::to_string_pretty(&summary) {
            Ok(text) => print(&text),
            Err(error) => eprintln!("error: {error}"),
        }
    } else {
        show_diagnostics(&found, &sources);
        print(&text(&summary, &found));
    }
    if summary.ok { Exit::Success } else { Exit::BadInput }
}

/// Everything that can be known without a system.
fn check(sources: &[SourceFile], config: &Config, found: &mut Diagnostics) -> Summary {
    let policy = match load(sources) {
        Ok(Loaded { policy, warnings }) => {
            extend(found, &warnings);
            policy
        }
        Err(errors) => {
            extend(found, &errors);
            return Summary::default();
        }
    };
    let image = match compile(&policy, config, &Link::invent(&policy)) {
        Ok(image) => image,
        Err(CompileError::Policy(errors) | CompileError::Interface(errors)) => {
            extend(found, &errors);
            return Summary::default();
        }
    };
    let tests = preview::run_tests(&policy, &image, config);
    extend(found, &tests.errors);
    summarise(&policy, &image, config, &tests)
}

fn extend(all: &mut Diagnostics, more: &Diagnostics) {
    more.iter().cloned().for_each(|diagnostic| all.push(diagnostic));
}

fn summarise(policy: &Policy, image: &Image, config: &Config, tests: &preview::Report) -> Summary {
    let bytes = image.table_bytes(config).into_iter().map(|(table, bytes)| TableBytes { table, bytes }).collect();
    Summary {
        ok: true,
        zones: policy.zones.len(),
        rules: policy.rules.len(),
        entries: image.entries,
        worst_steps: image.rules.worst_steps.into_iter().max().unwrap_or(0),
        routes: image.routes.len(),
        bytes,
        tests_passed: tests.passed,
        tests_failed: tests.failed,
        diagnostics: Vec::new(),
    }
}

fn message(diagnostic: &Diagnostic, sources: &[SourceFile]) -> Message {
    Message {
        severity: match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        what: diagnostic.message.clone(),
        file: sources.get(diagnostic.location.file).map(|file| file.name.clone()).unwrap_or_default(),
        line: diagnostic.location.line,
        column: diagnostic.location.column,
        label: diagnostic.label.clone(),
        hint: diagnostic.hint.clone(),
    }
}

fn text(summary: &Summary, found: &Diagnostics) -> String {
    let mut lines = Vec::new();
    if !summary.bytes.is_empty() {
        lines.push(format!("zones    {}", summary.zones));
        let (rules, entries, steps) = (summary.rules, summary.entries, summary.worst_steps);
        lines.push(format!("rules    {rules} ({entries} table entries, at most {steps} steps for a new flow)"));
        lines.push(format!("routes   {} (connected, own and static)", summary.routes));
        let total = summary.bytes.iter().map(|table| table.bytes).sum();
        let tables = summary.bytes.iter().map(|table| format!("{} {}", table.table, size(table.bytes)));
        lines.push(format!("memory   {} ({})", size(total), tables.collect::<Vec<_>>().join(", ")));
        lines.push(format!("tests    {} passed, {} failed", summary.tests_passed, summary.tests_failed));
    }
    lines.push(match (found.has_errors(), found.is_empty()) {
        (false, true) => "ok".to_owned(),
        (false, false) => format!("ok, {}", found.summary()),
        (true, _) => format!("not usable: {}", found.summary()),
    });
    lines.join("\n")
}

/// Bytes as a person reads them.
fn size(bytes: usize) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes.div_ceil(1_024)),
        _ => format!("{} MiB", bytes.div_ceil(1_048_576)),
    }
}

/// To standard output; a reader that has gone away is no error.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
