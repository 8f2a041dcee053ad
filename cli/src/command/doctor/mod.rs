//! `vfw doctor`: what keeps this machine from forwarding well, and what mends it.

mod text;

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::anyhow;
use serde::Serialize;

use super::{Exit, Failure, read_config, read_sources, show_diagnostics};
use crate::config::SocketPath;
use crate::control::{Answer, ClientError, InterfaceView, Question, Request, ask};
use crate::doctor::facts::Facts;
use crate::doctor::{Finding, Order, Outcome, Possible, Severity, checks, fix, gather, possible};
use crate::lang::load;

const EXAMPLE: &str = "\
Examples:
  vfw doctor                           # the running vfw's interfaces, else all
  vfw doctor --config vfw.toml rules.fw        # before the first start
  vfw doctor --interface eth1 --json
  vfw doctor --fix --dry-run           # then without --dry-run

It changes nothing without --fix. With it, what can be changed on this machine
without a link going down is changed, told with its old value, and looked at
again; the rest is left to you. docs/doctor.md lists the checks.

Exit code: 0 nothing above a note, 1 what was given is wrong, 2 the system
refused, 3 warnings or errors are left.";

/// `vfw doctor [FILE...]`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
#[allow(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub struct Arguments {
    /// Rule files, whose interfaces are looked at; without any, those of a running vfw.
    #[arg(value_name = "FILE")]
    pub rules: Vec<PathBuf>,
    /// Settings with which vfw is to run; without, what a running vfw does, else the built-in ones.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Look at this interface only; may be repeated.
    #[arg(long = "interface", value_name = "NAME")]
    pub interfaces: Vec<String>,
    /// Make the changes that are safe on a machine in use.
    #[arg(long)]
    pub fix: bool,
    /// Only say what --fix would change.
    #[arg(long, requires = "fix")]
    pub dry_run: bool,
    /// Do not load the programs to see whether the kernel takes them, which takes some seconds.
    #[arg(long)]
    pub quick: bool,
    /// List also what is as it should be.
    #[arg(long)]
    pub all: bool,
    /// Print one JSON object instead of text: facts, hooks, findings, fixes.
    #[arg(long)]
    pub json: bool,
    /// Control socket of the running vfw.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// All that is told, as data.
#[derive(Debug, Serialize)]
struct Report {
    format: &'static str,
    version: u32,
    vfw: &'static str,
    /// What is known.
    facts: Facts,
    /// Which hooks each interface can have, in the order of the facts.
    hooks: Vec<Hooks>,
    /// What the checks found, after the changes.
    findings: Vec<Finding>,
    /// What `--fix` did.
    fixes: Vec<Outcome>,
}

/// Which hooks an interface can have.
#[derive(Debug, Serialize)]
struct Hooks {
    interface: String,
    possible: Vec<Possible>,
}

impl Report {
    fn new(facts: Facts, fixes: Vec<Outcome>) -> Self {
        let hooks = facts
            .interfaces
            .iter()
            .map(|interface| Hooks { interface: interface.name().to_owned(), possible: possible(&facts, interface) });
        let hooks = hooks.collect();
        let findings = checks::find(&facts);
        Self { format: "vfw-doctor", version: 1, vfw: env!("CARGO_PKG_VERSION"), facts, hooks, findings, fixes }
    }

    fn exit(&self) -> Exit {
        let failed = self.fixes.iter().any(|fix| matches!(fix, Outcome::Failed { .. }));
        let found = self.findings.iter().any(|finding| finding.severity > Severity::Note);
        match (failed, found) {
            (true, _) => Exit::Refused,
            (false, true) => Exit::Found,
            (false, false) => Exit::Success,
        }
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let order = order(arguments)?;
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::refused(anyhow!("vfw doctor needs root: it asks what the kernel tells nobody else")));
    }
    let facts = gather(&order, None).map_err(Failure::refused)?;
    let report = if arguments.fix {
        let fixes = fix(&checks::find(&facts), arguments.dry_run);
        Report::new(gather(&order, Some(&facts)).map_err(Failure::refused)?, fixes)
    } else {
        Report::new(facts, Vec::new())
    };
    let text = if arguments.json {
        serde_json::to_string_pretty(&report).map_err(Failure::refused)? + "\n"
    } else {
        text::report(&report, arguments.all)
    };
    // A reader that has seen enough (`| head`) is no failure.
    let _ = write!(io::stdout(), "{text}");
    Ok(report.exit() as u8)
}

/// What to look at: from files, or from the vfw that runs.
fn order(arguments: &Arguments) -> Result<Order, Failure> {
    let mut order = Order { interfaces: arguments.interfaces.clone(), quick: arguments.quick, ..Order::default() };
    if arguments.config.is_some() {
        order.config = Some(read_config(arguments.config.as_ref())?);
    }
    let socket = arguments.socket.clone().unwrap_or_else(|| match &order.config {
        Some(config) => config.control.socket.as_path().to_owned(),
        None => SocketPath::standard().as_path().to_owned(),
    });
    let ask = |question| ask(&socket, &Request::Show(question));
    order.running = running(ask(Question::Interfaces))?;
    if !arguments.rules.is_empty() {
        let sources = read_sources(&arguments.rules)?;
        let loaded = load(&sources).map_err(|errors| {
            show_diagnostics(&errors, &sources);
            Failure { exit: Exit::BadInput, message: String::new() }
        })?;
        order.add_policy(&loaded.policy);
    } else if order.running.is_some()
        && let Answer::Zones(zones) = ask(Question::Zones).map_err(Failure::refused)?
    {
        order.add_views(zones);
    }
    Ok(order)
}

/// What a running vfw says of its interfaces; nothing when none runs.
fn running(answer: Result<Answer, ClientError>) -> Result<Option<Vec<InterfaceView>>, Failure> {
    match answer {
        Ok(Answer::Interfaces(views)) => Ok(Some(views)),
        Ok(_) => Err(Failure::refused(anyhow!("vfw answered something else"))),
        Err(ClientError::Connect { source, .. })
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
        {
            Ok(None)
        }
        Err(error) => Err(Failure::refused(error)),
    }
}

#[cfg(test)]
mod tests;
