//! Members of lists: addresses, services, ports.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::{Failed, Parsed, Parser, did_you_mean, quoted};
use crate::lang::ast::{AddressItem, IcmpVersion, PortRange, ServiceItem, Transport};
use crate::lang::literal::Literal;
use crate::lang::names::nearest;
use crate::lang::policy::IcmpMatch;
use crate::lang::registry::{
    EXTENSION_HEADERS, ICMP, ICMP_MESSAGES, ICMP6, Keyword, PROTOCOLS, ProtocolKind, TCP, UDP, protocol_named,
    service_named,
};
use crate::lang::source::{Span, Spanned};
use crate::lang::tcp_flags::TcpFlags;
use crate::lang::token::Kind;

impl Parser<'_, '_> {
    /// A member of a set or of `from` and `to`.
    pub(super) fn address_item(&mut self) -> Parsed<Spanned<AddressItem>> {
        let span = self.peek().span;
        let item = match self.literal() {
            Literal::Address(address) => AddressItem::Network(IpNetwork::from(self.plain(address, span))),
            Literal::Prefix(address, length) => AddressItem::Network(self.network(address, length, span)),
            Literal::Addresses(first, last) => self.range(first, last, span),
            Literal::Name(name) if self.keyword().is_none() => AddressItem::Set(name.to_owned()),
            _ => return Err(self.bad_address("an address, prefix, range or set")),
        };
        self.next();
        Ok(Spanned::new(item, span))
    }

    /// A single address.
    pub(super) fn address(&mut self, what: &str) -> Parsed<Spanned<IpAddr>> {
        let span = self.peek().span;
        match self.literal() {
            Literal::Address(address) => {
                let address = self.plain(address, span);
                self.next();
                Ok(Spanned::new(address, span))
            }
            Literal::Prefix(address, _) => {
                let error = self.unexpected(what).with_hint(format!("write the address alone: {address}"));
                Err(self.fail(error))
            }
            _ => Err(self.bad_address(what)),
        }
    }

    /// An address with a prefix length; host bits are the caller's matter.
    pub(super) fn prefix(&mut self, what: &str, example: impl Fn(IpAddr) -> String) -> Parsed<Spanned<IpNetwork>> {
        let span = self.peek().span;
        match self.literal() {
            Literal::Prefix(address, length) => {
                let network = self.network(address, length, span);
                self.next();
                Ok(Spanned::new(network, span))
            }
            Literal::Address(address) => {
                let error = self.unexpected(what).with_hint(format!("add the prefix length: {}", example(address)));
                Err(self.fail(error))
            }
            _ => Err(self.bad_address(what)),
        }
    }

