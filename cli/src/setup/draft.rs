//! A policy that grows by one answer after the other. An answer is a piece of the rule language: it is put where it belongs in a
//! statement, and the parser and the checks of the language say what is wrong with it.

use std::ops::Range;

use crate::lang::ast::Statement;
use crate::lang::{Diagnostic, Diagnostics, Severity, SourceFile, load, parse, print};

/// What stands for the gateway addresses of a zone while they are not known.
const NO_ADDRESS: &str = "0.0.0.0/0";

/// The name of the text that answers are put into; nobody sees it.
const NAME: &str = "answer";

/// What is known of a zone that is being described. An empty VLAN is none.
#[derive(Clone, Copy, Debug)]
pub struct ZoneAnswers<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its interface.
    pub interface: &'a str,
    /// Its VLAN.
    pub vlan: &'a str,
}

/// Statements that make a good policy as they are.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    zones: Vec<Statement>,
    routes: Vec<Statement>,
    rules: Vec<Statement>,
}

impl Draft {
    /// The names of the zones, in their order.
    pub fn zones(&self) -> Vec<&str> {
        self.zones.iter().filter_map(zone_name).collect()
    }

    /// Whether a zone can have this name.
    pub fn try_name(&self, name: &str) -> Result<(), String> {
        let before = "zone ".to_owned();
        let text = format!("{before}{name} {{ interface eth0  address {NO_ADDRESS} }}");
        self.read(&text, before.len()..before.len() + name.len()).map(drop)
    }

    /// Whether a zone can have this VLAN.
    pub fn try_vlan(&self, zone: ZoneAnswers<'_>) -> Result<(), String> {
        let (before, place) = zone_text(zone);
        let text = format!("{before}{place}  address {NO_ADDRESS} }}");
        self.read(&text, before.len()..before.len() + place.len()).map(drop)
    }

    /// The zone with these gateway addresses.
    fn zone(&self, zone: ZoneAnswers<'_>, addresses: &str) -> Result<Statement, String> {
        let (before, place) = zone_text(zone);
        let text = format!("{before}{place}  address {addresses} }}");
        self.read(&text, 0..text.len())
    }

    /// Whether a zone can have these gateway addresses.
    pub fn try_zone(&self, zone: ZoneAnswers<'_>, addresses: &str) -> Result<(), String> {
        self.zone(zone, addresses).map(drop)
    }

    /// Adds a zone.
    pub fn add_zone(&mut self, zone: ZoneAnswers<'_>, addresses: &str) -> Result<(), String> {
        let zone = self.zone(zone, addresses)?;
        self.zones.push(zone);
        Ok(())
    }

    /// The default routes via these next hops, separated by commas; none when there are none.
    fn default_routes(&self, via: &str) -> Result<Vec<Statement>, String> {
        let mut draft = self.clone();
        for via in via.split(',').map(str::trim).filter(|via| !via.is_empty()) {
            let prefix = if via.contains(':') { "::/0" } else { "0.0.0.0/0" };
            let text = format!("route {prefix} via {via}");
            let route = draft.read(&text, 0..text.len())?;
            draft.routes.push(route);
        }
        Ok(draft.routes)
    }

    /// Whether default routes can lead there.
    pub fn try_default_routes(&self, via: &str) -> Result<(), String> {
        self.default_routes(via).map(drop)
    }

    /// Has default routes lead there, and no other routes.
    pub fn set_default_routes(&mut self, via: &str) -> Result<(), String> {
        self.routes = self.default_routes(via)?;
        Ok(())
    }

    /// The rule that lets `services` pass: a list of the language, `any`, or nothing.
    fn rule(&self, from: &str, to: &str, services: &str) -> Result<Option<Statement>, String> {
        let text = match services.trim() {
            "" => return Ok(None),
            "any" => format!("allow {from} -> {to}"),
            services => format!("allow {from} -> {to}  service {services}"),
        };
        self.read(&text, 0..text.len()).map(Some)
    }

    /// Whether `services` can be allowed from one zone to another.
    pub fn try_rule(&self, from: &str, to: &str, services: &str) -> Result<(), String> {
        self.rule(from, to, services).map(drop)
    }

