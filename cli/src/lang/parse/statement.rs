//! The statements.

use super::{Parsed, Parser, did_you_mean};
use crate::lang::ast::{Default, Name, Route, Rule, ServiceDefinition, Set, Statement, Test, TestCase, Zone};
use crate::lang::limits;
use crate::lang::literal::is_interface;
use crate::lang::names::nearest;
use crate::lang::policy::{Action, Log};
use crate::lang::registry::{Keyword, Place, keywords_at, protocol_named, service_named};
use crate::lang::source::{Span, Spanned};
use crate::lang::token::Kind;

impl Parser<'_, '_> {
    pub(super) fn statement(&mut self) -> Parsed<Statement> {
        match self.keyword() {
            Some(Keyword::Zone) => self.zone().map(Statement::Zone),
            Some(Keyword::Set) => self.set().map(Statement::Set),
            Some(Keyword::Service) => self.service().map(Statement::Service),
            Some(Keyword::Route) => self.route().map(Statement::Route),
            Some(Keyword::Default) => self.default().map(Statement::Default),
            Some(Keyword::Allow | Keyword::Drop | Keyword::Reject) => self.rule().map(Statement::Rule),
            Some(Keyword::Test) => self.test().map(Statement::Test),
            _ => match self.word().and_then(meant) {
                Some(action) => {
                    let error = self.unexpected("a statement").with_hint(did_you_mean(action));
                    Err(self.fail(error))
                }
                None => Err(self.unknown_word("a statement", Place::Statement)),
            },
        }
    }

    fn zone(&mut self) -> Parsed<Zone> {
        self.next();
        let name = self.name("a zone name")?;
        let open = self.expect(&Kind::Open, "`{`")?;
        let (mut interface, mut vlan, mut addresses) = (None, None, None);
        while !self.closed(open)? {
            let span = self.peek().span;
            let keyword = self.keyword();
            let again = match keyword {
                Some(Keyword::Interface) => {
                    self.next();
                    interface.replace(self.interface()?).map(|old| old.span)
                }
                Some(Keyword::Vlan) => {
                    self.next();
                    vlan.replace(self.vlan()?).map(|old| old.span)
                }
                Some(Keyword::Address) => {
                    self.next();
                    let list = self.list(|p| {
                        p.prefix("an address with its prefix length", |ip| format!("{ip}/{}", usual_length(ip)))
                    })?;
                    addresses.replace(list).and_then(|old| old.first().map(|first| first.span))
                }
                _ => {
                    return Err(self.unknown_word("`interface`, `vlan`, `address` or `}`", Place::Zone));
                }
            };
            if let (Some(first), Some(keyword)) = (again, keyword) {
                self.given_twice(keyword, span, first);
            }
        }
        let Some(interface) = interface else {
            return Err(self.zone_lacks(&name, "interface", "interface eth1"));
        };
        let Some(addresses) = addresses else {
            return Err(self.zone_lacks(&name, "address", "address 10.0.10.1/24"));
        };
        Ok(Zone { name, interface, vlan, addresses })
    }

    fn zone_lacks(&mut self, name: &Name, what: &str, example: &str) -> super::Failed {
        let error = self.sink.error(name.span, format!("zone `{}` has no {what}", name.value));
        self.fail(error.with_hint(format!("add `{example}` inside its braces")))
    }

    fn given_twice(&mut self, keyword: Keyword, span: Span, first: Span) {
        let error = self.sink.error(span, format!("`{}` is given twice", keyword.text()));
        let error = error.with_related(self.sink.at(first), "first given here");
        self.sink.push(error.with_hint("write one list, separated by commas, where a list is allowed"));
    }

    fn interface(&mut self) -> Parsed<Spanned<String>> {
        let token = self.peek().clone();
        let name = match &token.kind {
            Kind::Word if self.keyword().is_none() => self.text(token.span).to_owned(),
            Kind::Text(text) => text.clone(),
            _ => return Err(self.expected("the name of an interface")),
        };
        if !is_interface(&name) {
            let error = self.sink.error(token.span, "this cannot be the name of an interface");
            self.sink.push(error.with_hint("a name has 1 to 15 characters, without `/`, `:` and space"));
        }
        self.next();
        Ok(Spanned::new(name, token.span))
    }

    fn vlan(&mut self) -> Parsed<Spanned<u16>> {
        let span = self.peek().span;
        let id = self.small_number("a VLAN id", 4094)?;
        if id == 0 {
            let error = self.sink.error(span, "VLAN 0 is no VLAN: ids go from 1 to 4094");
            self.sink.push(error.with_hint("leave `vlan` out for untagged frames"));
        }
        Ok(Spanned::new(id as u16, span))
    }

