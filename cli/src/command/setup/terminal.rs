//! Questions at a terminal.

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dialoguer::Input;
use dialoguer::console::Term;
use dialoguer::theme::Theme;
use signal_hook::consts::SIGINT;

use super::super::{Exit, Failure};

/// A terminal that somebody sits at.
pub struct Terminal(Term);

/// Narrower ones have no room for a question.
const LEAST_COLUMNS: u16 = 40;

impl Terminal {
    /// The one that this process has.
    pub fn open() -> Result<Self, Failure> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Err(Failure::bad_input(
                "setup asks questions, and there is no terminal: standard input and standard error must be one\n\
                 run it at a terminal, or write rules.fw yourself (docs/rules.md) and try it: vfw check rules.fw"
                    .to_owned(),
            ));
        }
        let terminal = Term::stderr();
        let (_, columns) = terminal.size();
        if columns < LEAST_COLUMNS {
            let message = format!("the terminal has {columns} columns; setup needs {LEAST_COLUMNS}");
            return Err(Failure::bad_input(message));
        }
        // Ctrl-C ends the question that is open, in place of the process in the middle of it.
        signal_hook::flag::register(SIGINT, Arc::new(AtomicBool::new(false))).map_err(Failure::refused)?;
        Ok(Self(terminal))
    }

    /// Shows text.
    pub fn say(&self, text: &str) {
        // A terminal that has gone away ends the next question.
        let _ = self.0.write_line(text);
    }

    /// Asks until `check` takes the answer. With a default, no answer is that; without one, it is the empty answer.
    pub fn ask(
        &self,
        question: &str,
        default: Option<&str>,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<String, Failure> {
        let input = Input::<String>::with_theme(&Plain).with_prompt(question).allow_empty(true);
        let input = match default {
            Some(default) => input.default(default.to_owned()),
            None => input,
        };
        let answer = input.validate_with(|answer: &String| check(answer.trim())).interact_text_on(&self.0);
        answer.map(|answer| answer.trim().to_owned()).map_err(|dialoguer::Error::IO(error)| match error.kind() {
            io::ErrorKind::Interrupted => {
                self.say("");
                nothing_changed()
            }
            _ => Failure::refused(error),
        })
    }
}

/// The end without an effect.
pub fn nothing_changed() -> Failure {
    Failure { exit: Exit::BadInput, message: "nothing was changed".to_owned() }
}

/// Plain characters, as every console has them. What is wrong with an answer is in its own words.
struct Plain;

impl Theme for Plain {
    fn format_error(&self, f: &mut dyn fmt::Write, error: &str) -> fmt::Result {
        write!(f, "{error}")
    }
}
