//! What a benchmark found: one document for every test, which is printed as a table, JSON, CSV or a page with plots, and
//! compared with another. `docs/bench.md` describes it for readers, `docs/bench.schema.json` for programs.

mod compare;
mod csv;
mod figure;
mod html;
mod machine;
mod table;
pub mod view;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use compare::{Change, Comparison, FEWEST_ROUNDS, Verdict, compare};
pub use csv::csv;
pub use figure::{Better, Figure};
pub use html::{html, pictures};
pub use machine::Machine;
pub use table::table;

use super::samples;

/// What [`Document::format`] says.
pub const FORMAT: &str = "vfw-bench";
/// What [`Document::version`] says. Another one is another meaning of what is there already; new fields and figures are not.
pub const VERSION: u32 = 1;

/// Everything that one run of one test found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The command line that repeats it.
    pub command: String,
    /// When it began: RFC 3339, UTC.
    pub started: String,
    /// Version of vfw.
    pub vfw: String,
    /// What was measured.
    pub test: Test,
    /// How often each row was measured.
    pub rounds: u32,
    /// Where it ran.
    pub machine: Machine,
    /// What the reader has to know: what could not be measured, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What was found, a row for each condition.
    pub results: Vec<Row>,
}

/// The tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Test {
    /// Throughput by message size.
    Range,
    /// Request and response: transactions and their latency.
    Rr,
    /// Connect, request, close.
    Crr,
    /// Smallest frames.
    Pps,
    /// New and concurrent flows.
    Flows,
    /// New and established flows by number of rules.
    Rules,
    /// Transactions while an attack runs.
    Flood,
}

/// What was found under one condition. In JSON all of it is one flat object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Under which condition.
    #[serde(flatten)]
    pub condition: Condition,
    /// The median of the rounds of each figure.
    #[serde(flatten)]
    pub medians: BTreeMap<Figure, f64>,
    /// Each round of each figure, in the order of the rounds.
    pub samples: BTreeMap<Figure, Vec<f64>>,
    /// Points of the distribution of latencies: microseconds, and the share of transactions that took no longer (0 to 1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cdf_us: Vec<[f64; 2]>,
}

/// What sets a row apart from the others; parts that a test does not vary are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Condition {
    /// The way that packets take: the name of a [`super::lab::Path`], or `network` between two machines.
    pub path: String,
    /// Protocol of the network; absent where it is IPv4, or what the other machine's address is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// `tcp` or `udp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Bytes of a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// Connections at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<u32>,
    /// What CPUs do that have nothing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Flows that take turns, or are opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<u32>,
    /// Rules in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<u32>,
    /// Bytes of a frame, without its checksum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_size: Option<u32>,
    /// Percent of the rate that the path was found to have, held for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_percent: Option<u32>,
    /// Whether packets belong to flows that are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// The attack that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flood: Option<Flood>,
}

/// Protocol of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4
    #[default]
    Ipv4,
    /// IPv6
    Ipv6,
}

impl Family {
    /// That of a flag.
    pub const fn of(is_ipv6: bool) -> Self {
        if is_ipv6 { Self::Ipv6 } else { Self::Ipv4 }
    }

    /// What sets it apart from the usual one.
    pub fn told(self) -> Option<Self> {
        (self != Self::Ipv4).then_some(self)
    }
}

/// Transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// What CPUs do that have nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Cpus {
    /// Sleep, if the machine lets them
    MaySleep,
    /// Stay awake
    Awake,
}

/// What packets are to the firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Traffic {
    /// Each belongs to a flow that is established.
    Established,
    /// Each begins a flow, which the last rule allows.
    New,
}

/// What else is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flood {
    /// As much, but not to the firewall.
    DeadEnd,
    /// Frames that no rule allows.
    Denied,
    /// First segments of TCP connections that are allowed and go no further.
    Syn,
}

impl Row {
    /// A row of what each round gave. Figures without a sample are left out.
    pub fn new(condition: Condition, samples: impl IntoIterator<Item = (Figure, Vec<f64>)>) -> Self {
        let samples: BTreeMap<Figure, Vec<f64>> = samples.into_iter().filter(|(_, all)| !all.is_empty()).collect();
        let medians = samples.iter().map(|(figure, all)| (*figure, samples::median(all))).collect();
        Self { condition, medians, samples, cdf_us: Vec::new() }
    }

    /// The median of a figure, if it was measured.
    pub fn median(&self, figure: Figure) -> Option<f64> {
        self.medians.get(&figure).copied()
    }

    /// Half of the range that the middle half of the rounds lies in, as a share of the median.
    pub fn spread(&self, figure: Figure) -> Option<f64> {
        let median = self.median(figure)?;
        let half = samples::half_range(self.samples.get(&figure)?);
        (median != 0.0).then(|| half / median.abs())
    }
}

/// A file that holds no report.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{path} is no report of `vfw bench ... --json`: {reason}")]
    Form {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Document {
    /// A document without results of this program on `machine`, begun now.
    pub fn new(test: Test, rounds: u32, command: String, machine: Machine) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            command,
            // A clock outside of the years that RFC 3339 can write has no name for them.
            started: OffsetDateTime::now_utc().truncate_to_second().format(&Rfc3339).unwrap_or_default(),
            vfw: env!("CARGO_PKG_VERSION").to_owned(),
            test,
            rounds,
            machine,
            notes: Vec::new(),
            results: Vec::new(),
        }
    }

    /// Adds what the reader has to know, each thing once.
    pub fn note(&mut self, notes: impl IntoIterator<Item = String>) {
        for note in notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }

    /// Reads what `--json` printed.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| ReadError::Read { path: name.clone(), source })?;
        Self::parse(&text).map_err(|reason| ReadError::Form { path: name, reason })
    }

    /// The same from text; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if document.format != FORMAT {
            return Err(format!("`format` is `{}`, not `{FORMAT}`", document.format));
        }
        if document.version != VERSION {
            return Err(format!("it has version {}; this vfw reads version {VERSION}", document.version));
        }
        Ok(document)
    }

    /// As JSON, with a line feed at its end.
    pub fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}
