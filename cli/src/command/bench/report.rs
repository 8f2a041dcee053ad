//! `vfw bench report`: one page of several reports.

use std::path::PathBuf;

use anyhow::Context as _;

use super::compare::read;
use crate::bench::report::html;
use crate::command::{Exit, Failure};

const EXAMPLE: &str = "\
Example:
  vfw bench report range.json rr.json pps.json --html report.html

The page has tables and plots of all tests and needs nothing beside it.
Exit code: 0 written, 1 a file is no report, 2 a file cannot be read or written.";

/// `vfw bench report FILE...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    /// Reports of `--json`
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The page to write
    #[arg(long, value_name = "FILE")]
    html: PathBuf,
}

/// Reads and writes.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let documents = arguments.files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    let page = html(&documents).map_err(Failure::refused)?;
    std::fs::write(&arguments.html, page)
        .with_context(|| format!("cannot write {}", arguments.html.display()))
        .map_err(Failure::refused)?;
    Ok(Exit::Success as u8)
}
