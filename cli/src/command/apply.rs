//! `vfw apply`: another policy for the vfw that runs, and what it changes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use super::{Exit, Failure, read_sources, show_diagnostics};
use crate::change::{Kind, Line};
use crate::config::SocketPath;
use crate::control::{Answer, AppliedView, CutView, Direction, NewPolicy, Request, ask};
use crate::lang::{Diagnostics, load};

const EXAMPLE: &str = "\
Examples:
  vfw apply --dry-run /etc/vfw/rules.fw
  vfw apply /etc/vfw/rules.fw

Each packet is judged by the policy before or by this one, whole. Flows that are still allowed go on; the others
end with their next packet. A policy that is bad, fails its tests or does not fit leaves the one before in force.
The files that `vfw run` was started with are read again when it starts again: apply those, or change its arguments.
Exit code: 0 it is in force (or could be: --dry-run), 1 the policy is bad, 2 no vfw runs or the system refused.";

/// `vfw apply FILE...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    /// Rule files; together they are one policy. `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Only say what would change.
    #[arg(long)]
    pub dry_run: bool,
    /// Print the JSON document that the daemon sends.
    #[arg(long)]
    pub json: bool,
    /// Control socket of the running vfw.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// Asks and prints.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let sources = read_sources(&arguments.files)?;
    let bad = |found: &Diagnostics| {
        show_diagnostics(found, &sources);
        let message = "the policy is not put in force; the one before stays".to_owned();
        Failure { exit: Exit::BadInput, message }
    };
    // What is no text cannot be sent; the reader says where.
    if sources.iter().any(|source| source.invalid_at().is_some())
        && let Err(found) = load(&sources)
    {
        return Err(bad(&found));
    }
    let files = sources.iter().map(|source| (source.name.clone(), source.text.clone())).collect();
    let standard = SocketPath::standard();
    let socket = arguments.socket.as_deref().unwrap_or_else(|| standard.as_path());
    let request = Request::Apply(Box::new(NewPolicy { files, dry_run: arguments.dry_run }));
    let applied = match ask(socket, &request).map_err(Failure::refused)? {
        Answer::Applied(applied) => applied,
        Answer::BadPolicy(found) => return Err(bad(&found)),
        _ => return Err(Failure::refused(anyhow::anyhow!("vfw answered something else"))),
    };
    if !arguments.json {
        show_diagnostics(&applied.warnings, &sources);
    }
    let json = || serde_json::to_string_pretty(&applied).map(|text| text + "\n").map_err(Failure::refused);
    let text = if arguments.json { json()? } else { text(&applied) };
    // A reader that has seen enough (`| head`) is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// An answer as people read it.
pub(super) fn text(applied: &AppliedView) -> String {
    let mut text = String::new();
    let change = &applied.change;
    for (what, lines) in [("zones", &change.zones), ("routes", &change.routes), ("rules", &change.rules)] {
        differences(&mut text, what, lines);
    }
    if change.is_empty() {
        text.push_str("no zone, route or rule differs\n");
    }
    for (sign, interfaces) in [('+', &applied.interfaces_added), ('-', &applied.interfaces_removed)] {
        for interface in interfaces {
            let _ = writeln!(text, "{sign} interface {interface}");
        }
    }
    flows(&mut text, applied);
    for line in applied.summary.lines() {
        let _ = writeln!(text, "{line}");
    }
    let outcome = if applied.in_force { "in force after" } else { "dry run: nothing was changed;" };
    let _ = writeln!(text, "{outcome} {:.1} ms", applied.milliseconds);
    text
}

/// Lines that differ, and how many of each kind.
fn differences(text: &mut String, what: &str, lines: &[Line]) {
    if lines.is_empty() {
        return;
    }
    let kinds = [
        (Kind::Added, "added"),
        (Kind::Removed, "removed"),
        (Kind::Moved, "moved"),
        (Kind::Changed, "with other addresses or services"),
    ];
    let count = |kind| lines.iter().filter(|line| line.kind == kind).count();
    let counts: Vec<String> = kinds
        .into_iter()
        .filter(|(kind, _)| count(*kind) > 0)
        .map(|(kind, word)| format!("{} {word}", count(kind)))
        .collect();
    let _ = writeln!(text, "{what}: {}", counts.join(", "));
    for line in lines {
        let sign = match line.kind {
            Kind::Added => '+',
            Kind::Removed => '-',
            Kind::Moved => '>',
            Kind::Changed => '~',
        };
        let _ = writeln!(text, "{sign} {}  {}", line.place, line.text);
    }
}

fn flows(text: &mut String, applied: &AppliedView) {
    let (cut, kept) = (applied.flows_cut, applied.flows_kept);
    let verb = if applied.in_force { "end" } else { "would end" };
    let _ = writeln!(text, "flows    {kept} go on, {cut} {verb}");
    for CutView { flow, reason, by } in &applied.cut {
        let by = by.as_ref().map_or_else(String::new, |place| format!(" by {place}"));
        let ends = (endpoint(&flow.from), endpoint(&flow.to));
        let _ = writeln!(text, "x {} {} -> {}  {reason}{by}", flow.protocol, ends.0, ends.1);
    }
    let more = cut.saturating_sub(applied.cut.len());
    if more > 0 {
        let _ = writeln!(text, "  and {more} more");
    }
}

fn endpoint(direction: &Direction) -> String {
    match direction.port {
        Some(port) if direction.address.contains(':') => format!("[{}]:{port}", direction.address),
        Some(port) => format!("{}:{port}", direction.address),
        None => direction.address.clone(),
    }
}
