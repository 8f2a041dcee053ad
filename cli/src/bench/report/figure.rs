//! The figures that tests give, in one list: tables, plots, comparisons and the documentation are made from it.

use serde::{Deserialize, Serialize};

/// A figure. Its name in JSON is that of the variant in snake case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Payload that the receiver got.
    Mbps,
    /// CPU time of the whole machine for a gigabit of payload.
    CpuSPerGbit,
    /// TCP segments sent again.
    Retransmits,
    /// Share of datagrams or frames that did not arrive.
    Loss,
    /// Requests answered.
    Transactions,
    /// Latency of the middle transaction.
    P50Us,
    /// Latency that nine of ten do not exceed.
    P90Us,
    /// Latency that 99 of 100 do not exceed.
    P99Us,
    /// Latency that 999 of 1,000 do not exceed.
    P999Us,
    /// Connections opened, used once and closed.
    Connections,
    /// Frames that arrived.
    Mpps,
    /// Time that the path adds to a frame: generator, one veth and sink taken off.
    NetNs,
    /// Flows begun.
    NewFlows,
    /// Flows established at the same time.
    Held,
    /// Share of the flows opened before that were established while the figure was taken.
    Established,
    /// Transactions as a share of those with the attack sent into a dead end.
    Kept,
    /// Frames of the attack that were sent.
    FloodMpps,
    /// Share of the established flows that are there after the attack.
    Survived,
}

/// Which of two figures is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The larger one.
    Higher,
    /// The smaller one.
    Lower,
    /// Neither: it tells how the others were found.
    Neither,
}

/// What is said about a figure.
struct Facts {
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    better: Better,
    decimals: usize,
}

const fn facts(name: &'static str, title: &'static str, unit: &'static str, better: Better, decimals: usize) -> Facts {
    Facts { name, title, unit, better, decimals }
}

impl Figure {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Mbps,
        Self::CpuSPerGbit,
        Self::Retransmits,
        Self::Loss,
        Self::Transactions,
        Self::P50Us,
        Self::P90Us,
        Self::P99Us,
        Self::P999Us,
        Self::Connections,
        Self::Mpps,
        Self::NetNs,
        Self::NewFlows,
        Self::Held,
        Self::Established,
        Self::Kept,
        Self::FloodMpps,
        Self::Survived,
    ];

    const fn facts(self) -> Facts {
        use Better::{Higher, Lower, Neither};
        match self {
            Self::Mbps => facts("mbps", "throughput", "Mbit/s", Higher, 1),
            Self::CpuSPerGbit => facts("cpu_s_per_gbit", "CPU time", "s/Gbit", Lower, 3),
            Self::Retransmits => facts("retransmits", "retransmits", "segments", Lower, 0),
            Self::Loss => facts("loss", "loss", "share", Lower, 4),
            Self::Transactions => facts("transactions", "transactions", "/s", Higher, 0),
            Self::P50Us => facts("p50_us", "p50", "us", Lower, 1),
            Self::P90Us => facts("p90_us", "p90", "us", Lower, 1),
            Self::P99Us => facts("p99_us", "p99", "us", Lower, 1),
            Self::P999Us => facts("p999_us", "p99.9", "us", Lower, 1),
            Self::Connections => facts("connections", "connections", "/s", Higher, 0),
            Self::Mpps => facts("mpps", "packet rate", "Mpps", Higher, 3),
            Self::NetNs => facts("net_ns", "net cost", "ns/packet", Lower, 0),
            Self::NewFlows => facts("new_flows", "new flows", "/s", Higher, 0),
            Self::Held => facts("held", "held at once", "flows", Higher, 0),
            Self::Established => facts("established", "established", "share", Neither, 3),
            Self::Kept => facts("kept", "kept", "share", Higher, 3),
            Self::FloodMpps => facts("flood_mpps", "flood", "Mpps", Neither, 3),
            Self::Survived => facts("survived", "survived", "share", Higher, 3),
        }
    }

    /// Its name in JSON and CSV.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// What readers see.
    pub const fn title(self) -> &'static str {
        self.facts().title
    }

    /// Its unit.
    pub const fn unit(self) -> &'static str {
        self.facts().unit
    }

    /// Which way it should go.
    pub const fn better(self) -> Better {
        self.facts().better
    }

    /// A value as readers see it, without the unit.
    pub fn format(self, value: f64) -> String {
        // More than four digits none of these measurements is good for, and less than two say too little.
        let decimals = match value.abs() {
            large if large >= 1_000.0 => 0,
            small if small > 0.0 && small < 0.1 => self.facts().decimals.max(leading_zeros(small) + 2),
            _ => self.facts().decimals,
        };
        format!("{value:.decimals$}")
    }
}

/// Zeros between the point and the first other digit, at most six.
fn leading_zeros(value: f64) -> usize {
    (1..=6).take_while(|zeros| value * 10f64.powi(*zeros) < 1.0).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_mean_something() {
        let said = [17_234.56, 999.96, 0.0123, 0.001_23, 0.0].map(|value| Figure::Mbps.format(value));
        assert_eq!(said, ["17235", "1000.0", "0.012", "0.0012", "0.0"]);
        assert_eq!(Figure::Retransmits.format(0.0), "0");
    }

    #[test]
    fn names_are_those_of_json_and_unique() {
        for (place, figure) in Figure::ALL.into_iter().enumerate() {
            assert_eq!(serde_json::to_value(figure).expect("a name"), figure.name());
            assert_eq!(figure as usize, place, "{figure:?} is missing in the list, or at another place");
        }
    }
}
