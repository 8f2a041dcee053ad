//! The words of the language: keywords, protocols, ICMP messages and built-in services, one row each.
//!
//! Parser, printer, error hints and the tables of `docs/rules.md` are made from these rows, so a word is added here and
//! nowhere else.

use std::fmt::Write as _;

/// A word with a fixed meaning. None of them can name a zone, set or service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is described by its row in KEYWORDS")]
pub enum Keyword {
    Zone,
    Set,
    Service,
    Route,
    Default,
    Allow,
    Drop,
    Reject,
    Test,
    Interface,
    Vlan,
    Address,
    Via,
    From,
    To,
    Log,
    Any,
    Proto,
    Type,
    Code,
    Flags,
}

/// Where a keyword may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// First word of a statement.
    Statement,
    /// Inside the braces of a zone.
    Zone,
    /// Inside a route.
    Route,
    /// After the zones of a rule.
    Rule,
    /// In a list of services.
    Service,
}

impl Place {
    fn title(self) -> &'static str {
        match self {
            Place::Statement => "statement",
            Place::Zone => "zone",
            Place::Route => "route",
            Place::Rule => "rule",
            Place::Service => "service",
        }
    }
}

/// One keyword in one place.
#[derive(Clone, Copy, Debug)]
pub struct KeywordRow {
    /// The keyword.
    pub keyword: Keyword,
    /// How it is written.
    pub text: &'static str,
    /// Where it may stand.
    pub place: Place,
    /// How it is used.
    pub example: &'static str,
    /// What it does.
    pub summary: &'static str,
}

const fn keyword(
    keyword: Keyword,
    text: &'static str,
    place: Place,
    example: &'static str,
    summary: &'static str,
) -> KeywordRow {
    KeywordRow { keyword, text, place, example, summary }
}

/// Every keyword.
#[rustfmt::skip]
pub const KEYWORDS: &[KeywordRow] = &[
    keyword(Keyword::Zone, "zone", Place::Statement, "zone app { interface eth1  address 10.0.10.1/24 }", "a named network on an interface, with the gateway addresses vfw owns there"),
    keyword(Keyword::Set, "set", Place::Statement, "set admins = { 10.0.99.5, 10.0.99.64/28 }", "names a list of addresses, prefixes, ranges and other sets"),
    keyword(Keyword::Service, "service", Place::Statement, "service web = tcp 80, tcp 443", "names a list of protocols and ports"),
    keyword(Keyword::Route, "route", Place::Statement, "route 0.0.0.0/0 via 10.0.20.254", "sends a prefix to a next hop"),
    keyword(Keyword::Default, "default", Place::Statement, "default drop log", "what happens when no rule matches; `drop` when absent"),
    keyword(Keyword::Allow, "allow", Place::Statement, "allow app -> db  service postgres", "lets matching flows pass, with their replies"),
    keyword(Keyword::Drop, "drop", Place::Statement, "drop guest -> any", "discards matching packets silently"),
    keyword(Keyword::Reject, "reject", Place::Statement, "reject db -> app", "discards matching packets and tells the sender (acts as `drop` in this version)"),
    keyword(Keyword::Test, "test", Place::Statement, "test \"db\" { app 10.0.10.7 -> db 10.0.20.9 tcp 5432 = allow }", "packets and the decision they must get, tried before every load"),
    keyword(Keyword::Interface, "interface", Place::Zone, "interface eth1", "the interface of the zone"),
    keyword(Keyword::Vlan, "vlan", Place::Zone, "vlan 10", "its VLAN id, 1 to 4094; absent means untagged"),
    keyword(Keyword::Address, "address", Place::Zone, "address 10.0.10.1/24, fd00:10::1/64", "the gateway addresses of vfw in the zone, each with its subnet's prefix length"),
    keyword(Keyword::Via, "via", Place::Route, "via 10.0.20.254", "the next hop, an address in a zone's subnet"),
    keyword(Keyword::From, "from", Place::Rule, "from admins, 10.0.99.1", "source addresses; absent means any"),
    keyword(Keyword::To, "to", Place::Rule, "to 10.0.20.0/28", "destination addresses; absent means any"),
    keyword(Keyword::Service, "service", Place::Rule, "service ssh, tcp 8000-8100", "protocols and ports; absent means any"),
    keyword(Keyword::Log, "log", Place::Rule, "log \"admin\"", "reports each new flow that matches, with a label if given"),
    keyword(Keyword::Any, "any", Place::Rule, "allow any -> db", "every zone; in a service, every port"),
    keyword(Keyword::Proto, "proto", Place::Service, "proto 47", "an IP protocol by number"),
    keyword(Keyword::Type, "type", Place::Service, "icmp type 3", "an ICMP message by number"),
    keyword(Keyword::Code, "code", Place::Service, "icmp type 3 code 1", "the code of an ICMP message"),
    keyword(Keyword::Flags, "flags", Place::Service, "tcp 443 flags S/SEW", "TCP flags of the first packet: those that are set, then those that count"),
];

