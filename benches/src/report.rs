//! The report: for people at 80 columns, and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::cost::{Cost, Way};
use crate::machine::Machine;
use crate::programs::Programs;
use crate::throughput::Throughput;

/// Everything one run measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where and how.
    pub machine: Machine,
    /// Net cost per packet.
    pub costs: Vec<Cost>,
    /// Test runs and sizes.
    pub programs: Programs,
    /// TCP throughput.
    pub throughput: Vec<Throughput>,
    /// What was aimed at.
    pub targets: Vec<Target>,
}

/// A figure that was aimed at.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// What is compared.
    pub what: String,
    /// The figure.
    pub measured: f64,
    /// `<=` or `>=`.
    pub relation: &'static str,
    /// The aim.
    pub aim: f64,
    /// Whether the figure is there.
    pub met: bool,
}

impl Report {
    /// Compares what was measured with what was aimed at.
    pub fn new(machine: Machine, costs: Vec<Cost>, programs: Programs, throughput: Vec<Throughput>) -> Self {
        let targets = targets(&costs, &throughput);
        Self { machine, costs, programs, throughput, targets }
    }

    /// The whole report, at most 80 columns wide.
    pub fn text(&self) -> String {
        let parts = [
            (true, self.machine.text("vfw data path")),
            (!self.costs.is_empty(), cost_text(&self.costs)),
            (!self.targets.is_empty(), targets_text(&self.targets)),
            (!self.programs.runs.is_empty(), programs_text(&self.programs)),
            (!self.throughput.is_empty(), throughput_text(&self.throughput)),
        ];
        let measured: Vec<String> = parts.into_iter().filter(|(is, _)| *is).map(|(_, text)| text).collect();
        measured.join("\n")
    }

    /// The report as a page of Markdown.
    pub fn markdown(&self) -> String {
        page("Data path", &self.machine, &self.text())
    }
}

/// A report as a page of Markdown.
pub fn page(title: &str, machine: &Machine, text: &str) -> String {
    let command = &machine.command;
    format!(
        "# {title}\n\nWritten by `{command}`; how to read it: [benches/README.md](../README.md).\n\n```text\n{text}```\n"
    )
}

fn targets(costs: &[Cost], throughput: &[Throughput]) -> Vec<Target> {
    let mut targets = Vec::new();
    for flows in flow_counts(costs) {
        let net = |way: Way| costs.iter().find(|cost| cost.flows == flows && cost.way == way.name()).map(|c| c.net_ns);
        let pairs = [(Way::VfwXdp, Way::Nftables, 0.25), (Way::VfwTc, Way::Routing, 1.0)];
        for (own, other, aim) in pairs {
            if let (Some(ours), Some(theirs)) = (net(own), net(other)) {
                let plural = if flows == 1 { "" } else { "s" };
                let what = format!("net cost, {} : {}, {flows} flow{plural}", own.name(), other.name());
                let measured = ours / theirs;
                targets.push(Target { what, measured, relation: "<=", aim, met: measured <= aim });
            }
        }
    }
    if let Some(tc) = throughput.iter().find(|one| one.way == Way::VfwTc.name()) {
        let what = format!("TCP throughput, {} : {}", Way::VfwTc.name(), Way::Direct.name());
        targets.push(Target { what, measured: tc.of_direct, relation: ">=", aim: 0.95, met: tc.of_direct >= 0.95 });
    }
    targets
}

fn flow_counts(costs: &[Cost]) -> Vec<u32> {
    let mut counts: Vec<u32> = costs.iter().map(|cost| cost.flows).collect();
    counts.dedup();
    counts
}