    /// Whether the block ends here. A statement at the start of a line means that its brace was forgotten.
    fn closed(&mut self, open: Span) -> Parsed<bool> {
        self.skip_newlines();
        if self.eat(&Kind::Close) {
            return Ok(true);
        }
        let token = self.peek().clone();
        if token.kind == Kind::End || self.begins_statement(&token) {
            let error = self.unexpected("`}`").with_related(self.sink.at(open), "this brace is not closed");
            return Err(self.fail(error));
        }
        Ok(false)
    }

    fn set(&mut self) -> Parsed<Set> {
        self.next();
        let name = self.name("a name for the set")?;
        self.expect(&Kind::Equals, "`=`")?;
        if self.peek().kind == Kind::Word {
            let error =
                self.unexpected("`{`").with_hint("the members of a set stand in braces: { 10.0.99.5, 10.0.99.64/28 }");
            return Err(self.fail(error));
        }
        let open = self.expect(&Kind::Open, "`{`")?;
        let mut items = Vec::new();
        while !self.closed(open)? {
            items.push(self.address_item()?);
            let separated =
                self.eat(&Kind::Comma) || matches!(self.peek().kind, Kind::Newline | Kind::Close | Kind::End);
            if !separated {
                return Err(self.expected("`,` or `}`"));
            }
        }
        if items.is_empty() {
            let error = self.sink.error(name.span, format!("set `{}` has no members", name.value));
            return Err(self.fail(error.with_hint("a rule with an empty set would match nothing; remove both")));
        }
        Ok(Set { name, items })
    }

    fn service(&mut self) -> Parsed<ServiceDefinition> {
        self.next();
        let span = self.peek().span;
        if let Some(word) = self.word().filter(|word| protocol_named(word).is_some()) {
            let error = self.sink.error(span, format!("`{word}` is a protocol and cannot name a service"));
            return Err(self.fail(error));
        }
        let name = self.name("a name for the service")?;
        self.expect(&Kind::Equals, "`=`")?;
        let items = self.list(Self::service_item)?;
        Ok(ServiceDefinition { name, items })
    }

    fn route(&mut self) -> Parsed<Route> {
        let start = self.next().span;
        if self.keyword() == Some(Keyword::Default) {
            let error =
                self.unexpected("a prefix").with_hint("the default route is 0.0.0.0/0 for IPv4 and ::/0 for IPv6");
            return Err(self.fail(error));
        }
        let prefix = self.prefix("a prefix", |ip| format!("{ip}/{}", prefix_length(ip)))?;
        if !self.eat_keyword(Keyword::Via) {
            return Err(self.expected("`via`"));
        }
        let via = self.address("the address of the next hop")?;
        Ok(Route { prefix, via, span: start.to(self.last_span()) })
    }

    fn action(&mut self) -> Parsed<Action> {
        let action = match self.keyword() {
            Some(Keyword::Allow) => Action::Allow,
            Some(Keyword::Drop) => Action::Drop,
            Some(Keyword::Reject) => Action::Reject,
            _ => {
                let hint = self.word().and_then(meant).map(did_you_mean);
                let error = self.unexpected("`allow`, `drop` or `reject`").with_optional_hint(hint);
                return Err(self.fail(error));
            }
        };
        self.next();
        Ok(action)
    }

    fn default(&mut self) -> Parsed<Default> {
        let start = self.next().span;
        let action = self.action()?;
        let log = if self.eat_keyword(Keyword::Log) { Some(self.log_label()) } else { None };
        Ok(Default { action, log, span: start.to(self.last_span()) })
    }

    fn log_label(&mut self) -> Log {
        let token = self.peek().clone();
        let Kind::Text(label) = token.kind else {
            return Log { label: None };
        };
        self.next();
        if label.len() > limits::LABEL {
            let error = self.sink.error(token.span, format!("a label has at most {} bytes", limits::LABEL));
            self.sink.push(error);
        }
        Log { label: Some(label) }
    }

    fn rule(&mut self) -> Parsed<Rule> {
        let start = self.peek().span;
        let action = self.action()?;
        let from = self.zone_list()?;
        self.arrow(&from)?;
        let to = self.zone_list()?;
        let none = (vec![], vec![], vec![]);
        let (sources, destinations, services) = none;
        let mut rule = Rule { action, from, to, sources, destinations, services, log: None, span: start };
        let mut seen: Vec<(Keyword, Span)> = Vec::new();
        while !matches!(self.peek().kind, Kind::Newline | Kind::End) {
            let span = self.peek().span;
            let Some(keyword) = self.keyword().filter(|&keyword| keyword.fits(Place::Rule) && keyword != Keyword::Any)
            else {
                return Err(self.bad_clause());
            };
            self.next();
            match keyword {
                Keyword::From => rule.sources = self.list(Self::address_item)?,
                Keyword::To => rule.destinations = self.list(Self::address_item)?,
                Keyword::Service => rule.services = self.list(Self::service_item)?,
                _ => rule.log = Some(self.log_label()),
            }
            match seen.iter().find(|(earlier, _)| *earlier == keyword) {
                Some(&(_, first)) => self.given_twice(keyword, span, first),
                None => seen.push((keyword, span)),
            }
        }
        rule.span = start.to(self.last_span());
        Ok(rule)
    }

