//! Text to tokens.
//!
//! A line break ends a statement, so it is a token; after `,` `->` `=` `{` and after `\` it is only space.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{char, satisfy};
use nom::combinator::{map, not, recognize, value};
use nom::multi::{fold_many0, many1_count};
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser as _};

use super::diagnostic::Sink;
use super::limits;
use super::source::{SourceFile, Span};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name, keyword, number or address; its text is in the file.
    Word,
    /// A quoted text, without quotes and escapes.
    Text(String),
    Comma,
    Arrow,
    Equals,
    Open,
    Close,
    Newline,
    /// What could not be read and has been reported.
    Bad,
    End,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
    /// Whether it is the first token of its line.
    pub(crate) starts_line: bool,
}

#[derive(Clone)]
enum Piece {
    Token(Kind),
    Space,
    Continue,
}

/// Splits a file into tokens. What cannot be read is reported and left out.
pub(crate) fn tokens(file: usize, source: &SourceFile, sink: &mut Sink<'_>) -> Vec<Token> {
    let mut lexer = Lexer { file, sink, tokens: Vec::new(), continued: false };
    let mut offset = 0;
    for line in source.text.split_inclusive('\n') {
        let content = line.strip_suffix('\n').unwrap_or(line);
        let content = content.strip_suffix('\r').unwrap_or(content);
        lexer.line(offset, content);
        offset += line.len();
    }
    let end = source.text.trim_end().len();
    lexer.put(Kind::End, end, 0);
    lexer.tokens
}

struct Lexer<'a, 'b> {
    file: usize,
    sink: &'a mut Sink<'b>,
    tokens: Vec<Token>,
    continued: bool,
}

impl Lexer<'_, '_> {
    fn line(&mut self, offset: usize, line: &str) {
        if line.len() > limits::LINE {
            let span = Span { file: self.file, start: offset, end: offset + 1 };
            let hint = "break it after a comma; inside braces any line may be broken";
            let message = format!("this line is longer than {} bytes", limits::LINE);
            self.sink.push(self.sink.error(span, message).with_hint(hint));
            return;
        }
        let continued = std::mem::take(&mut self.continued);
        let first = self.tokens.len();
        let mut rest = if offset == 0 { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line };
        let end = offset + line.len();
        while !rest.is_empty() {
            let start = end - rest.len();
            let read = piece(rest);
            let after = match &read {
                Ok((after, _)) => after,
                Err(_) => self.unreadable(start, rest),
            };
            let len = rest.len() - after.len();
            match read {
                Ok((_, Piece::Token(kind))) => self.put(kind, start, len),
                Ok((_, Piece::Space)) => self.hidden(start, rest.get(..len).unwrap_or("")),
                Ok((_, Piece::Continue)) => self.continued = true,
                Err(_) => self.put(Kind::Bad, start, len),
            }
            rest = after;
        }
        if let Some(token) = self.tokens.get_mut(first) {
            token.starts_line = !continued;
        }
        let open = matches!(
            self.tokens.last().map(|token| &token.kind),
            None | Some(Kind::Comma | Kind::Arrow | Kind::Equals | Kind::Open | Kind::Newline)
        );
        if !open && !self.continued {
            self.put(Kind::Newline, end, 0);
        }
    }

    fn put(&mut self, kind: Kind, start: usize, len: usize) {
        self.tokens.push(Token { kind, span: Span { file: self.file, start, end: start + len }, starts_line: false });
    }

    /// Reports text that would not look like what it is.
    fn hidden(&mut self, start: usize, text: &str) {
        if let Some((at, c)) = text.char_indices().find(|&(_, c)| is_hidden(c)) {
            let span = Span { file: self.file, start: start + at, end: start + at + c.len_utf8() };
            let message = format!("invisible character U+{:04X}", u32::from(c));
            self.sink.push(self.sink.error(span, message).with_hint("remove it: it can make a rule read as another"));
        }
    }

