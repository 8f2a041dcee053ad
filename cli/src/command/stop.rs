//! `vfw stop`: end forwarding, with or without a running daemon.

use std::path::PathBuf;

use super::{Failure, read_config};
use crate::daemon::{Stopped, stop};

const EXAMPLE: &str = "\
Example:
  vfw stop --config /etc/vfw/vfw.toml

Forwarding outlives `vfw run`, however it ends, but for Ctrl-C. This ends a
running vfw and takes everything off: programs, flows, and what was changed on
the interfaces. Exit code: 0 done, also when nothing was in force, 1 the
settings are bad, 2 the system refused.";

/// `vfw stop`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    /// Settings with which vfw was started; the built-in ones without.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Takes everything off.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = read_config(arguments.config.as_ref())?;
    let stopped = stop(&config).map_err(Failure::refused)?;
    println!(
        "{}",
        match stopped {
            Stopped::Nothing => "nothing was in force",
            Stopped::Daemon => "vfw has ended and forwards no more",
            Stopped::Programs => "no vfw was running; its programs are taken off",
        }
    );
    Ok(())
}
