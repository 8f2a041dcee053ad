//! What is wrong with a settings file, and where.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::path::PathBuf;

/// A settings file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file was read and refused.
    #[error(transparent)]
    Invalid(Box<Invalid>),
}

/// A refused place in a settings file; prints as message, line with caret, hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The file as the user named it.
    pub file: String,
    /// What is wrong.
    pub message: String,
    /// Bytes of the text that are meant.
    pub span: Range<usize>,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The text of that line.
    pub source_line: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl std::error::Error for Invalid {}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, message, line, column, source_line, .. } = self;
        let margin = " ".repeat(line.to_string().len());
        let indent = " ".repeat(column - 1);
        let room = source_line.chars().count().saturating_sub(column - 1);
        let carets = "^".repeat(self.span.len().clamp(1, room.max(1)));
        writeln!(f, "{file}:{line}:{column}: {message}")?;
        writeln!(f, " {line} | {source_line}")?;
        write!(f, " {margin} | {indent}{carets}")?;
        if let Some(hint) = &self.hint {
            write!(f, "\n {margin} = hint: {hint}")?;
        }
        Ok(())
    }
}

impl ConfigError {
    pub(super) fn syntax(file: &str, text: &str, error: &toml::de::Error) -> Self {
        let span = error.span().unwrap_or(0..0);
        let start = (0..=span.start.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let (message, hint) = explain(error.message());
        Self::Invalid(Box::new(Invalid {
            file: file.to_owned(),
            message,
            span,
            line: before.matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            source_line: text[line_start..].lines().next().unwrap_or_default().replace('\t', " "),
            hint,
        }))
    }
}

/// Turns serde's message for an unknown name into ours, with the nearest known name as the hint.
fn explain(message: &str) -> (String, Option<String>) {
    let (kind, rest) = if let Some(rest) = message.strip_prefix("unknown field `") {
        ("key", rest)
    } else if let Some(rest) = message.strip_prefix("unknown variant `") {
        ("value", rest)
    } else {
        return (message.trim_end().to_owned(), None);
    };
    let mut quoted = rest.split('`');
    let name = quoted.next().unwrap_or_default();
    let known: Vec<&str> = quoted.skip(1).step_by(2).collect();
    let mut hint = String::new();
    if let Some(near) = nearest(name, &known) {
        let _ = write!(hint, "did you mean `{near}`? ");
    }
    if !known.is_empty() {
        let _ = write!(hint, "known here: {}", known.join(", "));
    }
    (format!("unknown {kind} `{name}`"), (!hint.is_empty()).then_some(hint))
}

/// The known name that differs least, when it differs little.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let normal = name.replace('-', "_").to_lowercase();
    known
        .iter()
        .map(|candidate| (strsim::osa_distance(&normal, candidate), *candidate))
        .min()
        .filter(|(steps, candidate)| *steps <= candidate.len().max(3) / 3)
        .map(|(_, candidate)| candidate)
}
