//! The rule language.
//!
//! ```text
//! bytes -> token -> parse -> ast -> check -> policy
//!                             ^
//!                             '--- print (parse(print(ast)) == ast)
//! ```
//!
//! [`load`] does all of it: any bytes give a [`Policy`] or [`Diagnostics`], never a panic. Words come from
//! [`registry`], from which the tables of `docs/rules.md` are made too.
//!
//! ```
//! use vfw::lang::{SourceFile, load, render};
//!
//! let files = [SourceFile::new("demo.fw", "zone app { interface eth1  address 10.0.10.1/24 }\nallow ap -> app\n")];
//! let errors = load(&files).expect_err("`ap` is not a zone");
//! assert!(render(&errors, &files, false, 80).contains("did you mean `app`?"));
//! ```

pub mod ast;
mod check;
mod diagnostic;
pub mod limits;
mod literal;
mod names;
mod parse;
mod policy;
mod print;
pub mod registry;
mod source;
pub mod tcp_flags;
mod token;
mod zone_ids;

pub use diagnostic::{Diagnostic, Diagnostics, Severity, render};
pub use policy::{
    Action, DefaultRule, IcmpMatch, Location, Log, Policy, Route, Rule, Service, TEST_SOURCE_PORT, Test, TestCase,
    Zone, ZoneMatch,
};
pub use print::print;
pub use source::{SourceFile, Span, Spanned};
pub use tcp_flags::TcpFlags;

/// A policy that can be used, and what its author should know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The policy.
    pub policy: Policy,
    /// Warnings; never errors.
    pub warnings: Diagnostics,
}

/// Reads and checks files that form one policy. Names may be used before they are declared and in any of the files.
///
/// The diagnostics of an `Err` hold at least one error, and the warnings found so far.
pub fn load(sources: &[SourceFile]) -> Result<Loaded, Diagnostics> {
    let mut sink = diagnostic::Sink::new(sources);
    let Some(documents) = read(sources, &mut sink) else {
        return Err(sink.finish());
    };
    let policy = check::policy(sources, &documents, &mut sink);
    let failed = sink.has_errors();
    let found = sink.finish();
    match policy {
        Some(policy) if !failed => Ok(Loaded { policy, warnings: found }),
        _ => Err(found),
    }
}

/// Reads the statements of one file without looking at what its names mean.
pub fn parse(source: &SourceFile) -> Result<Vec<ast::Statement>, Diagnostics> {
    let sources = std::slice::from_ref(source);
    let mut sink = diagnostic::Sink::new(sources);
    let documents = read(sources, &mut sink);
    let failed = sink.has_errors();
    match documents.and_then(|mut documents| documents.pop()) {
        Some(document) if !failed => Ok(document.statements),
        _ => Err(sink.finish()),
    }
}

/// The documents; none when the files are not text, or too large to be meant.
fn read(sources: &[SourceFile], sink: &mut diagnostic::Sink<'_>) -> Option<Vec<parse::Document>> {
    let mut usable = true;
    let mut bytes = 0;
    for (file, source) in sources.iter().enumerate() {
        bytes += source.text.len();
        if let Some(start) = source.invalid_at() {
            let span = Span { file, start, end: start + char::REPLACEMENT_CHARACTER.len_utf8() };
            let error = sink.error(span, "this is not UTF-8 text");
            sink.push(error.with_hint("rule files are UTF-8; convert the file, for example with `iconv -t UTF-8`"));
            usable = false;
        } else if bytes > limits::BYTES {
            let span = Span { file, ..Span::default() };
            sink.push(sink.error(span, format!("the rules are larger than {} MiB", limits::BYTES >> 20)));
            return None;
        }
    }
    usable.then(|| sources.iter().enumerate().map(|(file, source)| parse::document(file, source, sink)).collect())
}
