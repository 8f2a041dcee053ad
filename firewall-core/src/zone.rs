//! Which zone a frame comes from, and what the later stages need to know of its arrival.

use crate::tables::{Settings, Tables, ZONE_PROBES, ZONE_SLOTS, Zone, zone_slot, zone_slot_start};
use crate::verdict::DropReason;

/// The arrival of one frame: where, when, and under which tables.
#[derive(Clone, Copy)]
pub struct Ingress<'a, T> {
    /// Policy and state.
    pub tables: &'a T,
    /// What the daemon set for all packets.
    pub settings: &'a Settings,
    /// Zone record.
    pub zone: &'a Zone,
    /// Nanoseconds of the monotonic clock.
    pub now: u64,
    /// Zone identifier.
    pub id: u16,
}

/// The arrival of a frame with this VLAN (0: untagged) on this interface. `from` becomes its zone.
#[inline(always)]
pub fn find<'a, T: Tables>(
    tables: &'a T,
    ifindex: u32,
    vlan: u16,
    now: u64,
    from: &mut u16,
) -> Result<Ingress<'a, T>, DropReason> {
    let settings = tables.settings().filter(|settings| settings.epoch != 0).ok_or(DropReason::NotReady)?;
    let wanted = zone_slot(ifindex, vlan, 0);
    let start = zone_slot_start(ifindex, vlan);
    for probe in 0..ZONE_PROBES {
        let slot = tables.zone_slot(start.wrapping_add(probe) & (ZONE_SLOTS - 1));
        // Before the comparison: untagged frames of interface 0, which no hook has, would look like an empty slot.
        if slot == 0 {
            break;
        }
        if slot & !0xffff == wanted {
            let id = slot as u16;
            let zone = tables.zone(id).ok_or(DropReason::UnknownVlan)?;
            *from = id;
            return Ok(Ingress { tables, settings, zone, now, id });
        }
    }
    Err(DropReason::UnknownVlan)
}
