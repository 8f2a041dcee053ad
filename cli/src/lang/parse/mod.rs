//! Tokens to statements.
//!
//! Written by hand on top of the nom lexer, because errors must name what was expected and the next statement must
//! still be read after one. A value that is well placed but wrong (port 70000) is reported and reading goes on.

mod item;
mod statement;

use super::ast::Statement;
use super::diagnostic::{Diagnostic, Sink};
use super::limits;
use super::literal::{self, Literal};
use super::names::nearest;
use super::registry::{Keyword, Place, keywords_at};
use super::source::{SourceFile, Span, Spanned};
use super::token::{self, Kind, Token};

/// The statements of a file, and the names of those that could not be read.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) statements: Vec<Statement>,
    pub(crate) broken: Vec<String>,
}

/// Reads a file.
pub(crate) fn document(file: usize, source: &SourceFile, sink: &mut Sink<'_>) -> Document {
    let tokens = token::tokens(file, source, sink);
    Parser { source, tokens, at: 0, sink }.document()
}

/// The failure has been reported.
struct Failed;

type Parsed<T> = Result<T, Failed>;

struct Parser<'a, 'b> {
    source: &'a SourceFile,
    tokens: Vec<Token>,
    at: usize,
    sink: &'a mut Sink<'b>,
}

const END: Token = Token { kind: Kind::End, span: Span { file: 0, start: 0, end: 0 }, starts_line: true };

