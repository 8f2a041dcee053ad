//! `vfw bench pps`: the smallest frames.

use super::lab::{LabArguments, paths};
use crate::bench::lab::Path;
use crate::bench::pps::{Hold, Plan, measure};
use crate::bench::report::{Family, Test};
use crate::command::Failure;

const EXAMPLE: &str = "\
Examples:
  vfw bench pps --lab
  vfw bench pps --lab --paths nftables,vfw-xdp --flows 1,1000,1000000 --json
  vfw bench pps --lab --paths vfw-afxdp --flows 1000 --hold 60 --load 80

A generator in the kernel sends 60-byte UDP frames (64 bytes with --ipv6) of
established flows from one namespace to another; all work is on one CPU. The net cost of a path is its
time per frame less that of generator, one veth and sink, which is what `direct`
takes. Other paths are measured in the same rounds, in random order. Where
connection tracking has less room than there are flows, its limit is raised for
the time of the run, for the whole machine.
Exit code: 0 measured, 1 bad input, 2 the system refused.";

/// `vfw bench pps --lab`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    #[command(flatten)]
    lab: LabArguments,
    /// Send IPv6
    #[arg(long)]
    ipv6: bool,
    /// Numbers of flows that take turns
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_values_t = [1, 1_000, 60_000],
        value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    flows: Vec<u32>,
    /// Frames of each measurement, at least one for each flow
    #[arg(long, default_value_t = 500_000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    frames: u32,
    /// Then send at a share of each path's rate for so many seconds, and count what gets lost
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=600))]
    hold: Option<u32>,
    /// That share, percent
    #[arg(long, default_value_t = 80, value_name = "PERCENT", requires = "hold", value_parser = clap::value_parser!(u32).range(1..=100))]
    load: u32,
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let lab = &arguments.lab;
    let (paths, asked) = paths(&lab.paths, &Path::ALL, Some(Path::Direct));
    let (flows, rounds, frames) = (arguments.flows.clone(), lab.rounds, arguments.frames);
    let hold = arguments.hold.map(|seconds| Hold { load: arguments.load, seconds });
    let family = Family::of(arguments.ipv6);
    lab.run(Test::Pps, |cpu, document| {
        measure(&Plan { paths, asked, flows, rounds, frames, family, hold, cpu }, document)
    })
}
