//! Errors and warnings with their place, a caret and a hint.

use std::fmt::{self, Write as _};
use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};
use serde::{Deserialize, Serialize};

use super::policy::{Action, Location, Test, TestCase};
use super::source::{LineIndex, SourceFile, Span};

/// No more errors, and no more warnings, than this are kept.
const MAX_KEPT: usize = 100;
/// Longest source line that is shown whole.
const MAX_SHOWN_LINE: usize = 2048;
/// Characters shown on each side of the caret in a longer line.
const WINDOW: usize = 60;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy cannot be used.
    Error,
    /// The policy can be used but probably does not do what was meant.
    Warning,
}

/// One message about one place in the files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// The place.
    pub location: Location,
    /// Text beside the caret; may be empty.
    pub label: String,
    /// Other places that matter, each with its text.
    pub related: Vec<(Location, String)>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(location: Location, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            location,
            label: String::new(),
            related: Vec::new(),
            hint: None,
        }
    }

    /// A warning at a place.
    pub fn warning(location: Location, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(location, message) }
    }

    /// Adds the text beside the caret.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what to do about it, if anything is known.
    #[must_use]
    pub fn with_optional_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// Adds another place that matters.
    #[must_use]
    pub fn with_related(mut self, location: Location, text: impl Into<String>) -> Self {
        self.related.push((location, text.into()));
        self
    }

    /// The error for a test case that got another decision than it expects. `by` is the rule (or `default`) that decided;
    /// none stands for the built-in default.
    pub fn test_failed(test: &Test, case: &TestCase, got: Action, by: Option<&Location>) -> Self {
        let message = format!("test {:?}: expected {}, got {got}", test.name, case.expect);
        let error = Self::error(case.location.clone(), message).with_label(format!("this packet gets {got}"));
        match by {
            Some(location) => error.with_related(location.clone(), "decided here"),
            None => error.with_hint("no rule matches, so the built-in `default drop` decides"),
        }
    }
}

/// Errors and warnings in the order of the files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    omitted: usize,
}

impl Diagnostics {
    /// Adds one; past 100 errors or 100 warnings only counts it.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let count = match diagnostic.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        if *count < MAX_KEPT {
            *count += 1;
            self.list.push(diagnostic);
        } else {
            self.omitted += 1;
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// "2 errors, 1 warning"; empty when there is nothing to say.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        for (count, word) in [(self.errors, "error"), (self.warnings, "warning")] {
            match count {
                0 => {}
                1 => parts.push(format!("1 {word}")),
                n => parts.push(format!("{n} {word}s")),
            }
        }
        if self.omitted > 0 {
            parts.push(format!("{} more not shown", self.omitted));
        }
        parts.join(", ")
    }

    fn sort(&mut self) {
        self.list.sort_by_key(|d| (d.location.file, d.location.span.start));
    }
}

impl FromIterator<Diagnostic> for Diagnostics {
    fn from_iter<I: IntoIterator<Item = Diagnostic>>(iter: I) -> Self {
        let mut all = Self::default();
        for diagnostic in iter {
            all.push(diagnostic);
        }
        all
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())
    }
}

impl std::error::Error for Diagnostics {}

/// Collects diagnostics and knows the files, so that spans become locations.
pub(crate) struct Sink<'a> {
    sources: &'a [SourceFile],
    lines: Vec<LineIndex>,
    found: Diagnostics,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(sources: &'a [SourceFile]) -> Self {
        let lines = sources.iter().map(|file| LineIndex::new(&file.text)).collect();
        Self { sources, lines, found: Diagnostics::default() }
    }

    pub(crate) fn at(&self, span: Span) -> Location {
        match (self.lines.get(span.file), self.sources.get(span.file)) {
            (Some(lines), Some(file)) => lines.locate(&file.text, span),
            _ => Location::default(),
        }
    }

    pub(crate) fn error(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(self.at(span), message)
    }

    pub(crate) fn warning(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(self.at(span), message)
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.found.has_errors()
    }

    pub(crate) fn finish(mut self) -> Diagnostics {
        self.found.sort();
        self.found
    }
}

/// Draws the diagnostics for a terminal of `width` columns, in colour or plain.
pub fn render(diagnostics: &Diagnostics, sources: &[SourceFile], color: bool, width: usize) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() }.term_width(width.max(40));
    let mut out = String::new();
    for diagnostic in diagnostics.iter() {
        out += &renderer.render(&report(diagnostic, sources));
        out += "\n\n";
    }
    if diagnostics.omitted > 0 {
        let _ = write!(out, "{} more not shown\n\n", diagnostics.omitted);
    }
    out
}

