//! `vfw check`: is this policy good, and does it do what its tests say?

use std::io::Write as _;
use std::time::Instant;

use serde::Serialize;

use super::{Exit, Failure, Inputs, show_diagnostics};
use crate::compile::{CompileError, Link, compile};
use crate::config::Config;
use crate::lang::{Diagnostic, Diagnostics, Loaded, Severity, SourceFile, load};
use crate::preview;
use crate::summary::Summary;

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
struct Report {
    ok: bool,
    /// Nothing when the policy could not be compiled.
    #[serde(flatten)]
    summary: Summary,
    diagnostics: Vec<Message>,
    #[serde(skip)]
    is_compiled: bool,
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
    let mut report = check(&sources, &config, &mut found);
    report.ok = !found.has_errors();
    if arguments.json {
        report.diagnostics = found.iter().map(|diagnostic| message(diagnostic, &sources)).collect();
        match serde_json::to_string_pretty(&report) {
            Ok(text) => print(&text),
            Err(error) => eprintln!("error: {error}"),
        }
    } else {
        show_diagnostics(&found, &sources);
        print(&text(&report, &found));
    }
    if report.ok { Exit::Success } else { Exit::BadInput }
}

/// What the check finds, and what it says of a policy that holds.
pub(super) fn verdict(sources: &[SourceFile], config: &Config) -> (Diagnostics, String) {
    let mut found = Diagnostics::default();
    let report = check(sources, config, &mut found);
    let text = text(&report, &found);
    (found, text)
}

/// Everything that can be known without a system.
fn check(sources: &[SourceFile], config: &Config, found: &mut Diagnostics) -> Report {
    let start = Instant::now();
    let policy = match load(sources) {
        Ok(Loaded { policy, warnings }) => {
            extend(found, &warnings);
            policy
        }
        Err(errors) => {
            extend(found, &errors);
            return Report::default();
        }
    };
    let image = match compile(&policy, config, &Link::invent(&policy)) {
        Ok(image) => image,
        Err(CompileError::Policy(errors) | CompileError::Interface(errors)) => {
            extend(found, &errors);
            return Report::default();
        }
    };
    let compiled = start.elapsed();
    let tests = preview::run_tests(&policy, &image, config);
    extend(found, &tests.errors);
    let summary = Summary::new(&policy, &image, config, &tests, compiled);
    Report { summary, is_compiled: true, ..Report::default() }
}

fn extend(all: &mut Diagnostics, more: &Diagnostics) {
    more.iter().cloned().for_each(|diagnostic| all.push(diagnostic));
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

fn text(report: &Report, found: &Diagnostics) -> String {
    let mut lines = if report.is_compiled { report.summary.lines() } else { Vec::new() };
    lines.push(match (found.has_errors(), found.is_empty()) {
        (false, true) => "ok".to_owned(),
        (false, false) => format!("ok, {}", found.summary()),
        (true, _) => format!("not usable: {}", found.summary()),
    });
    lines.join("\n")
}

/// To standard output; a reader that has gone away is no error.
fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
