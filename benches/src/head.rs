//! The head of a report: machine, day, command.

use serde::Serialize;
use time::OffsetDateTime;
use vfw::bench::report::Machine;

/// Where, when and how a report was made.
#[derive(Clone, Debug, Serialize)]
pub struct Head {
    /// Where.
    #[serde(flatten)]
    pub machine: Machine,
    /// Day of the run, UTC.
    pub date: String,
    /// The command line.
    pub command: String,
}

impl Head {
    /// Of `program` as it was called.
    pub fn new(program: &str) -> Self {
        let words = std::iter::once(program.to_owned()).chain(std::env::args().skip(1));
        let date = OffsetDateTime::now_utc().date().to_string();
        Self { machine: Machine::inspect(), date, command: words.collect::<Vec<_>>().join(" ") }
    }

    /// As text, at most 80 columns wide.
    pub fn text(&self, title: &str) -> String {
        format!("{title}, {}\n{}", self.date, self.machine.text())
    }
}
