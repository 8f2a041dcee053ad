//! `vfw bench flows`: new and concurrent flows.

use super::lab::{LabArguments, firewalls};
use crate::bench::flows::{Plan, measure};
use crate::bench::report::Test;
use crate::command::Failure;

const EXAMPLE: &str = "\
Examples:
  vfw bench flows --lab
  vfw bench flows --lab --flows 1000000 --paths nftables,vfw-tc,vfw-xdp
  vfw bench flows --lab --flows 500000 --limit 400000 --paths vfw-xdp

In empty tables, each flow is opened by a UDP packet in each direction and one
more, after which it counts as established: `new flows` is how many a second that
makes. `held at once` is how many are established then. More flows than --limit
show that those within it stay. Then frames take turns over all flows. Where
connection tracking has less room than flows are opened, its limit is raised for
the time of the run, for the whole machine.
Exit code: 0 measured, 1 bad input, 2 the system refused.";

/// `vfw bench flows --lab`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    #[command(flatten)]
    lab: LabArguments,
    /// Numbers of flows to open
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_values_t = [1_000, 30_000, 131_072],
        value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    flows: Vec<u32>,
    /// Room in vfw's table of established flows (`flows.established` of vfw.toml); enough for all flows when absent
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    limit: Option<u32>,
    /// Frames of each measurement over the flows, at least one for each
    #[arg(long, default_value_t = 200_000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    frames: u32,
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let lab = &arguments.lab;
    let (paths, asked) = firewalls(&lab.paths, "knows no flows", "these do")?;
    let (flows, limit, rounds, frames) = (arguments.flows.clone(), arguments.limit, lab.rounds, arguments.frames);
    lab.run(Test::Flows, |cpu, document| measure(&Plan { paths, asked, flows, limit, rounds, frames, cpu }, document))
}
