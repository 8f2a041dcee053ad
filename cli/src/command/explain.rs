//! `vfw explain`: what becomes of a packet, and why.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use firewall_core::DropReason;

use super::{Exit, Failure, read_sources, show_diagnostics};
use crate::compile::{Link, compile};
use crate::config::{Config, SocketPath};
use crate::control::{Answer, ClientError, Request, ask};
use crate::explain::{Considered, Explainer, Explanation, FirstPacket, RulePlace};
use crate::lang::load;

const EXAMPLE: &str = "\
Examples:
  vfw explain 'app 10.0.10.7:40000 -> 10.0.20.9:5432 tcp'
  vfw explain 'app fd00:10::7 -> fd00:20::9 ping'
  vfw explain --rules new.fw 'db 10.0.20.9 -> 10.0.10.7 tcp 22'

The packet is the first one of a flow: a flow that is known is not judged again.
It is written ZONE SOURCE -> DESTINATION SERVICE; ports stand at the address
(10.0.0.7:80, [fd00::7]:80) or behind tcp and udp. The zone may be left out when
the source lies in the subnet of one.

Exit code: 0 explained (whatever the verdict), 1 the packet or the rules are bad,
2 no vfw runs or it could not answer.";

/// `vfw explain PACKET`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    /// The packet: ZONE SOURCE[:PORT] -> DESTINATION[:PORT] PROTOCOL.
    pub packet: String,
    /// Ask these rule files instead of the running vfw.
    #[arg(long, value_name = "FILE", num_args = 1)]
    pub rules: Vec<PathBuf>,
    /// List every rule that was considered.
    #[arg(long)]
    pub all: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    /// Control socket of the running vfw.
    #[arg(long, value_name = "PATH", conflicts_with = "rules")]
    pub socket: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let explanation = if arguments.rules.is_empty() { of_daemon(arguments)? } else { of_files(arguments)? };
    let text = if arguments.json {
        serde_json::to_string_pretty(&explanation).map_err(Failure::refused)? + "\n"
    } else {
        text(&explanation, arguments.all)
    };
    // A reader that has seen enough (`| head`) is no failure.
    let _ = write!(std::io::stdout(), "{text}");
    Ok(())
}

fn bad_input(message: String) -> Failure {
    Failure { exit: Exit::BadInput, message }
}

fn of_daemon(arguments: &Arguments) -> Result<Explanation, Failure> {
    let standard = SocketPath::standard();
    let socket = arguments.socket.as_deref().unwrap_or_else(|| standard.as_path());
    match ask(socket, &Request::Explain(arguments.packet.clone())) {
        Ok(Answer::Explanation(explanation)) => Ok(*explanation),
        Ok(_) => Err(Failure::refused(anyhow::anyhow!("vfw answered something else"))),
        Err(ClientError::BadQuestion(message)) => Err(bad_input(message)),
        Err(error) => Err(Failure::refused(error)),
    }
}

fn of_files(arguments: &Arguments) -> Result<Explanation, Failure> {
    let sources = read_sources(&arguments.rules)?;
    let shown = |errors: &crate::lang::Diagnostics| {
        show_diagnostics(errors, &sources);
        bad_input(String::new())
    };
    let policy = load(&sources).map_err(|errors| shown(&errors))?.policy;
    let packet = FirstPacket::parse(&policy, &arguments.packet).map_err(|error| bad_input(error.to_string()))?;
    let image = compile(&policy, &Config::default(), &Link::invent(&policy));
    let image = image.map_err(|error| shown(error.diagnostics()))?;
    Explainer::new(&policy, &image).explain(&packet).map_err(|error| bad_input(error.to_string()))
}

/// Rules before the deciding one that are listed unless all are asked for: the last ones.
const LISTED: usize = 5;

pub(crate) fn text(explanation: &Explanation, all: bool) -> String {
    let mut text = String::new();
    let reason = match (&explanation.reason, &explanation.meaning) {
        (Some(name), Some(meaning)) => format!(" ({name}: {meaning})"),
        _ => String::new(),
    };
    line(&mut text, "verdict", &format!("{}{reason}", explanation.verdict));
    let to = explanation.to.as_deref().unwrap_or(if explanation.verdict == "allow" { "vfw itself" } else { "nowhere" });
    line(&mut text, "zones", &format!("{} -> {to}", explanation.from));
    line(&mut text, "route", explanation.route.as_deref().unwrap_or("none"));
    for closed in &explanation.closed {
        let way = if closed.is_ingress { "nothing comes in by it" } else { "nothing leaves by it" };
        line(&mut text, "closed", &format!("{} (zone {}) is {}: {way}", closed.interface, closed.zone, closed.state));
    }
    let stops = explanation.reason.as_deref() == Some(DropReason::InterfaceDown.name());
    match &explanation.decided {
        Some(rule) if stops => line(&mut text, "decided", &format!("{}\nwould allow it", place(rule))),
        Some(rule) => line(&mut text, "decided", &place(rule)),
        None => line(&mut text, "decided", "before the rules were asked"),
    }
    if explanation.verdict != "allow"
        && let Some(nearest) = &explanation.nearest
    {
        near(&mut text, nearest);
    }
    let skipped = if all { 0 } else { explanation.considered.len().saturating_sub(LISTED) };
    if !explanation.considered.is_empty() {
        let count = explanation.considered.len();
        line(&mut text, "before", &format!("{count} rule{} did not match", if count == 1 { "" } else { "s" }));
    }
    if skipped > 0 {
        let _ = writeln!(text, "         ... {skipped} more (--all lists them)");
    }
    for considered in explanation.considered.iter().skip(skipped) {
        let _ = writeln!(text, "         {}", place(&considered.rule));
        for failed in &considered.failed {
            let _ = writeln!(text, "           {failed}");
        }
    }
    text
}

fn near(text: &mut String, nearest: &Considered) {
    if nearest.failed.is_empty() {
        line(
            text,
            "nearest",
            &format!("{}\nwould allow it, and stands behind the rule that decides", place(&nearest.rule)),
        );
    } else {
        line(
            text,
            "nearest",
            &format!("{}\nwould allow it but for {}", place(&nearest.rule), nearest.failed.join("; ")),
        );
    }
}

fn place(rule: &RulePlace) -> String {
    format!("{}  {}", rule.place, rule.rule)
}

fn line(text: &mut String, name: &str, value: &str) {
    let value = value.replace('\n', "\n         ");
    let _ = writeln!(text, "{name:<8} {value}");
}
