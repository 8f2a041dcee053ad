//! `vfw bench`: measurements on this machine, one file each.

pub mod classify;
pub mod compare;
pub mod crr;
pub mod flood;
pub mod flows;
mod lab;
mod net;
mod output;
pub mod pps;
pub mod range;
pub mod report;
pub mod rr;
pub mod rules;
pub mod server;

use std::io::Write as _;

use clap::Subcommand;

use super::Failure;

/// `vfw bench WHAT`
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to measure.
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Compile rule sets in the format of ClassBench and look headers up, in user space and in the kernel; every answer is
    /// checked against the rules one after the other.
    Classify(classify::Arguments),
    /// Throughput by message size, over TCP and UDP
    Range(range::Arguments),
    /// Requests and responses: transactions a second, and how long they take
    Rr(rr::Arguments),
    /// Connect, request, close: connections a second, and how long they take
    Crr(crr::Arguments),
    /// Be the other end of range, rr and crr between two machines
    Server(server::Arguments),
    /// Rate and cost of the smallest frames, by path and number of flows
    Pps(pps::Arguments),
    /// New flows a second, and flows held at once
    Flows(flows::Arguments),
    /// Transactions while an attack runs
    Flood(flood::Arguments),
    /// Packet rate by number of rules
    Rules(rules::Arguments),
    /// Say what is faster, slower or within noise in two reports
    Compare(compare::Arguments),
    /// Make one page with plots of several reports
    Report(report::Arguments),
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.what {
        What::Classify(arguments) => classify::run(arguments),
        What::Range(arguments) => range::run(arguments),
        What::Rr(arguments) => rr::run(arguments),
        What::Crr(arguments) => crr::run(arguments),
        What::Server(arguments) => server::run(arguments),
        What::Pps(arguments) => pps::run(arguments),
        What::Flows(arguments) => flows::run(arguments),
        What::Flood(arguments) => flood::run(arguments),
        What::Rules(arguments) => rules::run(arguments),
        What::Compare(arguments) => compare::run(arguments),
        What::Report(arguments) => report::run(arguments),
    }
}

/// Prints a report.
fn print(text: &str) {
    // A reader that has seen enough (`| head`) is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
