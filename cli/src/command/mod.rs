//! The commands: one file each.

pub mod apply;
pub mod bench;
pub mod check;
pub mod demo;
pub mod doctor;
mod drops;
pub mod explain;
pub mod lab;
pub mod run;
pub mod setup;
pub mod show;
pub mod stop;

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Arguments, Command};
use crate::config::Config;
use crate::lang::{Diagnostics, SourceFile, render};

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Success = 0,
    /// What the user gave is wrong.
    BadInput = 1,
    /// The system refused what was asked for.
    Refused = 2,
    /// What was looked for is there: warnings or errors.
    Found = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The `vfw` command: arguments to exit code.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing is left to say when even this cannot be printed.
            let _ = error.print();
            return if error.use_stderr() { Exit::BadInput.into() } else { Exit::Success.into() };
        }
    };
    let outcome = match arguments.command {
        Command::Setup(arguments) => setup::run(&arguments).map(|()| 0),
        Command::Check(arguments) => Ok(check::run(&arguments) as u8),
        Command::Run(arguments) => run::run(&arguments).map(|()| 0),
        Command::Apply(arguments) => apply::run(&arguments).map(|()| 0),
        Command::Stop(arguments) => stop::run(&arguments).map(|()| 0),
        Command::Show(arguments) => show::run(&arguments).map(|()| 0),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments).map(|()| 0),
        Command::Lab(arguments) => lab::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
    };
    outcome.unwrap_or_else(Failure::report).into()
}

/// What the commands read that take a policy.
#[derive(Debug, clap::Args)]
pub struct Inputs {
    /// Rule files; together they are one policy. `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Settings of the engine; the built-in ones without.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Inputs {
    /// Reads the files.
    fn read(&self) -> Result<(Vec<SourceFile>, Config), Failure> {
        Ok((read_sources(&self.files)?, read_config(self.config.as_ref())?))
    }
}

/// The file name that stands for standard input, and what messages call that.
const STANDARD_INPUT: (&str, &str) = ("-", "standard input");

/// What ends a command before it could begin, already in words.
pub struct Failure {
    exit: Exit,
    /// Empty when everything is said already.
    message: String,
}

impl Failure {
    /// The system refused.
    fn refused(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Refused, message: chain(&error.into()) }
    }

    /// What the user gave is wrong.
    fn bad_input(message: String) -> Self {
        Self { exit: Exit::BadInput, message }
    }

    /// Says it, and gives the exit code.
    fn report(self) -> u8 {
        if !self.message.is_empty() {
            eprintln!("vfw: {}", self.message);
        }
        self.exit as u8
    }
}

/// An error and those of its causes that its text does not name already.
fn chain(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// Reads the rule files of one policy.
fn read_sources(files: &[PathBuf]) -> Result<Vec<SourceFile>, Failure> {
    files
        .iter()
        .map(|path| {
            let (name, bytes) = if path.as_os_str() == STANDARD_INPUT.0 {
                let mut bytes = Vec::new();
                (STANDARD_INPUT.1.to_owned(), std::io::stdin().read_to_end(&mut bytes).map(|_| bytes))
            } else {
                (path.display().to_string(), std::fs::read(path))
            };
            match bytes {
                Ok(bytes) => Ok(SourceFile::from_bytes(name, bytes)),
                Err(error) => Err(Failure { exit: Exit::Refused, message: format!("cannot read {name}: {error}") }),
            }
        })
        .collect()
}

/// The settings file, or the built-in settings.
fn read_config(path: Option<&PathBuf>) -> Result<Config, Failure> {
    use crate::config::ConfigError;
    path.map_or_else(|| Ok(Config::default()), Config::load).map_err(|error| {
        let exit = if matches!(error, ConfigError::Read { .. }) { Exit::Refused } else { Exit::BadInput };
        Failure { exit, message: error.to_string() }
    })
}

/// Shows diagnostics on standard error, in colour on a terminal.
fn show_diagnostics(diagnostics: &Diagnostics, sources: &[SourceFile]) {
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let width = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(100);
    eprint!("{}", render(diagnostics, sources, color, width));
}
