//! How much kernel memory the tables take: what `vfw check` and `vfw run` announce.

use aya::util::nr_cpus;
use firewall_core::classify::Block;
use firewall_core::classify::image::SPARE_BLOCKS;
use firewall_core::conntrack::{FLOW_BYTES, FLOW_KEY_BYTES};
use firewall_core::event::{Topic, ring};
use firewall_core::limit::Buckets;
use firewall_core::tables::{
    Counter, FragmentKey, FragmentPorts, MAX_ZONES, NeighbourKey, Route, RouteKey, RuleCounter, SLOTS, SOCKETS,
    USER_COUNTS, ZONE_SLOTS, Zone,
};
use firewall_core::verdict::DROP_REASON_SLOTS;

use super::{object, rules, user};
use crate::compile::Image;
use crate::config::Config;

/// Bytes of the kernel's element around the key and the value of a hash table.
const HASH_ELEMENT: usize = 48;

/// Bytes of each kind of table, with the sizes that `config` asks for. Arrays are made as large as they may ever get, and twice:
/// for the policy in force and the next one.
pub fn table_bytes(image: &Image, config: &Config) -> Vec<(&'static str, usize)> {
    // Of a machine that does not tell, one.
    let cpus = nr_cpus().unwrap_or(1);
    let (slots, zones) = (SLOTS as usize, MAX_ZONES as usize);
    let flow = FLOW_KEY_BYTES + FLOW_BYTES + HASH_ELEMENT;
    let fragment = size_of::<FragmentKey>() + size_of::<FragmentPorts>() + HASH_ELEMENT;
    let neighbour = size_of::<NeighbourKey>() + size_of::<u64>() + HASH_ELEMENT + size_of::<u64>();
    let flows = config.flows.established.get() as usize + config.flows.half_open.get() as usize;
    let blocks = (rules::room(image.rules.blocks.len()) + SPARE_BLOCKS) as usize * size_of::<Block>();
    let drops = (zones + 1) * DROP_REASON_SLOTS as usize + zones * 2;
    let counters = slots * object::rule_room(image) as usize * size_of::<RuleCounter>()
        + drops * size_of::<Counter>()
        + zones * Topic::ALL.len() * size_of::<u64>();
    let zone = slots * (zones * size_of::<Zone>() + ZONE_SLOTS as usize * size_of::<u64>());
    let user = USER_COUNTS as usize * size_of::<u64>()
        + slots * object::rule_room(image) as usize * user::RULE_WORDS as usize * size_of::<u64>()
        + SOCKETS as usize * size_of::<u64>();
    let queues = ring::LOG + ring::DROP + ring::NEIGHBOUR + ring::RESOLVE + ring::REPORT;
    vec![
        ("rules", slots * blocks),
        ("zones", zone + (zones + 1) * size_of::<Buckets>()),
        ("routes", image.routes.len() * (size_of::<(RouteKey, Route)>() + HASH_ELEMENT)),
        ("flows", flows * flow),
        ("fragments", config.flows.fragments.get() as usize * fragment),
        ("neighbours", config.neighbours.max.get() as usize * neighbour),
        ("counters", counters * cpus),
        ("user space", user),
        ("queues", queues as usize),
    ]
}