    /// Allows `services` from one zone to another.
    pub fn add_rule(&mut self, from: &str, to: &str, services: &str) -> Result<(), String> {
        let rule = self.rule(from, to, services)?;
        self.rules.extend(rule);
        Ok(())
    }

    /// The rule file.
    pub fn text(&self) -> String {
        let mut text =
            "# Written by `vfw setup`. The first rule that matches decides; answers to what is allowed pass by \
                        themselves.\n# After a change: vfw check /etc/vfw/rules.fw, then systemctl reload vfw\n\n"
                .to_owned();
        let rules = ["default drop\n".to_owned(), print(&self.rules)].concat();
        let parts = [print(&self.zones), print(&self.routes), rules];
        text += &parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n");
        text
    }

    /// Reads one statement that holds an answer in its bytes `answer`. Mistakes of syntax are those of the answer wherever they
    /// show; mistakes of meaning only where they are told of the answer, since what stands beside it may not be known yet.
    fn read(&self, text: &str, answer: Range<usize>) -> Result<Statement, String> {
        if begins_comment(&text[answer.clone()]) {
            return Err("error: `#` begins a comment".to_owned());
        }
        let mut statements = parse(&SourceFile::new(NAME, text)).map_err(|found| first(&found, |_| true))?;
        let statement = statements.pop().filter(|_| statements.is_empty()).ok_or("error: this is not one answer")?;
        let file = self.zones.len() + self.routes.len() + self.rules.len();
        let mut sources: Vec<SourceFile> = [&self.zones, &self.routes, &self.rules]
            .into_iter()
            .flatten()
            .map(|statement| SourceFile::new(NAME, print(std::slice::from_ref(statement))))
            .collect();
        sources.push(SourceFile::new(NAME, text));
        let is_of_answer = |diagnostic: &Diagnostic| {
            let span = &diagnostic.location.span;
            diagnostic.location.file == file && span.start < answer.end && answer.start < span.end
        };
        match load(&sources) {
            Err(found) if found.iter().any(|one| one.severity == Severity::Error && is_of_answer(one)) => {
                Err(first(&found, is_of_answer))
            }
            _ => Ok(statement),
        }
    }
}

/// A zone up to where its addresses follow: up to its name, and its place.
fn zone_text(zone: ZoneAnswers<'_>) -> (String, String) {
    let interface = zone.interface.replace('\\', "\\\\").replace('"', "\\\"");
    let vlan = if zone.vlan.is_empty() { String::new() } else { format!("  vlan {}", zone.vlan) };
    (format!("zone {} {{ ", zone.name), format!("interface \"{interface}\"{vlan}"))
}

/// Whether the rest of an answer would be a comment, and what follows the answer with it.
fn begins_comment(answer: &str) -> bool {
    answer.split('"').step_by(2).any(|outside| outside.contains('#'))
}

fn zone_name(statement: &Statement) -> Option<&str> {
    match statement {
        Statement::Zone(zone) => Some(&zone.name.value),
        _ => None,
    }
}

