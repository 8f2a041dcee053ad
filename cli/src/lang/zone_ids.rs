//! Numbers of zones over reloads: flows, neighbours and counters outlive a policy and name their zones by number.

use std::collections::HashMap;

use firewall_core::tables::MAX_ZONES;

use super::policy::Policy;

impl Policy {
    /// The names of the zones by their numbers.
    pub fn zone_names(&self) -> Vec<Option<String>> {
        let count = self.zones.iter().map(|zone| usize::from(zone.id) + 1).max().unwrap_or(0);
        let mut names = vec![None; count];
        for zone in &self.zones {
            names[usize::from(zone.id)] = Some(zone.name.clone());
        }
        names
    }

    /// Gives zones the numbers that zones of these names had `before`. A new zone gets a number that nobody had, unless
    /// there is none left: what is remembered of a zone that goes must not be taken for the new one's.
    pub fn keep_zone_ids(&mut self, before: &[Option<String>]) {
        let numbered = before.iter().take(MAX_ZONES as usize).enumerate();
        let known: HashMap<&str, u16> = numbered.filter_map(|(id, name)| Some((name.as_deref()?, id as u16))).collect();
        let mut taken = vec![false; MAX_ZONES as usize];
        let mut ids: Vec<Option<u16>> = self.zones.iter().map(|zone| known.get(zone.name.as_str()).copied()).collect();
        for id in ids.iter().flatten() {
            taken[usize::from(*id)] = true;
        }
        let was_used = |id: usize| before.get(id).is_some_and(Option::is_some);
        let (unused, left): (Vec<usize>, Vec<usize>) =
            (0..taken.len()).filter(|id| !taken[*id]).partition(|id| !was_used(*id));
        let mut free = unused.into_iter().chain(left);
        for id in ids.iter_mut().filter(|id| id.is_none()) {
            *id = free.next().map(|id| id as u16);
        }
        for (zone, id) in self.zones.iter_mut().zip(ids) {
            zone.id = id.unwrap_or(zone.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::{SourceFile, load};

    fn policy(names: &[&str]) -> Policy {
        let zones = names
            .iter()
            .enumerate()
            .map(|(number, name)| format!("zone {name} {{ interface eth{number} address 10.0.{number}.1/24 }}\n"));
        load(&[SourceFile::new("test.fw", zones.collect::<String>())]).expect("a policy").policy
    }

    fn names(policy: &Policy) -> Vec<String> {
        policy.zone_names().into_iter().map(|name| name.unwrap_or_else(|| "-".to_owned())).collect()
    }

    #[test]
    fn zones_keep_their_numbers_by_name() {
        let before = policy(&["a", "b", "c"]);
        assert_eq!(names(&before), ["a", "b", "c"]);
        let mut after = policy(&["c", "x", "a"]);
        after.keep_zone_ids(&before.zone_names());
        assert_eq!(names(&after), ["a", "-", "c", "x"], "the number of b is not given away at once");
        assert_eq!(after.zone(2).map(|zone| zone.name.as_str()), Some("c"));
        assert_eq!(after.zone(1), None);
        let mut last = policy(&["x", "y", "a"]);
        last.keep_zone_ids(&after.zone_names());
        assert_eq!(names(&last), ["a", "y", "-", "x"], "after another reload it is free");
    }

    #[test]
    fn all_numbers_can_be_in_use() {
        let before: Vec<Option<String>> = (0..MAX_ZONES).map(|id| Some(format!("old{id}"))).collect();
        let mut after = policy(&["new", "old7"]);
        after.keep_zone_ids(&before);
        assert_eq!((after.zones[0].id, after.zones[1].id), (0, 7));
    }
}
