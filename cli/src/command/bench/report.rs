//! `vfw bench report`: one page of several reports.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::compare::read;
use crate::bench::report::{html, pictures};
use crate::command::{Exit, Failure};

const EXAMPLE: &str = "\
Examples:
  vfw bench report range.json rr.json pps.json --html report.html
  vfw bench report range.json --svg pictures

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
    #[arg(long, value_name = "FILE", required_unless_present = "svg")]
    html: Option<PathBuf>,
    /// Folder for the plots, each as a file of its own
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,
}

/// Reads and writes.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let documents = arguments.files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = &arguments.html {
        write(path, &html(&documents).map_err(Failure::refused)?)?;
    }
    if let Some(folder) = &arguments.svg {
        for document in &documents {
            for (name, text) in pictures(document).map_err(Failure::refused)? {
                write(&folder.join(name), &text)?;
            }
        }
    }
    Ok(Exit::Success as u8)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display())).map_err(Failure::refused)
}