fn cost_text(costs: &[Cost]) -> String {
    let mut text = String::from(
        "NET COST PER PACKET, ns: 60-byte UDP over established flows, one core\n\
         Above generator + one veth + sink, whose own cost is the line \"direct\".\n\n",
    );
    let counts = flow_counts(costs);
    let _ = write!(text, "  {:<20}", "flows");
    for count in &counts {
        let _ = write!(text, "{count:>12}");
    }
    text.push('\n');
    for way in Way::ALL {
        let _ = write!(text, "  {:<20}", way.name());
        for count in &counts {
            if let Some(cost) = costs.iter().find(|cost| cost.flows == *count && cost.way == way.name()) {
                let nanos = if way == Way::Direct { cost.total_ns } else { cost.net_ns };
                let _ = write!(text, "{:>12}", format!("{}{nanos:.0}", if way == Way::Direct { "" } else { "+" }));
            }
        }
        text.push('\n');
    }
    let least = costs.iter().filter_map(|cost| cost.established).fold(1.0, f64::min);
    let lost = costs.iter().map(|cost| cost.lost).fold(0.0, f64::max);
    let _ = writeln!(
        text,
        "\n  Flows established beforehand in vfw and conntrack: {:.1} % or more.\n  Frames lost: {:.2} % or less.",
        least * 100.0,
        lost * 100.0
    );
    text
}

/// Targets, and whether each is met.
pub fn targets_text(targets: &[Target]) -> String {
    let mut text = String::from("TARGETS\n\n");
    for target in targets {
        let met = if target.met { "met" } else { "MISSED" };
        let aim = format!("{} {:.2}", target.relation, target.aim);
        let _ = writeln!(text, "  {:<54}{:>6.2}  {aim:<8} {met}", target.what, target.measured);
    }
    text
}

fn programs_text(programs: &Programs) -> String {
    let mut text = String::from("PROGRAMS: ns per run (BPF_PROG_TEST_RUN, less an empty program)\n\n");
    let _ = writeln!(text, "  {:<42}{:>10}{:>10}", "packet", "xdp", "tc");
    for run in &programs.runs {
        let _ = writeln!(text, "  {:<42}{:>10.0}{:>10.0}", run.packet, run.xdp_ns, run.tc_ns);
    }
    let _ = writeln!(text, "\n  {:<24}{:>16}{:>16}{:>16}", "program", "verified insns", "eBPF bytes", "machine bytes");
    for size in &programs.sizes {
        let _ = writeln!(
            text,
            "  {:<24}{:>16}{:>16}{:>16}",
            size.program, size.verified_instructions, size.translated_bytes, size.machine_bytes
        );
    }
    text
}

fn throughput_text(throughput: &[Throughput]) -> String {
    let mut text = String::from("TCP THROUGHPUT: iperf3, one stream, 64 KB messages\n\n");
    let _ = writeln!(text, "  {:<24}{:>10}{:>12}{:>10}", "way", "Gbit/s", "of direct", "+-");
    for one in throughput {
        let _ = writeln!(text, "  {:<24}{:>10.1}{:>12.2}{:>10.2}", one.way, one.gbits, one.of_direct, one.spread);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(way: Way, net_ns: f64) -> Cost {
        Cost { way: way.name(), flows: 60_000, established: Some(1.0), total_ns: net_ns + 180.0, net_ns, lost: 0.0 }
    }

    #[test]
    fn targets_compare_ways_of_the_same_run_and_fit_the_page() {
        let costs = vec![
            cost(Way::Direct, 0.0),
            cost(Way::VfwXdp, 250.0),
            cost(Way::VfwTc, 900.0),
            cost(Way::Routing, 800.0),
            cost(Way::Nftables, 1_000.0),
        ];
        let throughput = vec![Throughput { way: Way::VfwTc.name(), gbits: 14.0, of_direct: 0.96, spread: 0.02 }];
        let targets = targets(&costs, &throughput);
        let met: Vec<bool> = targets.iter().map(|target| target.met).collect();
        assert_eq!(met, [true, false, true]);
        let text = cost_text(&costs) + &targets_text(&targets) + &throughput_text(&throughput);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