impl Keyword {
    /// The keyword written as `text`.
    pub fn find(text: &str) -> Option<Keyword> {
        KEYWORDS.iter().find(|row| row.text == text).map(|row| row.keyword)
    }

    /// How it is written.
    pub fn text(self) -> &'static str {
        KEYWORDS.iter().find(|row| row.keyword == self).map_or("", |row| row.text)
    }

    /// Whether it may stand in this place.
    pub fn fits(self, place: Place) -> bool {
        KEYWORDS.iter().any(|row| row.keyword == self && row.place == place)
    }
}

/// The keywords of a place.
pub fn keywords_at(place: Place) -> impl Iterator<Item = &'static str> {
    KEYWORDS.iter().filter(move |row| row.place == place).map(|row| row.text)
}

/// What may follow a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolKind {
    /// Ports.
    Ports,
    /// An ICMP message.
    Icmp,
    /// Nothing.
    Plain,
}

/// A protocol that has a name.
#[derive(Clone, Copy, Debug)]
pub struct ProtocolRow {
    /// How it is written.
    pub text: &'static str,
    /// Its number in the IP header.
    pub number: u8,
    /// What may follow it.
    pub kind: ProtocolKind,
    /// What it is.
    pub summary: &'static str,
}

/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of ICMP (IPv4).
pub const ICMP: u8 = 1;
/// Protocol number of ICMP (IPv6).
pub const ICMP6: u8 = 58;

const fn protocol(text: &'static str, number: u8, kind: ProtocolKind, summary: &'static str) -> ProtocolRow {
    ProtocolRow { text, number, kind, summary }
}

/// Every protocol that has a name.
pub const PROTOCOLS: &[ProtocolRow] = &[
    protocol("tcp", TCP, ProtocolKind::Ports, "TCP, with ports"),
    protocol("udp", UDP, ProtocolKind::Ports, "UDP, with ports"),
    protocol("icmp", ICMP, ProtocolKind::Icmp, "ICMP of IPv4, with a message"),
    protocol("icmp6", ICMP6, ProtocolKind::Icmp, "ICMP of IPv6, with a message"),
    protocol("igmp", 2, ProtocolKind::Plain, "multicast group membership"),
    protocol("ipip", 4, ProtocolKind::Plain, "IPv4 in IP"),
    protocol("ip6", 41, ProtocolKind::Plain, "IPv6 in IP (6in4)"),
    protocol("gre", 47, ProtocolKind::Plain, "generic routing encapsulation"),
    protocol("esp", 50, ProtocolKind::Plain, "IPsec payload"),
    protocol("ah", 51, ProtocolKind::Plain, "IPsec authentication"),
    protocol("ospf", 89, ProtocolKind::Plain, "OSPF routing"),
    protocol("pim", 103, ProtocolKind::Plain, "multicast routing"),
    protocol("vrrp", 112, ProtocolKind::Plain, "router redundancy (also CARP)"),
    protocol("l2tp", 115, ProtocolKind::Plain, "L2TPv3 over IP"),
    protocol("sctp", 132, ProtocolKind::Plain, "SCTP, all ports"),
];

