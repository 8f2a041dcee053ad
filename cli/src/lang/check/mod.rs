//! Statements to policy: looks names up, expands sets, and finds what cannot work.

mod address;
mod graph;
mod rule;
mod service;
mod set;
mod shadow;
mod test;
mod zone;

use std::collections::{HashMap, HashSet};

use super::ast::{self, Name, Statement};
use super::diagnostic::{Diagnostic, Sink};
use super::limits;
use super::names::nearest;
use super::parse::{Document, did_you_mean, quoted};
use super::policy::{Action, DefaultRule, Policy};
use super::source::{SourceFile, Span};

/// The statements by kind, in the order they were written.
#[derive(Default)]
struct Statements<'a> {
    zones: Vec<&'a ast::Zone>,
    sets: Vec<&'a ast::Set>,
    services: Vec<&'a ast::ServiceDefinition>,
    routes: Vec<&'a ast::Route>,
    defaults: Vec<&'a ast::Default>,
    rules: Vec<&'a ast::Rule>,
    tests: Vec<&'a ast::Test>,
}

/// What names stand for.
#[derive(Default)]
struct Names<'a> {
    zones: HashMap<&'a str, usize>,
    sets: HashMap<&'a str, usize>,
    services: HashMap<&'a str, usize>,
    /// Declared by statements that could not be read; nothing is known about them, so nothing is said.
    broken: HashSet<&'a str>,
}

/// The policy, unless a limit is broken. It must not be used when the sink has errors.
pub(super) fn policy(sources: &[SourceFile], documents: &[Document], sink: &mut Sink<'_>) -> Option<Policy> {
    let statements = Statements::sort(documents);
    if !statements.fit(sink) {
        return None;
    }
    let names = statements.names(documents, sink);
    let zones = zone::zones(&statements.zones, sink);
    let subnets = zone::Subnets::of(&zones, &statements.zones, sink);
    let routes = zone::routes(&statements.routes, &subnets, sink);
    let sets = set::expand(&statements.sets, &names, sink);
    let services = service::expand(&statements.services, &names, sink);
    let rules = rule::Resolver::new(&names, &sets, &services).rules(&statements.rules, sink);
    let default = default(&statements.defaults, sink);
    warn_of_reject(&statements, sink);
    let tests = test::Resolver { names: &names, services: &services, subnets: &subnets, routes: &routes }
        .tests(&statements.tests, sink);
    Some(Policy { zones, routes, rules, default, tests, sources: sources.to_vec() })
}

impl<'a> Statements<'a> {
    fn sort(documents: &'a [Document]) -> Self {
        let mut all = Self::default();
        for statement in documents.iter().flat_map(|document| &document.statements) {
            match statement {
                Statement::Zone(zone) => all.zones.push(zone),
                Statement::Set(set) => all.sets.push(set),
                Statement::Service(service) => all.services.push(service),
                Statement::Route(route) => all.routes.push(route),
                Statement::Default(default) => all.defaults.push(default),
                Statement::Rule(rule) => all.rules.push(rule),
                Statement::Test(test) => all.tests.push(test),
            }
        }
        all
    }

    fn fit(&self, sink: &mut Sink<'_>) -> bool {
        let over = [
            ("zones", limits::ZONES, self.zones.get(limits::ZONES).map(|zone| zone.name.span)),
            ("rules", limits::RULES, self.rules.get(limits::RULES).map(|rule| rule.span)),
            ("routes", limits::ROUTES, self.routes.get(limits::ROUTES).map(|route| route.span)),
        ];
        let mut fits = true;
        for (what, most, span) in over {
            if let Some(span) = span {
                sink.push(sink.error(span, format!("a policy has at most {most} {what}; this one is too many")));
                fits = false;
            }
        }
        fits
    }

    fn names(&self, documents: &'a [Document], sink: &mut Sink<'_>) -> Names<'a> {
        Names {
            zones: declare("zone", self.zones.iter().map(|zone| &zone.name), sink),
            sets: declare("set", self.sets.iter().map(|set| &set.name), sink),
            services: declare("service", self.services.iter().map(|service| &service.name), sink),
            broken: documents.iter().flat_map(|document| &document.broken).map(String::as_str).collect(),
        }
    }
}

