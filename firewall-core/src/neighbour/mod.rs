//! Answers of the gateway to its neighbours' ARP and neighbour discovery, and what it learns from theirs.

mod arp;
mod nd;

pub use arp::answer as arp;
pub use nd::answer as nd;

use crate::address::Address;
use crate::event::{Event, EventKind};
use crate::route;
use crate::tables::{RouteKind, Tables, Zone};

/// The place of one message: its zone and when it came.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Zone identifier.
    pub id: u16,
    /// Zone record.
    pub zone: &'a Zone,
    /// Nanoseconds.
    pub now: u64,
}

/// Whether `address` is a gateway address of this zone.
#[inline(always)]
fn is_gateway<T: Tables>(tables: &T, place: &Place, address: &Address) -> bool {
    tables.route(address).is_some_and(|route| route.is_local() && route.zone == place.id)
}

/// Tells the daemon of a neighbour, when that is news: `is_answer` for one that confirms itself to vfw.
#[inline(always)]
fn learn<T: Tables>(tables: &T, place: &Place, address: &Address, mac: [u8; 6], is_answer: bool) {
    let Some(route) = tables.route(address) else { return };
    if route.zone != place.id {
        return;
    }
    let kind = if route.is_local() {
        EventKind::AddressConflict
    } else if route.kind == RouteKind::Forward as u16 && route.next_hop.is_unspecified() {
        EventKind::NeighbourSeen
    } else {
        return;
    };
    let hop = route::Hop { zone: place.id, next_hop: *address };
    let is_known = kind == EventKind::NeighbourSeen
        && !is_answer
        && route::neighbour(tables, &hop).is_some_and(|known| known.mac == mac);
    if is_known || !is_unicast(mac) {
        return;
    }
    tables.tell(&Event::of_neighbour(kind, place.id, address, mac, place.now));
}

#[inline(always)]
const fn is_unicast(mac: [u8; 6]) -> bool {
    mac[0] & 1 == 0
}
