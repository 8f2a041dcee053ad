//! Classes of addresses: what stands for large lists of addresses in rules, so that they do not multiply.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::prefix::Prefix;

/// Addresses of a list that is worth a class.
const LARGE: usize = 64;

/// Lists of addresses, and the classes that each consists of.
#[derive(Default)]
pub(super) struct Classes {
    lists: HashMap<Vec<Prefix>, Vec<u32>>,
    /// The class of the addresses that have this prefix and no longer one of these.
    pub(super) prefixes: Vec<(Prefix, u32)>,
}

impl Classes {
    /// Classes for those lists that are large. Two addresses that the same lists have are of one class.
    pub(super) fn of<'a>(lists: impl Iterator<Item = &'a [Prefix]>) -> Self {
        let lists: Vec<Vec<Prefix>> =
            lists.filter(|list| list.len() >= LARGE).map(sorted).collect::<BTreeSet<_>>().into_iter().collect();
        let mut members: Vec<(Prefix, u32)> = Vec::new();
        for (number, list) in (0..).zip(&lists) {
            members.extend(list.iter().map(|prefix| (*prefix, number)));
        }
        members.sort_unstable();
        let mut partition = Partition::default();
        for same in members.chunk_by(|(one, _), (other, _)| one == other) {
            partition.add(same);
        }
        let mut of_list = vec![Vec::new(); lists.len()];
        for (members, class) in &partition.classes {
            for list in members.iter() {
                of_list[*list as usize].push(*class);
            }
        }
        for classes in &mut of_list {
            classes.sort_unstable();
        }
        Self { lists: lists.into_iter().zip(of_list).collect(), prefixes: partition.prefixes }
    }

    /// The classes of a list that has some.
    pub(super) fn find(&self, list: &[Prefix]) -> Option<&[u32]> {
        if list.len() < LARGE {
            return None;
        }
        self.lists.get(&sorted(list)).map(Vec::as_slice)
    }
}

fn sorted(list: &[Prefix]) -> Vec<Prefix> {
    let mut list = list.to_vec();
    list.sort_unstable();
    list
}

/// Classes on the way through all prefixes, in order: a prefix comes before those inside of it.
#[derive(Default)]
struct Partition {
    /// By the lists that have its addresses, in order.
    classes: HashMap<Rc<[u32]>, u32>,
    prefixes: Vec<(Prefix, u32)>,
    /// Prefixes around the one in hand, with the lists that have all of their addresses.
    around: Vec<(Prefix, Rc<[u32]>)>,
}

impl Partition {
    /// A prefix with each of the lists that name it.
    fn add(&mut self, same: &[(Prefix, u32)]) {
        let Some((prefix, _)) = same.first() else { return };
        while self.around.last().is_some_and(|(outer, _)| !outer.holds(prefix)) {
            self.around.pop();
        }
        let outer = self.around.last().map(|(_, members)| Rc::clone(members)).unwrap_or_default();
        let own = same.iter().map(|(_, list)| *list);
        let members: BTreeSet<u32> = outer.iter().copied().chain(own).collect();
        if members.len() == outer.len() {
            return;
        }
        let members: Rc<[u32]> = members.into_iter().collect();
        let next = self.classes.len() as u32;
        let class = *self.classes.entry(Rc::clone(&members)).or_insert(next);
        self.prefixes.push((*prefix, class));
        self.around.push((*prefix, members));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::of(text.parse().expect("a network"))
    }

    /// So many hosts of a network, and what else is named.
    fn list(network: u8, hosts: u8, more: &[&str]) -> Vec<Prefix> {
        let hosts = (0..hosts).map(|host| prefix(&format!("10.{network}.0.{host}")));
        hosts.chain(more.iter().copied().map(prefix)).collect()
    }

    #[test]
    fn addresses_of_the_same_lists_are_of_one_class() {
        let outer = list(1, 70, &["10.2.0.0/16"]);
        let inner = list(2, 80, &[]);
        let small = list(3, 5, &[]);
        let classes = Classes::of([&outer, &inner, &small, &outer].into_iter().map(Vec::as_slice));
        // One is in `outer` alone, the other in both.
        assert_eq!(classes.find(&outer).map(<[u32]>::len), Some(2));
        assert_eq!(classes.find(&inner).map(<[u32]>::len), Some(1));
        assert_eq!(classes.find(&small), None);
        let turned: Vec<Prefix> = outer.iter().rev().copied().collect();
        assert_eq!(classes.find(&turned), classes.find(&outer), "in any order");
        assert_eq!(classes.prefixes.len(), 70 + 1 + 80);
    }

    #[test]
    fn what_a_list_has_already_adds_nothing() {
        let list = list(1, 100, &["10.1.0.0/24", "10.1.0.0/16"]);
        let classes = Classes::of([list.as_slice()].into_iter());
        assert_eq!(classes.prefixes, [(prefix("10.1.0.0/16"), 0)]);
    }
}
