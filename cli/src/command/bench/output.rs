//! How the tests of `vfw bench` give what they found.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;

use super::Failure;
use crate::bench::report::{Document, csv, html, table};

/// Flags that all tests have.
#[derive(Debug, Default, clap::Args)]
pub struct Output {
    /// Print one JSON document instead of the table
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print comma-separated values instead of the table
    #[arg(long)]
    pub csv: bool,
    /// Write a page with plots as well
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

impl Output {
    /// Prints a document and writes its page.
    pub fn show(&self, document: &Document) -> Result<(), Failure> {
        let text = if self.json {
            document.json().map_err(Failure::refused)?
        } else if self.csv {
            csv(document).map_err(Failure::refused)?
        } else {
            table(document)
        };
        super::print(&text);
        match &self.html {
            Some(path) => fs::write(path, html(std::slice::from_ref(document)).map_err(Failure::refused)?)
                .with_context(|| format!("cannot write {}", path.display()))
                .map_err(Failure::refused),
            None => Ok(()),
        }
    }
}
