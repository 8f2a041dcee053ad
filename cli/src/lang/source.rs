//! Source text and places in it.

use super::policy::Location;

/// One rule file: its name, for messages, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The name shown in diagnostics, usually the path as the user gave it.
    pub name: String,
    /// The text. Bytes that were not UTF-8 are shown as U+FFFD.
    pub text: String,
    invalid: Option<usize>,
}

impl SourceFile {
    /// A file whose text is known to be UTF-8.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), invalid: None }
    }

    /// A file read from disk: any bytes. What is not UTF-8 becomes an error of [`super::load`].
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::new(name, text),
            Err(error) => Self {
                name: name.into(),
                // The valid prefix is the same in the lossy text, so this offset fits both.
                invalid: Some(error.utf8_error().valid_up_to()),
                text: String::from_utf8_lossy(error.as_bytes()).into_owned(),
            },
        }
    }

    /// Where the first byte that is not UTF-8 stands, if there is one.
    pub(crate) fn invalid_at(&self) -> Option<usize> {
        self.invalid
    }
}

/// A range of bytes in one of the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Index of the file.
    pub file: usize,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// From the start of `self` to the end of `other`.
    #[must_use]
    pub fn to(self, other: Span) -> Span {
        Span { end: other.end.max(self.end), ..self }
    }
}

/// A value and where it was written. Two of them are equal when the values are.
#[derive(Clone, Debug)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Puts a value and its place together.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// Line starts of one file, to turn byte offsets into line and column.
pub(crate) struct LineIndex {
    starts: Vec<usize>,
}

impl LineIndex {
    pub(crate) fn new(text: &str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { starts }
    }

    pub(crate) fn locate(&self, text: &str, span: Span) -> Location {
        let line = self.starts.partition_point(|&start| start <= span.start).saturating_sub(1);
        let start = self.starts.get(line).copied().unwrap_or(0);
        let before = text.get(start..span.start).unwrap_or("");
        Location {
            file: span.file,
            line: line as u32 + 1,
            column: before.chars().count() as u32 + 1,
            span: span.start..span.end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let text = "one\nzwölf drei\n";
        let index = LineIndex::new(text);
        let at = |word: &str| {
            let start = text.find(word).expect("in text");
            let location = index.locate(text, Span { file: 0, start, end: start + word.len() });
            (location.line, location.column)
        };
        assert_eq!(at("one"), (1, 1));
        assert_eq!(at("drei"), (2, 7));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_remembered() {
        let file = SourceFile::from_bytes("f", b"# ok \xff".to_vec());
        assert_eq!(file.invalid_at(), Some(5));
        assert_eq!(SourceFile::from_bytes("f", b"# ok".to_vec()).invalid_at(), None);
    }
}
