//! A policy in ordinary memory, as back ends in user space read it.

use std::collections::{BTreeMap, HashMap};

use firewall_core::Address;
use firewall_core::classify::{Block, Decision, Key, lookup};
use firewall_core::tables::{Route, RuleKey, Settings, Zone};

use crate::compile::Image;

/// The tables that a policy brings.
#[derive(Clone, Default)]
pub struct PolicyTables {
    /// What holds for all packets; nothing without a policy.
    pub settings: Option<Settings>,
    /// Zones by their numbers.
    pub zones: Vec<Zone>,
    zone_index: Vec<u64>,
    /// The rule table; empty without a policy.
    rules: Vec<Block>,
    /// By prefix length.
    routes: BTreeMap<u8, HashMap<Address, Route>>,
}

impl PolicyTables {
    /// Those of a compiled policy.
    pub fn of(image: &Image) -> Self {
        let mut routes: BTreeMap<u8, HashMap<Address, Route>> = BTreeMap::new();
        for (key, route) in &image.routes {
            routes.entry(key.prefix_length as u8).or_default().insert(key.address, *route);
        }
        Self {
            settings: Some(image.settings),
            zones: image.zones.clone(),
            zone_index: image.zone_index.clone(),
            rules: image.rules.blocks.clone(),
            routes,
        }
    }

    /// A slot of the zone index.
    pub fn zone_slot(&self, slot: u32) -> u64 {
        self.zone_index.get(slot as usize).copied().unwrap_or(0)
    }

    /// A zone.
    pub fn zone(&self, zone: u16) -> Option<&Zone> {
        self.zones.get(usize::from(zone))
    }

    /// The longest prefix that holds the address.
    pub fn route(&self, address: &Address) -> Option<Route> {
        self.routes.iter().rev().find_map(|(length, routes)| routes.get(&address.and(&Address::mask(*length)))).copied()
    }

    /// What the first rule that matches says; `None` when there is no usable rule table.
    pub fn judge(&self, key: &RuleKey) -> Option<Decision> {
        lookup(self.rules.as_slice(), Key::of(key))
    }
}
