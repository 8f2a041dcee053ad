//! `vfw stop`: end forwarding, with or without a running daemon.

use std::path::PathBuf;

use anyhow::anyhow;

use super::{Failure, read_config};
use crate::daemon::{Stopped, stop};

const EXAMPLE: &str = "\
Examples:
  vfw stop --config /etc/vfw/vfw.toml
  vfw stop --socket /run/vfw-dmz/control.sock --config dmz.toml

Forwarding outlives `vfw run`, however it ends, but for Ctrl-C. This ends a
running vfw and takes everything off: programs, flows, and what was changed on
the interfaces. Exit code: 0 done, also when nothing was in force, 1 the
settings are bad, 2 the system refused, or nobody answers at --socket.";

/// `vfw stop`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    /// Settings with which vfw was started; the built-in ones without.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Control socket of the running vfw, when it is not that of the settings.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// Takes everything off.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = read_config(arguments.config.as_ref())?;
    let socket = arguments.socket.as_deref().unwrap_or_else(|| config.control.socket.as_path());
    let stopped = stop(&config, socket).map_err(Failure::refused)?;
    // Who names a socket means a vfw that runs: perhaps it forwards on.
    if let (Stopped::Nothing, Some(socket)) = (stopped, &arguments.socket) {
        let socket = socket.display();
        return Err(Failure::refused(anyhow!(
            "no vfw listens on {socket}, and by the settings nothing was in force\n`ss -xlp | grep vfw` shows the sockets of those \
             that run"
        )));
    }
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
