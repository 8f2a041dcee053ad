//! The report as people read it: 80 columns, and commands on lines of their own, never broken.

use std::fmt::Write as _;

use textwrap::{Options, WordSplitter, fill};

use super::Report;
use crate::doctor::facts::{InterfaceFacts, Machine, ZoneFacts};
use crate::doctor::finding::{Finding, Remedy, Severity};
use crate::doctor::{Outcome, Possible};
use crate::interface::Counts;

const WIDTH: usize = 80;
/// Width of the first column.
const MARGIN: usize = 11;

/// The whole report; with `all` also what is as it should be.
pub(super) fn report(report: &Report, all: bool) -> String {
    let mut text = String::new();
    let listed = |interface: Option<&str>, text: &mut String| {
        let here = report.findings.iter().filter(|finding| finding.interface.as_deref() == interface);
        for finding in here.filter(|finding| all || finding.severity > Severity::Ok) {
            self::finding(text, finding);
        }
    };
    line(&mut text, "machine", &machine(&report.facts.machine, report.facts.vfw_runs));
    listed(None, &mut text);
    for (interface, hooks) in report.facts.interfaces.iter().zip(report.hooks.iter().map(|hooks| &hooks.possible)) {
        text.push('\n');
        self::interface(&mut text, interface, hooks);
        listed(Some(interface.name()), &mut text);
    }
    if !report.fixes.is_empty() {
        text.push('\n');
        report.fixes.iter().for_each(|outcome| fix(&mut text, outcome));
    }
    let _ = write!(text, "\n{}\n", summary(&report.findings, all));
    text
}

/// A name in the margin, and text that is broken beside it.
fn line(text: &mut String, name: &str, value: &str) {
    let first = format!("{name:<MARGIN$}");
    let rest = " ".repeat(MARGIN);
    let options = Options::new(WIDTH).initial_indent(&first).subsequent_indent(&rest).break_words(false);
    let options = options.word_splitter(WordSplitter::NoHyphenation);
    let _ = writeln!(text, "{}", fill(value, options));
}

fn machine(machine: &Machine, vfw_runs: bool) -> String {
    let product = machine.product.as_ref().map_or(String::new(), |product| format!(" ({product})"));
    let container = machine.container.as_ref().map_or(String::new(), |kind| format!(", in a container ({kind})"));
    let cpus = if machine.cpus == 1 { "1 CPU".to_owned() } else { format!("{} CPUs", machine.cpus) };
    let vfw = if vfw_runs { "vfw runs" } else { "no vfw runs" };
    format!("{}{product}{container}, Linux {}, {cpus}; {vfw}", machine.platform, machine.kernel)
}

fn interface(text: &mut String, facts: &InterfaceFacts, hooks: &[Possible]) {
    let up = if facts.interface.up { "up" } else { "down" };
    let driver = if facts.driver().is_empty() { "no driver" } else { facts.driver() };
    let zone = |zone: &ZoneFacts| {
        let vlan = zone.vlan.map_or_else(|| "untagged".to_owned(), |vlan| format!("vlan {vlan}"));
        format!("{} ({vlan})", zone.name)
    };
    let zones: Vec<String> = facts.zones.iter().map(zone).collect();
    let zones = if zones.is_empty() { String::new() } else { format!("; zones {}", zones.join(", ")) };
    line(text, facts.name(), &format!("{driver}, {up}, MTU {}{zones}", facts.interface.mtu));
    line(text, "  hook", &hook(facts));
    line(text, "  possible", &names(hooks));
    for cannot in hooks.iter().filter(|possible| possible.ability.can != Some(true)) {
        let way = if cannot.ability.can.is_none() { "unknown" } else { "not" };
        line(text, &format!("  {way}"), &format!("{}: {}", cannot.hook, cannot.ability.because));
    }
    line(text, "  offloads", &offloads(facts));
    line(text, "  queues", &format!("{}; ring slots {}", counts(facts.queues), counts(facts.rings)));
}