fn declare<'a>(kind: &str, names: impl Iterator<Item = &'a Name>, sink: &mut Sink<'_>) -> HashMap<&'a str, usize> {
    let mut first: HashMap<&str, (usize, Span)> = HashMap::new();
    for (index, name) in names.enumerate() {
        match first.get(name.value.as_str()) {
            None => {
                first.insert(&name.value, (index, name.span));
            }
            Some(&(_, span)) => {
                let error = sink.error(name.span, format!("{kind} {} is declared twice", quoted(&name.value)));
                sink.push(error.with_related(sink.at(span), "first declared here"));
            }
        }
    }
    first.into_iter().map(|(name, (index, _))| (name, index)).collect()
}

impl Names<'_> {
    fn zone(&self, name: &Name, sink: &mut Sink<'_>) -> Option<usize> {
        let found = self.zones.get(name.value.as_str()).copied();
        if found.is_none() && !self.broken.contains(name.value.as_str()) {
            sink.push(self.unknown("zone", name, self.zones.keys().copied(), sink));
        }
        found
    }

    /// The error that nothing has this name, with what may have been meant.
    fn unknown<'n>(
        &self,
        kind: &str,
        name: &Name,
        known: impl Iterator<Item = &'n str>,
        sink: &Sink<'_>,
    ) -> Diagnostic {
        let error = sink.error(name.span, format!("unknown {kind} {}", quoted(&name.value)));
        let word = name.value.as_str();
        let hint = if self.zones.contains_key(word) {
            "it is a zone; zones stand before and after `->`".to_owned()
        } else if self.sets.contains_key(word) {
            "it is a set; sets stand after `from` and `to`".to_owned()
        } else if self.services.contains_key(word) {
            "it is a service; services stand after `service`".to_owned()
        } else {
            // Sorted, so that of two equally near names the same is told every time.
            let mut known: Vec<&str> = known.collect();
            known.sort_unstable();
            nearest(word, known.into_iter())
                .map_or_else(|| format!("declare it: {}", declaration(kind, word)), |near| did_you_mean(&near))
        };
        error.with_hint(hint)
    }
}

fn declaration(kind: &str, name: &str) -> String {
    match kind {
        "zone" => format!("zone {name} {{ interface eth1  address 10.0.10.1/24 }}"),
        "set" => format!("set {name} = {{ 10.0.99.5 }}"),
        _ => format!("service {name} = tcp 8080"),
    }
}

fn default(defaults: &[&ast::Default], sink: &mut Sink<'_>) -> DefaultRule {
    let Some((first, others)) = defaults.split_first() else {
        return DefaultRule { action: Action::Drop, log: None, location: None };
    };
    for other in others {
        let error = sink.error(other.span, "`default` is given twice");
        sink.push(error.with_related(sink.at(first.span), "first given here"));
    }
    DefaultRule { action: first.action, log: first.log.clone(), location: Some(sink.at(first.span)) }
}

/// One warning for the whole policy: it is the same for every rule.
fn warn_of_reject(statements: &Statements<'_>, sink: &mut Sink<'_>) {
    let rules = statements.rules.iter().filter(|rule| rule.action == Action::Reject).map(|rule| rule.span);
    let defaults = statements.defaults.iter().filter(|default| default.action == Action::Reject);
    let spans: Vec<Span> = rules.chain(defaults.map(|default| default.span)).collect();
    let Some(first) = spans.first() else { return };
    let warning = sink.warning(*first, "`reject` acts as `drop` in this version: the sender is not told");
    sink.push(match spans.len() {
        1 => warning,
        count => warning.with_hint(format!("this policy uses it {count} times")),
    });
}

/// How much may still be expanded.
struct Budget {
    left: usize,
    what: &'static str,
}

impl Budget {
    /// Takes `count`; reports the first time there is not enough.
    fn take(&mut self, count: usize, span: Span, sink: &mut Sink<'_>) -> bool {
        match self.left.checked_sub(count) {
            Some(left) => self.left = left,
            None if self.left == 0 => return false,
            None => {
                self.left = 0;
                sink.push(sink.error(span, self.what));
                return false;
            }
        }
        true
    }
}