    /// Reports what no token starts with and returns the text after it.
    fn unreadable<'t>(&mut self, start: usize, rest: &'t str) -> &'t str {
        let (len, message, hint) = match rest.chars().next() {
            Some('"') => broken_text(rest),
            c => stray(c.unwrap_or(' ')),
        };
        let span = Span { file: self.file, start, end: start + len };
        let error = self.sink.error(span, message);
        self.sink.push(error.with_optional_hint(hint.map(str::to_owned)));
        // After a broken text the rest of the line means nothing.
        if rest.starts_with('"') { "" } else { rest.get(len..).unwrap_or("") }
    }
}

/// Length, message and hint of an error.
type Trouble = (usize, String, Option<&'static str>);

/// What is wrong with a quoted text.
fn broken_text(rest: &str) -> Trouble {
    let after = text_body(rest).map_or("", |(after, _)| after);
    let seen = rest.len() - after.len();
    match after.chars().next() {
        Some('\\') => {
            let hint = "write `\\\\` for a backslash, `\\\"` for a quote";
            (seen + 1, "unknown escape in a text".to_owned(), Some(hint))
        }
        Some(c) => {
            let message = format!("character U+{:04X} in a text", u32::from(c));
            (seen + c.len_utf8(), message, Some("use visible characters only"))
        }
        None => (seen, "this text has no end".to_owned(), Some("close it with `\"` on the same line")),
    }
}

/// What is wrong with a character outside of quotes.
fn stray(c: char) -> Trouble {
    if is_hidden(c) || c == char::REPLACEMENT_CHARACTER {
        let message = format!("character U+{:04X} does not belong here", u32::from(c));
        return (c.len_utf8(), message, None);
    }
    let hint = match c {
        ';' => Some("a statement ends at the end of its line; no `;` is needed"),
        '!' => Some("there is no negation: put a narrower rule before this one"),
        '\'' => Some("use double quotes for labels and test names"),
        '\\' => Some("`\\` joins two lines and must be the last character of the first"),
        _ => None,
    };
    (c.len_utf8(), format!("unexpected character `{c}`"), hint)
}

fn piece(input: &str) -> IResult<&str, Piece> {
    alt((
        value(Piece::Space, take_while1(|c| c == ' ' || c == '\t')),
        map(word, |_| Piece::Token(Kind::Word)),
        value(Piece::Space, preceded(char('#'), take_while(|_| true))),
        value(Piece::Token(Kind::Arrow), tag("->")),
        value(Piece::Token(Kind::Comma), char(',')),
        value(Piece::Token(Kind::Equals), char('=')),
        value(Piece::Token(Kind::Open), char('{')),
        value(Piece::Token(Kind::Close), char('}')),
        map(terminated(text_body, char('"')), |text| Piece::Token(Kind::Text(text))),
        value(Piece::Continue, (char('\\'), take_while(|c| c == ' ' || c == '\t'), not(satisfy(|_| true)))),
    ))
    .parse(input)
}

/// Letters, digits and the marks of names, interfaces and addresses; `-` unless it begins an arrow.
fn word(input: &str) -> IResult<&str, &str> {
    let plain = take_while1(|c: char| c.is_ascii_alphanumeric() || "_.:/@+%[]".contains(c));
    recognize(many1_count(alt((plain, terminated(tag("-"), not(char('>'))))))).parse(input)
}

/// A quoted text up to, not including, its closing quote.
fn text_body(input: &str) -> IResult<&str, String> {
    let plain = satisfy(|c| c != '"' && c != '\\' && !c.is_control() && !is_hidden(c));
    let escaped = alt((value('"', tag("\\\"")), value('\\', tag("\\\\"))));
    preceded(
        char('"'),
        fold_many0(alt((escaped, plain)), String::new, |mut text, c| {
            text.push(c);
            text
        }),
    )
    .parse(input)
}

/// Controls and the marks that change the order in which text is shown.
fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