/// Headers of IPv6 that are walked, never matched: RFC 8200 section 4.
pub const EXTENSION_HEADERS: &[u8] = &[0, 43, 44, 60];

/// The protocol written as `text`.
pub fn protocol_named(text: &str) -> Option<&'static ProtocolRow> {
    PROTOCOLS.iter().find(|row| row.text == text)
}

/// The row of a protocol number.
pub fn protocol_numbered(number: u8) -> Option<&'static ProtocolRow> {
    PROTOCOLS.iter().find(|row| row.number == number)
}

/// An ICMP message that has a name.
#[derive(Clone, Copy, Debug)]
pub struct IcmpRow {
    /// [`ICMP`] or [`ICMP6`].
    pub protocol: u8,
    /// How it is written.
    pub text: &'static str,
    /// Its type.
    pub kind: u8,
    /// Its code; none matches every code.
    pub code: Option<u8>,
}

const fn icmp(text: &'static str, kind: u8, code: Option<u8>) -> IcmpRow {
    IcmpRow { protocol: ICMP, text, kind, code }
}

const fn icmp6(text: &'static str, kind: u8, code: Option<u8>) -> IcmpRow {
    IcmpRow { protocol: ICMP6, text, kind, code }
}

/// Every ICMP message that has a name.
pub const ICMP_MESSAGES: &[IcmpRow] = &[
    icmp("echo-reply", 0, None),
    icmp("destination-unreachable", 3, None),
    icmp("network-unreachable", 3, Some(0)),
    icmp("host-unreachable", 3, Some(1)),
    icmp("protocol-unreachable", 3, Some(2)),
    icmp("port-unreachable", 3, Some(3)),
    icmp("fragmentation-needed", 3, Some(4)),
    icmp("admin-prohibited", 3, Some(13)),
    icmp("redirect", 5, None),
    icmp("echo-request", 8, None),
    icmp("router-advertisement", 9, None),
    icmp("router-solicitation", 10, None),
    icmp("time-exceeded", 11, None),
    icmp("parameter-problem", 12, None),
    icmp("timestamp-request", 13, None),
    icmp("timestamp-reply", 14, None),
    icmp6("destination-unreachable", 1, None),
    icmp6("no-route", 1, Some(0)),
    icmp6("admin-prohibited", 1, Some(1)),
    icmp6("address-unreachable", 1, Some(3)),
    icmp6("port-unreachable", 1, Some(4)),
    icmp6("packet-too-big", 2, None),
    icmp6("time-exceeded", 3, None),
    icmp6("parameter-problem", 4, None),
    icmp6("echo-request", 128, None),
    icmp6("echo-reply", 129, None),
    icmp6("router-solicitation", 133, None),
    icmp6("router-advertisement", 134, None),
    icmp6("neighbour-solicitation", 135, None),
    icmp6("neighbour-advertisement", 136, None),
    icmp6("redirect", 137, None),
];

/// A service that needs no declaration.
#[derive(Clone, Copy, Debug)]
pub struct ServiceRow {
    /// How it is written.
    pub text: &'static str,
    /// What it means, in the language itself.
    pub means: &'static str,
}

const fn service(text: &'static str, means: &'static str) -> ServiceRow {
    ServiceRow { text, means }
}

