//! Statements to text, such that reading the text gives the same statements.

use std::fmt::{self, Display, Formatter, Write as _};

use ipnetwork::IpNetwork;

use super::ast::{
    AddressItem, Default, IcmpVersion, Name, PortRange, Route, Rule, ServiceDefinition, ServiceItem, Set, Statement,
    Test, TestCase, Transport, Zone,
};
use super::policy::{IcmpMatch, Log};
use super::registry::{ICMP, ICMP_MESSAGES, ICMP6, Keyword, TCP, UDP, protocol_numbered};
use super::source::Spanned;

/// Lists are broken after a comma past this column.
const WIDTH: usize = 100;

/// Prints statements, one a line; long lists go on over the next lines.
pub fn print(statements: &[Statement]) -> String {
    let mut out = String::new();
    for statement in statements {
        wrap(&mut out, &line(statement));
        out.push('\n');
    }
    out
}

/// Appends a line, broken where it gets too long.
fn wrap(out: &mut String, line: &Line) {
    let mut column = 0;
    for piece in line.pieces() {
        if column > 0 && column + piece.trim_end().len() > WIDTH {
            out.truncate(out.trim_end_matches(' ').len());
            out.push_str("\n    ");
            column = 4;
        }
        out.push_str(piece);
        column += piece.len();
    }
}

fn line(statement: &Statement) -> Line {
    let mut line = Line::default();
    match statement {
        Statement::Zone(zone) => line.put(zone),
        Statement::Set(Set { name, items }) => {
            line.put(format_args!("{} {} = {{ ", Keyword::Set.text(), name.value));
            line.list(items);
            line.put(" }");
        }
        Statement::Service(ServiceDefinition { name, items }) => {
            line.put(format_args!("{} {} = ", Keyword::Service.text(), name.value));
            line.list(items);
        }
        Statement::Route(route) => line.put(route),
        Statement::Default(default) => line.put(default),
        Statement::Rule(rule) => line.rule(rule),
        Statement::Test(test) => line.put(test),
    }
    line
}

/// A statement that is being written.
#[derive(Default)]
struct Line {
    text: String,
    /// Where it may be broken: after commas, where a line break is only space.
    breaks: Vec<usize>,
}

impl Line {
    fn put(&mut self, text: impl Display) {
        let _ = write!(self.text, "{text}");
    }

    fn list<T: Display>(&mut self, items: &[Spanned<T>]) {
        for (number, item) in items.iter().enumerate() {
            if number > 0 {
                self.text.push_str(", ");
                self.breaks.push(self.text.len());
            }
            self.put(&item.value);
        }
    }

    fn pieces(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.breaks.iter().copied());
        let ends = self.breaks.iter().copied().chain([self.text.len()]);
        starts.zip(ends).filter_map(|(start, end)| self.text.get(start..end))
    }

    fn zones(&mut self, zones: &[Name]) {
        if zones.is_empty() {
            self.put(Keyword::Any.text());
        }
        self.list(zones);
    }

    fn rule(&mut self, rule: &Rule) {
        self.text.push_str(rule.action.keyword().text());
        self.text.push(' ');
        self.zones(&rule.from);
        self.text.push_str(" -> ");
        self.zones(&rule.to);
        self.clause(Keyword::From, &rule.sources);
        self.clause(Keyword::To, &rule.destinations);
        self.clause(Keyword::Service, &rule.services);
        self.put(Logging(rule.log.as_ref()));
    }

    fn clause<T: Display>(&mut self, keyword: Keyword, items: &[Spanned<T>]) {
        if !items.is_empty() {
            self.text.push_str("  ");
            self.text.push_str(keyword.text());
            self.text.push(' ');
            self.list(items);
        }
    }
}

/// The rule on one line.
impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut line = Line::default();
        line.rule(self);
        f.write_str(&line.text)
    }
}

impl Display for Zone {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {{ {} ", Keyword::Zone.text(), self.name.value, Keyword::Interface.text())?;
        let interface = &self.interface.value;
        let plain = interface.chars().all(|c| c.is_ascii_alphanumeric() || "_.@+%[]-".contains(c));
        if plain && Keyword::find(interface).is_none() {
            f.write_str(interface)?;
        } else {
            write!(f, "{}", Quoted(interface))?;
        }
        if let Some(vlan) = &self.vlan {
            write!(f, "  {} {}", Keyword::Vlan.text(), vlan.value)?;
        }
        write!(f, "  {} ", Keyword::Address.text())?;
        separated(f, self.addresses.iter().map(|address| address.value))?;
        f.write_str(" }")
    }
}

impl Display for Route {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Route { prefix, via, .. } = self;
        write!(f, "{} {} {} {}", Keyword::Route.text(), prefix.value, Keyword::Via.text(), via.value)
    }
}

