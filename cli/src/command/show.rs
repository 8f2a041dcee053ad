//! `vfw show`: what a running vfw knows, as a table for people or JSON for programs.

use std::io::Write;
use std::path::PathBuf;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::Failure;
use crate::config::SocketPath;
use crate::control::{Answer, CounterView, Direction, InterfaceView, Question, Request, ask};

const EXAMPLE: &str = "\
Examples:
  vfw show flows
  vfw show drops --json | jq '.drops.recent[] | select(.zone == \"app\")'

Exit code: 0 answered, 2 no vfw runs or it could not answer.";

/// `vfw show WHAT`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Arguments {
    /// What to show.
    #[arg(value_enum)]
    pub what: Question,
    /// List every recent drop that is known, not only the last ones.
    #[arg(long)]
    pub all: bool,
    /// Print the JSON document that the daemon sends.
    #[arg(long)]
    pub json: bool,
    /// Control socket of the running vfw.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// Asks and prints.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let standard = SocketPath::standard();
    let socket = arguments.socket.as_deref().unwrap_or_else(|| standard.as_path());
    let answer = ask(socket, &Request::Show(arguments.what)).map_err(Failure::refused)?;
    let text = if arguments.json {
        serde_json::to_string_pretty(&answer).map_err(Failure::refused)?
    } else {
        table(&answer, arguments.all)
    };
    // A reader that has seen enough (`| head`) is no failure.
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(())
}

/// An answer as people read it, within the width of the terminal (80 columns elsewhere).
///
/// Of a list of packets only the last ones, unless `all` are wanted.
pub fn table(answer: &Answer, all: bool) -> String {
    match answer {
        Answer::Stopping => "vfw ends".to_owned(),
        Answer::Zones(zones) => rows(
            &["zone", "where", "gateway", "in", "out"],
            zones.iter().map(|zone| {
                let vlan = zone.vlan.map_or_else(|| "untagged".to_owned(), |vlan| format!("vlan {vlan}"));
                vec![
                    zone.zone.clone(),
                    format!("{}\n{vlan}", zone.interface),
                    zone.addresses.join("\n"),
                    traffic(zone.received),
                    traffic(zone.sent),
                ]
            }),
        ),
        Answer::Rules(rules) => rows(
            &["packets", "bytes", "last hit", "rule"],
            rules.iter().map(|rule| {
                let last = rule.last_hit_seconds.map(|ago| format!("{} ago", duration(ago)));
                vec![
                    rule.counter.packets.to_string(),
                    bytes(rule.counter.bytes),
                    last.unwrap_or_else(|| "never".to_owned()),
                    format!("{}\n{}", rule.rule, rule.place),
                ]
            }),
        ),
        Answer::Flows(flows) => rows(
            &["proto", "from", "to", "state", "ends in", "sent", "answered"],
            flows.iter().map(|flow| {
                vec![
                    flow.protocol.clone(),
                    endpoint(&flow.from),
                    endpoint(&flow.to),
                    flow.state.clone(),
                    duration(flow.expires_seconds),
                    traffic(flow.from.counter),
                    traffic(flow.to.counter),
                ]
            }),
        ),
        Answer::Drops(drops) => super::drops::text(drops, all),
        Answer::Interfaces(interfaces) => rows(
            &["interface", "state", "driver", "hook", "mtu", "zones", "why"],
            interfaces.iter().map(|interface| {
                let warnings = interface.warnings.iter().map(|warning| format!("WARNING: {warning}"));
                let lost = interface.lost_events.iter().map(|lost| {
                    format!("WARNING: {} {} events of zone {} were lost", lost.events, lost.topic, lost.zone)
                });
                let why: Vec<String> = interface.reasons.iter().cloned().chain(warnings).chain(lost).collect();
                let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
                vec![
                    interface.interface.clone(),
                    interface.state.clone(),
                    or_dash(&interface.driver),
                    hook(interface),
                    or_dash(&interface.mtu.map(|mtu| mtu.to_string())),
                    interface.zones.join("\n"),
                    why.join("\n"),
                ]
            }),
        ),
        Answer::Neighbours(neighbours) => rows(
            &["zone", "address", "mac", "state", "waiting"],
            neighbours.iter().map(|neighbour| {
                vec![
                    neighbour.zone.clone(),
                    neighbour.address.clone(),
                    neighbour.mac.clone().unwrap_or_else(|| "-".to_owned()),
                    neighbour.state.clone(),
                    neighbour.queued.to_string(),
                ]
            }),
        ),
        Answer::Explanation(explanation) => super::explain::text(explanation, false),
        Answer::Applied(applied) => super::apply::text(applied),
        Answer::BadPolicy(found) => found.to_string(),
        Answer::Error(message) | Answer::BadQuestion(message) => message.clone(),
    }
}

/// The hook, and how frames get to the engine where it is one.
fn hook(interface: &InterfaceView) -> String {
    match (&interface.hook, &interface.frames) {
        (Some(hook), Some(frames)) => format!("{hook}\n{frames}"),
        (hook, _) => hook.clone().unwrap_or_else(|| "-".to_owned()),
    }
}

/// Columns whose cells are numbers, by their heading.
const NUMBERS: [&str; 5] = ["packets", "bytes", "mtu", "waiting", "ends in"];

pub(super) fn rows(headings: &[&str], cells: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    // No terminal, or one that does not know its size: a serial console.
    if table.width().is_none_or(|width| width == 0) {
        table.set_width(80);
    }
    table.set_header(headings);
    for (index, heading) in headings.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 1));
            if NUMBERS.contains(heading) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.add_rows(cells);
    if table.row_count() == 0 { "none".to_owned() } else { table.to_string() }
}

fn endpoint(direction: &Direction) -> String {
    direction.port.map_or_else(|| direction.address.clone(), |port| format!("{}\n:{port}", direction.address))
}

fn traffic(counter: CounterView) -> String {
    format!("{} pkt\n{}", counter.packets, bytes(counter.bytes))
}

/// Bytes in units that fit a column.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count / 100;
    let mut unit = 0;
    while value >= 10_000 && unit + 1 < UNITS.len() {
        value /= 1000;
        unit += 1;
    }
    format!("{}.{} {}", value / 10, value % 10, UNITS[unit])
}

/// Seconds in units that fit a column.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        let sizes = [999, 1_500, 1_000_000, 2_345_678_901].map(bytes);
        assert_eq!(sizes, ["999 B", "1.5 kB", "1.0 MB", "2.3 GB"]);
        assert_eq!((duration(59), duration(432_000)), ("59s".to_owned(), "5d".to_owned()));
    }

    #[test]
    fn nothing_is_said_in_a_word() {
        assert_eq!(table(&Answer::Flows(Vec::new()), false), "none");
    }
}
