//! Flags of the tests that run in a lab.

use std::collections::BTreeSet;

use anyhow::Result;

use super::output::Output;
use crate::bench::lab::Path;
use crate::bench::report::{Document, Machine, Test};
use crate::command::{Exit, Failure};
use crate::cpus;

/// Flags of all tests that run in network namespaces of this machine.
#[derive(Debug, clap::Args)]
pub struct LabArguments {
    /// Measure in network namespaces on this machine, which end with the command
    #[arg(long, required = true)]
    pub lab: bool,
    /// Paths to measure; all that the test is about when absent
    #[arg(long, value_name = "PATHS", value_delimiter = ',')]
    pub paths: Vec<Path>,
    /// Rounds, in each of which all paths take their turn
    #[arg(long, default_value_t = 9, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// CPU for the measurements; the last one when absent
    #[arg(long, value_name = "NUMBER")]
    pub cpu: Option<usize>,
    /// How to give what is found
    #[command(flatten)]
    pub output: Output,
}

impl LabArguments {
    /// Measures on a CPU, and prints the document.
    pub fn run(&self, test: Test, measure: impl FnOnce(usize, &mut Document) -> Result<()>) -> Result<u8, Failure> {
        let cpu = self.cpu()?;
        let mut machine = Machine::inspect();
        machine.cpu = Some(cpu);
        for program in ["nft", "iptables"] {
            machine.note_version(program);
        }
        let mut document = Document::new(test, self.rounds, command_line(), machine);
        measure(cpu, &mut document).map_err(Failure::refused)?;
        self.output.show(&document)?;
        Ok(Exit::Success as u8)
    }

    /// The CPU for the measurements, if it is one for this process.
    fn cpu(&self) -> Result<usize, Failure> {
        let own = cpus::own().map_err(Failure::refused)?;
        let wanted = self.cpu.or_else(|| own.last().copied()).unwrap_or(0);
        if own.contains(&wanted) {
            return Ok(wanted);
        }
        let own: Vec<String> = own.iter().map(usize::to_string).collect();
        Err(Failure::bad_input(format!("there is no CPU {wanted} for this process, but: {}", own.join(", "))))
    }
}

/// The paths, each once and `direct` among them where others are compared with it; whether the user asked for them.
pub fn paths(wanted: &[Path], all: &[Path], base: Option<Path>) -> (Vec<Path>, bool) {
    let asked = !wanted.is_empty();
    let chosen: BTreeSet<Path> = if asked { wanted } else { all }.iter().copied().chain(base).collect();
    (chosen.into_iter().collect(), asked)
}

/// The same for a test of firewalls. Another path `is_none`, in words for the user, as are the `others`.
pub fn firewalls(wanted: &[Path], is_none: &str, others: &str) -> Result<(Vec<Path>, bool), Failure> {
    let known: Vec<Path> = Path::ALL.into_iter().filter(|path| path.is_firewall()).collect();
    if let Some(path) = wanted.iter().find(|path| !path.is_firewall()) {
        let names: Vec<&str> = known.iter().map(|path| path.name()).collect();
        return Err(Failure::bad_input(format!("the path {path} {is_none}; {others}: {}", names.join(", "))));
    }
    Ok(paths(wanted, &known, None))
}

/// This command line, to be typed again.
pub fn command_line() -> String {
    let words = std::env::args().skip(1).map(|word| {
        let is_plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./,:=".contains(c));
        if is_plain { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
    });
    std::iter::once("vfw".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}