    fn bad_address(&mut self, what: &str) -> Failed {
        let error = self.unexpected(what);
        let hint = match (self.word(), &self.peek().kind) {
            (Some(word), _) if word.contains('%') => Some("addresses are written without `%interface`"),
            (Some(word), _) if word.contains(['[', ']']) => Some("addresses are written without brackets and ports"),
            (Some(word), _) if word.contains('.') && word.contains(':') => {
                Some("ports follow the protocol: tcp 5432, or tcp 40000 -> 5432 with the source port")
            }
            (Some(word), _) if word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()) => Some(
                "IPv4 addresses have four numbers from 0 to 255, as in 10.0.10.7, 10.0.10.0/24 or 10.0.10.1-10.0.10.9",
            ),
            (Some(word), _) if word.contains(':') => {
                Some("IPv6 addresses look like fd00:10::7, fd00:10::/64 or fd00::1-fd00::9")
            }
            (None, Kind::Open) => Some("lists stand without braces here: from admins, 10.0.99.5"),
            _ => None,
        };
        let error = if error.hint.is_some() { error } else { error.with_optional_hint(hint.map(str::to_owned)) };
        self.fail(error)
    }

    /// Refuses IPv4 addresses in IPv6 clothes, which would match nothing or too much.
    fn plain(&mut self, address: IpAddr, span: Span) -> IpAddr {
        if let IpAddr::V6(v6) = address
            && let Some(v4) = v6.to_ipv4_mapped()
        {
            let error = self.sink.error(span, "an IPv4 address must be written as one");
            self.sink.push(error.with_hint(format!("write {v4}")));
        }
        address
    }

    fn network(&mut self, address: IpAddr, length: u32, span: Span) -> IpNetwork {
        let address = self.plain(address, span);
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let valid = u8::try_from(length).ok().and_then(|length| IpNetwork::new(address, length).ok());
        valid.unwrap_or_else(|| {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            let error = self.sink.error(span, format!("the prefix length of an {family} address is 0 to {bits}"));
            self.sink.push(error);
            IpNetwork::from(address)
        })
    }

    fn range(&mut self, first: IpAddr, last: IpAddr, span: Span) -> AddressItem {
        let (first, last) = (self.plain(first, span), self.plain(last, span));
        if first.is_ipv4() != last.is_ipv4() {
            let error = self.sink.error(span, "a range cannot go from one address family to the other");
            self.sink.push(error);
            return AddressItem::Network(IpNetwork::from(first));
        }
        if first > last {
            let error = self.sink.error(span, "this range is empty: it ends before it begins");
            self.sink.push(error.with_hint(format!("did you mean {last}-{first}?")));
        }
        AddressItem::Range(first.min(last), first.max(last))
    }

    /// A member of a service.
    pub(super) fn service_item(&mut self) -> Parsed<Spanned<ServiceItem>> {
        let start = self.peek().span;
        let Some(word) = self.word() else {
            return Err(self.expected("a service"));
        };
        let item = match (protocol_named(word), self.literal()) {
            (Some(row), _) => {
                self.next();
                match row.kind {
                    ProtocolKind::Ports => {
                        self.ports(if row.number == TCP { Transport::Tcp } else { Transport::Udp })?
                    }
                    ProtocolKind::Icmp => self.icmp(row.number)?,
                    ProtocolKind::Plain => ServiceItem::Protocol(row.number),
                }
            }
            (None, _) if self.eat_keyword(Keyword::Proto) => self.numbered_protocol()?,
            (None, Literal::Name(name)) if self.keyword().is_none() => {
                self.next();
                if matches!(self.literal(), Literal::Number(_) | Literal::Numbers(..)) {
                    return Err(self.ports_of_nothing(name, start));
                }
                ServiceItem::Named(name.to_owned())
            }
            (None, Literal::Number(_) | Literal::Numbers(..)) => {
                let error = self.unexpected("a service");
                let hint = format!("name the protocol: `tcp {word}` or `udp {word}`");
                return Err(self.fail(error.with_hint(hint)));
            }
            _ => return Err(self.expected("a service")),
        };
        Ok(Spanned::new(item, start.to(self.last_span())))
    }

    /// Ports behind a name that is no protocol: most likely a misspelled one.
    fn ports_of_nothing(&mut self, name: &str, span: Span) -> Failed {
        let error = self.sink.error(span, format!("`{name}` is no protocol, and ports stand behind one"));
        let near = nearest(name, PROTOCOLS.iter().map(|row| row.text));
        let hint = near.map_or_else(|| "`tcp` and `udp` have ports".to_owned(), |near| did_you_mean(&near));
        self.fail(error.with_hint(hint))
    }

    fn numbered_protocol(&mut self) -> Parsed<ServiceItem> {
        let span = self.peek().span;
        let number = self.small_number("a protocol number", 255)? as u8;
        if EXTENSION_HEADERS.contains(&number) {
            let error = self.sink.error(span, format!("{number} is an IPv6 extension header, not a protocol"));
            self.sink.push(error.with_hint("match the protocol that follows it"));
        }
        let every_port = |transport| ServiceItem::Ports { transport, source: vec![], destination: vec![], flags: None };
        Ok(match number {
            TCP => every_port(Transport::Tcp),
            UDP => every_port(Transport::Udp),
            ICMP => ServiceItem::Icmp(IcmpVersion::V4, None),
            ICMP6 => ServiceItem::Icmp(IcmpVersion::V6, None),
            other => ServiceItem::Protocol(other),
        })
    }

    /// A number from 0 to `max`; a larger one is reported and read as `max`.
    pub(super) fn small_number(&mut self, what: &str, max: u32) -> Parsed<u32> {
        let span = self.peek().span;
        let Literal::Number(number) = self.literal() else {
            return Err(self.expected(what));
        };
        if number > max {
            let error = self.sink.error(span, format!("{what} is at most {max}"));
            self.sink.push(error);
        }
        self.next();
        Ok(number.min(max))
    }

    /// `80, 443`, `1024-65535 -> 53` or nothing.
    fn ports(&mut self, transport: Transport) -> Parsed<ServiceItem> {
        let first = self.port_list();
        if self.eat(&Kind::Arrow) {
            let span = self.peek().span;
            let Some(destination) = self.port_list() else {
                return Err(self.expected("destination ports or `any`"));
            };
            let Some(source) = first else {
                let error = self.sink.error(span, "there are no source ports before `->`");
                return Err(self.fail(error.with_hint("write `any ->`, or leave the arrow out")));
            };
            let flags = self.flags(transport)?;
            return Ok(ServiceItem::Ports { transport, source, destination, flags });
        }
        let flags = self.flags(transport)?;
        Ok(ServiceItem::Ports { transport, source: vec![], destination: first.unwrap_or_default(), flags })
    }

    /// `flags S/SE` or nothing.
    fn flags(&mut self, transport: Transport) -> Parsed<Option<TcpFlags>> {
        let span = self.peek().span;
        if !self.eat_keyword(Keyword::Flags) {
            return Ok(None);
        }
        if transport == Transport::Udp {
            let error = self.sink.error(span, "only TCP has flags");
            return Err(self.fail(error));
        }
        let Some(flags) = self.word().and_then(TcpFlags::parse) else {
            let hint = "name those that are set, then those that count, by the letters F S R P A U E (ECE) W (CWR): \
                        `flags S/SEW` is a SYN that does not ask for ECN";
            let error = self.unexpected("TCP flags").with_hint(hint);
            return Err(self.fail(error));
        };
        self.next();
        Ok(Some(flags))
    }

    /// Ports, or none when something else follows. `any` is the empty list.
    fn port_list(&mut self) -> Option<Vec<PortRange>> {
        if self.eat_keyword(Keyword::Any) {
            return Some(vec![]);
        }
        let mut ports = Vec::new();
        loop {
            let span = self.peek().span;
            let (start, end) = match self.literal() {
                Literal::Number(port) => (port, port),
                Literal::Numbers(start, end) => (start, end),
                _ => break,
            };
            self.next();
            ports.push(self.port_range(start, end, span));
            let more = self.peek().kind == Kind::Comma && self.is_ports(self.ahead(1).span);
            if !more {
                break;
            }
            self.next();
        }
        (!ports.is_empty()).then_some(ports)
    }

    fn is_ports(&self, span: Span) -> bool {
        matches!(crate::lang::literal::read(self.text(span)), Literal::Number(_) | Literal::Numbers(..))
    }

    fn port_range(&mut self, start: u32, end: u32, span: Span) -> PortRange {
        let most = u32::from(u16::MAX);
        if start.max(end) > most {
            self.sink.push(self.sink.error(span, "ports go from 0 to 65535"));
        } else if start > end {
            let error = self.sink.error(span, "this port range is empty: it ends before it begins");
            self.sink.push(error.with_hint(format!("did you mean {end}-{start}?")));
        }
        PortRange { start: start.min(end).min(most) as u16, end: start.max(end).min(most) as u16 }
    }

    fn icmp(&mut self, protocol: u8) -> Parsed<ServiceItem> {
        let version = if protocol == ICMP { IcmpVersion::V4 } else { IcmpVersion::V6 };
        if self.eat_keyword(Keyword::Type) {
            let kind = self.small_number("an ICMP type", 255)? as u8;
            let code = if self.eat_keyword(Keyword::Code) {
                Some(self.small_number("an ICMP code", 255)? as u8)
            } else {
                None
            };
            return Ok(ServiceItem::Icmp(version, Some(IcmpMatch { kind, code })));
        }
        let Some(word) = self.word() else {
            return Ok(ServiceItem::Icmp(version, None));
        };
        if self.keyword().is_some() {
            return Ok(ServiceItem::Icmp(version, None));
        }
        let row = ICMP_MESSAGES.iter().find(|row| row.protocol == protocol && row.text == word);
        let Some(row) = row else {
            return Err(self.unknown_message(word, protocol));
        };
        self.next();
        Ok(ServiceItem::Icmp(version, Some(IcmpMatch { kind: row.kind, code: row.code })))
    }

    fn unknown_message(&mut self, word: &str, protocol: u8) -> Failed {
        let (this, other) = if protocol == ICMP { ("icmp", "icmp6") } else { ("icmp6", "icmp") };
        let hint = if ICMP_MESSAGES.iter().any(|row| row.text == word) {
            format!("it is a message of {other}: write `{other} {word}`")
        } else if service_named(word).is_some() {
            format!("separate services with a comma: `{this}, {word}`")
        } else {
            let known = ICMP_MESSAGES.iter().filter(|row| row.protocol == protocol).map(|row| row.text);
            nearest(word, known)
                .map_or_else(|| format!("by number it is written `{this} type 3 code 1`"), |near| did_you_mean(&near))
        };
        let error = self.sink.error(self.peek().span, format!("{this} has no message {}", quoted(word)));
        self.fail(error.with_hint(hint))
    }
}