fn report<'a>(diagnostic: &'a Diagnostic, sources: &'a [SourceFile]) -> Vec<Group<'a>> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()));
    let mut places = vec![(&diagnostic.location, diagnostic.label.as_str(), AnnotationKind::Primary)];
    let related = diagnostic.related.iter();
    places.extend(related.map(|(at, text)| (at, text.as_str(), AnnotationKind::Context)));
    while let Some((first, ..)) = places.first() {
        // Places on one line are drawn together.
        let line = (first.file, first.line);
        let (here, later): (Vec<_>, Vec<_>) = places.into_iter().partition(|(at, ..)| (at.file, at.line) == line);
        places = later;
        if let Some(file) = sources.get(line.0) {
            group = group.elements(shown(file, &here));
        }
    }
    if let Some(hint) = &diagnostic.hint {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    vec![group]
}

type Place<'a> = (&'a Location, &'a str, AnnotationKind);

/// Places on one line, cut to the surroundings of the first when the line is very long.
fn shown<'a>(file: &'a SourceFile, places: &[Place<'a>]) -> Vec<Element<'a>> {
    let Some((first, ..)) = places.first() else {
        return Vec::new();
    };
    let line = line_around(&file.text, first.span.start);
    if line.len() <= MAX_SHOWN_LINE {
        return vec![snippet(file, line, places).path(file.name.as_str()).into()];
    }
    let origin = Origin::path(file.name.as_str()).line(first.line as usize).char_column(first.column as usize);
    let start = whole(&file.text, first.span.start.clamp(line.start, line.end));
    let before = file.text.get(line.start..start).unwrap_or("").char_indices().rev();
    let after = file.text.get(start..line.end).unwrap_or("").char_indices();
    let from = before.take(WINDOW).last().map_or(start, |(at, _)| line.start + at);
    let to = after.take(WINDOW).last().map_or(start, |(at, c)| start + at + c.len_utf8());
    vec![origin.into(), snippet(file, from..to, places).into()]
}

fn snippet<'a>(file: &'a SourceFile, part: Range<usize>, places: &[Place<'a>]) -> Snippet<'a, Annotation<'a>> {
    let line = places.first().map_or(1, |(at, ..)| at.line as usize);
    let text = file.text.get(part.clone()).unwrap_or("");
    places.iter().fold(Snippet::source(text).line_start(line), |snippet, (at, label, kind)| {
        // Locations may come from outside: the drawing must hold with any of them.
        let start = whole(text, at.span.start.clamp(part.start, part.end) - part.start);
        let end = whole(text, at.span.end.clamp(part.start, part.end) - part.start).max(start);
        snippet.annotation(kind.span(start..end).label((!label.is_empty()).then_some(*label)))
    })
}

/// The last character boundary up to `at`.
fn whole(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// The line that holds a byte, without its line break.
fn line_around(text: &str, at: usize) -> Range<usize> {
    let at = at.min(text.len());
    let start = text.as_bytes().iter().take(at).rposition(|&b| b == b'\n').map_or(0, |p| p + 1);
    let end = text.as_bytes().iter().skip(at).position(|&b| b == b'\n').map_or(text.len(), |p| at + p);
    let end = if end > start && text.as_bytes().get(end - 1) == Some(&b'\r') { end - 1 } else { end };
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, word: &str) -> Location {
        let start = text.find(word).expect("in text");
        LineIndex::new(text).locate(text, Span { file: 0, start, end: start + word.len() })
    }

    #[test]
    fn shows_line_caret_and_hint() {
        let text = "zone a\nallow a -> bb\n";
        let sources = [SourceFile::new("x.fw", text)];
        let error = Diagnostic::error(place(text, "bb"), "unknown zone `bb`").with_hint("did you mean `b`?");
        let shown = render(&[error].into_iter().collect(), &sources, false, 80);
        for part in ["error: unknown zone `bb`", "x.fw:2:12", "allow a -> bb", "^^", "did you mean `b`?"] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
    }

    #[test]
    fn long_lines_are_cut_but_keep_their_column() {
        let text = format!("{} oops {}", "ä".repeat(3000), "x".repeat(3000));
        let sources = [SourceFile::new("x.fw", text.clone())];
        let error = Diagnostic::error(place(&text, "oops"), "no");
        let shown = render(&[error].into_iter().collect(), &sources, false, 80);
        assert!(shown.contains("x.fw:1:3002") && shown.contains("oops") && shown.len() < 1000, "{shown}");
    }

    #[test]
    fn any_location_renders() {
        let sources = [SourceFile::new("x.fw", "a\r\n\r\nb\u{202e}\u{1}ä")];
        for start in 0..20 {
            for end in 0..20 {
                for file in 0..2 {
                    let location = Location { file, line: 1, column: 1, span: start..end };
                    let list: Diagnostics = [Diagnostic::error(location, "m")].into_iter().collect();
                    assert!(render(&list, &sources, true, 0).contains('m'));
                }
            }
        }
    }

    #[test]
    fn a_flood_is_counted_not_kept() {
        let all: Diagnostics = (0..250).map(|_| Diagnostic::error(Location::default(), "m")).collect();
        assert_eq!((all.len(), all.summary().as_str()), (100, "100 errors, 150 more not shown"));
    }
}
