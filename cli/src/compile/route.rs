//! Routes: what the zones' addresses imply, what is never forwarded, and what the policy adds.

use std::cmp::Reverse;
use std::collections::HashMap;

use firewall_core::Address;
use firewall_core::tables::{NO_ZONE, Route, RouteKey, RouteKind};
use ipnetwork::IpNetwork;

use super::prefix::{MAPPED, Prefix};
use crate::lang::Policy;

/// Destinations that stay on a link or inside of a host, whatever the default route says (RFC 1812 section 5.3.7,
/// RFC 4291 section 2.5).
const NEVER_FORWARDED: [Prefix; 5] = [
    // fe80::/10
    Prefix { address: Address::from_v6([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), length: 10 },
    // ::1/128
    Prefix { address: Address::from_v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), length: 128 },
    // ::/128
    Prefix { address: Address::UNSPECIFIED, length: 128 },
    // 127.0.0.0/8
    Prefix { address: Address::from_v4([127, 0, 0, 0]), length: 104 },
    // 0.0.0.0/8
    Prefix { address: Address::from_v4([0, 0, 0, 0]), length: 104 },
];

/// The first route to a prefix stays.
#[derive(Default)]
struct Table(HashMap<(u8, Address), Route>);

impl Table {
    fn add(&mut self, prefix: Prefix, kind: RouteKind, zone: u16, next_hop: Address) {
        let route = Route { next_hop, zone, kind: kind as u16 };
        self.0.entry((prefix.length, prefix.address)).or_insert(route);
    }
}

pub(super) fn table(policy: &Policy) -> Vec<(RouteKey, Route)> {
    let mut table = Table::default();
    let nowhere = Address::UNSPECIFIED;
    for zone in &policy.zones {
        for network in &zone.addresses {
            let gateway = Prefix { address: network.ip().into(), length: 128 };
            table.add(gateway, RouteKind::Local, zone.id, nowhere);
        }
    }
    for prefix in NEVER_FORWARDED {
        table.add(prefix, RouteKind::Unroutable, NO_ZONE, nowhere);
    }
    for zone in &policy.zones {
        for network in &zone.addresses {
            for address in edges(network) {
                table.add(Prefix { address, length: 128 }, RouteKind::Unroutable, zone.id, nowhere);
            }
            table.add(Prefix::of(*network), RouteKind::Forward, zone.id, nowhere);
        }
    }
    let mut takes_in_v4 = false;
    for route in &policy.routes {
        let prefix = Prefix::of(route.prefix);
        takes_in_v4 |= prefix.holds_mapped();
        let Some(zone) = policy.zones.get(route.zone) else { continue };
        table.add(prefix, RouteKind::Forward, zone.id, route.via.into());
    }
    if takes_in_v4 {
        // Without a default route of their own, IPv4 packets would leave by the one of IPv6.
        table.add(MAPPED, RouteKind::NoRoute, NO_ZONE, nowhere);
    }
    let mut routes: Vec<_> = table.0.into_iter().collect();
    routes.sort_unstable_by_key(|((length, address), _)| (Reverse(*length), address.bytes()));
    let key = |(length, address)| RouteKey { prefix_length: u32::from(length), address };
    routes.into_iter().map(|(prefix, route)| (key(prefix), route)).collect()
}

/// Network and broadcast address of an IPv4 subnet that has them (RFC 3021: a /31 has neither).
fn edges(network: &IpNetwork) -> Vec<Address> {
    match network {
        IpNetwork::V4(v4) if v4.prefix() <= 30 => {
            vec![Address::from_v4(v4.network().octets()), Address::from_v4(v4.broadcast().octets())]
        }
        _ => Vec::new(),
    }
}