impl Display for Default {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", Keyword::Default.text(), self.action, Logging(self.log.as_ref()))
    }
}

impl Display for Test {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {{", Keyword::Test.text(), Quoted(&self.name.value))?;
        match self.cases.as_slice() {
            [case] => write!(f, " {case} }}"),
            cases => {
                cases.iter().try_for_each(|case| write!(f, "\n    {case}"))?;
                f.write_str("\n}")
            }
        }
    }
}

impl Display for TestCase {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (from, source) = (&self.from.value, self.source.value);
        let (to, destination) = (&self.to.value, self.destination.value);
        write!(f, "{from} {source} -> {to} {destination} {} = {}", self.packet.value, self.expect)
    }
}

impl Display for AddressItem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            AddressItem::Network(network) if is_single(network) => network.ip().fmt(f),
            AddressItem::Network(network) => network.fmt(f),
            AddressItem::Range(first, last) => write!(f, "{first}-{last}"),
            AddressItem::Set(name) => f.write_str(name),
        }
    }
}

fn is_single(network: &IpNetwork) -> bool {
    network.prefix() == if network.is_ipv4() { 32 } else { 128 }
}

impl Display for ServiceItem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ServiceItem::Ports { transport, source, destination, flags } => {
                f.write_str(protocol(if *transport == Transport::Tcp { TCP } else { UDP }))?;
                if !source.is_empty() {
                    f.write_char(' ')?;
                    separated(f, source)?;
                    f.write_str(" ->")?;
                    if destination.is_empty() {
                        write!(f, " {}", Keyword::Any.text())?;
                    }
                }
                if !destination.is_empty() {
                    f.write_char(' ')?;
                    separated(f, destination)?;
                }
                flags.map_or(Ok(()), |flags| write!(f, " {} {flags}", Keyword::Flags.text()))
            }
            ServiceItem::Icmp(version, message) => icmp(f, *version, *message),
            ServiceItem::Protocol(number) => match protocol(*number) {
                "" => write!(f, "{} {number}", Keyword::Proto.text()),
                name => f.write_str(name),
            },
            ServiceItem::Named(name) => f.write_str(name),
        }
    }
}

fn icmp(f: &mut Formatter<'_>, version: IcmpVersion, message: Option<IcmpMatch>) -> fmt::Result {
    let number = if version == IcmpVersion::V4 { ICMP } else { ICMP6 };
    f.write_str(protocol(number))?;
    let Some(IcmpMatch { kind, code }) = message else {
        return Ok(());
    };
    let row = ICMP_MESSAGES.iter().find(|row| (row.protocol, row.kind, row.code) == (number, kind, code));
    match (row, code) {
        (Some(row), _) => write!(f, " {}", row.text),
        (None, None) => write!(f, " {} {kind}", Keyword::Type.text()),
        (None, Some(code)) => write!(f, " {} {kind} {} {code}", Keyword::Type.text(), Keyword::Code.text()),
    }
}

fn protocol(number: u8) -> &'static str {
    protocol_numbered(number).map_or("", |row| row.text)
}

impl Display for PortRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.start == self.end { self.start.fmt(f) } else { write!(f, "{}-{}", self.start, self.end) }
    }
}

fn separated<T: Display>(f: &mut Formatter<'_>, items: impl IntoIterator<Item = T>) -> fmt::Result {
    for (i, item) in items.into_iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        write!(f, "{comma}{item}")?;
    }
    Ok(())
}

/// The `log` clause, with the space before it.
struct Logging<'a>(Option<&'a Log>);

impl Display for Logging<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(Log { label: None }) => write!(f, "  {}", Keyword::Log.text()),
            Some(Log { label: Some(label) }) => {
                write!(f, "  {} {}", Keyword::Log.text(), Quoted(label))
            }
        }
    }
}

/// A text in quotes, with its quotes and backslashes escaped.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('\\', "\\\\").replace('"', "\\\""))
    }
}