/// Every service that needs no declaration.
pub const SERVICES: &[ServiceRow] = &[
    service("bgp", "tcp 179"),
    service("dhcp", "udp 67-68"),
    service("dhcp6", "udp 546-547"),
    service("dns", "tcp 53, udp 53"),
    service("ftp", "tcp 21"),
    service("http", "tcp 80"),
    service("https", "tcp 443"),
    service("imap", "tcp 143"),
    service("imaps", "tcp 993"),
    service("ipsec", "udp 500, udp 4500, esp"),
    service("kerberos", "tcp 88, udp 88"),
    service("ldap", "tcp 389, udp 389"),
    service("ldaps", "tcp 636"),
    service("mysql", "tcp 3306"),
    service("nfs", "tcp 2049"),
    service("ntp", "udp 123"),
    service("ping", "icmp echo-request, icmp6 echo-request"),
    service("postgres", "tcp 5432"),
    service("radius", "udp 1812-1813"),
    service("rdp", "tcp 3389, udp 3389"),
    service("redis", "tcp 6379"),
    service("sip", "tcp 5060-5061, udp 5060"),
    service("smb", "tcp 445"),
    service("smtp", "tcp 25"),
    service("snmp", "udp 161"),
    service("ssh", "tcp 22"),
    service("submission", "tcp 465, tcp 587"),
    service("syslog", "tcp 514, udp 514"),
    service("telnet", "tcp 23"),
    service("tftp", "udp 69"),
    service("traceroute", "udp 33434-33534"),
    service("vxlan", "udp 4789"),
    service("wireguard", "udp 51820"),
];

/// The built-in service of this name.
pub fn service_named(text: &str) -> Option<&'static ServiceRow> {
    SERVICES.iter().find(|row| row.text == text)
}

/// The tables of `docs/rules.md`, in Markdown.
pub fn reference() -> String {
    let mut out = String::from("### Keywords\n\n| word | in a | meaning | example |\n|---|---|---|---|\n");
    for row in KEYWORDS {
        let place = row.place.title();
        let _ = writeln!(out, "| `{}` | {place} | {} | `{}` |", row.text, row.summary, row.example);
    }
    out += "\n### Protocols\n\n| word | number | meaning |\n|---|---|---|\n";
    for row in PROTOCOLS {
        let _ = writeln!(out, "| `{}` | {} | {} |", row.text, row.number, row.summary);
    }
    for (protocol, title) in [(ICMP, "ICMP messages (`icmp`)"), (ICMP6, "ICMPv6 messages (`icmp6`)")] {
        let _ = write!(out, "\n### {title}\n\n| word | type | code |\n|---|---|---|\n");
        for row in ICMP_MESSAGES.iter().filter(|row| row.protocol == protocol) {
            let code = row.code.map_or_else(|| "any".to_owned(), |code| code.to_string());
            let _ = writeln!(out, "| `{}` | {} | {code} |", row.text, row.kind);
        }
    }
    out += "\n### Built-in services\n\n| word | means |\n|---|---|\n";
    for row in SERVICES {
        let _ = writeln!(out, "| `{}` | `{}` |", row.text, row.means);
    }
    out += "\n### Limits\n\n| what | at most |\n|---|---|\n";
    for (what, most) in super::limits::ROWS {
        let _ = writeln!(out, "| {what} | {most} |");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_keyword_is_found_by_its_text() {
        for row in KEYWORDS {
            assert_eq!(Keyword::find(row.text), Some(row.keyword));
            assert_eq!(row.keyword.text(), row.text);
        }
        assert_eq!(Keyword::find("zones"), None);
    }

    #[test]
    fn no_word_has_two_meanings() {
        let mut names: Vec<&str> = PROTOCOLS.iter().map(|row| row.text).collect();
        names.extend(SERVICES.iter().map(|row| row.text));
        names.extend(KEYWORDS.iter().filter(|row| row.place != Place::Rule).map(|row| row.text));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn icmp_messages_are_unique_in_both_directions() {
        for (i, a) in ICMP_MESSAGES.iter().enumerate() {
            for b in ICMP_MESSAGES.iter().skip(i + 1).filter(|b| b.protocol == a.protocol) {
                assert_ne!(a.text, b.text);
                assert_ne!((a.kind, a.code), (b.kind, b.code));
            }
        }
    }
}
