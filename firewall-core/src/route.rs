//! Next hop and neighbour of an address.

use crate::address::Address;
use crate::conntrack::NO_NEIGHBOUR;
use crate::tables::{NeighbourKey, NeighbourWord, Route, RouteKind, Tables};
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
        if self.kind != RouteKind::Forward as u16 {
            return Err(DropReason::NoRoute);
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

/// A neighbour. The word stays whole until a frame is written: six bytes would take six places on a program's stack.
#[derive(Clone, Copy, Debug)]
pub struct Neighbour {
    /// Slot in the neighbour table.
    pub slot: u32,
    /// What stands there.
    pub word: NeighbourWord,
}

impl Neighbour {
    /// Nobody has answered yet.
    pub const UNRESOLVED: Self = Self { slot: NO_NEIGHBOUR, word: NeighbourWord(0) };

    /// Whether the MAC is known.
    #[inline(always)]
    pub const fn is_resolved(&self) -> bool {
        self.word.generation() != 0
    }

    /// Whether this MAC is what is known of the neighbour.
    #[inline(always)]
    pub fn knows(&self, mac: [u8; 6]) -> bool {
        self.is_resolved() && self.word.mac() == mac
    }
}

/// The neighbour in `slot`, if it still is what it was in `generation`.
#[inline(always)]
pub fn cached<T: Tables>(tables: &T, slot: u32, generation: u16) -> Neighbour {
    let word = tables.neighbour(slot);
    if word.generation() != generation {
        return Neighbour::UNRESOLVED;
    }
    Neighbour { slot, word }
}

/// The neighbour of a hop.
#[inline(always)]
pub fn neighbour<T: Tables>(tables: &T, hop: &Hop) -> Neighbour {
    let key = NeighbourKey { address: hop.next_hop, zone: u32::from(hop.zone) };
    let Some(slot) = tables.neighbour_slot(&key) else { return Neighbour::UNRESOLVED };
    Neighbour { slot, word: tables.neighbour(slot) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_route_has_its_own_reason() {
        let destination = Address::from_v4([10, 0, 0, 7]);
        let reason = |kind: u16| {
            Route { next_hop: Address::UNSPECIFIED, zone: 1, kind }.hop(&destination).map(|hop| hop.next_hop)
        };
        assert_eq!(reason(RouteKind::Forward as u16), Ok(destination));
        assert_eq!(reason(RouteKind::Local as u16), Err(DropReason::LocalService));
        assert_eq!(reason(RouteKind::Unroutable as u16), Err(DropReason::Multicast));
        assert_eq!(reason(RouteKind::NoRoute as u16), Err(DropReason::NoRoute));
        assert_eq!(reason(77), Err(DropReason::NoRoute));
    }
}
