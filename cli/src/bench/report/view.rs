//! What of a document is shown together: in tables, plots and comparisons alike.

use super::{Condition, Cpus, Document, Family, Figure, Flood, Protocol, Row, Test, Traffic};

/// What a test varies from row to row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Bytes of a message.
    Size,
    /// Flows.
    Flows,
    /// Rules.
    Rules,
}

impl Axis {
    /// What readers see.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Size => "message size (bytes)",
            Self::Flows => "flows",
            Self::Rules => "rules",
        }
    }

    /// The same in one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Size => "bytes",
            Self::Flows => "flows",
            Self::Rules => "rules",
        }
    }

    /// The value of a row.
    pub const fn of(self, condition: &Condition) -> Option<u32> {
        match self {
            Self::Size => condition.size,
            Self::Flows => condition.flows,
            Self::Rules => condition.rules,
        }
    }
}

impl Test {
    /// Its command.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::Rr => "rr",
            Self::Crr => "crr",
            Self::Pps => "pps",
            Self::Flows => "flows",
            Self::Rules => "rules",
            Self::Flood => "flood",
        }
    }

    /// What readers see.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Range => "Throughput by message size",
            Self::Rr => "Requests and responses",
            Self::Crr => "Connect, request, close",
            Self::Pps => "Smallest frames",
            Self::Flows => "New and concurrent flows",
            Self::Rules => "Packet rate by number of rules",
            Self::Flood => "Transactions under attack",
        }
    }

    /// What it varies, besides the path.
    pub const fn axis(self) -> Option<Axis> {
        match self {
            Self::Range => Some(Axis::Size),
            Self::Pps | Self::Flows => Some(Axis::Flows),
            Self::Rules => Some(Axis::Rules),
            Self::Rr | Self::Crr | Self::Flood => None,
        }
    }

    /// The figures that are looked at first.
    pub const fn figures(self) -> &'static [Figure] {
        match self {
            Self::Range => &[Figure::Mbps, Figure::CpuSPerGbit, Figure::Retransmits, Figure::Loss],
            Self::Rr => &[Figure::Transactions, Figure::P50Us, Figure::P90Us, Figure::P99Us],
            Self::Crr => &[Figure::Connections, Figure::P50Us, Figure::P90Us, Figure::P99Us],
            Self::Pps => &[Figure::NetNs, Figure::Mpps],
            Self::Flows => &[Figure::NewFlows, Figure::Held],
            Self::Rules => &[Figure::Mpps],
            Self::Flood => &[Figure::Kept, Figure::Transactions],
        }
    }
}

/// Rows that differ in path and axis only.
#[derive(Debug)]
pub struct Group<'a> {
    /// What they have in common, in words; empty when there is nothing to say.
    pub title: String,
    /// The rows.
    pub rows: Vec<&'a Row>,
}

impl Group<'_> {
    /// The paths, in the order of the rows.
    pub fn paths(&self) -> Vec<&str> {
        let mut paths: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !paths.contains(&row.condition.path.as_str()) {
                paths.push(&row.condition.path);
            }
        }
        paths
    }

    /// The values on an axis, ascending.
    pub fn values(&self, axis: Axis) -> Vec<u32> {
        let mut values: Vec<u32> = self.rows.iter().filter_map(|row| axis.of(&row.condition)).collect();
        values.sort_unstable();
        values.dedup();
        values
    }

    /// The row of a path at a value.
    pub fn row(&self, path: &str, axis: Axis, value: u32) -> Option<&Row> {
        self.rows.iter().copied().find(|row| row.condition.path == path && axis.of(&row.condition) == Some(value))
    }

    /// The figures that any row has, those first that are looked at first.
    pub fn figures(&self, test: Test) -> Vec<Figure> {
        let rest = Figure::ALL.into_iter().filter(|figure| !test.figures().contains(figure));
        test.figures().iter().copied().chain(rest).filter(|figure| self.has(*figure)).collect()
    }

    /// Whether a figure is zero in every row: loss, as it should be.
    pub fn is_zero(&self, figure: Figure) -> bool {
        self.rows.iter().filter_map(|row| row.median(figure)).all(|value| value == 0.0)
    }

    /// Whether any row has a figure.
    pub fn has(&self, figure: Figure) -> bool {
        self.rows.iter().any(|row| row.median(figure).is_some())
    }
}

/// The rows of a document, put together.
pub fn groups(document: &Document) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for row in &document.results {
        let title = common(&row.condition, document.test.axis());
        match groups.iter_mut().find(|group| group.title == title) {
            Some(group) => group.rows.push(row),
            None => groups.push(Group { title, rows: vec![row] }),
        }
    }
    groups
}

/// The path as readers see it.
pub fn path_title(path: &str) -> String {
    path.replace('-', " ")
}

/// A condition in words.
pub fn describe(condition: &Condition) -> String {
    let rest = common(condition, None);
    let path = path_title(&condition.path);
    if rest.is_empty() { path } else { format!("{path}, {rest}") }
}

/// What of a condition is neither path nor axis, in words.
fn common(condition: &Condition, axis: Option<Axis>) -> String {
    let number = |this: Axis, value: Option<u32>, unit: &str| {
        (axis != Some(this)).then_some(value).flatten().map(|value| format!("{value} {unit}"))
    };
    let words = [
        condition.family.map(|family| family.title().to_owned()),
        condition.protocol.map(|protocol| protocol.title().to_owned()),
        condition.traffic.map(|traffic| traffic.title().to_owned()),
        condition.flood.map(|flood| flood.title().to_owned()),
        number(Axis::Size, condition.size, "byte messages"),
        condition.streams.map(|streams| plural(streams, "stream")),
        condition.cpus.map(|cpus| cpus.title().to_owned()),
        number(Axis::Flows, condition.flows, "flows"),
        number(Axis::Rules, condition.rules, "rules"),
        condition.frame_size.map(|bytes| format!("{bytes}-byte frames")),
        condition.load_percent.map(|load| format!("held at {load} % of the rate")),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn plural(count: u32, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

impl Family {
    /// What readers see.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        }
    }
}

impl Protocol {
    /// What readers see.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

impl Cpus {
    /// What readers see.
    pub const fn title(self) -> &'static str {
        match self {
            Self::MaySleep => "CPUs may sleep",
            Self::Awake => "CPUs stay awake",
        }
    }
}

impl Traffic {
    /// What readers see.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Established => "established flows",
            Self::New => "first packets of new flows",
        }
    }
}

impl Flood {
    /// What readers see.
    pub const fn title(self) -> &'static str {
        match self {
            Self::DeadEnd => "attack into a dead end",
            Self::Denied => "flood of denied frames",
            Self::Syn => "SYN flood",
        }
    }
}
