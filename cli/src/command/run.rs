//! `vfw run`: put a policy in force and stay.

use std::io::IsTerminal as _;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;

use super::{Exit, Failure, Inputs, show_diagnostics};
use crate::compile::{Link, compile};
use crate::config::{Config, LogFormat};
use crate::control::Server;
use crate::daemon::{self, End, Port, Setup, SetupError};
use crate::lang::{Diagnostics, Loaded, Policy, SourceFile, load};
use crate::preview;

const EXAMPLE: &str = "\
Example:
  vfw run --config /etc/vfw/vfw.toml /etc/vfw/rules.fw

The interfaces that the rules name belong to vfw; they must not carry addresses
of the kernel. Ctrl-C or `vfw stop` ends it and gives them back. However it ends
else (SIGTERM, kill -9, an upgrade), forwarding goes on and the next start takes
it over with all flows.
Exit code: 0 ended as asked, 1 the policy or settings are bad, 2 the system
refused.";

/// `vfw run FILE...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    /// What to read.
    #[command(flatten)]
    pub inputs: Inputs,
}

/// Runs until it is told to end.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (sources, config) = arguments.inputs.read()?;
    let _log = log_to_stderr(&config);
    run_policy(&sources, &config).map_err(|Failure { exit, mut message }| {
        if daemon::is_forwarding(&config) {
            message += if message.is_empty() { "" } else { "\n" };
            message += "what was in force stays in force";
        }
        Failure { exit, message }
    })
}

fn run_policy(sources: &[SourceFile], config: &Config) -> Result<(), Failure> {
    let policy = good_policy(sources, config)?;
    // First: the socket tells whether another vfw is running, before anything is touched.
    let server = Server::bind(config.control.socket.as_path()).map_err(Failure::refused)?;
    // Ctrl-C in the middle of a start must not leave the half of it.
    let end = End::on_signals().map_err(Failure::refused)?;
    let setup = Setup::start(policy, config).map_err(|error| match error {
        SetupError::Compile(error) => {
            show_diagnostics(error.diagnostics(), sources);
            Failure { exit: Exit::Refused, message: String::new() }
        }
        other => Failure::refused(other),
    })?;
    daemon::run(config, end, server, setup, announce).map_err(Failure::refused)
}

/// The policy, if it is one and does what its tests say.
fn good_policy(sources: &[SourceFile], config: &Config) -> Result<Policy, Failure> {
    let bad = |found: &Diagnostics| {
        show_diagnostics(found, sources);
        Failure { exit: Exit::BadInput, message: "the policy is not put in force".to_owned() }
    };
    let Loaded { policy, warnings } = load(sources).map_err(|found| bad(&found))?;
    show_diagnostics(&warnings, sources);
    let image = compile(&policy, config, &Link::invent(&policy)).map_err(|error| bad(error.diagnostics()))?;
    let tests = preview::run_tests(&policy, &image, config);
    if tests.errors.has_errors() {
        return Err(bad(&tests.errors));
    }
    Ok(policy)
}

/// Logs through a thread of its own with a bounded queue: a reader that stops reading, or goes away, costs lines and
/// neither stops nor ends the firewall. The guard writes what is queued when it is dropped.
fn log_to_stderr(config: &Config) -> WorkerGuard {
    let level = LevelFilter::from_level(config.log.level.into());
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).finish(std::io::stderr());
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(writer).with_target(false);
    let log = log.with_ansi(std::io::stderr().is_terminal()).log_internal_errors(false);
    // A second logger in one process is of no use, and no harm.
    let _ = match config.log.format {
        LogFormat::Json => log.json().try_init(),
        LogFormat::Text => log.try_init(),
    };
    guard
}

/// Says what is in force, on which hook, and why.
fn announce(setup: &Setup) {
    setup.ports.iter().for_each(Port::announce);
    let (zones, rules) = (setup.image.zones.len(), setup.image.rule_names.len().saturating_sub(1));
    tracing::info!(zones, rules, "the policy is in force");
    // A service manager that asked to be told; what it does without is wait.
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}