    fn arrow(&mut self, from: &[Name]) -> Parsed<Span> {
        if from.is_empty() && self.peek().kind == Kind::Comma {
            let error = self.unexpected("`->`").with_hint("`any` stands alone: it is every zone");
            return Err(self.fail(error));
        }
        self.expect(&Kind::Arrow, "`,` or `->`")
    }

    fn bad_clause(&mut self) -> super::Failed {
        let error = self.unexpected("`from`, `to`, `service`, `log` or the end of the line");
        let hint = match (self.word(), &self.peek().kind) {
            (Some(word), _) if protocol_named(word).is_some() || service_named(word).is_some() => {
                Some(format!("write `service {word}`"))
            }
            (Some(word), _) => nearest(word, keywords_at(Place::Rule)).map(|near| did_you_mean(&near)),
            (None, Kind::Text(_)) => Some("a label follows `log`".to_owned()),
            (None, Kind::Arrow) => Some("a rule has one `->`; several zones are separated by commas".to_owned()),
            _ => None,
        };
        self.fail(error.with_optional_hint(hint))
    }

    /// Zones of one side; `any` is the empty list.
    fn zone_list(&mut self) -> Parsed<Vec<Name>> {
        if self.eat_keyword(Keyword::Any) {
            return Ok(vec![]);
        }
        self.list(|parser| {
            if parser.keyword() == Some(Keyword::Any) {
                let error = parser.unexpected("a zone").with_hint("`any` stands alone: it is every zone");
                return Err(parser.fail(error));
            }
            parser.name("a zone or `any`")
        })
    }

    fn test(&mut self) -> Parsed<Test> {
        self.next();
        let span = self.peek().span;
        let Kind::Text(name) = self.peek().kind.clone() else {
            let error = self
                .unexpected("the name of the test")
                .with_hint("in quotes: test \"app reaches its database\" { ... }");
            return Err(self.fail(error));
        };
        self.next();
        if name.is_empty() || name.len() > limits::TEST_NAME {
            let error = self.sink.error(span, format!("the name of a test has 1 to {} bytes", limits::TEST_NAME));
            self.sink.push(error);
        }
        let open = self.expect(&Kind::Open, "`{`")?;
        let mut cases = Vec::new();
        while !self.closed(open)? {
            cases.push(self.test_case()?);
        }
        if cases.is_empty() {
            let error = self.sink.error(span, "this test has no cases");
            let example = "a case reads: app 10.0.10.7 -> db 10.0.20.9 tcp 5432 = allow";
            return Err(self.fail(error.with_hint(example)));
        }
        Ok(Test { name: Spanned::new(name, span), cases })
    }

    fn test_case(&mut self) -> Parsed<TestCase> {
        let from = self.name("a zone")?;
        let source = self.address("the source address")?;
        self.expect(&Kind::Arrow, "`->`")?;
        let to = self.name("a zone")?;
        let destination = self.address("the destination address")?;
        let packet = self.service_item()?;
        self.expect(&Kind::Equals, "`=` and the decision")?;
        let expect = self.action()?;
        let span = from.span.to(self.last_span());
        Ok(TestCase { from, source, to, destination, packet, expect, span })
    }
}

/// The action that other firewalls call so.
fn meant(word: &str) -> Option<&'static str> {
    match word {
        "accept" | "pass" | "permit" => Some(Keyword::Allow.text()),
        "block" | "deny" | "discard" => Some(Keyword::Drop.text()),
        _ => None,
    }
}

/// The prefix length an address without one suggests.
fn prefix_length(address: std::net::IpAddr) -> u8 {
    match address {
        std::net::IpAddr::V4(v4) => match v4.octets() {
            [_, 0, 0, 0] => 8,
            [_, _, 0, 0] => 16,
            [_, _, _, 0] => 24,
            _ => 32,
        },
        std::net::IpAddr::V6(v6) => {
            if v6.segments()[4..] == [0; 4] {
                64
            } else {
                128
            }
        }
    }
}

fn usual_length(address: std::net::IpAddr) -> u8 {
    if address.is_ipv4() { 24 } else { 64 }
}
