//! `vfw bench compare`: two reports of the same test.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::bench::report::view::describe;
use crate::bench::report::{Comparison, Document, FEWEST_ROUNDS, ReadError, Verdict, compare};
use crate::command::{Exit, Failure};

const EXAMPLE: &str = "\
Example:
  vfw bench pps --lab --json > before.json
  vfw bench pps --lab --json > after.json
  vfw bench compare before.json after.json

Every figure of every condition is tested: do the rounds of one report differ from
those of the other by more than rounds of one report do (Mann and Whitney's U
test, corrected for the number of tests)? Four rounds are the fewest that can tell.
Compare reports of one machine, made one after the other.
Exit code: 0 nothing is slower, 1 something is slower or the files cannot be
compared, 2 a file cannot be read.";

/// `vfw bench compare FILE FILE`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    /// A report of `--json`
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// Another one of the same test
    #[arg(value_name = "AFTER")]
    after: PathBuf,
    /// Percent by which a median must differ to count
    #[arg(long, default_value_t = 1.0, value_name = "PERCENT", value_parser = percent)]
    least: f64,
    /// Show what is within noise as well
    #[arg(long)]
    all: bool,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "a number from 0 to 100 is expected".to_owned())
}

/// Compares and prints.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let (before, after) = (read(&arguments.before)?, read(&arguments.after)?);
    let comparison = compare(&before, &after, arguments.least / 100.0)
        .map_err(|reason| Failure::bad_input(format!("the reports cannot be compared: {reason}")))?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&comparison).map_err(Failure::refused)?;
        super::print(&(text + "\n"));
    } else {
        super::print(&text(&comparison, arguments.all));
    }
    let is_slower = comparison.changes.iter().any(|change| change.verdict == Verdict::Slower);
    Ok(if is_slower { Exit::BadInput } else { Exit::Success } as u8)
}

/// Reads a report.
pub fn read(path: &Path) -> Result<Document, Failure> {
    Document::read(path).map_err(|error| match error {
        ReadError::Read { .. } => Failure::refused(error),
        ReadError::Form { .. } => Failure::bad_input(error.to_string()),
    })
}

/// The comparison as people read it, at most 80 columns wide.
fn text(comparison: &Comparison, all: bool) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_width(80).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["condition", "figure", "before", "after", "change", "p", ""]);
    let shown = comparison.changes.iter().filter(|change| all || change.verdict != Verdict::WithinNoise);
    for change in shown.clone() {
        let growth = change.growth().map_or_else(String::new, |growth| format!("{:+.1}%", growth * 100.0));
        table.add_row([
            describe(&change.condition),
            change.figure.title().to_owned(),
            change.figure.format(change.before),
            change.figure.format(change.after),
            growth,
            change.p.map_or_else(String::new, |p| format!("{p:.3}")),
            change.verdict.title().to_owned(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
        if (2..=5).contains(&column.index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    if shown.count() > 0 {
        let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        let _ = writeln!(text, "{}\n", lines.join("\n"));
    }
    let count = |verdict| comparison.changes.iter().filter(|change| change.verdict == verdict).count();
    let all = [Verdict::Faster, Verdict::Slower, Verdict::WithinNoise, Verdict::TooFewRounds];
    let counts = all.map(|verdict| (count(verdict), verdict.title())).into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, title)| format!("{count} {title}")).collect();
    let _ = writeln!(text, "{} figures: {}", comparison.changes.len(), counts.join(", "));
    if count(Verdict::TooFewRounds) > 0 {
        let _ = writeln!(text, "{FEWEST_ROUNDS} rounds of each are the fewest that can tell (--rounds).");
    }
    for note in &comparison.notes {
        let _ = writeln!(text, "{note}");
    }
    text
}
