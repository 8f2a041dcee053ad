//! What reports have in common: targets, and the page that keeps them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::head::Head;

/// A figure that was aimed at.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// What is compared.
    pub what: String,
    /// The figure.
    pub measured: f64,
    /// `<=` or `>=`.
    pub relation: &'static str,
    /// The aim.
    pub aim: f64,
    /// Whether the figure is there.
    pub met: bool,
}

/// A report as a page of Markdown.
pub fn page(title: &str, head: &Head, text: &str) -> String {
    let command = &head.command;
    format!(
        "# {title}\n\nWritten by `{command}`; how to read it: [benches/README.md](../README.md).\n\n```text\n{text}```\n"
    )
}

/// Targets, and whether each is met.
pub fn targets_text(targets: &[Target]) -> String {
    let mut text = String::from("TARGETS\n\n");
    for target in targets {
        let met = if target.met { "met" } else { "MISSED" };
        let aim = format!("{} {:.2}", target.relation, target.aim);
        let _ = writeln!(text, "  {:<54}{:>6.2}  {aim:<8} {met}", target.what, target.measured);
    }
    text
}

/// Writes a file, if one is wanted.
pub fn write(path: Option<&Path>, text: impl FnOnce() -> Result<String>) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, text()?).with_context(|| format!("cannot write {}", path.display()))
}
