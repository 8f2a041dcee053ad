//! Flags of the tests between two TCP/IP stacks, and how they run.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::lab::{command_line, paths};
use super::output::Output;
use crate::bench::lab::{Path, for_each_path};
use crate::bench::net::compare::{Kind, Plan, measure};
use crate::bench::net::message::PORT;
use crate::bench::net::way::Way;
use crate::bench::net::{Agent, NetError, Timing, Token, resolve};
use crate::bench::report::{Cpus, Document, Family, Machine, Test};
use crate::command::{Exit, Failure};

/// Where to: a lab, or a server.
#[derive(Debug, clap::Args)]
#[group(id = "where", required = true, multiple = false, args = ["lab", "to"])]
pub struct Where {
    /// Measure in network namespaces on this machine, which end with the command
    #[arg(long)]
    pub lab: bool,
    /// Measure to `vfw bench server` on another machine
    #[arg(long, value_name = "HOST[:PORT]", requires = "token_file")]
    pub to: Option<String>,
}

/// Flags that all these tests have.
#[derive(Debug, clap::Args)]
pub struct NetArguments {
    /// Where to
    #[command(flatten)]
    pub place: Where,
    /// The secret that the server has too
    #[arg(long, value_name = "FILE", requires = "to")]
    pub token_file: Option<PathBuf>,
    /// Paths of the lab; all when absent
    #[arg(long, value_name = "PATHS", value_delimiter = ',', conflicts_with = "to")]
    pub paths: Vec<Path>,
    /// Measure over IPv6
    #[arg(long)]
    pub ipv6: bool,
    /// Rounds, in each of which everything takes its turn
    #[arg(long, default_value_t = 5, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Seconds of each measurement
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = measured)]
    pub seconds: Duration,
    /// Seconds before each measurement that do not count
    #[arg(long, default_value = "0.2", value_name = "SECONDS", value_parser = warm_up)]
    pub warm_up: Duration,
    /// How to give what is found
    #[command(flatten)]
    pub output: Output,
}

/// Flags of those of them that have latencies.
#[derive(Debug, clap::Args)]
pub struct CpuArguments {
    /// Whether CPUs without work may sleep, or are kept awake; both when absent in a lab
    #[arg(long, value_name = "CPUS", value_delimiter = ',', conflicts_with = "to")]
    cpus: Vec<Cpus>,
}

impl CpuArguments {
    /// What to measure with.
    fn conditions(&self, place: &Where) -> Vec<Option<Cpus>> {
        match self.cpus.as_slice() {
            [] if place.lab => vec![Some(Cpus::MaySleep), Some(Cpus::Awake)],
            [] => vec![None],
            chosen => chosen.iter().copied().collect::<BTreeSet<_>>().into_iter().map(Some).collect(),
        }
    }
}

fn measured(text: &str) -> Result<Duration, String> {
    seconds(text, 0.05, 3600.0)
}

fn warm_up(text: &str) -> Result<Duration, String> {
    seconds(text, 0.0, 60.0)
}

fn seconds(text: &str, least: f64, most: f64) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok().filter(|number| (least..=most).contains(number));
    number.map(Duration::from_secs_f64).ok_or_else(|| format!("a number of seconds from {least} to {most} is expected"))
}

impl NetArguments {
    /// For how long each time.
    pub const fn timing(&self) -> Timing {
        Timing { warm_up: self.warm_up, measured: self.seconds }
    }

    /// Measures streams and prints. Without `ways`, those of the flags.
    pub fn streams(&self, kinds: Vec<Kind>, ways: Option<Vec<Way>>, notes: Vec<String>) -> Result<u8, Failure> {
        self.run(Test::Range, (kinds, vec![None]), ways, notes)
    }

    /// Measures what has latencies and prints.
    pub fn latencies(&self, test: Test, kinds: Vec<Kind>, cpus: &CpuArguments) -> Result<u8, Failure> {
        self.run(test, (kinds, cpus.conditions(&self.place)), None, Vec::new())
    }

    fn run(
        &self,
        test: Test,
        (kinds, cpus): (Vec<Kind>, Vec<Option<Cpus>>),
        ways: Option<Vec<Way>>,
        notes: Vec<String>,
    ) -> Result<u8, Failure> {
        let mut document = Document::new(test, self.rounds, command_line(), Machine::inspect());
        document.note(notes);
        let ways = match ways {
            Some(ways) => ways,
            None => self.ways(&mut document)?,
        };
        let family = Family::of(self.ipv6).told();
        let plan = Plan { ways, family, kinds, cpus, timing: self.timing(), rounds: self.rounds };
        if let Some(way) = plan.ways.first() {
            way.note_offloads(&mut document.machine).map_err(Failure::refused)?;
        }
        measure(&plan, &mut document).map_err(failure)?;
        drop(plan);
        self.output.show(&document)?;
        Ok(Exit::Success as u8)
    }

    /// Those of a host that the flags allow.
    pub fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        resolve(host, port, self.ipv6).map_err(|error| failure(error.into()))
    }

    fn ways(&self, document: &mut Document) -> Result<Vec<Way>, Failure> {
        if let (Some(host), Some(token)) = (&self.place.to, &self.token_file) {
            let token = Token::read(token).map_err(|error| failure(error.into()))?;
            let addresses = self.addresses(host, PORT)?;
            return Ok(vec![Way::Network(Agent::new(addresses, token))]);
        }
        let (paths, asked) = paths(&self.paths, &Path::ALL, None);
        for program in ["nft", "iptables"] {
            document.machine.note_version(program);
        }
        let (ways, notes) =
            for_each_path(&paths, asked, |path| Way::in_lab(path, Family::of(self.ipv6))).map_err(Failure::refused)?;
        document.note(notes);
        Ok(ways)
    }
}

/// What the user can mend is bad input.
pub fn failure(error: anyhow::Error) -> Failure {
    match error.downcast_ref::<NetError>() {
        Some(
            NetError::Resolve { .. } | NetError::TokenFile { .. } | NetError::WrongToken | NetError::OutOfBounds(_),
        ) => Failure::bad_input(error.to_string()),
        _ => Failure::refused(error),
    }
}