/// The first error, as it is told at the question.
fn first(found: &Diagnostics, is_meant: impl Fn(&Diagnostic) -> bool) -> String {
    let mut errors = found.iter().filter(|one| one.severity == Severity::Error && is_meant(one));
    errors.next().map_or_else(String::new, |error| {
        let hint = error.hint.as_ref().map(|hint| format!("\n  help: {hint}"));
        format!("error: {}{}", error.message, hint.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::{Draft, ZoneAnswers};
    use crate::lang::{SourceFile, load};

    const APP: ZoneAnswers<'_> = ZoneAnswers { name: "app", interface: "eth1", vlan: "10" };
    const DB: ZoneAnswers<'_> = ZoneAnswers { name: "db", interface: "eth2", vlan: "" };

    fn draft() -> Draft {
        let mut draft = Draft::default();
        draft.add_zone(APP, "10.0.10.1/24, fd00:10::1/64").expect("a zone");
        draft.add_zone(DB, "10.0.20.1/24, fd00:20::1/64").expect("a zone");
        draft
    }

    #[test]
    fn good_answers_make_a_policy() {
        let mut draft = draft();
        draft.set_default_routes("10.0.20.254, fd00:20::fe").expect("routes");
        draft.add_rule("app", "db", "ping, tcp 8080-8090  log \"app\"").expect("a rule");
        draft.add_rule("db", "app", "").expect("nothing");
        let text = draft.text();
        let statements: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        assert_eq!(
            statements,
            [
                "zone app { interface eth1  vlan 10  address 10.0.10.1/24, fd00:10::1/64 }",
                "zone db { interface eth2  address 10.0.20.1/24, fd00:20::1/64 }",
                "route 0.0.0.0/0 via 10.0.20.254",
                "route ::/0 via fd00:20::fe",
                "default drop",
                "allow app -> db  service ping, tcp 8080-8090  log \"app\"",
            ]
        );
        let loaded = load(&[SourceFile::new("rules.fw", text)]).expect("a policy");
        assert!(loaded.warnings.is_empty() && loaded.policy.rules.len() == 1, "{:?}", loaded.warnings);
        draft.add_rule("db", "app", "any").expect("a rule");
        assert!(draft.text().ends_with("allow db -> app\n"), "{}", draft.text());
    }

    #[test]
    fn wrong_answers_are_told_in_the_words_of_the_language() {
        let draft = draft();
        let zone = ZoneAnswers { name: "web", interface: "eth2", vlan: "30" };
        let via = |via: &str| draft.try_default_routes(via);
        for (answer, part) in [
            (draft.try_name("app"), "app"),
            (draft.try_name("zone"), "fixed meaning"),
            (draft.try_name("9"), "begins with a letter"),
            (draft.try_name(""), "expected a zone name"),
            (draft.try_name("a # b"), "comment"),
            (draft.try_name("a { interface eth9  address 10.9.9.1/24 } #"), "comment"),
            (draft.try_name("a { interface eth9  address 10.9.9.1/24 }\nzone b"), "not one answer"),
            (draft.try_vlan(ZoneAnswers { vlan: "30  address 10.9.9.1/24 } #", ..zone }), "comment"),
            (draft.try_vlan(ZoneAnswers { vlan: "5000", ..zone }), "4094"),
            (draft.try_vlan(ZoneAnswers { vlan: "0", ..zone }), "VLAN 0"),
            (draft.try_vlan(ZoneAnswers { vlan: "", ..zone }), "untagged frames"),
            (draft.try_vlan(ZoneAnswers { vlan: "10", interface: "eth1", ..zone }), "VLAN 10"),
            (draft.try_zone(zone, "10.0.30.1"), "/24"),
            (draft.try_zone(zone, "10.0.30.0/24"), "subnet itself"),
            (draft.try_zone(zone, "10.0.20.9/24"), "overlaps"),
            (draft.try_zone(zone, "10.0.30.1/24 } allow any -> any #"), "comment"),
            (via("10.0.99.1"), "not in a subnet"),
            (via("10.0.20.254, 10.0.20.253"), "two routes"),
            (via("gateway"), "expected"),
            (draft.try_rule("app", "db", "postgre"), "did you mean `postgres`?"),
            (draft.try_rule("app", "db", "tcp 70000"), "65535"),
            (draft.try_rule("app", "db", "ssh  from admins"), "admins"),
        ] {
            let error = answer.expect_err(part);
            assert!(error.starts_with("error: ") && error.contains(part), "{part}: {error}");
        }
        for answer in [draft.try_name("web"), draft.try_vlan(zone), draft.try_zone(zone, "10.0.30.1/24"), via("")] {
            assert_eq!(answer, Ok(()));
        }
    }

    #[test]
    fn interfaces_may_be_called_like_words_of_the_language() {
        for interface in ["zone", "a+b", "eth0.1@x"] {
            let mut draft = Draft::default();
            draft.add_zone(ZoneAnswers { interface, ..APP }, "10.0.10.1/24").expect(interface);
            let policy = load(&[SourceFile::new("rules.fw", draft.text())]).expect(interface).policy;
            assert_eq!(policy.zones[0].interface, interface);
        }
    }
}
