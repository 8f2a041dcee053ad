//! Next hop and neighbour of an address.

use crate::address::Address;
use crate::conntrack::NO_NEIGHBOUR;
use crate::tables::{NeighbourKey, Route, RouteKind, Tables};
use crate::verdict::DropReason;

/// Where packets to an address go.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    /// Zone through which they leave.
    pub zone: u16,
    /// The neighbour that takes them.
    pub next_hop: Address,
}

impl Route {
    /// Whether the destination is one of vfw's own addresses.
    #[inline(always)]
    pub const fn is_local(&self) -> bool {
        self.kind == RouteKind::Local as u16
    }

    /// The way to `destination`, when this route forwards.
    #[inline(always)]
    pub fn hop(&self, destination: &Address) -> Result<Hop, DropReason> {
        if self.kind == RouteKind::Unroutable as u16 {
            return Err(DropReason::Multicast);
        }
        if self.is_local() {
            return Err(DropReason::LocalService);
        }
        let next_hop = if self.next_hop.is_unspecified() { *destination } else { self.next_hop };
        Ok(Hop { zone: self.zone, next_hop })
    }
}

/// The way to an address.
#[inline(always)]
pub fn hop<T: Tables>(tables: &T, destination: &Address) -> Result<Hop, DropReason> {
    tables.route(destination).ok_or(DropReason::NoRoute)?.hop(destination)
}

/// A resolved neighbour: slot, generation, MAC.
#[derive(Clone, Copy, Debug)]
pub struct Neighbour {
    /// Slot in the neighbour table.
    pub slot: u32,
    /// The slot's generation.
    pub generation: u16,
    /// MAC.
    pub mac: [u8; 6],
}

/// The neighbour in `slot`, if it still is what it was in `generation`.
#[inline(always)]
pub fn cached<T: Tables>(tables: &T, slot: u32, generation: u16) -> Option<Neighbour> {
    if slot == NO_NEIGHBOUR || generation == 0 {
        return None;
    }
    let word = tables.neighbour(slot);
    (word.generation() == generation).then(|| Neighbour { slot, generation, mac: word.mac() })
}

/// The neighbour of a hop, if it is resolved.
#[inline(always)]
pub fn neighbour<T: Tables>(tables: &T, hop: &Hop) -> Option<Neighbour> {
    let slot = tables.neighbour_slot(&NeighbourKey { address: hop.next_hop, zone: u32::from(hop.zone) })?;
    let word = tables.neighbour(slot);
    let generation = word.generation();
    (generation != 0).then(|| Neighbour { slot, generation, mac: word.mac() })
}
