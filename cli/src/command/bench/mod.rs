//! `vfw bench`: measurements on this machine, one file each.

pub mod classify;

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
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.what {
        What::Classify(arguments) => classify::run(arguments),
    }
}
