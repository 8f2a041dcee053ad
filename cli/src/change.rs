//! What a new policy changes: the lines that differ, for people to read before it comes into force.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};
use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::compile::{Image, RuleName};
use crate::lang::{Policy, Route, Rule, Zone};

/// What became of one zone, route or rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The old policy lacks it.
    Added,
    /// The new policy lacks it.
    Removed,
    /// Both have it, and others have come to stand before it or behind it.
    Moved,
    /// Both have it in the same words, and a set or a service in it has come to mean something else.
    Changed,
}

/// One line that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What became of it.
    pub kind: Kind,
    /// Where it stands: in the new policy, or in the old one when it is removed.
    pub place: String,
    /// What it says.
    pub text: String,
}

/// All that differs between two policies. Nothing does when all lists are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Zones, in any order.
    pub zones: Vec<Line>,
    /// Routes, in any order.
    pub routes: Vec<Line>,
    /// Rules in their order, the default last.
    pub rules: Vec<Line>,
}

impl Change {
    /// From one policy to another.
    pub fn between(old: (&Policy, &Image), new: (&Policy, &Image)) -> Self {
        Self {
            zones: unordered(&zones(old.0), &zones(new.0)),
            routes: unordered(&routes(old.0), &routes(new.0)),
            rules: ordered(&rules(old), &rules(new)),
        }
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty() && self.routes.is_empty() && self.rules.is_empty()
    }
}

/// What is compared.
struct Item<'a> {
    place: Cow<'a, str>,
    text: Cow<'a, str>,
    /// A sum over what the names in the text stand for.
    meaning: u64,
}

impl Item<'_> {
    /// Of something that stands for itself.
    fn new(place: String, text: String) -> Self {
        Self { place: place.into(), text: text.into(), meaning: 0 }
    }

    fn line(&self, kind: Kind) -> Line {
        Line { kind, place: self.place.to_string(), text: self.text.to_string() }
    }
}

fn zones(policy: &Policy) -> Vec<Item<'static>> {
    let text = |zone: &Zone| {
        let vlan = zone.vlan.map_or_else(String::new, |vlan| format!("  vlan {vlan}"));
        let addresses: Vec<String> = zone.addresses.iter().map(ToString::to_string).collect();
        format!("zone {} {{ interface {}{vlan}  address {} }}", zone.name, zone.interface, addresses.join(", "))
    };
    policy.zones.iter().map(|zone| Item::new(policy.place(&zone.location), text(zone))).collect()
}

fn routes(policy: &Policy) -> Vec<Item<'static>> {
    let text = |route: &Route| format!("route {} via {}", route.prefix, route.via);
    policy.routes.iter().map(|route| Item::new(policy.place(&route.location), text(route))).collect()
}

fn rules<'a>((policy, image): (&Policy, &'a Image)) -> Vec<Item<'a>> {
    let meanings = policy.rules.iter().map(meaning).chain([0]);
    let names = image.rule_names.iter().zip(meanings);
    let item = |(name, meaning): (&'a RuleName, u64)| Item {
        place: name.place.as_str().into(),
        text: name.text.as_str().into(),
        meaning,
    };
    names.map(item).collect()
}

fn meaning(rule: &Rule) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&rule.sources, &rule.destinations, &rule.services).hash(&mut hasher);
    hasher.finish()
}

fn texts<'a>(list: &'a [Item]) -> impl Iterator<Item = &'a str> {
    list.iter().map(|item| &*item.text)
}

/// What one list has and the other lacks.
fn unordered(old: &[Item], new: &[Item]) -> Vec<Line> {
    let (in_old, in_new): (HashSet<&str>, HashSet<&str>) = (texts(old).collect(), texts(new).collect());
    let removed = old.iter().filter(|item| !in_new.contains(&*item.text)).map(|item| item.line(Kind::Removed));
    let added = new.iter().filter(|item| !in_old.contains(&*item.text)).map(|item| item.line(Kind::Added));
    removed.chain(added).collect()
}

