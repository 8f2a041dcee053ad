//! The command line.

use clap::{Parser, Subcommand};

use crate::command::{apply, bench, check, doctor, explain, lab, run, setup, show, stop};

/// Virtual firewall: routes and filters traffic between VLANs inside of one host.
#[derive(Debug, Parser)]
#[command(name = "vfw", version, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands, one file each in [`crate::command`].
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask a few questions and write the first rules.
    Setup(setup::Arguments),
    /// Read rule files, compile them and run their tests; change nothing.
    Check(check::Arguments),
    /// Put rule files in force on this machine's interfaces and stay.
    Run(run::Arguments),
    /// Put other rule files in force in the vfw that runs, and say what that changes.
    Apply(apply::Arguments),
    /// End forwarding and give the interfaces back.
    Stop(stop::Arguments),
    /// Show what a running vfw knows.
    Show(show::Arguments),
    /// Say what keeps this machine from forwarding well, and mend it.
    Doctor(doctor::Arguments),
    /// Say what becomes of a packet, and why.
    Explain(explain::Arguments),
    /// Build a network of namespaces to try rules in.
    Lab(lab::Arguments),
    /// Measure vfw, and what could stand in its place.
    Bench(bench::Arguments),
}
