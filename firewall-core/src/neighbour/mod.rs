//! Answers of the gateway to its neighbours' ARP and neighbour discovery, and what it learns from theirs.

mod arp;
mod nd;

pub use arp::answer as arp;
pub use nd::answer as nd;

use crate::address::Address;
use crate::event::{self, EventKind, Topic};
use crate::route;
use crate::tables::{RouteKind, Tables};
use crate::zone::Ingress;

/// Whether `address` is a gateway address of this zone.
#[inline(always)]
fn is_gateway<T: Tables>(ingress: &Ingress<T>, address: &Address) -> bool {
    ingress.tables.route(address).is_some_and(|route| route.is_local() && route.zone == ingress.id)
}

/// Tells the daemon of a neighbour, when that is news: `is_answer` for one that confirms itself to vfw.
#[inline(always)]
fn learn<T: Tables>(ingress: &Ingress<T>, address: &Address, mac: [u8; 6], is_answer: bool) {
    let Some(route) = ingress.tables.route(address) else { return };
    if route.zone != ingress.id {
        return;
    }
    let kind = if route.is_local() {
        EventKind::AddressConflict
    } else if route.kind == RouteKind::Forward as u16 && route.next_hop.is_unspecified() {
        EventKind::NeighbourSeen
    } else {
        return;
    };
    let hop = route::Hop { zone: ingress.id, next_hop: *address };
    let is_known = kind == EventKind::NeighbourSeen && !is_answer && route::neighbour(ingress.tables, &hop).knows(mac);
    if is_known || !is_unicast(mac) {
        return;
    }
    event::tell(ingress, Topic::Neighbour, |event| {
        event.fill_neighbour(kind, ingress.id, address, mac, ingress.now);
    });
}

#[inline(always)]
const fn is_unicast(mac: [u8; 6]) -> bool {
    mac[0] & 1 == 0
}
