//! `vfw bench flood`: transactions while an attack runs.

use std::time::Duration;

use super::lab::{LabArguments, firewalls};
use crate::bench::flood::{Plan, measure};
use crate::bench::net::Timing;
use crate::bench::report::{Flood, Test};
use crate::command::Failure;

const EXAMPLE: &str = "\
Examples:
  vfw bench flood --lab
  vfw bench flood --lab --paths nftables,vfw-xdp --rate 500000 --seconds 3

A client asks and a server answers, one byte each, over a TCP connection that is
there before the attack; a third host sends UDP that no rule allows (denied), or
first segments of connections that are allowed and go no further (syn), from
60,000 addresses. `kept` is the rate of transactions as a share of that in the
same round with the same frames sent into a dead end, which costs as much and
keeps CPUs as awake; `survived` the share of 1,000 other established flows that
are there afterwards. The attacker stays on one CPU (--cpu); client and server run
where the kernel puts them.
Exit code: 0 measured, 1 bad input, 2 the system refused.";

/// Before each measurement; the attack begins in it.
const WARM_UP: Duration = Duration::from_millis(500);

/// `vfw bench flood --lab`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    #[command(flatten)]
    lab: LabArguments,
    /// Frames of the attack in a second, if this machine can
    #[arg(long, default_value_t = 1_000_000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(10_000..=20_000_000))]
    rate: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 1, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let lab = &arguments.lab;
    let (paths, asked) = firewalls(&lab.paths, "refuses nothing", "these can")?;
    let timing = Timing { warm_up: WARM_UP, measured: Duration::from_secs(arguments.seconds.into()) };
    let (floods, rate, rounds) = (vec![Flood::Denied, Flood::Syn], arguments.rate, lab.rounds);
    lab.run(Test::Flood, |cpu, document| measure(&Plan { paths, asked, floods, rate, rounds, timing, cpu }, document))
}
