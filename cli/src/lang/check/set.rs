//! Sets: what they contain, after everything they name is put in.

use std::collections::HashSet;

use ipnetwork::IpNetwork;

use super::address::{Block, Blocks};
use super::{Budget, Names, graph, limits};
use crate::lang::ast::{AddressItem, Set};
use crate::lang::diagnostic::Sink;
use crate::lang::source::Spanned;

/// The addresses of every set. A set that has an error may be empty.
pub(super) fn expand(sets: &[&Set], names: &Names<'_>, sink: &mut Sink<'_>) -> Vec<Blocks> {
    let contains: Vec<Vec<usize>> = sets
        .iter()
        .map(|set| {
            set.items.iter().filter_map(|item| named(&item.value)).filter_map(|name| index(names, name)).collect()
        })
        .collect();
    let heads: Vec<_> = sets.iter().map(|set| &set.name).collect();
    let mut budget = Budget { left: limits::MEMBERS, what: "the sets have too many members in all" };
    graph::expand("set", &heads, &contains, sink, |i, expanded, sink| {
        sets.get(i).map(|set| blocks(&set.items, names, expanded, &mut budget, sink)).unwrap_or_default()
    })
}

/// The addresses of a list.
pub(super) fn blocks(
    items: &[Spanned<AddressItem>],
    names: &Names<'_>,
    sets: &[Blocks],
    budget: &mut Budget,
    sink: &mut Sink<'_>,
) -> Blocks {
    let mut all = Vec::new();
    let mut seen = HashSet::new();
    for item in items {
        match &item.value {
            AddressItem::Network(network) => {
                check_host_bits(&Spanned::new(*network, item.span), sink);
                all.push(Block::network(*network));
            }
            AddressItem::Range(first, last) => all.push(Block::range(*first, *last)),
            AddressItem::Set(name) => match index(names, name) {
                Some(i) if seen.insert(i) => {
                    let Some(set) = sets.get(i) else { continue };
                    if budget.take(set.len(), item.span, sink) {
                        all.extend(set.iter());
                    }
                }
                Some(_) => {}
                None if names.broken.contains(name.as_str()) => {}
                None => {
                    let name = Spanned::new(name.clone(), item.span);
                    sink.push(names.unknown("set", &name, names.sets.keys().copied(), sink));
                }
            },
        }
        if !budget.take(1, item.span, sink) {
            break;
        }
    }
    all.into_iter().collect()
}

/// Refuses `10.0.10.1/24` where an address or a subnet must be meant.
pub(super) fn check_host_bits(network: &Spanned<IpNetwork>, sink: &mut Sink<'_>) -> bool {
    let subnet = network.value.network();
    if subnet == network.value.ip() {
        return true;
    }
    let (ip, length) = (network.value.ip(), network.value.prefix());
    let error = sink.error(network.span, "this prefix has bits set behind its length");
    sink.push(error.with_hint(format!("write {subnet}/{length} for the subnet, or {ip} for the one address")));
    false
}

fn named(item: &AddressItem) -> Option<&str> {
    if let AddressItem::Set(name) = item { Some(name) } else { None }
}

fn index(names: &Names<'_>, name: &str) -> Option<usize> {
    names.sets.get(name).copied()
}