fn hook(facts: &InterfaceFacts) -> String {
    let running = facts.running.as_ref().and_then(|running| Some((running.hook.as_ref()?, &running.frames)));
    match (running, facts.choice()) {
        (Some((hook, Some(frames))), _) => format!("{hook} in use, frames by {frames}"),
        (Some((hook, None)), _) => format!("{hook} in use"),
        (None, Ok(choice)) => format!("{} by mode = {}, not in use", choice.name(), facts.mode),
        (None, Err(_)) => format!("none by mode = {}", facts.mode),
    }
}

/// The hooks that can be had, and how that is known.
fn names(hooks: &[Possible]) -> String {
    let can = hooks.iter().filter(|possible| possible.ability.can == Some(true));
    let names: Vec<String> = can.map(|possible| format!("{} ({})", possible.hook, possible.ability.because)).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// Offloads under the names that `ethtool -K` takes.
fn offloads(facts: &InterfaceFacts) -> String {
    let tx = ["tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6"];
    let rows: [(&str, &[&str]); 12] = [
        ("rx", &["rx-checksum"]),
        ("tx", &tx),
        ("tso", &["tx-tcp-segmentation", "tx-tcp6-segmentation"]),
        ("gso", &["tx-generic-segmentation"]),
        ("gro", &["rx-gro"]),
        ("lro", &["rx-lro"]),
        ("gro-hw", &["rx-gro-hw"]),
        ("rxvlan", &["rx-vlan-hw-parse"]),
        ("txvlan", &["tx-vlan-hw-insert"]),
        ("vlan-filter", &["rx-vlan-filter"]),
        ("ntuple", &["rx-ntuple-filter"]),
        ("rxhash", &["rx-hashing"]),
    ];
    let is_on = |features: &[&str]| features.iter().any(|feature| facts.offload(feature).is_on());
    let (on, off): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, features)| is_on(features));
    let list = |rows: Vec<(&'static str, _)>| {
        let names: Vec<&str> = rows.into_iter().map(|(name, _)| name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(" ") }
    };
    format!("on: {}; off: {}", list(on), list(off))
}

fn counts(counts: Option<Counts>) -> String {
    let Some(Counts { receive, send, most_receive, most_send }) = counts else { return "not told".to_owned() };
    format!("rx {receive} of {most_receive}, tx {send} of {most_send}")
}

fn finding(text: &mut String, finding: &Finding) {
    let mark = match finding.severity {
        Severity::Ok => "  ok",
        Severity::Note => "  note",
        Severity::Warning => "  WARNING",
        Severity::Error => "  ERROR",
    };
    line(text, mark, &format!("{}: {}", finding.check, finding.reason));
    finding.remedies.iter().for_each(|one| remedy(text, one));
}

/// Where, and the command as it is to be given.
fn remedy(text: &mut String, remedy: &Remedy) {
    let indent = " ".repeat(MARGIN);
    let mut place = format!("{:<9}", remedy.place);
    for part in remedy.command.lines() {
        let _ = writeln!(text, "{indent}{place}{part}");
        place = " ".repeat(9);
    }
    if let Some(caution) = &remedy.caution {
        line(text, "", &format!("{place}({caution})"));
    }
}

fn fix(text: &mut String, outcome: &Outcome) {
    let (mark, command, more) = match outcome {
        Outcome::Made(applied) => ("changed", &applied.command, format!("was {}; undo: {}", applied.was, applied.undo)),
        Outcome::Planned { command } => ("would", command, String::new()),
        Outcome::Failed { command, error } => ("FAILED", command, error.clone()),
    };
    let _ = writeln!(text, "{mark:<MARGIN$}{command}");
    if !more.is_empty() {
        let _ = writeln!(text, "{:MARGIN$}{more}", "");
    }
}

fn summary(findings: &[Finding], all: bool) -> String {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let fine = count(Severity::Ok);
    let hidden = if all { "" } else { " (--all lists it)" };
    format!(
        "{}, {}, {}; {fine} times all is well{hidden}",
        plural(count(Severity::Error), "error"),
        plural(count(Severity::Warning), "warning"),
        plural(count(Severity::Note), "note"),
    )
}