impl<'a> Parser<'a, '_> {
    fn document(mut self) -> Document {
        let mut document = Document::default();
        loop {
            self.skip_newlines();
            if self.peek().kind == Kind::End {
                return document;
            }
            let start = self.at;
            let read = self.statement();
            let whole = read.is_ok() && self.end_of_statement().is_ok();
            if !whole {
                self.recover(start);
            }
            match read {
                Ok(statement) => document.statements.push(statement),
                Err(Failed) => document.broken.extend(self.name_of_broken(start)),
            }
        }
    }

    /// The name a statement would have declared, so that its uses are not reported too.
    fn name_of_broken(&self, start: usize) -> Option<String> {
        let name = self.tokens.get(start + 1)?;
        (name.kind == Kind::Word).then(|| self.text(name.span).to_owned())
    }

    fn end_of_statement(&mut self) -> Parsed<()> {
        match self.peek().kind {
            Kind::Newline | Kind::End => Ok(()),
            _ => {
                let error = self.unexpected("the end of the line");
                let ports = matches!(self.literal(), Literal::Number(_) | Literal::Numbers(..));
                let hint = ports.then(|| "separate ports with commas".to_owned());
                Err(self.fail(error.with_optional_hint(hint)))
            }
        }
    }

    /// Goes to where the next statement can begin.
    fn recover(&mut self, start: usize) {
        let mut depth = 0_i64;
        for (at, token) in self.tokens.iter().enumerate().skip(start) {
            let failed_before = at >= self.at;
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth -= 1,
                Kind::End => {
                    self.at = at;
                    return;
                }
                Kind::Newline if failed_before && depth <= 0 => {
                    self.at = at;
                    return;
                }
                _ if failed_before && at > start && self.begins_statement(token) => {
                    self.at = at;
                    return;
                }
                _ => {}
            }
        }
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.at).or(self.tokens.last()).unwrap_or(&END)
    }

    fn ahead(&self, distance: usize) -> &Token {
        self.tokens.get(self.at + distance).or(self.tokens.last()).unwrap_or(&END)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len().saturating_sub(1));
        token
    }

    /// The span of the token read last.
    fn last_span(&self) -> Span {
        self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or_else(Span::default, |token| token.span)
    }

    fn eat(&mut self, kind: &Kind) -> bool {
        let found = self.peek().kind == *kind;
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, kind: &Kind, what: &str) -> Parsed<Span> {
        let span = self.peek().span;
        if self.eat(kind) { Ok(span) } else { Err(self.expected(what)) }
    }

    fn skip_newlines(&mut self) {
        while self.eat(&Kind::Newline) {}
    }

    fn text(&self, span: Span) -> &'a str {
        self.source.text.get(span.start..span.end).unwrap_or("")
    }

    /// The text of the next token if it is a word.
    fn word(&self) -> Option<&'a str> {
        let token = self.peek();
        (token.kind == Kind::Word).then(|| self.text(token.span))
    }

    fn keyword(&self) -> Option<Keyword> {
        self.word().and_then(Keyword::find)
    }

    fn literal(&self) -> Literal<'a> {
        self.word().map_or(Literal::Unknown, literal::read)
    }

    fn eat_keyword(&mut self, keyword: Keyword) -> bool {
        let found = self.keyword() == Some(keyword);
        if found {
            self.next();
        }
        found
    }

    fn begins_statement(&self, token: &Token) -> bool {
        token.starts_line
            && token.kind == Kind::Word
            && Keyword::find(self.text(token.span)).is_some_and(|keyword| keyword.fits(Place::Statement))
    }

    /// The next token for a message.
    fn found(&self) -> String {
        let token = self.peek();
        match &token.kind {
            Kind::Word => quoted(self.text(token.span)),
            Kind::Text(_) => "a quoted text".to_owned(),
            Kind::Comma => "`,`".to_owned(),
            Kind::Arrow => "`->`".to_owned(),
            Kind::Equals => "`=`".to_owned(),
            Kind::Open => "`{`".to_owned(),
            Kind::Close => "`}`".to_owned(),
            Kind::Newline => "the end of the line".to_owned(),
            Kind::End => "the end of the file".to_owned(),
            Kind::Bad => "something unreadable".to_owned(),
        }
    }

    /// The error that something else should stand here.
    fn unexpected(&self, what: &str) -> Diagnostic {
        let token = self.peek();
        let error = self.sink.error(token.span, format!("expected {what}, found {}", self.found()));
        let after_comma = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        if self.begins_statement(token) && after_comma.is_some_and(|token| token.kind == Kind::Comma) {
            return error.with_hint("the list before this line ends with a comma, so it goes on here");
        }
        error
    }

    fn expected(&mut self, what: &str) -> Failed {
        let error = self.unexpected(what);
        self.fail(error)
    }

    fn fail(&mut self, error: Diagnostic) -> Failed {
        // The lexer has already said what is wrong with a bad token.
        if self.peek().kind != Kind::Bad {
            self.sink.push(error);
        }
        Failed
    }

    /// The error that a word is none of a place's keywords.
    fn unknown_word(&mut self, what: &str, place: Place) -> Failed {
        let hint = self.word().and_then(|word| nearest(word, keywords_at(place)));
        let hint = hint.map_or_else(|| format!("one of: {}", join(keywords_at(place))), |near| did_you_mean(&near));
        let error = self.unexpected(what);
        let error = if error.hint.is_some() { error } else { error.with_hint(hint) };
        self.fail(error)
    }

    /// A name for something that is being declared or used.
    fn name(&mut self, what: &str) -> Parsed<Spanned<String>> {
        let span = self.peek().span;
        match (self.literal(), self.keyword()) {
            (Literal::Name(name), None) => {
                self.next();
                Ok(Spanned::new(name.to_owned(), span))
            }
            (Literal::Name(_), Some(_)) => {
                let error = self.unexpected(what);
                let error = if error.hint.is_some() {
                    error
                } else {
                    error.with_hint("this word has a fixed meaning and cannot be a name")
                };
                Err(self.fail(error))
            }
            _ if self.word().is_some() => {
                let error = self.unexpected(what);
                let rule = format!(
                    "a name begins with a letter and has up to {} letters, digits, `_`, `-`, `.`",
                    limits::NAME
                );
                Err(self.fail(error.with_hint(rule)))
            }
            _ => Err(self.expected(what)),
        }
    }

    /// Items separated by commas.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.eat(&Kind::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }
}

/// A word for a message, cut when it is absurdly long.
pub(crate) fn quoted(word: &str) -> String {
    const LONGEST: usize = 48;
    if word.chars().count() <= LONGEST {
        return format!("`{word}`");
    }
    format!("`{}...`", word.chars().take(LONGEST).collect::<String>())
}

pub(crate) fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

pub(crate) fn join<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}
