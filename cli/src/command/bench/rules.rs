//! `vfw bench rules`: packet rate by number of rules.

use super::lab::{LabArguments, paths};
use crate::bench::lab::Path;
use crate::bench::report::Test;
use crate::bench::rules::{Plan, measure};
use crate::command::Failure;

const EXAMPLE: &str = "\
Examples:
  vfw bench rules --lab
  vfw bench rules --lab --rules 10,1000,100000 --paths vfw-xdp,nftables --csv

Each rule but the last two is about one address and port of another network; the
frames are allowed by one of the last two. `first packets of new flows` is a
stream of frames that each begin a flow, so that the rules are looked through for
every frame; `established flows` is a stream that the rules are not asked about.
nftables and iptables have the same rules one after the other. Without --paths:
direct, nftables, vfw-tc and vfw-xdp.
Exit code: 0 measured, 1 bad input, 2 the system refused.";

/// Those measured without being asked for: iptables looks at its rules as nftables does, and takes minutes to load many.
const PATHS: [Path; 4] = [Path::Direct, Path::Nftables, Path::VfwTc, Path::VfwXdp];

/// `vfw bench rules --lab`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    #[command(flatten)]
    lab: LabArguments,
    /// Numbers of rules
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_values_t = [10, 100, 1_000, 10_000, 100_000],
        value_parser = clap::value_parser!(u32).range(2..=130_000))]
    rules: Vec<u32>,
    /// Frames of each measurement of established flows
    #[arg(long, default_value_t = 500_000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    frames: u32,
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let lab = &arguments.lab;
    let (paths, asked) = paths(&lab.paths, &PATHS, Some(Path::Direct));
    let (rules, rounds, frames) = (arguments.rules.clone(), lab.rounds, arguments.frames);
    lab.run(Test::Rules, |cpu, document| measure(&Plan { paths, asked, rules, rounds, frames, cpu }, document))
}