/// The fewest lines that make the new list out of the old one. A line that is removed here and added there has moved.
fn ordered(old: &[Item], new: &[Item]) -> Vec<Line> {
    let (old_texts, new_texts): (Vec<&str>, Vec<&str>) = (texts(old).collect(), texts(new).collect());
    let mut lines = Vec::new();
    for operation in capture_diff_slices(Algorithm::Patience, &old_texts, &new_texts) {
        let (removed, added) = match operation {
            DiffOp::Equal { old_index, new_index, len } => {
                let pairs = old.iter().skip(old_index).zip(new.iter().skip(new_index)).take(len);
                let changed = pairs.filter(|(old, new)| old.meaning != new.meaning);
                lines.extend(changed.map(|(_, new)| new.line(Kind::Changed)));
                continue;
            }
            DiffOp::Delete { old_index, old_len, .. } => (old_index..old_index + old_len, 0..0),
            DiffOp::Insert { new_index, new_len, .. } => (0..0, new_index..new_index + new_len),
            DiffOp::Replace { old_index, old_len, new_index, new_len } => {
                (old_index..old_index + old_len, new_index..new_index + new_len)
            }
        };
        lines.extend(old.get(removed).into_iter().flatten().map(|item| item.line(Kind::Removed)));
        lines.extend(new.get(added).into_iter().flatten().map(|item| item.line(Kind::Added)));
    }
    merge_moved(lines)
}

/// Makes one line of each pair of a removed and an added line that say the same.
fn merge_moved(lines: Vec<Line>) -> Vec<Line> {
    let mut removed: HashMap<String, usize> = HashMap::new();
    for gone in lines.iter().filter(|line| line.kind == Kind::Removed) {
        *removed.entry(gone.text.clone()).or_default() += 1;
    }
    let mut moved: HashMap<String, usize> = HashMap::new();
    let mut merged = Vec::new();
    for mut line in lines {
        if line.kind == Kind::Added
            && let Some(left) = removed.get_mut(&line.text).filter(|left| **left > 0)
        {
            *left -= 1;
            *moved.entry(line.text.clone()).or_default() += 1;
            line.kind = Kind::Moved;
        }
        merged.push(line);
    }
    merged.retain(|line| {
        let pair = moved.get_mut(&line.text).filter(|left| line.kind == Kind::Removed && **left > 0);
        pair.map(|left| *left -= 1).is_none()
    });
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(texts: &[&str]) -> Vec<Item<'static>> {
        texts.iter().enumerate().map(|(at, text)| Item::new(format!("f:{}", at + 1), (*text).to_owned())).collect()
    }

    fn shown(old: &[&str], new: &[&str]) -> Vec<String> {
        let lines = ordered(&items(old), &items(new));
        lines.iter().map(|line| format!("{:?} {} {}", line.kind, line.place, line.text)).collect()
    }

    #[test]
    fn rules_are_added_removed_and_moved() {
        assert_eq!(shown(&["a", "b", "c"], &["a", "b", "c"]), Vec::<String>::new());
        assert_eq!(shown(&["a", "b"], &["a", "x", "b"]), ["Added f:2 x"]);
        assert_eq!(shown(&["a", "x", "b"], &["a", "b"]), ["Removed f:2 x"]);
        assert_eq!(shown(&["a", "b", "c"], &["a", "y", "c"]), ["Removed f:2 b", "Added f:2 y"]);
        assert_eq!(shown(&["a", "b", "c", "d"], &["d", "a", "b", "c"]), ["Moved f:1 d"]);
        assert_eq!(shown(&["a", "b"], &["b", "a", "a"]).len(), 2);
    }

    #[test]
    fn a_rule_whose_set_differs_has_changed() {
        let policy = |address: &str| {
            let text = format!(
                "zone a {{ interface eth0 address 10.0.0.1/24 }}\nset s = {{ {address} }}\nallow a -> a  from s\ndrop a -> a\n"
            );
            crate::lang::load(&[crate::lang::SourceFile::new("f", text)]).expect("a policy").policy
        };
        let (old, new) = (policy("10.0.0.5"), policy("10.0.0.6"));
        let compile = |policy: &Policy| {
            crate::compile::compile(policy, &crate::config::Config::default(), &crate::compile::Link::invent(policy))
                .expect("compiles")
        };
        let change = Change::between((&old, &compile(&old)), (&new, &compile(&new)));
        let kinds: Vec<_> = change.rules.iter().map(|line| (line.kind, line.place.as_str())).collect();
        assert_eq!(kinds, [(Kind::Changed, "f:3")]);
        assert!(Change::between((&old, &compile(&old)), (&old, &compile(&old))).is_empty());
    }

    #[test]
    fn the_order_of_zones_and_routes_says_nothing() {
        let lines = unordered(&items(&["a", "b"]), &items(&["c", "b"]));
        let kinds: Vec<_> = lines.iter().map(|line| (line.kind, line.text.as_str())).collect();
        assert_eq!(kinds, [(Kind::Removed, "a"), (Kind::Added, "c")]);
        assert_eq!(unordered(&items(&["a", "b"]), &items(&["b", "a"])), []);
    }
}
